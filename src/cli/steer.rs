//! What the commands that steer deployed topologies share: they write the control topic, which running instances follow.

use std::sync::Arc;

use clap::Arg;

use super::running;
use super::settings::Settings;
use super::{Failure, Invocation, registry};
use crate::engine::EngineSettings;
use crate::engine::deploy::{DeployContext, DeployError};
use crate::formats::SchemaSource;
use crate::log::kafka::KafkaLog;

/// The name of the argument that says which topology is meant.
const TOPOLOGY: &str = "topology";

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

/// The argument of the commands that are about one topology.
pub fn topology_argument() -> Arg {
    Arg::new(TOPOLOGY)
        .value_name("TOPOLOGY")
        .required(true)
        .help("The topology: its file's name without .sql")
}

/// What was given for it.
pub fn topology<'a>(invocation: &Invocation<'a>) -> &'a str {
    invocation
        .matches
        .get_one::<String>(TOPOLOGY)
        .map_or("", String::as_str)
}
