//! The schema registry as the engine sees it: schemas, the trait and its errors.
//!
//! *Invariant*: whoever implements [`SchemaSource`] gives out schemas whose references are resolved ([`SchemaReference::resolved`]), so that a
//! schema can be parsed without asking again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The language a schema is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SchemaType {
    /// Avro; what the registry means when it says nothing.
    #[default]
    #[serde(rename = "AVRO")]
    Avro,
    /// JSON Schema.
    #[serde(rename = "JSON")]
    Json,
    /// Protocol Buffers.
    #[serde(rename = "PROTOBUF")]
    Protobuf,
}

impl SchemaType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        }
    }
}

impl std::fmt::Display for SchemaType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for SchemaType {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "AVRO" => Ok(Self::Avro),
            "JSON" => Ok(Self::Json),
            "PROTOBUF" => Ok(Self::Protobuf),
            other => Err(format!("Invalid schema type {other}")),
        }
    }
}

/// A schema that another one uses by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaReference {
    /// The name under which it is used; for Avro the full name of the type.
    pub name: String,
    /// The subject that holds it.
    pub subject: String,
    /// The version in the subject.
    pub version: i32,
    /// Its text, once it has been fetched.
    #[serde(skip)]
    pub resolved: Option<Arc<SchemaText>>,
}

/// A schema as it is sent to a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaText {
    /// The schema itself.
    pub text: String,
    /// Its language.
    pub schema_type: SchemaType,
    /// Schemas that it uses by name.
    pub references: Vec<SchemaReference>,
}

impl SchemaText {
    /// An Avro schema without references.
    pub fn avro(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Fetches what is referenced, and what that references, through `fetch(subject, version)`.
    ///
    /// # Errors
    /// What `fetch` answers, or [`RegistryError::Invalid`] when references form a circle or a very long chain.
    pub fn resolve_with(
        &mut self,
        fetch: &mut dyn FnMut(&str, i32) -> Result<SchemaText, RegistryError>,
    ) -> Result<(), RegistryError> {
        self.resolve_at(fetch, 0)
    }

    fn resolve_at(
        &mut self,
        fetch: &mut dyn FnMut(&str, i32) -> Result<SchemaText, RegistryError>,
        depth: usize,
    ) -> Result<(), RegistryError> {
        /// References of references beyond this are refused; a registry refuses circles, so this only guards against a broken one.
        const MOST_LEVELS: usize = 32;
        if depth > MOST_LEVELS {
            return Err(RegistryError::Invalid(format!(
                "schema references nest deeper than {MOST_LEVELS} levels"
            )));
        }
        for reference in &mut self.references {
            if reference.resolved.is_none() {
                let mut text = fetch(&reference.subject, reference.version)?;
                text.resolve_at(fetch, depth + 1)?;
                reference.resolved = Some(Arc::new(text));
            }
        }
        Ok(())
    }
}

/// A schema that a registry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// The id that records carry.
    pub id: u32,
    /// A subject that holds it; empty when the registry did not say.
    pub subject: String,
    /// The version in that subject; 0 when the registry did not say.
    pub version: i32,
    /// The schema.
    pub schema: SchemaText,
}

/// Whether a schema may follow the ones that a subject holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// It may.
    Compatible,
    /// It may not; each message names a path and the difference.
    Incompatible(Vec<String>),
}

impl Compatibility {
    /// Whether it may.
    pub fn is_compatible(&self) -> bool {
        matches!(self, Self::Compatible)
    }
}

/// What a subject asks of a new schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CompatibilityLevel {
    /// Anything goes.
    None,
    /// It reads data of the latest one. The registry's default.
    #[default]
    Backward,
    /// It reads data of all earlier ones.
    BackwardTransitive,
    /// The latest one reads its data.
    Forward,
    /// All earlier ones read its data.
    ForwardTransitive,
    /// Both, with the latest one.
    Full,
    /// Both, with all earlier ones.
    FullTransitive,
}

const LEVELS: [(CompatibilityLevel, &str); 7] = [
    (CompatibilityLevel::None, "NONE"),
    (CompatibilityLevel::Backward, "BACKWARD"),
    (CompatibilityLevel::BackwardTransitive, "BACKWARD_TRANSITIVE"),
    (CompatibilityLevel::Forward, "FORWARD"),
    (CompatibilityLevel::ForwardTransitive, "FORWARD_TRANSITIVE"),
    (CompatibilityLevel::Full, "FULL"),
    (CompatibilityLevel::FullTransitive, "FULL_TRANSITIVE"),
];

impl CompatibilityLevel {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        LEVELS.iter().find(|(l, _)| *l == self).map_or("NONE", |(_, name)| name)
    }

    /// Whether new schemas are held against all earlier ones.
    pub fn is_transitive(self) -> bool {
        matches!(
            self,
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive
        )
    }

    /// Whether readers with the new schema must cope with old data.
    pub fn new_reads_old(self) -> bool {
        matches!(
            self,
            Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    /// Whether readers with the old schema must cope with new data.
    pub fn old_reads_new(self) -> bool {
        matches!(
            self,
            Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive
        )
    }
}

impl std::fmt::Display for CompatibilityLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for CompatibilityLevel {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = LEVELS.iter().find(|(_, name)| name.eq_ignore_ascii_case(s));
        found
            .map(|(level, _)| *level)
            .ok_or_else(|| format!("Invalid compatibility level {s}"))
    }
}

/// Why the registry gave no answer, by what the caller does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or has trouble of its own: ask again later.
    #[error("{0}")]
    Unavailable(String),
    /// It has no such schema, subject or version.
    #[error("{0}")]
    NotFound(String),
    /// The subject's compatibility level forbids the schema; a message for each difference.
    #[error("the schema is incompatible with the registered ones: {}", .0.join("; "))]
    Incompatible(Vec<String>),
    /// The schema itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It refused: credentials, mode, something that it does not know. The user changes a setting.
    #[error("the schema registry refused (code {code}): {message}")]
    Rejected {
        /// The registry's error code, or the HTTP status.
        code: u32,
        /// Its message.
        message: String,
    },
}

impl RegistryError {
    /// Whether the same question may be answered later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The registry as the engine sees it. Calls block; answers come with their references resolved.
pub trait SchemaSource: Send + Sync {
    /// The schema of an id.
    fn by_id(&self, id: u32) -> Result<RegisteredSchema, RegistryError>;

    /// The newest schema of a subject; `None` when there is no such subject.
    fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError>;

    /// One version of a subject.
    fn version(&self, subject: &str, version: i32) -> Result<RegisteredSchema, RegistryError>;

    /// Registers a schema under a subject, or finds it there. The same schema gives the same id.
    fn register(&self, subject: &str, schema: &SchemaText) -> Result<RegisteredSchema, RegistryError>;

    /// Whether [`SchemaSource::register`] would be allowed. A subject without schemas allows everything.
    fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError>;
}

/// The subject of a topic's keys or values (Confluent's TopicNameStrategy).
pub fn subject_of(topic: &str, is_key: bool) -> String {
    format!("{topic}-{}", if is_key { "key" } else { "value" })
}
