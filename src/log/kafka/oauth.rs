//! Tokens for SASL OAUTHBEARER: read from a file that another program keeps fresh, or printed by a command.
//!
//! librdkafka's own OIDC needs libcurl, which this build leaves out; an unsecured token (`enable.sasl.oauthbearer.unsecure.jwt`) needs
//! neither and is librdkafka's affair.

use std::ffi::{CString, c_char, c_void};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::bindings as sys;

use super::client::Context;
use super::raw::{self, Conf, ERROR_TEXT_BYTES};
use super::settings::KafkaSettings;

/// A property: the file with the token.
const FILE: &str = "oauthbearer.token.file";
/// A property: a shell command that prints the token.
const COMMAND: &str = "oauthbearer.token.command";

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenSource {
    File(PathBuf),
    Command(String),
}

/// A token as the broker wants it described.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    text: String,
    principal: String,
    expires_ms: i64,
}

impl TokenSource {
    /// What the settings say; `None` when they name no source.
    pub(super) fn of(settings: &KafkaSettings) -> Result<Option<Self>, String> {
        match (settings.own(FILE), settings.own(COMMAND)) {
            (Some(_), Some(_)) => Err(format!("{FILE} and {COMMAND}: give one of them")),
            (Some(file), None) => Ok(Some(Self::File(file.into()))),
            (None, Some(command)) => Ok(Some(Self::Command(command.into()))),
            (None, None) => Ok(None),
        }
    }

    /// Makes a client ask its context's source.
    pub(super) fn install(conf: &Conf) {
        // SAFETY: the callback's opaque is the client's context, see `client`
        unsafe {
            sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf.ptr(), Some(on_refresh));
            // a queue of its own, so that librdkafka's background thread serves it and no caller has to poll for a token
            sys::rd_kafka_conf_enable_sasl_queue(conf.ptr(), 1);
        }
    }

    fn token(&self) -> Result<Token, String> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path).map_err(|e| format!("{FILE} {}: {e}", path.display()))?,
            Self::Command(command) => {
                let output = std::process::Command::new("sh")
                    .args(["-c", command])
                    .stdin(std::process::Stdio::null())
                    .output()
                    .map_err(|e| format!("{COMMAND}: {e}"))?;
                if !output.status.success() {
                    return Err(format!("{COMMAND}: ended with {}", output.status));
                }
                String::from_utf8(output.stdout).map_err(|_| format!("{COMMAND}: printed no text"))?
            }
        };
        describe_token(text.trim())
    }
}

/// Reads expiry and subject from the token's claims, which a JWT carries in the open.
fn describe_token(text: &str) -> Result<Token, String> {
    let claims = text
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok())
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .ok_or("the OAuth token is no JWT: three parts of base64 with points between are expected")?;
    let expires = claims.get("exp").and_then(serde_json::Value::as_f64);
    let expires_ms = expires.ok_or("the OAuth token has no claim exp, so nobody knows when to get a new one")? * 1000.0;
    let principal = claims
        .get("sub")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("millstream");
    Ok(Token {
        text: text.into(),
        principal: principal.into(),
        expires_ms: expires_ms as i64,
    })
}

unsafe extern "C" fn on_refresh(rk: *mut sys::rd_kafka_t, _config: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque of every client is its context, which outlives it; nobody changes the source
    let source = unsafe { &(*opaque.cast::<Context>()).tokens };
    let token = source
        .as_ref()
        .ok_or_else(|| "no source of tokens is set".to_owned())
        .and_then(TokenSource::token);
    let result = token.and_then(|token| set_token(rk, &token));
    if let Err(message) = result {
        tracing::error!("Kafka login: {message}");
        if let Ok(message) = CString::new(message) {
            // SAFETY: the client is alive during its callback; the text is copied
            unsafe { sys::rd_kafka_oauthbearer_set_token_failure(rk, message.as_ptr()) };
        }
    }
}

fn set_token(rk: *mut sys::rd_kafka_t, token: &Token) -> Result<(), String> {
    let nul = |_| "the OAuth token holds a NUL byte".to_owned();
    let (text, principal) = (
        CString::new(&*token.text).map_err(nul)?,
        CString::new(&*token.principal).map_err(nul)?,
    );
    let mut message = [0 as c_char; ERROR_TEXT_BYTES];
    // SAFETY: the strings live during the call; no extensions; the buffer's length is its own
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            rk,
            text.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            message.as_mut_ptr(),
            message.len(),
        )
    };
    if code == raw::OK {
        return Ok(());
    }
    // SAFETY: librdkafka ends its message with NUL
    Err(unsafe { raw::text(message.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claims_tell_who_and_until_when() {
        let claims = URL_SAFE_NO_PAD.encode(br#"{"sub":"mill","exp":1700000000}"#);
        let token = describe_token(&format!("e30.{claims}.c2ln")).expect("a token");
        assert_eq!(
            (token.principal.as_str(), token.expires_ms),
            ("mill", 1_700_000_000_000)
        );
        assert!(describe_token("not a token").is_err());
        assert!(describe_token(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(b"{}"))).is_err());
    }

    #[test]
    fn a_command_prints_the_token() {
        let claims = URL_SAFE_NO_PAD.encode(br#"{"exp":1}"#);
        let source = TokenSource::Command(format!("printf e30.{claims}.c2ln"));
        assert_eq!(source.token().expect("a token").expires_ms, 1000);
        assert!(TokenSource::Command("exit 3".into()).token().is_err());
        assert!(TokenSource::File("/no/such/file".into()).token().is_err());
    }
}
