//! One address of a registry: how it is spoken to, and who is trusted.

use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Certificate;
use reqwest::blocking::{Client, ClientBuilder};
use reqwest::redirect::Policy;
use schema_registry_converter::blocking::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::RawError;

use super::{ClientSettings, RegistryError, Result, reaction, words};

/// Variables that name a proxy for addresses of http.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

pub(super) struct Server {
    /// Without credentials, for messages.
    pub(super) url: String,
    settings: Mutex<Option<SrSettings>>,
    login: Login,
    timeout: Duration,
    authorities: Vec<Certificate>,
    /// For what the crate has no call for; made when it is needed.
    client: OnceLock<Client>,
}

/// How to get in.
#[derive(Clone)]
enum Login {
    Nothing,
    Bearer(String),
    Basic(String, String),
}

impl Server {
    pub(super) fn new(
        url: &str,
        settings: &ClientSettings,
        authorities: &[Certificate],
    ) -> std::result::Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let shown = || rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if !matches!(scheme, "http" | "https") {
            return Err(format!(
                "the schema registry's address {scheme}://{} must begin with http:// or https://",
                shown()
            ));
        }
        let host = shown().trim_end_matches('/');
        if host.is_empty() {
            return Err(format!("the schema registry's address {scheme}:// names no host"));
        }
        let own = rest.rsplit_once('@').map(|(user, _)| match user.split_once(':') {
            Some((user, password)) => (percent_decoded(user), percent_decoded(password)),
            None => (percent_decoded(user), String::new()),
        });
        let url = format!("{scheme}://{host}");
        let login = match (&settings.bearer, own.as_ref().or(settings.basic.as_ref())) {
            (Some(token), _) => Login::Bearer(token.clone()),
            (None, Some((user, password))) => Login::Basic(user.clone(), password.clone()),
            (None, None) => Login::Nothing,
        };
        Ok(Self {
            settings: Mutex::default(),
            url,
            login,
            timeout: settings.timeout,
            authorities: authorities.to_vec(),
            client: OnceLock::new(),
        })
    }

    /// How the crate's calls ask; made by whoever asks first, and the others wait for it. Outside of tokio.
    pub(super) fn settings(&self) -> Result<SrSettings> {
        let mut known = self.settings.lock();
        if let Some(settings) = &*known {
            return Ok(settings.clone());
        }
        let mut builder = SrSettings::new_builder(self.url.clone());
        builder.set_timeout(self.timeout);
        match &self.login {
            Login::Nothing => {}
            Login::Bearer(token) => drop(builder.set_token_authorization(token)),
            Login::Basic(user, password) => drop(builder.set_basic_authorization(user, Some(password))),
        }
        let built = builder.build_with(client(&self.url, &self.authorities));
        let settings = built.map_err(|e| RegistryError::Unavailable(words(&e)))?;
        Ok(known.insert(settings).clone())
    }

    fn client(&self) -> reqwest::Result<Client> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = client(&self.url, &self.authorities).timeout(self.timeout).build()?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    pub(super) fn delete(&self, path: &str) -> Result<()> {
        let away = |error: reqwest::Error| match error.is_redirect() {
            true => rejected(innermost(&error)),
            false => RegistryError::Unavailable(innermost(&error)),
        };
        let client = self.client().map_err(away)?;
        let request = client.delete(format!("{}{path}", self.url));
        let request = match &self.login {
            Login::Nothing => request,
            Login::Bearer(token) => request.bearer_auth(token),
            Login::Basic(user, password) => request.basic_auth(user, Some(password)),
        };
        let answer = request.send().map_err(away)?;
        let status = answer.status();
        let body = answer.text().map_err(away)?;
        if status.is_success() {
            return Ok(());
        }
        let (code, message) = match serde_json::from_str::<RawError>(&body) {
            Ok(raw) => (raw.error_code, raw.message),
            Err(_) => (0, format!("status {status}: {}", body.trim())),
        };
        Err(reaction(code, Some(u32::from(status.as_u16())), message))
    }
}

/// How an address is spoken to. One of https trusts these authorities, beside the system's. One of http trusts none, as it needs them for nothing but a proxy's
/// https: to read the system's takes a good part of the whole start.
fn client(url: &str, authorities: &[Certificate]) -> ClientBuilder {
    let by_proxy = PROXIES.iter().any(|name| std::env::var_os(name).is_some());
    if url.starts_with("https:") || by_proxy {
        return Client::builder().tls_certs_merge(authorities.iter().cloned());
    }
    let redirect = Policy::custom(|to| match to.url().scheme() {
        "https" => {
            let there = to.url().clone();
            to.error(format!("the registry sends on to {there}; name its https address"))
        }
        _ => Policy::default().redirect(to),
    });
    Client::builder().tls_certs_only([]).redirect(redirect)
}

/// An answer that the same question will have again.
pub(super) fn rejected(message: String) -> RegistryError {
    RegistryError::Rejected { code: 0, message }
}

/// The certificates of the settings' file.
pub(super) fn authorities(settings: &ClientSettings) -> std::result::Result<Vec<Certificate>, String> {
    let Some(path) = &settings.ca_file else {
        return Ok(Vec::new());
    };
    let cannot = |why: &dyn std::fmt::Display| format!("certificate authorities of {}: {why}", path.display());
    let pem = std::fs::read(path).map_err(|e| cannot(&e))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(cannot(&"the file holds no certificate (-----BEGIN CERTIFICATE-----)")),
        Ok(found) => Ok(found),
        Err(e) => Err(cannot(&innermost(&e))),
    }
}

/// What reqwest's errors wrap.
fn innermost(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let last = std::iter::successors(Some(first), |error| error.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// `%40` as `@`; what is no escape stays as it is.
pub(super) fn percent_decoded(s: &str) -> String {
    let bytes = s.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let escaped = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match escaped
            .and_then(|h| u8::from_str_radix(h, 16).ok())
            .filter(|_| bytes[i] == b'%')
        {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
