//! A running instance: engine and HTTP over a log and a registry. `run` and `dev` differ only in where these two are.
//!
//! ```text
//! HTTP: alive, not ready -> SQL files -> compile (waits for the registry) -> Engine (waits for Kafka) -> ready
//!                                                                               | published
//!                                                                         HTTP: views, ingest, control
//! ```

mod address;
mod settings;
mod snapshots;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use settings::{engine_settings, kafka_settings};

use super::settings::Settings;
use super::sql_files::{CompileFailure, compile_all};
use super::{Failure, output, signals};
use crate::engine::snapshots::Keeper;
use crate::engine::{Engine, EngineParts, EngineSettings, Instance, LogIngest, LogProgress, Published, Startup};
use crate::formats::SchemaSource;
use crate::http::{self, App, AppParts, EngineControl};
use crate::log::kafka::KafkaLog;
use crate::sql::SourceFile;
use crate::state::rocks::RocksStores;
use crate::topology::Topology;

/// Between two looks at the start of the engine: far below what a person notices.
const LOOK: Duration = Duration::from_millis(5);
/// Waits between two questions to a registry that is away: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A stop that takes longer is cut off: what is uncommitted is processed again at the next start.
pub const STOP_WITHIN: Duration = Duration::from_millis(1_800);

/// What an instance stands on.
#[derive(Clone)]
pub struct Ground {
    /// Kafka.
    pub log: Arc<KafkaLog>,
    /// The schema registry.
    pub schemas: Arc<dyn SchemaSource>,
    /// Kafka's address, as shown.
    pub kafka: String,
    /// The registry's address, as shown.
    pub registry: String,
}

/// An instance whose topologies are deployed.
pub struct Running {
    engine: Engine,
    ground: Ground,
    stop_http: oneshot::Sender<()>,
    http: JoinHandle<std::io::Result<()>>,
    address: SocketAddr,
    _instance: Instance,
    _keeper: Option<Keeper>,
}

/// Locks the data directory. Before anything else writes into it.
///
/// # Errors
/// When another process has it.
pub fn lock(settings: &Settings) -> Result<Instance, Failure> {
    Instance::open_as(&settings.path("data-dir"), settings.optional_text("instance-id")).map_err(Failure::Failed)
}

/// Compiles the files; waits as long as a registry that has to tell columns is away, and tells `waits` so. `None`: asked to stop meanwhile.
///
/// # Errors
/// All problems of all files.
pub async fn compile(
    files: Vec<SourceFile>,
    schemas: &Arc<dyn SchemaSource>,
    waits: &dyn Fn(&str),
    stop: &watch::Receiver<bool>,
) -> Result<Option<Vec<Arc<Topology>>>, Failure> {
    let files = Arc::new(files);
    let mut wait = RETRY.0;
    loop {
        let (files, schemas) = (files.clone(), schemas.clone());
        let compiled = tokio::task::spawn_blocking(move || compile_all(&files, &schemas)).await;
        let reason = match compiled.map_err(Failure::failed)? {
            Ok(topologies) => return Ok(Some(topologies)),
            Err(CompileFailure::RegistryAway(reason)) => reason,
            Err(CompileFailure::Diagnostics(all)) => {
                let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
                return Err(Failure::usage(format!(
                    "the SQL files have errors; nothing was deployed\n\n{}",
                    texts.join("\n\n")
                )));
            }
        };
        tracing::warn!(reason, "the schema registry is away; trying again");
        waits(&format!("the schema registry is away: {reason}"));
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
            () = signals::stopped(stop) => return Ok(None),
        }
    }
}

/// HTTP that is up before anything is deployed: it answers that it is alive, and what is waited for.
pub struct Opened {
    app: App,
    published: Arc<Published>,
    parts: EngineParts,
    ground: Ground,
    stop_http: oneshot::Sender<()>,
    http: JoinHandle<std::io::Result<()>>,
    address: SocketAddr,
    instance: Instance,
    keeper: Option<Keeper>,
}

impl Opened {
    /// Starts HTTP.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(
        settings: &Settings,
        instance: Instance,
        ground: Ground,
        (listener, address): (TcpListener, SocketAddr),
    ) -> Result<Self, Failure> {
        let stores = RocksStores::new(settings.path("data-dir").join("state"), &settings::rocks(settings));
        let published = Arc::new(Published::new());
        let snapshots = snapshots::set_up(settings, &instance, &published).map_err(Failure::Failed)?;
        let parts = EngineParts {
            log: ground.log.clone(),
            schemas: ground.schemas.clone(),
            stores: Arc::new(stores),
            settings: EngineSettings {
                advertised_url: settings::advertised_url(settings, address),
                ..engine_settings(settings)
            },
            instance: instance.id().to_owned(),
            snapshots: snapshots.parts.clone(),
        };
        let ingest = LogIngest::start(parts.log.clone(), parts.schemas.clone()).map_err(Failure::failed)?;
        let app = App::new(AppParts {
            published: published.clone(),
            ingest: Some(Arc::new(ingest)),
            app_id: parts.settings.app_id.clone(),
            control: Arc::new(EngineControl(parts.clone())),
            settings: settings::http(settings, address),
        })
        .with_progress(Arc::new(LogProgress::new(parts.log.clone(), &parts.settings.app_id)));
        if let Some(offers) = &snapshots.parts.offers {
            app.serve_snapshots(offers.clone());
        }
        let (stop_http, stopped) = oneshot::channel::<()>();
        let until = async move {
            // Dropping the sender means the same.
            let _ = stopped.await;
        };
        let http = tokio::spawn(http::serve(listener, app.clone(), until));
        Ok(Self {
            app,
            published,
            parts,
            ground,
            stop_http,
            http,
            address,
            instance,
            keeper: snapshots.keeper,
        })
    }

    /// What it stands on.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Says what is waited for, to those who ask.
    pub fn waits_for(&self, reason: &str) {
        self.app.set_starting(reason);
    }

    /// Starts the engine, and waits until all topologies are deployed. `None`: asked to stop meanwhile.
    ///
    /// # Errors
    /// Everything that the user has to change; nothing was deployed then.
    pub async fn start(
        self,
        topologies: Vec<Arc<Topology>>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Option<Running>, Failure> {
        let engine = Engine::start_into(self.published, self.parts, topologies).map_err(Failure::failed)?;
        let running = Running {
            engine,
            ground: self.ground,
            stop_http: self.stop_http,
            http: self.http,
            address: self.address,
            _instance: self.instance,
            _keeper: self.keeper,
        };
        match running.deployed(&self.app, stop).await {
            Ok(true) => {
                self.app.set_deployed();
                address::watch(&running.published());
                Ok(Some(running))
            }
            Ok(false) => {
                running.stop().await;
                Ok(None)
            }
            Err(failure) => {
                running.stop().await;
                Err(failure)
            }
        }
    }
}

impl Running {
    /// Waits for the end of the start; false when asked to stop meanwhile.
    async fn deployed(&self, app: &App, stop: &watch::Receiver<bool>) -> Result<bool, Failure> {
        let mut said = String::new();
        loop {
            match self.engine.startup() {
                Startup::Started => return Ok(true),
                Startup::Failed(problems) => {
                    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    return Err(Failure::usage(format!("nothing was deployed\n{}", texts.join("\n"))));
                }
                Startup::Starting | Startup::Waiting(_) if *stop.borrow() => return Ok(false),
                Startup::Waiting(reason) if reason != said => {
                    app.set_starting(reason.clone());
                    said = reason;
                }
                Startup::Starting | Startup::Waiting(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Waits until every task of every topology runs here, or a topology has stopped or is paused; at most `limit`.
    pub async fn all_running(&self, limit: Duration, stop: &watch::Receiver<bool>) {
        let published = self.engine.published();
        let settled = || {
            published
                .topologies()
                .iter()
                .all(|topology| topology.all_running() || topology.status().reason().is_some())
        };
        let wait = async {
            while !settled() && !*stop.borrow() {
                tokio::time::sleep(LOOK).await;
            }
        };
        // At the limit the caller goes on: what is still being restored says so over HTTP.
        let _ = tokio::time::timeout(limit, wait).await;
    }

    /// What runs.
    pub fn published(&self) -> Arc<Published> {
        self.engine.published()
    }

    /// `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("http://{}", shown(self.address))
    }

    /// The addresses, as `--print-urls json` prints them.
    pub fn urls_json(&self) -> String {
        json!({ "http": self.url(), "kafka": self.ground.kafka, "registry": self.ground.registry }).to_string()
    }

    /// The addresses for people.
    pub fn urls_text(&self) -> Vec<String> {
        vec![
            format!("http      {}", self.url()),
            format!("kafka     {}", self.ground.kafka),
            format!("registry  {}", self.ground.registry),
        ]
    }

    /// Ends requests, commits, and stops; within [`STOP_WITHIN`], however things are.
    pub async fn stop(self) {
        let Self {
            engine,
            ground,
            stop_http,
            http,
            _instance: instance,
            ..
        } = self;
        drop(stop_http);
        let end = async {
            let ended = tokio::task::spawn_blocking(move || engine.stop()).await;
            if ended.is_err() {
                tracing::error!("the engine did not stop cleanly");
            }
            // The socket's error or panic: the process ends all the same.
            let _ = http.await;
        };
        if tokio::time::timeout(STOP_WITHIN, end).await.is_err() {
            tracing::warn!("stopped before everything had ended; the next start takes care of it");
        }
        ground.log.shutdown();
        // Closing librdkafka's clients takes up to a second, and the process is about to end. The lock ends with it.
        std::mem::forget((ground, instance));
    }
}

/// An address as others can use it.
pub fn shown(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    }
}

/// Runs a command's future to its end on a runtime of its own. Threads that still wait for something do not hold the process back.
///
/// # Errors
/// The command's, or that the system gives no threads.
pub fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = http::runtime().map_err(Failure::failed)?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

/// Prints the addresses as the settings say, once everything runs.
pub fn announce(settings: &Settings, running: &Running) {
    if settings.optional_text("print-urls").is_some() {
        output::line(&running.urls_json());
    } else if !settings.flag("quiet") {
        running.urls_text().iter().for_each(|line| output::line(line));
    }
}
