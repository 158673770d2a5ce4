//! The engine: deploys topologies, starts and stops their workers, follows the control topic.
//!
//! One thread supervises; it waits for Kafka and the registry where they are away, and never gives up. *Is not* in the way of data: workers
//! know nothing of it.

mod replay;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::deploy::control::{ControlReader, ControlRecord, Wanted};
use super::deploy::{DeployContext, DeployError, Problem, operations};
use super::fingerprint::StatePlan;
use super::snapshots::SnapshotParts;
use super::threads::{Generation, Heartbeat, Stop};
use super::{Cluster, EngineSettings, Names, OpenStores, Published, TopologyStatus};
use crate::formats::SchemaSource;
use crate::log::{Log, LogError};
use crate::state::StoreFactory;
use crate::topology::Topology;
use crate::types::TopicPartition;

/// How often the control topic is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the ends of inputs are asked for, for the lag that is shown.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// How often Kafka is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Waiting time between attempts to start while Kafka or the registry is away: from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The schema registry.
    pub schemas: Arc<dyn SchemaSource>,
    /// Where stores live.
    pub stores: Arc<dyn StoreFactory>,
    /// Settings.
    pub settings: EngineSettings,
    /// The instance's id, see [`super::Instance`].
    pub instance: String,
    /// Snapshots of state, from and for others.
    pub snapshots: SnapshotParts,
}

/// How far the start has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Checking and deploying.
    Starting,
    /// Kafka or the registry is away: why; it is tried again.
    Waiting(String),
    /// All topologies are deployed and their workers run.
    Started,
    /// Nothing was started; the user has to act. All problems.
    Failed(Vec<Problem>),
}

struct Shared {
    published: Arc<Published>,
    startup: Mutex<Startup>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Shared {
    fn say(&self, startup: Startup) {
        *self.startup.lock() = startup;
        self.changed.notify_all();
    }
}

/// A running engine. Dropping it stops it.
pub struct Engine {
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<()>>,
}

impl Engine {
    /// Deploys and starts topologies, in the background: see [`Self::wait_started`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: EngineParts, topologies: Vec<Arc<Topology>>) -> std::io::Result<Self> {
        Self::start_into(Arc::new(Published::new()), parts, topologies)
    }

    /// As [`Self::start`], publishing where others look already.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_into(
        published: Arc<Published>,
        parts: EngineParts,
        topologies: Vec<Arc<Topology>>,
    ) -> std::io::Result<Self> {
        let url = parts.settings.advertised_url.clone();
        published.cluster().name(&parts.instance, url);
        let shared = Arc::new(Shared {
            published,
            startup: Mutex::new(Startup::Starting),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let told = shared.clone();
        let run = move || Supervisor::run(parts, topologies, told);
        let supervisor = std::thread::Builder::new().name("supervisor".into()).spawn(run)?;
        Ok(Self {
            shared,
            supervisor: Some(supervisor),
        })
    }

    /// What runs, for views.
    pub fn published(&self) -> Arc<Published> {
        self.shared.published.clone()
    }

    /// What is known of the other instances.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.shared.published.cluster().clone()
    }

    /// How far the start has come.
    pub fn startup(&self) -> Startup {
        self.shared.startup.lock().clone()
    }

    /// Waits until the start has come to an end, or said something new than `seen`, at most `timeout`.
    pub fn wait_started(&self, seen: &Startup, timeout: Duration) -> Startup {
        let mut startup = self.shared.startup.lock();
        if *startup == *seen && !matches!(*startup, Startup::Started | Startup::Failed(_)) {
            self.shared.changed.wait_for(&mut startup, timeout);
        }
        startup.clone()
    }

    /// Commits and stops all workers, within two seconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, SeqCst);
        if let Some(supervisor) = self.supervisor.take() {
            // It ends after its workers; a panic of it was reported by the runtime.
            let _ = supervisor.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// A topology under supervision.
struct Managed {
    topology: Arc<Topology>,
    plan: StatePlan,
    /// The generation that answers.
    current: Option<Generation>,
    /// The generation that a replay builds.
    building: Option<Generation>,
    /// For the rate of a replay: when it was last measured, and offsets done then.
    measured: Option<(Instant, u64)>,
}

struct Supervisor {
    parts: EngineParts,
    shared: Arc<Shared>,
    stores: Arc<OpenStores>,
    control: ControlReader,
    topologies: BTreeMap<String, Managed>,
    /// Topologies whose record is to be followed (again, after a failure).
    follow: BTreeSet<String>,
    last_asked: Instant,
    last_lag: Instant,
    last_partitions: Instant,
    heartbeat: Heartbeat,
}

impl EngineParts {
    fn context(&self) -> DeployContext<'_> {
        DeployContext {
            log: &*self.log,
            schemas: &self.schemas,
            settings: &self.settings,
        }
    }
}

impl Supervisor {
    fn run(parts: EngineParts, topologies: Vec<Arc<Topology>>, shared: Arc<Shared>) {
        let mut wait = RETRY.0;
        let mut supervisor = loop {
            if shared.stop.load(SeqCst) {
                return;
            }
            match start::bring_up(&parts, &topologies, &shared) {
                Ok(supervisor) => break supervisor,
                Err(DeployError::Problems(problems)) => return shared.say(Startup::Failed(problems)),
                Err(DeployError::Unavailable(reason)) => {
                    if !matches!(&*shared.startup.lock(), Startup::Waiting(said) if *said == reason) {
                        tracing::warn!(reason, "cannot start yet; trying again");
                    }
                    shared.say(Startup::Waiting(reason));
                    nap(&shared.stop, wait);
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        };
        shared.say(Startup::Started);
        while !shared.stop.load(SeqCst) {
            supervisor.tick();
        }
        supervisor.stop_all();
    }

    fn tick(&mut self) {
        match self.control.poll(TICK) {
            Ok(changed) => self.follow.extend(changed),
            Err(error) => {
                tracing::debug!(%error, "the control topic cannot be read");
                nap(&self.shared.stop, TICK);
            }
        }
        for name in std::mem::take(&mut self.follow) {
            if let Err(error) = self.follow_record(&name) {
                tracing::warn!(topology = name, %error, "cannot follow the control topic yet; trying again");
                self.follow.insert(name);
            }
        }
        self.hear_failures();
        self.advance_replays();
        if self.last_asked.elapsed() >= ASK_EVERY {
            self.ask_kafka();
            self.last_asked = Instant::now();
        }
        let answers = self.shared.published.kafka_away().is_none();
        if answers && self.last_lag.elapsed() >= LAG_EVERY {
            self.last_lag = Instant::now();
            self.measure_lag();
        }
        if answers && self.last_partitions.elapsed() >= self.parts.settings.partition_check_interval {
            self.last_partitions = Instant::now();
            self.count_partitions();
        }
    }

    /// Whether Kafka answers: one that has nothing to do would hear by no other way that it does not.
    fn ask_kafka(&self) {
        let control = Names::control_topic(&self.parts.settings.app_id);
        let away = match self.parts.log.admin().topics(&[&control]) {
            Err(LogError::Retry(reason)) => Some(reason),
            Ok(_) | Err(_) => None,
        };
        let before = self.shared.published.set_kafka_away(away.clone());
        match (before, away) {
            (None, Some(reason)) => tracing::warn!(reason, "Kafka does not answer"),
            (Some(_), None) => tracing::info!("Kafka answers again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Does what the control topic says about a topology.
    fn follow_record(&mut self, name: &str) -> Result<(), DeployError> {
        if !self.topologies.contains_key(name) {
            return Ok(());
        }
        let Some(record) = self.control.state.get(name).cloned() else {
            if self.control.is_removed(name) {
                return self.forget(name);
            }
            tracing::warn!(
                topology = name,
                "the control topic has no record of it, and none that it was undeployed; it goes on"
            );
            return Ok(());
        };
        match record.wanted {
            Wanted::Undeploying => return self.forget(name),
            Wanted::Paused => {
                let Some(managed) = self.topologies.get_mut(name) else {
                    return Ok(());
                };
                stop_generation(&mut managed.building, Stop::Restart);
                // one that was started paused only shows its state
                if let Some(current) = managed.current.as_mut().filter(|current| !current.shared.paused) {
                    current.tell_to_stop(Stop::Pause);
                    current.join();
                    current.shared.published.set_status(TopologyStatus::Paused);
                }
                return Ok(());
            }
            Wanted::Running => {}
        }
        self.follow_generations(name, &record)
    }

    /// The topology was undeployed: workers end, local state is deleted.
    fn forget(&mut self, name: &str) -> Result<(), DeployError> {
        let Some(mut managed) = self.topologies.remove(name) else {
            return Ok(());
        };
        stop_generation(&mut managed.building, Stop::Remove);
        stop_generation(&mut managed.current, Stop::Remove);
        self.shared.published.remove(name);
        if let Err(error) = self.stores.delete(name) {
            tracing::warn!(topology = name, %error, "local state was not deleted");
        }
        tracing::info!(topology = name, "undeployed");
        Ok(())
    }

    /// A topology that stopped by itself keeps its readers; its other workers end.
    fn hear_failures(&mut self) {
        for managed in self.topologies.values_mut() {
            for generation in managed.current.iter_mut().chain(managed.building.iter_mut()) {
                if generation.failure().is_some() && !generation.is_running() {
                    generation.join();
                }
            }
        }
    }

    fn measure_lag(&self) {
        let generations = self
            .topologies
            .values()
            .flat_map(|managed| managed.current.iter().chain(&managed.building));
        for task in generations.flat_map(|generation| generation.shared.published.tasks()) {
            for input in &task.inputs {
                if self.shared.stop.load(SeqCst) {
                    return;
                }
                let tp = TopicPartition::new(input.topic.clone(), input.partition);
                if let Ok(end) = self.parts.log.admin().stable_end(&tp) {
                    input.end.store(end, Relaxed);
                }
            }
        }
    }

    /// An input that gained partitions while running: what it holds there would be missed, so the topology stops.
    fn count_partitions(&mut self) {
        for (name, managed) in &mut self.topologies {
            let Some(current) = managed.current.as_mut().filter(|current| current.is_running()) else {
                continue;
            };
            match gained_partitions(&*self.parts.log, current) {
                Ok(None) => {}
                Ok(Some(what)) => {
                    let reason = format!("{what}; rebuild it for the new partitions with `millstream replay {name}`");
                    tracing::error!(topology = name, reason, "stopped");
                    current.shared.published.set_status(TopologyStatus::Stopped(reason));
                    current.tell_to_stop(Stop::Pause);
                    current.join();
                }
                Err(error) => tracing::debug!(%error, "partitions cannot be counted"),
            }
        }
    }

    fn stop_all(&mut self) {
        self.heartbeat.tell_to_stop();
        let mut all: Vec<Generation> = Vec::new();
        for managed in self.topologies.values_mut() {
            all.extend(managed.current.take());
            all.extend(managed.building.take());
        }
        all.iter().for_each(|generation| generation.tell_to_stop(Stop::Restart));
        all.iter_mut().for_each(Generation::join);
    }

    /// Writes a record, and knows it at once: an older one may still have to be read, such as the end of an undeployment before it.
    fn write_record(&mut self, name: &str, record: ControlRecord) -> Result<(), DeployError> {
        let offset = operations::write(&self.parts.context(), name, Some(record.clone()))?;
        self.control.wrote(name, record, offset);
        Ok(())
    }
}

fn stop_generation(generation: &mut Option<Generation>, stop: Stop) {
    if let Some(mut generation) = generation.take() {
        generation.tell_to_stop(stop);
        generation.join();
    }
}

/// What has changed about the partitions of a deployment's external inputs.
fn gained_partitions(log: &dyn Log, generation: &Generation) -> Result<Option<String>, LogError> {
    let deployment = &generation.shared.deployment;
    for sub in &deployment.subs {
        for input in sub.inputs.iter().filter(|input| !input.internal) {
            let found = log.admin().topics(&[&input.topic])?.pop().flatten();
            let partitions = found.map_or(sub.partitions, |info| info.partitions);
            if partitions != sub.partitions {
                return Ok(Some(format!(
                    "topic {} has {partitions} partitions now, the topology was deployed for {}",
                    input.topic, sub.partitions
                )));
            }
        }
    }
    Ok(None)
}

/// Sleeps in slices, so that a stop is heard.
fn nap(stop: &AtomicBool, time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time && !stop.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(10).min(time));
    }
}
