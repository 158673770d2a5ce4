//! The embedded broker: `log::core` behind the Kafka wire protocol, for any client on this machine.
//!
//! *Is*: sockets, clock and threads around the core. *Is not*: a cluster; there is one node, no replication, no
//! authentication, so it listens on loopback unless told otherwise.
//!
//! ```text
//!  accept --> connection: frame -> request -> handler --(short steps under the lock)--> SharedLog { Core }
//!                                    ^                                                     |
//!                                    +---- waiting fetches, joins and syncs <--- outputs --+
//!  ticker: time-outs    maintenance: retention, compaction, disk space
//! ```
//!
//! *Invariant*: bytes are read from disk without the core's lock; an answer is sent only for what is in the journal.

mod admin;
mod configs;
mod connection;
mod describe;
mod fetch;
mod frame;
mod groups;
mod groups_admin;
mod metadata;
mod offsets;
mod produce;
mod sessions;
mod shared;
mod transactions;
mod versions;

pub use frame::check_frame;
use sessions::Sessions;
pub use shared::SharedLog;

use crate::log::core::{Core, CoreConfig, DirError, DirStorage, MemoryStorage, OpenError, Storage};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The only node's id.
const NODE_ID: i32 = 1;
/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How often stuck producers are looked for.
const NUDGE: Duration = Duration::from_millis(500);
/// How often retention and compaction are looked at.
const MAINTENANCE: Duration = Duration::from_millis(1000);
/// How long a shutdown waits for connections before it cuts them.
const DRAIN: Duration = Duration::from_millis(500);

/// How the broker runs.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to keep the log; in memory when `None`.
    pub data_dir: Option<PathBuf>,
    /// The name under which clients are told to reach the broker; the listening address when `None`.
    pub advertised_host: Option<String>,
    /// The port that clients are told, where they come through something else; the listening one when `None`.
    pub advertised_port: Option<u16>,
    /// Partitions of topics that are made because a client asked for them.
    pub auto_create_partitions: i32,
    /// More connections than this at a time are refused.
    pub max_connections: usize,
    /// Larger requests close their connection, bytes.
    pub max_request_bytes: usize,
    /// Settings of the log itself.
    pub core: CoreConfig,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            data_dir: None,
            advertised_host: None,
            advertised_port: None,
            auto_create_partitions: 1,
            max_connections: 2048,
            max_request_bytes: 100 << 20,
            core: CoreConfig::default(),
        }
    }
}

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address is taken.
    #[error(
        "{0} is in use; stop what listens there, or choose another address with --kafka HOST:PORT (`broker`: another PORT; 0 takes a free one)"
    )]
    AddressInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --kafka HOST:PORT")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The log in it cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No runtime for the broker's threads.
    #[error("the broker's threads cannot be started: {0}")]
    Runtime(io::Error),
}

/// What handlers know of the broker.
struct Server {
    log: Arc<SharedLog>,
    sessions: Sessions,
    host: String,
    port: i32,
    auto_create_partitions: i32,
    max_request_bytes: usize,
}

/// Starts brokers.
pub struct Broker;

/// A running broker; dropping it without [`BrokerHandle::shutdown`] stops it, too, but waits for nothing.
pub struct BrokerHandle {
    addr: SocketAddr,
    log: Arc<SharedLog>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Broker {
    /// Opens the log and listens.
    pub async fn start(config: BrokerConfig) -> Result<BrokerHandle, BrokerError> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => BrokerError::AddressInUse(config.listen),
                _ => BrokerError::Listen {
                    address: config.listen,
                    source,
                },
            })?;
        let addr = listener.local_addr().map_err(|source| BrokerError::Listen {
            address: config.listen,
            source,
        })?;
        let log = Arc::new(SharedLog::new(open(&config)?));
        let host = config.advertised_host.clone().unwrap_or_else(|| match addr.ip() {
            ip if ip.is_unspecified() => "localhost".to_string(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => ip.to_string(),
        });
        let server = Arc::new(Server {
            log: Arc::clone(&log),
            sessions: Sessions::default(),
            host,
            port: i32::from(config.advertised_port.unwrap_or(addr.port())),
            auto_create_partitions: config.auto_create_partitions,
            max_request_bytes: config.max_request_bytes,
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(nudge(Arc::clone(&server), stopped.clone()));
        tasks.spawn(accept(listener, server, config.max_connections, stopped.clone()));
        tasks.spawn(tick(Arc::clone(&log), stopped.clone()));
        tasks.spawn(maintain(Arc::clone(&log), stopped));
        Ok(BrokerHandle { addr, log, stop, tasks })
    }
}

fn open(config: &BrokerConfig) -> Result<Core, BrokerError> {
    let storage: Box<dyn Storage> = match &config.data_dir {
        Some(dir) => Box::new(DirStorage::open(dir)?),
        None => Box::<MemoryStorage>::default(),
    };
    let (core, report) = Core::open(storage, config.core.clone(), shared::now_ms())?;
    tracing::info!(segments = report.segments, batches = report.batches, cut = ?report.cut, "log opened");
    Ok(core)
}

impl BrokerHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The log, for use in this process.
    pub fn log(&self) -> &Arc<SharedLog> {
        &self.log
    }

    /// Stops listening, ends the connections, and forces the log to disk.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let log = Arc::clone(&self.log);
        // The disk may take its time; the caller's other tasks go on.
        let synced = tokio::task::spawn_blocking(move || log.with(Core::sync)).await;
        if let Ok(Err(error)) = synced {
            tracing::error!(%error, "the log cannot be forced to disk");
        }
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>, max: usize, mut stopped: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            _ = stopped.changed() => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others have to end first.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!(%peer, max, "connection refused: too many are open");
            continue;
        };
        let server = Arc::clone(&server);
        let stopped = stopped.clone();
        connections.spawn(async move {
            connection::serve(server, socket, peer, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

async fn tick(log: Arc<SharedLog>, mut stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => log.with(|core| core.tick(shared::now_ms())),
            _ = stopped.changed() => return,
        }
    }
}

/// Helps producers that wait for ever after a restart, see [`sessions`].
async fn nudge(server: Arc<Server>, mut stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(NUDGE);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = stopped.changed() => return,
        }
        let now_ms = shared::now_ms();
        let (stalled_ms, forget_ms) = (sessions::STALLED_MS, sessions::FORGET_MS);
        if server
            .log
            .with(|core| core.has_stalled_transaction(now_ms, stalled_ms, forget_ms))
        {
            let closed = server.sessions.nudge(now_ms);
            if closed > 0 {
                tracing::info!(
                    closed,
                    "a producer seems to be stuck in a transaction; its connection is closed"
                );
            }
        }
    }
}

async fn maintain(log: Arc<SharedLog>, mut stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(MAINTENANCE);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = stopped.changed() => return,
        }
        let log = Arc::clone(&log);
        if tokio::task::spawn_blocking(move || log.maintain()).await.is_err() {
            tracing::error!("maintenance of the log failed; it is tried again");
        }
    }
}

/// Runs a broker alone until it is told to stop (Ctrl-C or SIGTERM).
pub fn run_blocking(config: BrokerConfig) -> Result<(), BrokerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BrokerError::Runtime)?;
    runtime.block_on(async {
        let broker = Broker::start(config).await?;
        tracing::info!(address = %broker.addr(), "broker ready");
        stop_signal().await;
        broker.shutdown().await;
        Ok(())
    })
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be caught");
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
