//! `millstream run`: the topologies against Apache Kafka and a Schema Registry.

use std::sync::Arc;
use std::time::Duration;

use clap::Command;
use tokio::sync::watch;

use super::{CommandSpec, Logs};
use crate::cli::running::{self, Ground, Opened};
use crate::cli::settings::{Settings, Source};
use crate::cli::{Failure, Invocation, Outcome, registry, schema_files, signals, sql_files};
use crate::formats::{Compatibility, RegisteredSchema, RegistryError, SchemaSource, SchemaText};
use crate::http;
use crate::log::kafka::KafkaLog;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "run",
    about: "Runs the topologies against Apache Kafka and a Schema Registry",
    examples: "\
Examples:
  millstream run --bootstrap-servers kafka:9092 --schema-registry http://registry:8081
  millstream run --kafka-property security.protocol=SASL_SSL --kafka-property sasl.mechanism=SCRAM-SHA-512 --kafka-property sasl.username=me

Kafka or the registry may be away: it says so, tries again, and goes on by itself. Start it several times with the same --application-id,
each with a --data-dir of its own, and the instances share the work.",
    arguments: |command: Command| command,
    logs: Logs::Stderr,
    run,
};

/// Between two attempts to register schemas while the registry is away.
const RETRY: Duration = Duration::from_secs(1);

fn run(invocation: &Invocation<'_>) -> Outcome {
    running::block_on(serve(&invocation.settings))
}

async fn serve(settings: &Settings) -> Outcome {
    let stop = signals::listen().map_err(Failure::failed)?;
    let files = sql_files::read(&settings.path("topologies"), &[])?;
    let instance = running::lock(settings)?;
    let listener = http::bind(settings.text("http")).await.map_err(Failure::Failed)?;
    let ground = ground(settings)?;
    tracing::info!(kafka = ground.kafka, registry = ground.registry, "starting");
    let opened = Opened::new(settings, instance, ground, listener)?;
    let schemas = opened.ground().schemas.clone();
    let waits = |reason: &str| opened.waits_for(reason);
    if !register(settings, &schemas, &waits, &stop).await? {
        return Ok(());
    }
    let Some(topologies) = running::compile(files, &schemas, &waits, &stop).await? else {
        return Ok(());
    };
    let Some(running) = opened.start(topologies, &stop).await? else {
        return Ok(());
    };
    running::announce(settings, &running);
    signals::stopped(&stop).await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// Clients of what the settings name; nothing is connected yet. Without a registry, formats that need one say so.
fn ground(settings: &Settings) -> Result<Ground, Failure> {
    let servers = settings.list("bootstrap-servers").join(",");
    let log = KafkaLog::new(running::kafka_settings(settings, &servers)).map_err(Failure::usage)?;
    let urls = settings.list("schema-registry");
    let schemas: Arc<dyn SchemaSource> = match urls.is_empty() {
        true => Arc::new(NoRegistry),
        false => registry::connect(settings)?,
    };
    Ok(Ground {
        log: Arc::new(log),
        schemas,
        kafka: servers,
        registry: urls.join(","),
    })
}

/// Registers the directory of schemas where the user named one. False: asked to stop meanwhile.
async fn register(
    settings: &Settings,
    schemas: &Arc<dyn SchemaSource>,
    waits: &dyn Fn(&str),
    stop: &watch::Receiver<bool>,
) -> Result<bool, Failure> {
    if settings
        .get("schemas")
        .is_none_or(|(_, source)| *source == Source::Default)
    {
        return Ok(true);
    }
    let files =
        schema_files::read_dir(&settings.path("schemas")).map_err(|problems| Failure::usage(problems.join("\n")))?;
    let files = Arc::new(files);
    loop {
        let (files, schemas) = (files.clone(), schemas.clone());
        let outcome = tokio::task::spawn_blocking(move || schema_files::register(&files, &*schemas))
            .await
            .map_err(Failure::failed)?;
        match outcome {
            Ok(()) => return Ok(true),
            Err(schema_files::RegisterFailure::Problems(problems)) => return Err(Failure::usage(problems.join("\n"))),
            Err(schema_files::RegisterFailure::Away(reason)) => {
                tracing::warn!(reason, "the schema registry is away; trying again");
                waits(&format!("the schema registry is away: {reason}"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = signals::stopped(stop) => return Ok(false),
        }
    }
}

/// Stands where no registry was named: what needs one says so.
struct NoRegistry;

fn none<T>() -> Result<T, RegistryError> {
    let message = "no schema registry is named: --schema-registry URLS (or another format than AVRO)";
    Err(RegistryError::Invalid(message.to_owned()))
}

impl SchemaSource for NoRegistry {
    fn by_id(&self, _: u32) -> Result<RegisteredSchema, RegistryError> {
        none()
    }

    fn latest(&self, _: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        none()
    }

    fn version(&self, _: &str, _: i32) -> Result<RegisteredSchema, RegistryError> {
        none()
    }

    fn register(&self, _: &str, _: &SchemaText) -> Result<RegisteredSchema, RegistryError> {
        none()
    }

    fn check(&self, _: &str, _: &SchemaText) -> Result<Compatibility, RegistryError> {
        none()
    }
}
