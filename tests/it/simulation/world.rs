//! A cluster and the processes of one application on it, stepped by one seed: whoever comes next, what goes wrong, when time passes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::cluster::agent::Agent;
use millstream::engine::deploy::{DeployContext, DeployError, GenerationPlan, deploy};
use millstream::engine::threads::Stop;
use millstream::engine::worker::{Activity, Gate, Globals, OutputMode, Standbys, Worker, WorkerShared};
use millstream::engine::{
    Cluster, Deployment, EngineSettings, Moment, OpenStores, PublishedTask, PublishedTopology, StartFrom, TaskId,
    TaskStatus,
};
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::sim::{Faults, Rng, SimLog, SimProcess, SimRecord};
use millstream::log::{Log, LogError};
use millstream::topology::Topology;
use millstream::types::TopicPartition;

use super::disk::Disk;

/// Virtual time begins here, in milliseconds since the epoch.
pub const EPOCH: i64 = 1_700_000_000_000;
/// After this the group and the transactions' coordinator give a silent process up, in milliseconds.
pub const SESSION_MS: i64 = 10_000;

/// One process: its disk survives it.
pub struct Process {
    name: String,
    pub disk: Arc<Disk>,
    pub alive: Option<Alive>,
    /// When it starts again.
    pub starts_at: i64,
    /// It has left for good.
    pub gone: bool,
    /// It does nothing until then, and knows nothing of it: a machine that sleeps, a long pause of the scheduler.
    pub paused: Option<Pause>,
    /// How far its clock is off, in milliseconds.
    pub clock: i64,
}

/// Since when and until when a process is paused.
#[derive(Clone, Copy)]
pub struct Pause {
    pub since: i64,
    pub until: i64,
}

impl Process {
    fn new(number: usize, log: &SimLog) -> Self {
        Self {
            name: format!("p{number}"),
            disk: Arc::new(Disk::new(log, number as u64)),
            alive: None,
            starts_at: 0,
            gone: false,
            paused: None,
            clock: 0,
        }
    }

    /// Its clock may be off; the steady one is not.
    fn moment(&self, log: &SimLog) -> Moment {
        Moment {
            wall: log.now() + self.clock,
            steady: log.now(),
        }
    }
}

pub struct Alive {
    pub log: Arc<SimProcess>,
    pub published: Arc<PublishedTopology>,
    globals: Arc<Globals>,
    workers: Vec<Worker>,
    /// Its voice among the instances, and its copies of what others own: where there are standbys.
    company: Option<(Agent, Standbys)>,
}

pub struct World {
    pub log: SimLog,
    pub rng: Rng,
    pub settings: EngineSettings,
    pub topology: Arc<Topology>,
    pub processes: Vec<Process>,
    pub crashes: usize,
    /// Why the topology stopped; a test that does not expect it fails.
    pub failure: Option<String>,
    /// A registry that can be away, and until when it is.
    pub registry: Option<(Arc<MemoryRegistry>, i64)>,
    schemas: Arc<dyn SchemaSource>,
    deployment: Option<Arc<Deployment>>,
}

impl World {
    pub fn new(seed: u64, topology: Topology, settings: EngineSettings, processes: usize) -> Self {
        Self::with_schemas(seed, topology, settings, processes, Arc::new(MemoryRegistry::default()))
    }

    pub fn with_schemas(
        seed: u64,
        topology: Topology,
        settings: EngineSettings,
        processes: usize,
        schemas: Arc<dyn SchemaSource>,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let log = SimLog::new(rng.next_u64(), EPOCH).unwrap();
        Self {
            processes: (0..processes).map(|number| Process::new(number, &log)).collect(),
            log,
            rng,
            settings,
            topology: Arc::new(topology),
            crashes: 0,
            schemas,
            failure: None,
            registry: None,
            deployment: None,
        }
    }

    /// One step of somebody.
    pub fn step(&mut self) {
        // what is away for long need not be waited for in small steps
        let haste = if self.is_somebody_away() { 10 } else { 1 };
        if self.rng.chance(300) {
            let ms = self.rng.below(40 * haste) as i64;
            self.log.advance(ms);
        }
        self.follow_time();
        let at = self.rng.below(self.processes.len());
        let process = &mut self.processes[at];
        let moment = process.moment(&self.log);
        let now = moment.wall;
        if process.gone || process.paused.is_some() {
            return;
        }
        let Some(alive) = &mut process.alive else {
            if self.log.now() >= process.starts_at {
                self.start(at);
            }
            return;
        };
        let who = self
            .rng
            .below(alive.workers.len() + if alive.company.is_some() { 2 } else { 0 });
        let activity = match (alive.workers.get_mut(who), &mut alive.company) {
            (Some(worker), _) => worker.step(now, Duration::ZERO),
            (None, Some((agent, standbys))) => {
                match self.rng.chance(500) {
                    true => drop(agent.step(moment, Duration::ZERO)),
                    false => drop(standbys.step(moment, Duration::ZERO)),
                }
                Activity::Busy
            }
            (None, None) => Activity::Busy,
        };
        if alive.log.is_dead() {
            return self.crashed(at);
        }
        match activity {
            Activity::Busy | Activity::Idle { .. } => {}
            Activity::Stopped => panic!("a worker stopped that nobody told to"),
            Activity::Failed(reason) => {
                self.failed(at);
                self.failure.get_or_insert(reason);
            }
        }
    }

    /// One worker has stopped by itself: the others go on for a moment before they are told to stop, too.
    fn failed(&mut self, at: usize) {
        let Some(mut alive) = self.processes[at].alive.take() else {
            return;
        };
        let told_after = self.rng.below(20);
        for round in 0..200 {
            self.log.advance(10);
            let now = self.log.now();
            let mut ended = true;
            for worker in &mut alive.workers {
                if round == told_after {
                    worker.request_stop(now, Stop::Pause);
                }
                ended &= matches!(
                    worker.step(now, Duration::ZERO),
                    Activity::Stopped | Activity::Failed(_)
                );
            }
            if ended || alive.log.is_dead() {
                return;
            }
        }
        panic!("a worker did not stop within two seconds");
    }

    fn is_somebody_away(&self) -> bool {
        let away = |process: &Process| process.paused.is_some() || (process.alive.is_none() && !process.gone);
        self.processes.iter().any(away)
    }

    /// Pauses end, the registry is back.
    fn follow_time(&mut self) {
        let now = self.log.now();
        for process in &mut self.processes {
            let over = process.paused.filter(|pause| pause.until <= now);
            if let (Some(pause), Some(_)) = (over, &process.alive)
                && now - pause.since > SESSION_MS
            {
                self.log.strike("zombie that wakes up");
            }
            process.paused = process.paused.filter(|pause| pause.until > now);
        }
        if let Some((registry, until)) = &mut self.registry
            && *until <= now
        {
            registry.set_away(false);
            *until = i64::MAX;
        }
    }

    /// One more process, which begins with an empty disk.
    pub fn join(&mut self) {
        self.processes.push(Process::new(self.processes.len(), &self.log));
    }

    fn start(&mut self, at: usize) {
        let access = self.log.process();
        self.processes[at].disk.own(access.clone());
        let context = DeployContext {
            log: &*access,
            schemas: &self.schemas,
            settings: &self.settings,
        };
        let deployment = match deploy(&context, &GenerationPlan::new(&self.topology, 0)) {
            Ok(deployment) => Arc::new(deployment),
            Err(DeployError::Unavailable(_)) => return,
            Err(DeployError::Problems(_)) if access.is_dead() => return,
            Err(error) => panic!("{error}"),
        };
        self.deployment = Some(deployment.clone());
        let published = Arc::new(PublishedTopology::new(
            self.topology.clone(),
            0,
            deployment.partitions(),
        ));
        let plans = match deployment.plans(&self.settings, &self.schemas) {
            Ok(plans) => plans,
            Err(error) if error.is_retryable() => return,
            Err(error) => panic!("{error}"),
        };
        let globals = match Globals::new(&self.topology, &plans, self.settings.bad_record, &self.schemas) {
            Ok(globals) => globals,
            Err(error) if error.is_retryable() => return,
            Err(error) => panic!("{error}"),
        };
        let name = &self.processes[at].name;
        let has_company = self.settings.standbys > 0;
        let cluster = match has_company {
            false => Cluster::alone(name),
            true => {
                let cluster = Arc::new(Cluster::default());
                cluster.name(name, Some(format!("http://{name}")));
                cluster.show(&published);
                cluster
            }
        };
        let shared = Arc::new(WorkerShared {
            globals,
            plans,
            deployment,
            cluster: cluster.clone(),
            gate: Gate::default(),
            log: access.clone(),
            stores: Arc::new(OpenStores::new(self.processes[at].disk.clone())),
            settings: self.settings.clone(),
            published: published.clone(),
            instance: self.processes[at].name.clone(),
            start_from: StartFrom::Earliest,
            outputs: OutputMode::default().into(),
            paused: false,
            stopwatch: || Duration::ZERO,
        });
        let moment = self.processes[at].moment(&self.log);
        let now = moment.wall;
        let workers = (0..self.settings.workers)
            .map(|i| Worker::new(shared.clone(), i, now))
            .collect();
        let company = has_company.then(|| {
            let agent = Agent::new(access.clone(), cluster, &self.settings);
            (agent, Standbys::new(shared.clone(), moment))
        });
        self.processes[at].alive = Some(Alive {
            company,
            globals: shared.globals.clone(),
            log: access,
            published,
            workers,
        });
    }

    /// The process is gone: memory is lost, the disk keeps some of what was not flushed.
    fn crashed(&mut self, at: usize) {
        self.crashes += 1;
        let process = &mut self.processes[at];
        let rng = &mut self.rng;
        process.disk.crash(|batches| rng.below(batches + 1));
        // only now: what it closes in good order is not written any more
        process.alive = None;
        process.paused = None;
        process.starts_at = self.log.now() + self.rng.below(12_000) as i64;
    }

    /// Kills a process that runs.
    pub fn kill(&mut self, at: usize) {
        if let Some(alive) = &self.processes[at].alive {
            alive.log.kill();
            self.crashed(at);
        }
    }

    /// Stops a process in good order and starts it again.
    pub fn restart(&mut self, at: usize) {
        let clock = self.processes[at].clock;
        let moment = self.processes[at].moment(&self.log);
        let now = moment.wall;
        let Some(mut alive) = self.processes[at].alive.take() else {
            return;
        };
        if let Some((agent, standbys)) = &mut alive.company {
            agent.leave(moment);
            standbys.close(moment);
        }
        for worker in &mut alive.workers {
            worker.request_stop(now, Stop::Restart);
        }
        for _ in 0..200 {
            self.log.advance(10);
            let now = self.log.now() + clock;
            let stopped = alive
                .workers
                .iter_mut()
                .all(|worker| worker.step(now, Duration::ZERO) == Activity::Stopped);
            if alive.log.is_dead() {
                self.processes[at].alive = Some(alive);
                return self.crashed(at);
            }
            if stopped {
                self.processes[at].starts_at = self.log.now();
                return;
            }
        }
        panic!("a worker did not stop within two seconds");
    }

    /// No fault happens any more, and what is away is back; clocks stay as they are, and what is damaged does, too.
    pub fn heal(&mut self) {
        self.log.set_faults(Faults::default());
        self.log.come_back();
        for process in &mut self.processes {
            process.disk.heal();
            if let Some(alive) = &process.alive {
                alive.log.forget_plans();
            }
            if let Some(pause) = &mut process.paused {
                pause.until = 0;
            }
        }
        if let Some((_, until)) = &mut self.registry {
            *until = 0;
        }
        self.follow_time();
    }

    /// Without faults, until every input is processed and committed.
    pub fn settle(&mut self) {
        self.heal();
        self.catch_up();
    }

    /// Until every input is processed and committed.
    pub fn catch_up(&mut self) {
        for round in 0.. {
            assert_eq!(self.failure, None, "the topology stopped");
            assert!(round < 4_000, "the topology does not catch up: {:?}", self.lags());
            for _ in 0..20 {
                self.step();
            }
            self.log.advance(20);
            let present = |process: &Process| process.gone || process.alive.is_some();
            if self.processes.iter().all(present) && self.lags().is_empty() {
                self.check_fences();
                return;
            }
        }
    }

    /// Every commit of a worker had offsets in it: one that has lost its tasks is refused by them only.
    pub fn check_fences(&self) {
        let mut unchecked = self.log.unchecked();
        unchecked.retain(|id| !id.ends_with(".inserts"));
        assert!(unchecked.is_empty(), "commits without offsets, of {unchecked:?}");
    }

    /// Inputs whose committed offset is not their end, and transactions that are open.
    fn lags(&self) -> Vec<String> {
        let Some(deployment) = &self.deployment else {
            return vec!["not deployed".into()];
        };
        let access = self.log.process();
        let group = deployment.names.group();
        let mut out = self.log.open_transactions();
        for task in deployment.tasks() {
            let owners = self.published().filter_map(|published| published.task(task));
            let owners: Vec<_> = owners.map(|task| task.status()).collect();
            if owners != [TaskStatus::Running] {
                out.push(format!("task {task} has owners that are {owners:?}"));
            }
            for tp in deployment.inputs(task) {
                let end = access.admin().stable_end(&tp);
                let committed = end.and_then(|end| {
                    let offsets = access.admin().committed(&group, std::slice::from_ref(&tp));
                    offsets.map(|offsets| (offsets[0], end))
                });
                match committed {
                    Ok((offset, end)) if offset.unwrap_or(0) == end => {}
                    Ok((offset, end)) => out.push(format!("{tp}: {offset:?} of {end}")),
                    Err(LogError::Retry(text)) => out.push(text),
                    Err(error) => panic!("{error}"),
                }
            }
            if !out.is_empty() {
                return out;
            }
        }
        let changelogs = deployment.subs.iter().flat_map(|sub| &sub.changelogs);
        let rounds = changelogs.filter(|(_, target)| target.topic.ends_with("-fan-outs.changelog"));
        for (_, target) in rounds {
            let last: BTreeMap<_, _> = (self.records(&target.topic).into_iter())
                .map(|record| (record.key, record.value))
                .collect();
            if last.values().any(Option::is_some) {
                out.push(format!("{}: subscribers are still to be told", target.topic));
            }
        }
        for global in &self.topology.globals {
            let topic = &self.topology.relation(&global.source.relation).unwrap().topic.name;
            let info = access.admin().topics(&[topic]).unwrap().pop().flatten();
            for tp in (0..info.map_or(0, |info| info.partitions)).map(|p| TopicPartition::new(topic.clone(), p)) {
                let end = access.admin().stable_end(&tp).unwrap();
                let alive = self.processes.iter().filter_map(|process| process.alive.as_ref());
                let behind = alive.filter(|alive| alive.globals.position(&tp).is_none_or(|next| next < end));
                out.extend(behind.map(|_| format!("a global table has not reached {end} of {tp}")));
            }
        }
        out
    }

    /// All records of a topic, committed ones only, a partition after the other.
    pub fn records(&self, topic: &str) -> Vec<SimRecord> {
        self.log.read_all(topic).unwrap()
    }

    /// The deployment, once a process has made it.
    pub fn deployed(&self) -> Option<&Deployment> {
        self.deployment.as_deref()
    }

    pub fn deployment(&self) -> &Deployment {
        self.deployment.as_ref().unwrap()
    }

    /// What a running process shows that has a task as the group sees it.
    pub fn shown_by_owner(&self, task: TaskId) -> Option<Arc<PublishedTask>> {
        let deployment = self.deployed()?;
        let place = TopicPartition::new(deployment.names.tasks_topic(), deployment.index(task));
        let owner = self.log.owner(&deployment.names.group(), &place)?;
        let is_owner = |process: &&Process| {
            let is_of = |worker| owner.starts_with(&format!("{}.", deployment.names.member(&process.name, worker)));
            (0..self.settings.workers).any(is_of)
        };
        let alive = self.processes.iter().find(is_owner)?.alive.as_ref()?;
        alive.published.task(task)
    }

    /// What running processes show.
    pub fn published(&self) -> impl Iterator<Item = &Arc<PublishedTopology>> {
        self.processes
            .iter()
            .filter_map(|process| Some(&process.alive.as_ref()?.published))
    }
}

impl World {
    /// Stops all processes in good order; nothing starts by itself before [`Self::start_all`].
    pub fn stop_all(&mut self) {
        for at in 0..self.processes.len() {
            self.restart(at);
            self.processes[at].starts_at = i64::MAX;
        }
    }

    /// Starts what [`Self::stop_all`] stopped, `later_ms` later.
    pub fn start_all(&mut self, later_ms: i64) {
        self.log.advance(later_ms);
        self.processes.iter_mut().for_each(|process| process.starts_at = 0);
    }

    /// The disk of a process is lost.
    pub fn lose_disk(&mut self, at: usize) {
        self.processes[at].disk = Arc::new(Disk::new(&self.log, at as u64));
    }

    /// What a stopped process has not flushed is gone.
    pub fn crash_disk(&mut self, at: usize) {
        self.processes[at].disk.crash(|_| 0);
    }

    /// The files of a store are damaged.
    pub fn damage(&mut self, at: usize, path: &str) {
        self.processes[at].disk.damage(path);
    }

    /// Steps until the topology stops; its reason.
    pub fn until_failure(&mut self) -> String {
        for _ in 0..20_000 {
            self.step();
            self.log.advance(5);
            if let Some(reason) = self.failure.take() {
                return reason;
            }
        }
        panic!("the topology does not stop");
    }
}
