//! Instances that know of each other on one simulated log: each has a worker, its standbys and its voice in the topic of instances, stepped in a seeded order.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::Duration;

use millstream::engine::cluster::agent::Agent;
use millstream::engine::deploy::{DeployContext, DeployError, GenerationPlan, deploy};
use millstream::engine::threads::Stop;
use millstream::engine::worker::{Activity, Gate, Globals, OutputMode, Standbys, Worker, WorkerShared};
use millstream::engine::{
    Cluster, Deployment, EngineSettings, Moment, OpenStores, PublishedStandby, PublishedTopology, StartFrom, TaskId,
    TaskStatus,
};
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::sim::{Faults, Rng, SimLog, SimProcess};
use millstream::log::{Log, LogError, partition_for_key};
use millstream::state::memory::MemoryStores;
use millstream::state::{META_PREFIX, Snapshot, StoreFactory};
use millstream::topology::Topology;
use millstream::types::{TopicPartition, encode_row};

use crate::simulation::plan::{self, MOVIES, RATINGS};

/// Virtual time begins here, in milliseconds since the epoch.
const EPOCH: i64 = 1_700_000_000_000;
/// Partitions of both inputs.
pub const PARTITIONS: i32 = 3;
/// Steps after which what is waited for does not come any more.
const MOST_STEPS: usize = 200_000;

pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// One instance: its disk survives it.
pub struct Node {
    name: String,
    pub disk: Arc<MemoryStores>,
    pub alive: Option<Alive>,
    /// When it starts again.
    pub starts_at: i64,
}

pub struct Alive {
    access: Arc<SimProcess>,
    agent: Agent,
    pub shared: Arc<WorkerShared>,
    standbys: Standbys,
    workers: Vec<Worker>,
    /// How far each copy was when it was looked at last: the shown one, and offsets of its changelogs.
    looked: BTreeMap<TaskId, (Weak<PublishedStandby>, Vec<i64>)>,
}

pub struct Rig {
    pub log: SimLog,
    pub rng: Rng,
    pub settings: EngineSettings,
    pub nodes: Vec<Node>,
    pub crashes: usize,
    /// Ratings by movie.
    pub ratings: BTreeMap<i64, i64>,
    /// Whose workers are not stepped.
    pub frozen: Vec<usize>,
    /// How far the clocks of all are off, in milliseconds.
    pub clock: i64,
    topology: Arc<Topology>,
    schemas: Arc<dyn SchemaSource>,
    deployment: Option<Arc<Deployment>>,
}

impl Rig {
    /// `starting` of the nodes start at once.
    pub fn new(seed: u64, nodes: usize, starting: usize, settings: EngineSettings) -> Self {
        let mut rng = Rng::new(seed);
        let log = SimLog::new(rng.next_u64(), EPOCH).unwrap();
        for topic in [RATINGS, MOVIES] {
            log.create_topic(topic, PARTITIONS, &[]).unwrap();
        }
        let node = |at: usize| Node {
            name: format!("n{at}"),
            disk: Arc::new(MemoryStores::new().lose_unflushed(true)),
            alive: None,
            starts_at: if at < starting { 0 } else { i64::MAX },
        };
        let rig = Self {
            log,
            rng,
            settings,
            nodes: (0..nodes).map(node).collect(),
            crashes: 0,
            ratings: BTreeMap::new(),
            frozen: Vec::new(),
            clock: 0,
            topology: Arc::new(plan::topology()),
            schemas: Arc::new(MemoryRegistry::default()),
            deployment: None,
        };
        for movie in 0..30_i64 {
            rig.append(MOVIES, movie, &["title".into(), (movie % 4).into()]);
        }
        rig
    }

    fn append(&self, topic: &str, key: i64, row: &[millstream::types::Value]) {
        let key = key.to_be_bytes();
        let mut bytes = Vec::new();
        encode_row(row, &mut bytes);
        let tp = TopicPartition::new(topic, partition_for_key(&key, PARTITIONS));
        self.log.append(&tp, Some(&key), Some(&bytes), self.log.now()).unwrap();
    }

    /// Ratings of all movies in turn, so that every partition gets some.
    pub fn rate(&mut self, count: usize) {
        for _ in 0..count {
            let movie = self.rng.below(30) as i64;
            *self.ratings.entry(movie).or_default() += 1;
            let user = self.rng.below(1_000) as i64;
            self.append(RATINGS, user, &[movie.into(), 3.0.into()]);
        }
    }

    /// Now, for every instance.
    pub fn now(&self) -> Moment {
        Moment {
            wall: self.log.now() + self.clock,
            steady: self.log.now(),
        }
    }

    /// One step of somebody.
    pub fn step(&mut self) {
        if self.rng.chance(300) {
            self.log.advance(self.rng.below(40) as i64);
        }
        let at = self.rng.below(self.nodes.len());
        let now = self.log.now();
        let moment = self.now();
        let who = self.rng.below(3);
        let worker = self.rng.below(self.settings.workers);
        let node = &mut self.nodes[at];
        let Some(alive) = &mut node.alive else {
            if now >= node.starts_at {
                self.start(at);
            }
            return;
        };
        if self.frozen.contains(&at) {
            return;
        }
        match who {
            0 => drop(alive.agent.step(moment, Duration::ZERO)),
            1 => drop(alive.standbys.step(moment, Duration::ZERO)),
            _ => match alive.workers[worker].step(moment.wall, Duration::ZERO) {
                Activity::Busy | Activity::Idle { .. } => {}
                Activity::Stopped => panic!("a worker stopped that nobody told to"),
                Activity::Failed(_) if alive.access.is_dead() => {}
                Activity::Failed(reason) => panic!("the topology stopped: {reason}"),
            },
        }
        if alive.access.is_dead() {
            self.crashed(at);
        }
    }

    fn start(&mut self, at: usize) {
        let access = self.log.process();
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
        let cluster = Arc::new(Cluster::default());
        let name = &self.nodes[at].name;
        cluster.name(name, Some(format!("http://{name}")));
        cluster.show(&published);
        let plans = deployment.plans(&self.settings, &self.schemas).unwrap();
        let shared = Arc::new(WorkerShared {
            globals: Globals::new(&self.topology, &plans, self.settings.bad_record, &self.schemas).unwrap(),
            plans,
            deployment,
            cluster: cluster.clone(),
            gate: Gate::default(),
            log: access.clone(),
            stores: Arc::new(OpenStores::new(self.nodes[at].disk.clone())),
            settings: self.settings.clone(),
            published,
            instance: name.clone(),
            start_from: StartFrom::Earliest,
            outputs: OutputMode::default().into(),
            paused: false,
            stopwatch: || Duration::ZERO,
        });
        let now = self.now();
        self.nodes[at].alive = Some(Alive {
            agent: Agent::new(access.clone(), cluster, &self.settings),
            standbys: Standbys::new(shared.clone(), now),
            workers: (0..self.settings.workers)
                .map(|at| Worker::new(shared.clone(), at, now.wall))
                .collect(),
            looked: BTreeMap::new(),
            access,
            shared,
        });
    }

    fn crashed(&mut self, at: usize) {
        self.crashes += 1;
        let rng = &mut self.rng;
        self.nodes[at].disk.crash(|_, batches| rng.below(batches + 1));
        // only now: what it closes in good order is not written any more
        self.nodes[at].alive = None;
        self.nodes[at].starts_at = self.log.now() + self.rng.below(20_000) as i64;
    }

    /// The workers of an instance end where they are, as by a panic; the process goes on.
    pub fn panic(&mut self, at: usize) {
        if let Some(alive) = &mut self.nodes[at].alive {
            alive.workers.clear();
        }
    }

    /// Kills an instance; it does not come back by itself.
    pub fn kill(&mut self, at: usize) {
        if let Some(alive) = &self.nodes[at].alive {
            alive.access.kill();
            self.crashed(at);
        }
        self.nodes[at].starts_at = i64::MAX;
    }

    /// Stops an instance in good order; it comes back when `starts_at` says so.
    pub fn stop(&mut self, at: usize) {
        let Some(mut alive) = self.nodes[at].alive.take() else {
            return;
        };
        self.nodes[at].starts_at = i64::MAX;
        alive.agent.leave(self.now());
        alive.standbys.close(self.now());
        for worker in &mut alive.workers {
            worker.request_stop(self.now().wall, Stop::Restart);
        }
        for _ in 0..200 {
            self.log.advance(10);
            let now = self.now().wall;
            let mut workers = alive.workers.iter_mut();
            if workers.all(|worker| worker.step(now, Duration::ZERO) == Activity::Stopped) {
                return;
            }
        }
        panic!("a worker did not stop within two seconds");
    }

    /// Steps until something holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..MOST_STEPS {
            if holds(self) {
                return;
            }
            self.step();
        }
        panic!("waited in vain for {what}: {:?}", self.unsettled());
    }

    /// Lets time pass.
    pub fn run(&mut self, ms: i64) {
        let end = self.log.now() + ms;
        while self.log.now() < end {
            self.step();
        }
    }

    /// Without faults, until every input is processed and committed.
    #[track_caller]
    pub fn settle(&mut self) {
        self.log.set_faults(Faults::default());
        for _ in 0..MOST_STEPS / 100 {
            for _ in 0..100 {
                self.step();
            }
            if self.unsettled().is_empty() {
                return;
            }
        }
        panic!("it does not catch up: {:?}", self.unsettled());
    }

    /// Steps until the first nodes have the same number of tasks, give or take one, and all is processed.
    #[track_caller]
    pub fn balance(&mut self, nodes: usize) {
        self.settle();
        self.until("a balance", |rig| {
            let tasks = rig.deployment().tasks();
            let of = |at: usize| tasks.iter().filter(|task| rig.owners(**task) == [at]).count();
            (0..nodes).all(|at| of(at) >= tasks.len() / nodes)
        });
        self.settle();
    }

    /// As [`Self::settle`], while one instance stays away.
    #[track_caller]
    pub fn settle_without(&mut self, at: usize) {
        assert!(self.nodes[at].alive.is_none());
        self.settle();
    }

    pub fn unsettled(&self) -> Vec<String> {
        let Some(deployment) = &self.deployment else {
            return vec!["not deployed".into()];
        };
        let mut out = self.log.open_transactions();
        for task in deployment.tasks() {
            let running = self.owners(task).len();
            if running != 1 {
                out.push(format!("task {task} has {running} owners"));
            }
            for tp in deployment.inputs(task) {
                let end = self.log.process().admin().stable_end(&tp).unwrap();
                match self.committed(&tp) {
                    Some(offset) if offset == end => {}
                    other => out.push(format!("{tp}: {other:?} of {end}")),
                }
            }
        }
        out
    }

    /// The committed offset of an input.
    pub fn committed(&self, tp: &TopicPartition) -> Option<i64> {
        let group = self.deployment().names.group();
        match self.log.process().admin().committed(&group, std::slice::from_ref(tp)) {
            Ok(offsets) => offsets[0],
            Err(LogError::Retry(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn deployment(&self) -> &Arc<Deployment> {
        self.deployment.as_ref().unwrap()
    }

    pub fn alive(&self, at: usize) -> &Alive {
        self.nodes[at].alive.as_ref().unwrap()
    }

    /// The nodes at which a task runs.
    pub fn owners(&self, task: TaskId) -> Vec<usize> {
        let runs = |node: &Node| {
            let alive = node.alive.as_ref()?;
            let task = alive.shared.published.task(task)?;
            (task.status() == TaskStatus::Running).then_some(())
        };
        (0..self.nodes.len())
            .filter(|at| runs(&self.nodes[*at]).is_some())
            .collect()
    }

    /// The nodes that show a copy of a task.
    pub fn followers(&self, task: TaskId) -> Vec<usize> {
        let follows = |node: &Node| {
            let alive = node.alive.as_ref();
            alive.is_some_and(|alive| alive.shared.published.standby(task).is_some())
        };
        (0..self.nodes.len()).filter(|at| follows(&self.nodes[*at])).collect()
    }

    pub fn stateful(&self) -> Vec<TaskId> {
        let deployment = self.deployment();
        let tasks = deployment.tasks().into_iter();
        tasks
            .filter(|task| !deployment.subs[task.sub].changelogs.is_empty())
            .collect()
    }

    /// Changelog records that workers of a node have replayed since it started.
    pub fn restored(&self, at: usize) -> u64 {
        self.alive(at).shared.published.metrics.restored.load(SeqCst)
    }

    /// Records committed to the changelogs of a task.
    pub fn changelog_records(&self, task: TaskId) -> u64 {
        let logs = self.deployment().subs[task.sub].changelogs.iter();
        logs.map(|(_, target)| {
            let tp = TopicPartition::new(target.topic.clone(), task.partition);
            self.log.read(&tp, true).unwrap().len() as u64
        })
        .sum()
    }

    /// What the committed records of a task's changelogs amount to, up to the position of a snapshot, or all of them.
    fn replayed(&self, task: TaskId, position: Option<&dyn Snapshot>) -> Rows {
        let mut rows = Rows::new();
        for (store, target) in &self.deployment().subs[task.sub].changelogs {
            let tp = TopicPartition::new(target.topic.clone(), task.partition);
            let known = position.map(|snapshot| {
                let mut all = snapshot.position().changelogs.iter();
                all.find(|known| known.topic == tp.topic)
                    .map_or(0, |known| known.offset)
            });
            let until = known.unwrap_or(i64::MAX);
            for record in self.log.read(&tp, true).unwrap() {
                let key = [&store.to_be_bytes()[..], &record.key.unwrap()].concat();
                match record.value.filter(|_| record.offset < until) {
                    Some(value) => drop(rows.insert(key, value)),
                    None if record.offset < until => drop(rows.remove(&key)),
                    None => {}
                }
            }
        }
        rows
    }

    /// Every copy that is shown is what was committed up to its position; true where there is any.
    pub fn check_standbys(&mut self) -> bool {
        let mut any = false;
        let mut looked = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(alive) = &node.alive else { continue };
            for standby in alive.shared.published.standbys() {
                let snapshot = standby.reader().snapshot().unwrap();
                let offsets: Vec<i64> = (snapshot.position().changelogs.iter())
                    .map(|known| known.offset)
                    .collect();
                if let Some((before, known)) = alive.looked.get(&standby.id)
                    && before.upgrade().is_some_and(|before| Arc::ptr_eq(&before, &standby))
                {
                    let goes_on = known.iter().zip(&offsets).all(|(before, now)| before <= now);
                    assert!(goes_on, "{}: standby {} went back", node.name, standby.id);
                }
                looked.push((at, standby.id, Arc::downgrade(&standby), offsets));
                let expected = self.replayed(standby.id, Some(&*snapshot));
                assert_eq!(rows(&*snapshot), expected, "{}: standby {}", node.name, standby.id);
                any = true;
            }
        }
        for (at, task, shown, offsets) in looked {
            if let Some(alive) = &mut self.nodes[at].alive {
                alive.looked.insert(task, (shown, offsets));
            }
        }
        any
    }

    /// The stores of owners are what their changelogs say, and each rating was counted once.
    pub fn check_owners(&self) {
        let mut counted = 0;
        for task in self.stateful() {
            let owners = self.owners(task);
            assert_eq!(owners.len(), 1, "task {task} has one owner");
            let shown = self.alive(owners[0]).shared.published.task(task).unwrap();
            let snapshot = shown.reader().unwrap().snapshot().unwrap();
            assert_eq!(rows(&*snapshot), self.replayed(task, None), "task {task}");
            if task.sub == 1 {
                let averages = rows(&*snapshot).into_iter().filter(|(key, _)| key[..2] == [0, 0]);
                counted += averages.count();
            }
        }
        assert_eq!(counted, self.ratings.len(), "movies with ratings");
        let outputs = self.outputs();
        for (movie, ratings) in &self.ratings {
            assert_eq!(outputs.get(movie), Some(ratings), "ratings of movie {movie}");
        }
    }

    /// The number of ratings by movie, as the output topic says.
    fn outputs(&self) -> BTreeMap<i64, i64> {
        let access = self.log.process();
        let info = access.admin().topics(&[plan::RATED]).unwrap().pop().flatten().unwrap();
        let mut out = BTreeMap::new();
        for partition in 0..info.partitions {
            for record in self
                .log
                .read(&TopicPartition::new(plan::RATED, partition), true)
                .unwrap()
            {
                let row = millstream::types::decode_row(&record.value.unwrap()).unwrap();
                let millstream::types::Value::Bigint(n) = row[0] else {
                    panic!("{row:?}")
                };
                out.insert(i64::from_be_bytes(record.key.unwrap().try_into().unwrap()), n);
            }
        }
        out
    }

    pub fn has_store(&self, at: usize, task: TaskId) -> bool {
        self.nodes[at].disk.exists(&self.deployment().store_path(task))
    }
}

/// All rows of a snapshot.
pub fn rows(snapshot: &dyn Snapshot) -> Rows {
    let mut rows = Rows::new();
    let collect = &mut |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        true
    };
    snapshot
        .scan(&[], Some(&META_PREFIX.to_be_bytes()), false, collect)
        .unwrap();
    rows
}
