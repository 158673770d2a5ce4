//! What the commands that steer deployed topologies share: they write the control topic, which running instances follow.

use std::sync::Arc;

use super::http_client::Client;
use super::running;
use super::settings::Settings;
use super::{Failure, registry};
use crate::engine::EngineSettings;
use crate::engine::deploy::{DeployContext, DeployError};
use crate::formats::SchemaSource;
use crate::log::kafka::KafkaLog;

/// Kafka, registry and settings of a command.
pub struct Steering {
    log: Arc<KafkaLog>,
    schemas: Arc<dyn SchemaSource>,
    settings: EngineSettings,
}

impl Steering {
    /// Clients of what the settings name.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let servers = settings.list("bootstrap-servers").join(",");
        let log = KafkaLog::new(running::kafka_settings(settings, &servers)).map_err(Failure::usage)?;
        Ok(Self {
            log: Arc::new(log),
            schemas: registry::connect_or_files(settings)?,
            settings: running::engine_settings(settings),
        })
    }

    /// For the engine's operations.
    pub fn context(&self) -> DeployContext<'_> {
        DeployContext {
            log: &*self.log,
            schemas: &self.schemas,
            settings: &self.settings,
        }
    }

    /// The registry.
    pub fn schemas(&self) -> &Arc<dyn SchemaSource> {
        &self.schemas
    }
}

/// An operation's error as a command's.
pub fn failure(error: DeployError) -> Failure {
    match error {
        DeployError::Problems(_) => Failure::usage(error),
        DeployError::Unavailable(reason) => {
            Failure::failed(format!("Kafka or the registry is away: {reason} (--bootstrap-servers)"))
        }
    }
}

/// Deletes subjects at the registry of `--schema-registry`, if one is named; those that it had.
///
/// # Errors
/// When the registry is away or refuses.
pub fn delete_subjects(settings: &Settings, subjects: &[String]) -> Result<Vec<String>, Failure> {
    let Some(url) = settings.list("schema-registry").first() else {
        return Ok(Vec::new());
    };
    let mut client = Client::new(url)?;
    // as everywhere, the address's own user goes before the settings'
    if let (Some(user), false) = (settings.optional_text("schema-registry-user"), url.contains('@')) {
        client = client.with_basic(user, settings.text("schema-registry-password"));
    }
    let mut deleted = Vec::new();
    for subject in subjects {
        let answer = client.send("DELETE", &format!("/subjects/{subject}"), &[])?;
        match answer.status {
            404 => {}
            _ => {
                answer.json()?;
                deleted.push(subject.clone());
            }
        }
    }
    Ok(deleted)
}
