//! Any Confluent-compatible registry over HTTP, through `schema_registry_converter`. Calls block, and answer or fail once: who waits and asks
//! again on [`RegistryError::Unavailable`] is the caller.
//!
//! Several addresses are tried in turn, from the one that answered last; an answer of any kind, an error included, comes from the first that
//! is there. (The crate's own list goes on to the next address after *any* error, so that one dead address would hide "no such subject".)
//! Its compatibility check answers yes or no only; the differences are found by our own rules then. It fails for schemas whose references
//! are in subjects with a `/` in their name.

mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use schema_registry_converter::blocking::schema_registry::{SrSettings, is_compatible_schema, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RawRegisteredSchema, SrCall, SuppliedReference, SuppliedSchema,
};
use serde_json::json;

use self::server::{Server, authorities, rejected};
use super::check_compatibility;
use super::source::{
    Compatibility, CompatibilityLevel, RegisteredSchema, RegistryError, SchemaReference, SchemaSource, SchemaText,
    SchemaType,
};

type Result<T> = std::result::Result<T, RegistryError>;

/// Where a registry is and how to get in.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Addresses: `http://host:port`, with `user:password@` before the host for basic authentication. Without a scheme, http.
    pub urls: Vec<String>,
    /// User and password, for addresses that have none of their own.
    pub basic: Option<(String, String)>,
    /// A bearer token; goes before basic authentication.
    pub bearer: Option<String>,
    /// A PEM file of certificate authorities that https addresses are checked with, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How long to wait for an answer of one address.
    pub timeout: Duration,
}

impl ClientSettings {
    /// Addresses separated by commas; 10 s for an answer.
    pub fn new(urls: &str) -> Self {
        Self {
            urls: urls
                .split(',')
                .map(|u| u.trim().to_string())
                .filter(|u| !u.is_empty())
                .collect(),
            basic: None,
            bearer: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A registry over HTTP.
pub struct HttpRegistry {
    servers: Arc<[Server]>,
    /// The address that answered last.
    current: AtomicUsize,
}

impl HttpRegistry {
    /// Nothing is sent yet. Clients are made meanwhile: to set TLS up takes tens of milliseconds, whether it is used or not.
    ///
    /// # Errors
    /// What is wrong with the settings, in words.
    pub fn new(settings: &ClientSettings) -> std::result::Result<Self, String> {
        if settings.urls.is_empty() {
            return Err("no address of a schema registry was given; name one, such as http://localhost:8081".into());
        }
        type Servers = std::result::Result<Arc<[Server]>, String>;
        let authorities = authorities(settings)?;
        let server = |url: &String| Server::new(url, settings, &authorities);
        let servers = settings.urls.iter().map(server).collect::<Servers>()?;
        let ours = servers.clone();
        let prepare = move || ours.iter().for_each(|server| drop(server.settings()));
        // where the system gives no thread, the first question makes them
        drop(std::thread::Builder::new().name("registry".into()).spawn(prepare));
        Ok(Self {
            servers,
            current: AtomicUsize::new(0),
        })
    }

    /// Asks the servers in turn until one answers.
    fn ask<T: Send>(&self, question: impl Fn(&SrSettings) -> std::result::Result<T, SRCError> + Sync) -> Result<T> {
        self.ask_server(|server| question(&server.settings()?).map_err(|e| classify(&e)))
    }

    fn ask_server<T: Send>(&self, question: impl Fn(&Server) -> Result<T> + Sync) -> Result<T> {
        let first = self.current.load(Ordering::Relaxed);
        let mut away = Vec::new();
        for i in 0..self.servers.len() {
            let index = (first + i) % self.servers.len();
            let server = &self.servers[index];
            match outside_of_tokio(|| question(server)) {
                Err(RegistryError::Unavailable(why)) => away.push(format!("{}: {why}", server.url)),
                answer => {
                    self.current.store(index, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(RegistryError::Unavailable(away.join("; ")))
    }

    /// Deletes a subject softly: its schemas can still be read by their ids. Whether there was one.
    ///
    /// # Errors
    /// When the registry is away or refuses.
    pub fn delete_subject(&self, subject: &str) -> Result<bool> {
        match self.ask_server(|server| server.delete(&format!("/subjects/{}", subject.replace('/', "%2F")))) {
            Ok(()) => Ok(true),
            Err(RegistryError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn call(&self, call: SrCall<'_>) -> Result<RawRegisteredSchema> {
        self.ask(|settings| perform_sr_call(settings, call))
    }

    /// A raw answer with its references fetched.
    fn registered(&self, raw: RawRegisteredSchema, id: Option<u32>, subject: &str) -> Result<RegisteredSchema> {
        let incomplete = |what: &str| RegistryError::Rejected {
            code: 0,
            message: format!("the registry's answer names no {what}"),
        };
        let id = id.or(raw.id).ok_or_else(|| incomplete("id"))?;
        let mut schema = text_of(&raw)?;
        schema.resolve_with(&mut |subject, version| text_of(&self.get_version(subject, version)?))?;
        Ok(RegisteredSchema {
            id,
            subject: raw.subject.unwrap_or_else(|| subject.to_string()),
            version: raw.version.map_or(0, |v| i32::try_from(v).unwrap_or(i32::MAX)),
            schema,
        })
    }

    fn get_version(&self, subject: &str, version: i32) -> Result<RawRegisteredSchema> {
        let number = u32::try_from(version)
            .map_err(|_| RegistryError::NotFound(format!("Version {version} of subject {subject} not found.")))?;
        self.call(SrCall::GetBySubjectAndVersion(subject, number))
    }
}

impl SchemaSource for HttpRegistry {
    fn by_id(&self, id: u32) -> Result<RegisteredSchema> {
        self.registered(self.call(SrCall::GetById(id))?, Some(id), "")
    }

    fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>> {
        match self.call(SrCall::GetLatest(subject)) {
            Ok(raw) => self.registered(raw, None, subject).map(Some),
            Err(RegistryError::NotFound(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn version(&self, subject: &str, version: i32) -> Result<RegisteredSchema> {
        self.registered(self.get_version(subject, version)?, None, subject)
    }

    fn register(&self, subject: &str, schema: &SchemaText) -> Result<RegisteredSchema> {
        let body = json!({
            "schema": schema.text,
            "schemaType": schema.schema_type.as_str(),
            "references": schema.references,
        });
        let body = body.to_string();
        let id = self.call(SrCall::PostNew(subject, &body))?.id;
        // the answer to a registration is the id alone; the version comes from looking it up
        self.registered(self.call(SrCall::PostForVersion(subject, &body))?, id, subject)
    }

    fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility> {
        let mut resolved = schema.clone();
        resolved.resolve_with(&mut |subject, version| text_of(&self.get_version(subject, version)?))?;
        // this one call does not escape subjects; those of references cannot be escaped here, since they are sent as text as well
        let escaped = subject.replace('/', "%2F");
        let asked = self.ask(|settings| is_compatible_schema(settings, escaped.clone(), supplied(&resolved)));
        match asked {
            Ok(true) => Ok(Compatibility::Compatible),
            // some registries know no answer for a subject without schemas
            Err(RegistryError::NotFound(_)) if self.latest(subject)?.is_none() => Ok(Compatibility::Compatible),
            Ok(false) => {
                let latest = self.latest(subject)?;
                Ok(Compatibility::Incompatible(differences(&resolved, latest.as_ref())))
            }
            Err(e) => Err(e),
        }
    }
}

/// The crate's blocking client must not be made nor used on a thread that runs async code; there, a thread of its own does it.
fn outside_of_tokio<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return f();
    }
    std::thread::scope(|scope| match scope.spawn(f).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn text_of(raw: &RawRegisteredSchema) -> Result<SchemaText> {
    let rejected = |message: String| RegistryError::Rejected { code: 0, message };
    let missing = || rejected("the registry's answer has no schema".into());
    let references = raw.references.iter().flatten().map(|r| SchemaReference {
        name: r.name.clone(),
        subject: r.subject.clone(),
        version: i32::try_from(r.version).unwrap_or(i32::MAX),
        resolved: None,
    });
    Ok(SchemaText {
        text: raw.schema.clone().ok_or_else(missing)?,
        schema_type: match raw.schema_type.as_deref() {
            None => SchemaType::Avro,
            Some(name) => name.parse().map_err(rejected)?,
        },
        references: references.collect(),
    })
}

fn supplied(schema: &SchemaText) -> SuppliedSchema {
    use schema_registry_converter::schema_registry_common::SchemaType as Theirs;
    let theirs = match schema.schema_type {
        SchemaType::Avro => Theirs::Avro,
        SchemaType::Json => Theirs::Json,
        SchemaType::Protobuf => Theirs::Protobuf,
    };
    SuppliedSchema::new(None, theirs, schema.text.clone()).with_references(supplied_references(schema))
}

fn supplied_references(schema: &SchemaText) -> Vec<SuppliedReference> {
    let supplied = |r: &SchemaReference| {
        let text = r.resolved.as_deref().cloned().unwrap_or_default();
        let inner = supplied_references(&text);
        SuppliedReference::new(r.name.clone(), r.subject.clone(), text.text).with_references(inner)
    };
    schema.references.iter().map(supplied).collect()
}

/// Why the registry said no, as far as our own rules can tell: in both directions, since its level is not known here.
fn differences(new: &SchemaText, latest: Option<&RegisteredSchema>) -> Vec<String> {
    let old: Vec<SchemaText> = latest.map(|l| l.schema.clone()).into_iter().collect();
    match check_compatibility(CompatibilityLevel::Full, new, &old) {
        Ok(Compatibility::Incompatible(messages)) => messages,
        _ => vec!["the registry refuses it beside an earlier version, and does not say why".to_string()],
    }
}

/// What the caller does about an error. Only the registry's own codes say that something does not exist: any web server answers 404.
fn classify(e: &SRCError) -> RegistryError {
    let source = std::error::Error::source(e);
    let Some(raw) = source.and_then(|source| source.downcast_ref::<RawError>()) else {
        let sends_on = source.and_then(|source| source.downcast_ref::<reqwest::Error>());
        let sends_on = sends_on.is_some_and(reqwest::Error::is_redirect);
        return match e.retriable && !sends_on {
            true => RegistryError::Unavailable(words(e)),
            false => rejected(words(e)),
        };
    };
    let message = match raw.error_code {
        0 => e.error.clone(),
        _ => raw.message.clone(),
    };
    reaction(raw.error_code, status(e), message)
}

/// By the registry's own code, else by the HTTP status.
fn reaction(code: u32, status: Option<u32>, message: String) -> RegistryError {
    match code {
        40401..=40499 => RegistryError::NotFound(message),
        409 | 40901 => RegistryError::Incompatible(vec![message]),
        42201 => RegistryError::Invalid(message),
        code => match status {
            Some(408 | 429 | 500..) => RegistryError::Unavailable(message),
            status => RegistryError::Rejected {
                code: if code == 0 { status.unwrap_or(0) } else { code },
                message,
            },
        },
    }
}

/// The HTTP status, which the crate gives in its message only.
fn status(e: &SRCError) -> Option<u32> {
    let (_, rest) = e.error.rsplit_once("status ")?;
    rest.split(' ').next()?.parse().ok()
}

/// With the innermost cause: reqwest's own words leave it out.
fn words(e: &SRCError) -> String {
    let causes = std::iter::successors(std::error::Error::source(e), |cause| cause.source());
    let innermost = causes.last().map(ToString::to_string);
    match (&e.cause, innermost) {
        (Some(cause), Some(innermost)) if !cause.contains(&innermost) => format!("{}: {cause}: {innermost}", e.error),
        (Some(cause), _) => format!("{}: {cause}", e.error),
        (None, _) => e.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u32, status: &str) -> RegistryError {
        let raw = serde_json::from_value::<RawError>(json!({"error_code": code, "message": "m"})).unwrap();
        let error = format!("HTTP request to schema registry failed with status {status}");
        classify(&SRCError::non_retryable_with_cause(raw, &error))
    }

    #[test]
    fn errors_are_classified_by_what_to_do() {
        assert!(matches!(error(40403, "404 Not Found"), RegistryError::NotFound(_)));
        assert!(matches!(
            error(404, "404 Not Found"),
            RegistryError::Rejected { code: 404, .. }
        ));
        assert!(matches!(
            error(0, "404 Not Found"),
            RegistryError::Rejected { code: 404, .. }
        ));
        assert!(matches!(error(409, "409 Conflict"), RegistryError::Incompatible(_)));
        assert!(matches!(
            error(42201, "422 Unprocessable Entity"),
            RegistryError::Invalid(_)
        ));
        assert!(matches!(error(0, "504 Gateway Timeout"), RegistryError::Unavailable(_)));
        assert!(matches!(
            error(50002, "500 Internal Server Error"),
            RegistryError::Unavailable(_)
        ));
        assert!(matches!(
            error(401, "401 Unauthorized"),
            RegistryError::Rejected { code: 401, .. }
        ));
    }

    #[test]
    fn addresses_are_checked_and_keep_their_secrets() {
        let new = |urls: &str| HttpRegistry::new(&ClientSettings::new(urls)).map(|r| r.servers[0].url.clone());
        assert_eq!(new("localhost:8081/").unwrap(), "http://localhost:8081");
        assert_eq!(new("https://me:p%40ss@host, http://b").unwrap(), "https://host");
        assert!(new("ftp://me:secret@host").is_err_and(|e| !e.contains("secret")));
        assert!(new(" , ").is_err());
        assert!(new("http://").is_err());
        assert_eq!(server::percent_decoded("p%40s%"), "p@s%");
    }

    #[test]
    fn an_http_address_that_sends_on_to_https_is_an_error_that_says_so() {
        use std::io::{Read as _, Write as _};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).unwrap();
                let answer = "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://registry.example/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let registry = HttpRegistry::new(&ClientSettings::new(&format!("http://{address}"))).unwrap();
        for error in [
            registry.latest("s").unwrap_err(),
            registry.delete_subject("s").unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, RegistryError::Rejected { .. }), "{text}");
            assert!(text.contains("https://registry.example"), "{text}");
            assert!(text.contains("name its https address"), "{text}");
        }
    }

    #[test]
    fn authorities_come_from_a_pem_file() {
        let missing = ClientSettings {
            ca_file: Some("no/such/ca.pem".into()),
            ..ClientSettings::new("https://localhost")
        };
        let error = HttpRegistry::new(&missing).err().unwrap();
        assert!(error.contains("no/such/ca.pem"), "{error}");
        let none = ClientSettings {
            ca_file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()),
            ..missing
        };
        let error = HttpRegistry::new(&none).err().unwrap();
        assert!(error.contains("holds no certificate"), "{error}");
    }

    #[test]
    fn a_registry_that_is_away_can_be_asked_again() {
        // nothing listens on the discard port
        let registry = HttpRegistry::new(&ClientSettings::new("http://127.0.0.1:9")).unwrap();
        let e = registry.latest("s").unwrap_err();
        assert!(
            e.is_retryable() && e.to_string().starts_with("http://127.0.0.1:9: "),
            "{e}"
        );
    }
}
