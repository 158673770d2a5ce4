//! A worker: the state machine that drives the tasks which the group gives it, over one membership, two fetchers and one transactional producer.
//!
//! [`Worker::step`] does what can be done now and never sleeps: it says until when there is nothing to do. Threads (`engine::threads`) and the
//! simulator call it alike. What a step does, in order: hear what the group says; take the commit under way further; take tasks over; fetch and
//! process; begin a commit where one is due; give revoked tasks back after their last commit.
//!
//! *Is not* the place of decisions about rows (the task's) or of deployment. *Invariants*: one recovery path for every failure: what is
//! uncommitted is dropped, tasks are taken over again from their stored position; a revoked task is released only after its commit.

mod clock;
mod commit;
mod data;
mod globals;
mod letters;
mod life;
mod outputs;
mod recover;
mod restore;
mod router;
mod slots;
mod snapshot;
mod standby;
mod takeover;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::deployment::Deployment;
use super::queue::QueueLimits;
use super::task::{Reason, TaskPlan};
use super::threads::Stop;
use super::{Cluster, EngineSettings, Moment, OpenStores, PublishedTopology, StartFrom, TaskId, TopologyStatus};
use crate::log::{Fetcher, FetcherConfig, Log, Membership, MembershipConfig, MembershipEvent, TransactionalProducer};
use crate::types::{Timestamp, TopicPartition};

use clock::Clock;
pub use globals::Globals;
use life::{Life, TaskLife};
pub use outputs::{OutputMode, OutputSwitches};
pub(super) use restore::{Begin, Changelog, begin};
pub use router::GENERATION_HEADER;
use router::Router;
use slots::{Input, Routes, TaskSlot};
pub use standby::Standbys;
use trouble::{Backoff, Trouble};

/// The membership is polled at least this often, in milliseconds, whatever else there is to wait for.
const MEMBERSHIP_MS: i64 = 100;
/// Longest wait for a producer's initialisation in one call.
const INIT_WAIT: Duration = Duration::from_millis(500);
/// A stop that has not come to its end after this is cut short, in milliseconds: recovery makes up for it.
const STOP_MS: i64 = 1_500;
/// Between two looks at the group after joining it, while it has given no task, for so long in milliseconds: it may have none for this worker.
const JOINING: Duration = Duration::from_millis(5);
const JOINING_MS: i64 = 10_000;

/// What the workers of a topology's generation share.
pub struct WorkerShared {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Plans of its sub-topologies, by index.
    pub plans: Vec<Arc<TaskPlan>>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Open stores of this process.
    pub stores: Arc<OpenStores>,
    /// Settings.
    pub settings: EngineSettings,
    /// What is shown to others.
    pub published: Arc<PublishedTopology>,
    /// The instance's id.
    pub instance: String,
    /// Where inputs without committed offsets begin.
    pub start_from: StartFrom,
    /// How outputs are written.
    pub outputs: OutputSwitches,
    /// Tasks are restored and shown, and nothing is processed: the topology was paused before this process started.
    pub paused: bool,
    /// What is known of the other instances.
    pub cluster: Arc<Cluster>,
    /// Whether workers may join the group.
    pub gate: Gate,
    /// The global tables, which all tasks of the process read.
    pub globals: Arc<Globals>,
    /// Time since some moment, for measuring how long things take; results do not depend on it.
    pub stopwatch: fn() -> Duration,
}

/// Holds workers back from joining the group while copies of the state are brought near; open unless somebody closes it.
#[derive(Debug, Default)]
pub struct Gate(AtomicBool);

impl Gate {
    /// Whether workers may join.
    pub fn is_open(&self) -> bool {
        !self.0.load(SeqCst)
    }

    /// Holds back those that have not joined yet, or lets them go on.
    pub fn set_closed(&self, closed: bool) {
        self.0.store(closed, SeqCst);
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something was done: step again.
    Busy,
    /// Nothing to do before this time, unless records arrive.
    Idle {
        /// Milliseconds since the epoch.
        until: Timestamp,
    },
    /// It has stopped, as it was told.
    Stopped,
    /// The topology has to stop: why, and what the user can do.
    Failed(String),
}

/// What a worker has open while it works.
struct Clients {
    membership: Box<dyn Membership>,
    data: Box<dyn Fetcher>,
    restore: Box<dyn Fetcher>,
    producer: Box<dyn TransactionalProducer>,
}

/// A record that makes sending fail.
struct Condemned {
    tp: TopicPartition,
    offset: i64,
    kind: Reason,
    reason: String,
    /// Sending failed again after it was condemned.
    again: bool,
}

/// One worker. See the module.
pub struct Worker {
    shared: Arc<WorkerShared>,
    index: usize,
    /// All times below are steady ones.
    clock: Clock,
    life: Life,
    failed: Option<String>,
    clients: Option<Clients>,
    /// The producer is initialised and the targets are resolved.
    router: Option<Router>,
    tasks: Vec<Option<TaskSlot>>,
    data_routes: Routes,
    restore_routes: Routes,
    commit: Option<commit::Commit>,
    in_transaction: bool,
    backoff: Backoff,
    retry_at: Timestamp,
    takeover_backoff: Backoff,
    takeover_at: Timestamp,
    wake: Timestamp,
    dirty_since: Option<Timestamp>,
    moved_since: Option<Timestamp>,
    next_idle_commit: Timestamp,
    /// Until then the group may be about to give the first tasks.
    joined_by: Timestamp,
    next_store_flush: Timestamp,
    buffer_bytes: usize,
    /// Sending failed: records before these offsets are processed one a transaction.
    isolated: BTreeMap<TopicPartition, i64>,
    /// At most one a partition.
    condemned: Vec<Condemned>,
    /// Transactions in a row that failed while records were sent.
    send_failures: u32,
    purge: BTreeMap<TopicPartition, i64>,
    next_purge: Timestamp,
    stop_at: Option<Timestamp>,
    keep_readers: bool,
    /// Static members give up their places in the group.
    leaves: bool,
    told_waiting: bool,
    _globals: globals::GlobalsUser,
}

/// Fetched records of changelogs, at least, in bytes: nothing else goes on then, and a small buffer makes each fetch wait for the last one.
const RESTORE_BYTES: usize = 8 << 20;

impl Worker {
    /// A worker that has done nothing yet; `index` tells the workers of an instance apart.
    pub fn new(shared: Arc<WorkerShared>, index: usize, now: Timestamp) -> Self {
        let settings = &shared.settings;
        let ms = |duration: Duration| duration.as_millis() as i64;
        let mut clock = Clock::default();
        let now = clock.steady(now);
        Self {
            index,
            clock,
            life: Life::Opening,
            failed: None,
            clients: None,
            router: None,
            tasks: Vec::new(),
            data_routes: Routes::default(),
            restore_routes: Routes::default(),
            commit: None,
            in_transaction: false,
            backoff: Backoff::default(),
            retry_at: 0,
            takeover_backoff: Backoff::default(),
            takeover_at: 0,
            wake: Timestamp::MAX,
            dirty_since: None,
            moved_since: None,
            next_idle_commit: now + ms(settings.idle_commit_interval),
            joined_by: now,
            next_store_flush: now + ms(settings.store_flush_interval),
            buffer_bytes: settings.buffer_bytes / settings.workers.max(1),
            isolated: BTreeMap::new(),
            condemned: Vec::new(),
            send_failures: 0,
            purge: BTreeMap::new(),
            next_purge: 0,
            stop_at: None,
            keep_readers: false,
            leaves: false,
            told_waiting: false,
            _globals: Globals::join(&shared),
            shared,
        }
    }

    /// Asks it to commit, close and stop within two seconds.
    pub fn request_stop(&mut self, now: Timestamp, stop: Stop) {
        if self.stop_at.is_none() {
            self.stop_at = Some(self.clock.steady(now) + STOP_MS);
            self.keep_readers = stop.keeps_readers();
            self.leaves = stop.leaves();
        }
    }

    /// Does what can be done now, waiting for records up to `wait` where there is nothing else.
    pub fn step(&mut self, now: Timestamp, wait: Duration) -> Activity {
        let now = self.clock.steady(now);
        self.wake = Timestamp::MAX;
        self.tasks.iter_mut().flatten().for_each(|slot| slot.hide_stale(now));
        if self.life != Life::Stopped {
            self.advance_stop(now);
        }
        if self.life == Life::Stopped {
            return self.failed.clone().map_or(Activity::Stopped, Activity::Failed);
        }
        let result = if now < self.retry_at {
            self.keep_membership()
        } else {
            self.work(now, wait)
        };
        match result {
            Ok(true) => Activity::Busy,
            Ok(false) => Activity::Idle {
                until: self.clock.wall(self.next_wake(now)),
            },
            Err(trouble) => {
                self.react(trouble, now);
                match self.life {
                    Life::Stopped => self.failed.clone().map_or(Activity::Stopped, Activity::Failed),
                    Life::Opening | Life::Running | Life::Recovering | Life::Stopping => Activity::Idle {
                        until: self.clock.wall(self.next_wake(now)),
                    },
                }
            }
        }
    }

    fn work(&mut self, now: Timestamp, wait: Duration) -> Result<bool, Trouble> {
        match self.life {
            Life::Opening => return self.open(now),
            Life::Recovering => {
                // An abort may take as long as a network is cut; the group goes on meanwhile, and what it gives to others is not shown here.
                self.hear_group()?;
                return self.finish_recovery(now);
            }
            Life::Running | Life::Stopping | Life::Stopped => {}
        }
        let mut busy = self.hear_group()?;
        busy |= self.shared.globals.advance(&self.shared, self.clock.wall(now))?;
        if self.commit.is_some() {
            busy |= self.advance_commit(
                now,
                if busy {
                    Duration::ZERO
                } else {
                    wait.min(Duration::from_millis(5))
                },
            )?;
        }
        if self.life == Life::Running {
            let running = self.tasks.iter().flatten().any(|slot| slot.life == TaskLife::Running);
            busy |= self.take_over_beside(now, if running || busy { Duration::ZERO } else { wait })?;
            if self.may_process() {
                let wait = if busy || self.commit.is_some() {
                    Duration::ZERO
                } else {
                    self.patience(now, wait)
                };
                busy |= self.advance_data(now, wait)?;
            }
        }
        if self.commit.is_none() {
            self.begin_commit(now);
            busy |= self.advance_commit(now, Duration::ZERO)?;
        }
        self.release_revoked(now)?;
        self.purge_repartitions(now);
        self.flush_stores(now)?;
        self.backoff.reset();
        self.tell_running();
        Ok(busy)
    }

    /// Takes tasks over; what they have to wait for (a dead instance's open transaction) does not hold the running ones up.
    fn take_over_beside(&mut self, now: Timestamp, wait: Duration) -> Result<bool, Trouble> {
        if now < self.takeover_at {
            self.wake_at(self.takeover_at);
            return Ok(false);
        }
        match self.advance_takeovers(self.clock.wall(now), wait) {
            Err(Trouble::Wait(text)) => {
                self.takeover_at = now + self.takeover_backoff.next_ms();
                if self.takeover_backoff.is_notable() {
                    tracing::info!(worker = self.index, reason = text, "a task waits to be taken over");
                }
                Ok(false)
            }
            Ok(busy) => {
                self.takeover_backoff.reset();
                Ok(busy)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether records may be taken in: not beyond the memory bound while a commit is under way, nor behind a record on probation.
    fn may_process(&self) -> bool {
        if self.shared.paused || !self.shared.globals.is_loaded() {
            return false;
        }
        if self.is_isolating() && (self.commit.is_some() || self.is_dirty()) {
            return false;
        }
        if self.commit.is_none() {
            return !self.is_closing();
        }
        let tasks = self.tasks.iter().flatten().filter_map(|slot| slot.task.as_ref());
        !self.is_closing() && tasks.map(|task| task.buffered_bytes()).sum::<usize>() < self.buffer_bytes
    }

    /// How long a fetch may wait: not beyond the next commit, and hardly while the group is about to give the first tasks, which it does not hear.
    fn patience(&self, now: Timestamp, wait: Duration) -> Duration {
        let due = Duration::from_millis((self.next_wake(now) - now).max(0) as u64);
        let is_joining = now < self.joined_by && self.tasks.iter().flatten().next().is_none();
        wait.min(due).min(if is_joining { JOINING } else { Duration::MAX })
    }

    /// Makes the clients, initialises the producer (once, before any offset is read) and joins the group.
    fn open(&mut self, now: Timestamp) -> Result<bool, Trouble> {
        let shared = self.shared.clone();
        if !shared.gate.is_open() {
            return Ok(false);
        }
        let names = &shared.deployment.names;
        let member = names.member(&shared.instance, self.index);
        // A place that is taken again brings no rebalance, and nobody would get tasks that are new: it is another place where there are more.
        let place = format!("{member}.{}", shared.deployment.tasks().len());
        if self.clients.is_none() {
            let fetcher = |buffer_bytes| {
                shared.log.fetcher(&FetcherConfig {
                    committed_only: true,
                    buffer_bytes,
                })
            };
            let fetch_bytes = shared.settings.fetch_bytes;
            self.clients = Some(Clients {
                producer: shared.log.transactional_producer(&member)?,
                data: fetcher(fetch_bytes)?,
                restore: fetcher(fetch_bytes.max(RESTORE_BYTES))?,
                membership: shared.log.membership(&MembershipConfig {
                    group: names.group(),
                    tasks_topic: names.tasks_topic(),
                    instance_id: Some(place),
                })?,
            });
        }
        let Some(clients) = &mut self.clients else {
            return Ok(false);
        };
        clients.producer.init(INIT_WAIT)?;
        self.router = Some(Router::new(&shared.deployment, &mut *clients.producer)?);
        self.in_transaction = false;
        self.life.become_(Life::Running);
        self.next_idle_commit = now + shared.settings.idle_commit_interval.as_millis() as i64;
        self.joined_by = now + JOINING_MS;
        Ok(true)
    }

    /// Follows what the group says; true when something changed.
    fn hear_group(&mut self) -> Result<bool, Trouble> {
        let Some(clients) = &mut self.clients else {
            return Ok(false);
        };
        let events = clients.membership.poll()?;
        let mut lost = false;
        let changed = !events.is_empty();
        for event in events {
            match event {
                MembershipEvent::Assigned(tasks) => tasks.into_iter().for_each(|task| self.add_task(task)),
                MembershipEvent::Revoked(tasks) => {
                    for slot in self
                        .tasks
                        .iter_mut()
                        .flatten()
                        .filter(|slot| tasks.contains(&slot.index))
                    {
                        slot.life.become_(TaskLife::Closing);
                    }
                }
                MembershipEvent::Lost(tasks) => {
                    lost = true;
                    self.drop_tasks(&tasks)?;
                }
            }
        }
        if lost {
            return Err(Trouble::Recover(
                "tasks were lost: the group has gone on without this member".into(),
            ));
        }
        Ok(changed)
    }

    /// While waiting after a failure, the membership is kept alive; what it says is heard too.
    fn keep_membership(&mut self) -> Result<bool, Trouble> {
        match self.life {
            Life::Running | Life::Recovering | Life::Stopping => self.hear_group().map(|_| false),
            Life::Opening | Life::Stopped => Ok(false),
        }
    }

    fn add_task(&mut self, index: i32) {
        let deployment = self.shared.deployment.clone();
        let Some(id) = deployment.task(index) else {
            tracing::debug!(
                index,
                "the tasks topic has more partitions than there are tasks; the partition is ignored"
            );
            return;
        };
        if self.tasks.iter().flatten().any(|slot| slot.index == index) {
            return;
        }
        let inputs = deployment.subs[id.sub].inputs.iter().map(|input| Input {
            tp: TopicPartition::new(input.topic.clone(), id.partition),
            sources: input.sources.clone(),
            internal: input.internal,
            is_stream: input.is_stream,
            slot: None,
            next: 0,
            committed: -1,
            at_end: false,
            stalled_until: None,
        });
        let limits = QueueLimits {
            records: self.shared.settings.queue_records,
            bytes: self.shared.settings.queue_bytes,
        };
        let slot = TaskSlot::new(id, index, inputs.collect(), limits);
        self.shared.published.insert_task(slot.published.clone());
        match self.tasks.iter_mut().find(|slot| slot.is_none()) {
            Some(free) => *free = Some(slot),
            None => self.tasks.push(Some(slot)),
        }
    }

    fn is_isolating(&self) -> bool {
        !self.isolated.is_empty()
    }

    fn is_closing(&self) -> bool {
        self.tasks.iter().flatten().any(|slot| slot.life == TaskLife::Closing)
    }

    /// Whether a commit would change anything.
    fn is_dirty(&self) -> bool {
        self.tasks.iter().flatten().any(TaskSlot::is_dirty)
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.wake = self.wake.min(time);
    }

    fn next_wake(&self, now: Timestamp) -> Timestamp {
        let interval_ms = self.shared.settings.commit_interval.as_millis() as i64;
        let commit = self.dirty_since.map_or(Timestamp::MAX, |since| since + interval_ms);
        let next = self.wake.min(commit).min(now + MEMBERSHIP_MS).max(self.retry_at);
        next.max(now + 1)
            .min(self.stop_at.unwrap_or(Timestamp::MAX).max(now + 1))
    }

    fn tell_waiting(&mut self, reason: &str) {
        if !self.told_waiting {
            tracing::warn!(topology = &*self.shared.deployment.topology.name, reason, "waiting");
        }
        self.told_waiting = true;
        self.shared
            .published
            .set_status(TopologyStatus::Waiting(reason.to_string()));
    }

    fn tell_running(&mut self) {
        if self.commit.as_ref().is_some_and(commit::Commit::is_waited_for) {
            return;
        }
        if self
            .tasks
            .iter()
            .flatten()
            .any(|slot| slot.inputs.iter().any(|input| input.stalled_until.is_some()))
        {
            return;
        }
        if self.told_waiting {
            tracing::info!(topology = &*self.shared.deployment.topology.name, "goes on");
        }
        if std::mem::take(&mut self.told_waiting) || self.shared.published.status() == TopologyStatus::Starting {
            self.shared.published.set_status(match self.shared.paused {
                true => TopologyStatus::Paused,
                false => TopologyStatus::Running,
            });
        }
    }
}
