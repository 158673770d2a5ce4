//! The embedded broker and registry, as the ground that an instance stands on.

use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::cli::Failure;
use crate::cli::running::{self, Ground, shown};
use crate::cli::schema_files::{self, RegisterFailure};
use crate::cli::settings::Settings;
use crate::dev::broker::{Broker, BrokerConfig, BrokerHandle, SharedLog};
use crate::dev::registry::{self, BrokerLog, EmbeddedRegistry};
use crate::log::kafka::KafkaLog;

/// Longest wait for the registry's last requests.
const REGISTRY_STOP: Duration = Duration::from_millis(200);

/// Broker and registry of this process.
pub struct Local {
    broker: BrokerHandle,
    registry: registry::Handle,
    /// What an instance stands on.
    pub ground: Ground,
}

impl Local {
    /// Starts both; their topics are kept in `data_dir/broker`.
    ///
    /// # Errors
    /// Ports in use: all of them, with the flags that choose others. A broken data directory. Schemas that the registry refuses.
    pub async fn start(settings: &Settings, data_dir: &Path) -> Result<Self, Failure> {
        let [_, kafka, registry] = free_addresses(settings)?;
        let config = BrokerConfig {
            listen: kafka,
            data_dir: Some(data_dir.join("broker")),
            ..BrokerConfig::default()
        };
        let broker = Broker::start(config).await.map_err(Failure::failed)?;
        let kafka = shown(broker.addr());
        let log = KafkaLog::new(running::kafka_settings(settings, &kafka)).map_err(Failure::usage)?;
        let embedded = open_registry(broker.log().clone(), settings).await?;
        let listener = TcpListener::bind(registry)
            .await
            .map_err(|error| taken("--registry", registry, &error))?;
        let registry = registry::serve(listener, embedded.clone()).map_err(Failure::failed)?;
        let ground = Ground {
            log: Arc::new(log),
            schemas: Arc::new(embedded),
            kafka,
            registry: format!("http://{}", shown(registry.address())),
        };
        Ok(Self {
            broker,
            registry,
            ground,
        })
    }

    /// Stops both; everything acknowledged is on disk.
    pub async fn stop(self) {
        // What is left of requests to the registry is cut off.
        let _ = tokio::time::timeout(REGISTRY_STOP, self.registry.stop()).await;
        drop(self.ground);
        self.broker.shutdown().await;
    }
}

/// Opens the registry over its topic and registers the directory of schemas.
async fn open_registry(log: Arc<SharedLog>, settings: &Settings) -> Result<EmbeddedRegistry, Failure> {
    let dir = settings.path("schemas");
    let open = move || {
        let files = schema_files::read_dir(&dir).map_err(|problems| Failure::usage(problems.join("\n")))?;
        let topic = BrokerLog::open(log).map_err(Failure::Failed)?;
        let registry = EmbeddedRegistry::open(Box::new(topic)).map_err(Failure::Failed)?;
        schema_files::register(&files, &registry).map_err(|failure| match failure {
            RegisterFailure::Problems(problems) => Failure::usage(problems.join("\n")),
            RegisterFailure::Away(reason) => Failure::Failed(reason),
        })?;
        Ok(registry)
    };
    tokio::task::spawn_blocking(open).await.map_err(Failure::failed)?
}

/// The addresses of HTTP, broker and registry, if all of them are free.
fn free_addresses(settings: &Settings) -> Result<[SocketAddr; 3], Failure> {
    let mut problems = Vec::new();
    let mut held: Vec<StdListener> = Vec::new();
    let addresses = ["http", "kafka", "registry"].map(|name| {
        let text = settings.text(name);
        match resolve(text) {
            Err(problem) => {
                problems.push(format!("--{name}: {problem}"));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
            Ok(address) => {
                match StdListener::bind(address) {
                    Ok(listener) => held.push(listener),
                    Err(error) => {
                        if let Failure::Failed(problem) = taken(&format!("--{name}"), address, &error) {
                            problems.push(problem);
                        }
                    }
                }
                address
            }
        }
    });
    if problems.is_empty() {
        Ok(addresses)
    } else {
        Err(Failure::Failed(problems.join("\n")))
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    // `localhost` may be ::1 first, which Kafka clients do not expect.
    let chosen = found.iter().find(|address| address.is_ipv4()).or(found.first());
    chosen.copied().ok_or_else(|| format!("{text} has no address"))
}

fn taken(flag: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::Failed(match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "{address} is in use by another process (another `millstream dev`?); stop that one, or choose another address with {flag} HOST:PORT (port 0 takes a free one)"
        ),
        _ => format!("{address}: {error}; choose another address with {flag} HOST:PORT"),
    })
}
