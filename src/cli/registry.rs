//! The schema registry that the settings name.

use std::sync::Arc;

use super::settings::Settings;
use super::{Failure, schema_files};
use crate::formats::SchemaSource;

/// A client of the registry of `--schema-registry`. Does not connect yet.
///
/// # Errors
/// When none is named, or the settings do not fit.
pub fn connect(settings: &Settings) -> Result<Arc<dyn SchemaSource>, Failure> {
    match settings.list("schema-registry") {
        [] => Err(Failure::usage(
            "no schema registry is named: --schema-registry URLS, or schema-registry in millstream.toml",
        )),
        urls => client(settings, urls),
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
fn client(settings: &Settings, urls: &[String]) -> Result<Arc<dyn SchemaSource>, Failure> {
    use crate::formats::client::{ClientSettings, HttpRegistry};

    let user = settings.optional_text("schema-registry-user");
    let client = ClientSettings {
        basic: user.map(|user| (user.to_owned(), settings.text("schema-registry-password").to_owned())),
        ..ClientSettings::new(&urls.join(","))
    };
    let registry = HttpRegistry::new(&client).map_err(|error| Failure::usage(format!("schema-registry: {error}")))?;
    Ok(Arc::new(registry))
}

/// The client belongs to the Kafka part of the program.
#[cfg(not(feature = "kafka"))]
fn client(_: &Settings, _: &[String]) -> Result<Arc<dyn SchemaSource>, Failure> {
    Err(Failure::failed(
        "this program was built without the feature `kafka`: it cannot ask a schema registry",
    ))
}
