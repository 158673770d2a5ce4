//! The schema registry that the settings name.

use std::sync::Arc;

use super::settings::Settings;
use super::{Failure, schema_files};
use crate::formats::SchemaSource;
#[cfg(feature = "kafka")]
use crate::formats::client::{ClientSettings, HttpRegistry};

/// A client of the registry of `--schema-registry`. Does not connect yet.
///
/// # Errors
/// When none is named, or the settings do not fit.
pub fn connect(settings: &Settings) -> Result<Arc<dyn SchemaSource>, Failure> {
    match settings.list("schema-registry") {
        [] => Err(Failure::usage(
            "no schema registry is named: --schema-registry URLS, or schema-registry in millstream.toml",
        )),
        urls => Ok(Arc::new(client(settings, urls)?)),
    }
}

/// The registry of `--schema-registry`, or without one a registry in memory that holds the files of `--schemas`.
///
/// # Errors
/// What is wrong with settings or files.
pub fn connect_or_files(settings: &Settings) -> Result<Arc<dyn SchemaSource>, Failure> {
    if !settings.list("schema-registry").is_empty() {
        return connect(settings);
    }
    let registry = schema_files::registry_of(&settings.path("schemas"));
    Ok(Arc::new(
        registry.map_err(|problems| Failure::usage(problems.join("\n")))?,
    ))
}

#[cfg(feature = "kafka")]
fn client(settings: &Settings, urls: &[String]) -> Result<HttpRegistry, Failure> {
    let user = settings.optional_text("schema-registry-user");
    let client = ClientSettings {
        basic: user.map(|user| (user.to_owned(), settings.text("schema-registry-password").to_owned())),
        ca_file: settings.optional_text("schema-registry-ca").map(Into::into),
        ..ClientSettings::new(&urls.join(","))
    };
    HttpRegistry::new(&client).map_err(|error| Failure::usage(format!("schema-registry: {error}")))
}

/// Deletes subjects at the registry of `--schema-registry`, if one is named; those that it had.
///
/// # Errors
/// When the registry is away or refuses.
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
pub fn delete_subjects(settings: &Settings, subjects: &[String]) -> Result<Vec<String>, Failure> {
    let urls = settings.list("schema-registry");
    if urls.is_empty() {
        return Ok(Vec::new());
    }
    let registry = client(settings, urls)?;
    let mut deleted = Vec::new();
    for subject in subjects {
        if registry.delete_subject(subject).map_err(Failure::failed)? {
            deleted.push(subject.clone());
        }
    }
    Ok(deleted)
}

/// The client belongs to the Kafka part of the program.
#[cfg(not(feature = "kafka"))]
fn client(_: &Settings, _: &[String]) -> Result<crate::formats::MemoryRegistry, Failure> {
    Err(Failure::failed(
        "this program was built without the feature `kafka`: it cannot ask a schema registry",
    ))
}
