//! Answers other than success, with the status and error codes of Confluent's Schema Registry.

use crate::formats::RegistryError;

/// An error as the REST API gives it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Confluent's code; its first three digits are the HTTP status.
    pub code: u32,
    /// The message.
    pub message: String,
    /// Of an incompatible schema: each difference.
    pub differences: Vec<String>,
}

/// The code of an incompatible schema.
const INCOMPATIBLE: u32 = 409;

impl ApiError {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            differences: Vec::new(),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        /// Codes from here on are a status and two digits more.
        const FINER: u32 = 1_000;
        let status = if self.code >= FINER { self.code / 100 } else { self.code };
        u16::try_from(status).unwrap_or(500)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "HTTP 404 Not Found")
    }

    pub(super) fn subject_not_found(subject: &str) -> Self {
        Self::new(40401, format!("Subject '{subject}' not found."))
    }

    pub(super) fn version_not_found(version: i32) -> Self {
        Self::new(40402, format!("Version {version} not found."))
    }

    pub(super) fn schema_not_found() -> Self {
        Self::new(40403, "Schema not found")
    }

    pub(super) fn id_not_found(id: u32) -> Self {
        Self::new(40403, format!("Schema {id} not found"))
    }

    pub(super) fn subject_soft_deleted(subject: &str) -> Self {
        let message = format!("Subject '{subject}' was soft deleted.Set permanent=true to delete permanently");
        Self::new(40404, message)
    }

    pub(super) fn subject_not_soft_deleted(subject: &str) -> Self {
        let message = format!("Subject '{subject}' was not deleted first before being permanently deleted");
        Self::new(40405, message)
    }

    pub(super) fn version_soft_deleted(subject: &str, version: i32) -> Self {
        let message =
            format!("Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently");
        Self::new(40406, message)
    }

    pub(super) fn version_not_soft_deleted(subject: &str, version: i32) -> Self {
        let message =
            format!("Subject '{subject}' Version {version} was not deleted first before being permanently deleted");
        Self::new(40407, message)
    }

    pub(super) fn no_level(subject: &str) -> Self {
        let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
        Self::new(40408, message)
    }

    pub(super) fn no_mode(subject: &str) -> Self {
        let message = format!("Subject '{subject}' does not have subject-level mode configured");
        Self::new(40409, message)
    }

    pub(super) fn incompatible(subject: &str, differences: Vec<String>) -> Self {
        let details = differences.join(", ");
        let message = format!(
            "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{details}]"
        );
        Self {
            differences,
            ..Self::new(INCOMPATIBLE, message)
        }
    }

    pub(super) fn invalid_schema(detail: impl std::fmt::Display) -> Self {
        Self::new(42201, format!("Invalid schema, details: {detail}"))
    }

    pub(super) fn invalid_version(version: &str) -> Self {
        let message = format!(
            "The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \
             \"latest\""
        );
        Self::new(42202, message)
    }

    pub(super) fn invalid_level() -> Self {
        let message = "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, \
                       forward_transitive, and full_transitive";
        Self::new(42203, message)
    }

    pub(super) fn invalid_mode() -> Self {
        Self::new(42204, "Invalid mode. Valid values are READWRITE, READONLY, and IMPORT")
    }

    pub(super) fn not_permitted(message: impl Into<String>) -> Self {
        Self::new(42205, message)
    }

    pub(super) fn referenced(subject: &str, version: i32) -> Self {
        let message = format!(
            "One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={subject},version={version}}}."
        );
        Self::new(42206, message)
    }

    pub(super) fn id_does_not_match(message: impl Into<String>) -> Self {
        Self::new(42207, message)
    }

    pub(super) fn store(message: impl std::fmt::Display) -> Self {
        Self::new(50001, format!("Error in the backend data store: {message}"))
    }
}

impl From<ApiError> for RegistryError {
    fn from(e: ApiError) -> Self {
        match (e.code, e.status()) {
            (INCOMPATIBLE, _) => Self::Incompatible(e.differences),
            (42201, _) => Self::Invalid(e.message),
            (_, 404) => Self::NotFound(e.message),
            (_, 500..) => Self::Unavailable(e.message),
            (code, _) => Self::Rejected {
                code,
                message: e.message,
            },
        }
    }
}
