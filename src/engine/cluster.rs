//! What the instances of an application know of each other: which tasks run where, who follows them as a standby, under which URL each is reached.
//!
//! Each instance says so in the compacted topic `<app>.instances` ([`agent::Agent`]), and keeps here what the others have said. *Is not* an agreement: what is
//! known may be some moments old, and nothing exclusive may follow from it; tasks are assigned by Kafka alone. *Invariants*: no lock is held while rows are read;
//! the age of what others say is counted by this instance's steady clock from its arrival, whatever is done to any clock. Only of what stood in the topic before
//! this instance came the times of day say how old it is at least, and nobody lives by that for longer than some moments ([`agent`]).

pub mod agent;
pub mod placement;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::{Moment, PublishedTopology, TaskId};
use crate::topology::SubId;
use crate::types::Timestamp;

/// An instance says how it fares this often, in milliseconds, also when nothing has changed.
pub const HEARTBEAT_MS: i64 = 3_000;
/// An instance that was not heard of for so long is not live, in milliseconds: three heartbeats may be lost.
pub const LIVE_MS: i64 = 10_000;

/// What one instance says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Its id, see [`super::Instance`].
    pub instance: String,
    /// Where other instances reach its HTTP, such as `http://10.0.0.7:8080`; `None`: nowhere.
    #[serde(default)]
    pub url: Option<String>,
    /// When it said so, by its own clock, in milliseconds since the epoch.
    pub written_at: Timestamp,
    /// What it runs: a record a generation.
    #[serde(default)]
    pub topologies: Vec<TopologyRecord>,
}

/// One generation of a topology at an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyRecord {
    /// The topology.
    pub topology: String,
    /// The generation.
    pub generation: u32,
    /// The tasks that it owns and whose rows it can show.
    #[serde(default)]
    pub tasks: Vec<TaskRecord>,
    /// The tasks that it follows.
    #[serde(default)]
    pub standbys: Vec<StandbyRecord>,
}

/// A task that an instance owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its sub-topology.
    pub sub: SubId,
    /// Its partition.
    pub partition: i32,
}

/// A task that an instance follows without owning it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyRecord {
    /// Its sub-topology.
    pub sub: SubId,
    /// Its partition.
    pub partition: i32,
    /// Changelog records (offsets, to be exact) that it is behind.
    pub lag: u64,
    /// The age of the committed state that it showed when this was said, in milliseconds; [`i64::MAX`] where it is not known yet.
    pub behind_ms: i64,
}

impl InstanceRecord {
    /// Reads what an instance has said. It comes from outside: whoever may write to the topic may say anything.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let said: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if said.written_at < 0 {
            return Err(format!(
                "it was written {} ms before 1970",
                said.written_at.unsigned_abs()
            ));
        }
        let mut standbys = said.topologies.iter().flat_map(|topology| &topology.standbys);
        match standbys.find(|standby| standby.behind_ms < 0) {
            Some(standby) => Err(format!("a copy that is {} ms behind", standby.behind_ms)),
            None => Ok(said),
        }
    }
}

impl TaskRecord {
    /// The task.
    pub fn id(&self) -> TaskId {
        task_id(self.sub, self.partition)
    }
}

impl StandbyRecord {
    /// The task.
    pub fn id(&self) -> TaskId {
        task_id(self.sub, self.partition)
    }
}

fn task_id(sub: SubId, partition: i32) -> TaskId {
    TaskId { sub, partition }
}

/// Where somebody else can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub instance: String,
    /// Its URL, without a slash at the end.
    pub url: String,
    /// When it was heard of last, by this instance's steady clock.
    pub seen: Timestamp,
}

/// Another instance, as far as is known.
struct Member {
    record: InstanceRecord,
    /// By the steady clock.
    seen: Timestamp,
    /// It has said that it stops.
    left: bool,
    /// The tasks that it owns, with the number of the claim: of two that claim a task, the one with the larger number has it.
    claims: BTreeMap<(usize, TaskId), i64>,
}

impl Member {
    fn is_live(&self, now: Moment) -> bool {
        !self.left && self.was_seen_within(LIVE_MS, now)
    }

    fn was_seen_within(&self, ms: i64, now: Moment) -> bool {
        now.steady.saturating_sub(self.seen) <= ms
    }

    fn topologies<'a>(
        &'a self,
        topology: &'a str,
        generation: u32,
    ) -> impl Iterator<Item = (usize, &'a TopologyRecord)> {
        let all = self.record.topologies.iter().enumerate();
        all.filter(move |(_, known)| known.topology == topology && known.generation == generation)
    }

    fn claim(&self, topology: &str, generation: u32, task: TaskId) -> Option<i64> {
        let claims = self.topologies(topology, generation);
        claims.filter_map(|(at, _)| self.claims.get(&(at, task)).copied()).max()
    }

    fn standby(&self, topology: &str, generation: u32, task: TaskId) -> Option<StandbyRecord> {
        let mut followed = self.topologies(topology, generation).flat_map(|(_, t)| &t.standbys);
        followed.find(|standby| standby.id() == task).copied()
    }

    fn peer(&self) -> Option<Peer> {
        Some(Peer {
            instance: self.record.instance.clone(),
            url: self.record.url.as_deref()?.trim_end_matches('/').to_owned(),
            seen: self.seen,
        })
    }
}

/// What is known of the others.
#[derive(Clone, Default)]
struct Table {
    members: BTreeMap<String, Arc<Member>>,
    /// Claims that were heard as they began: their numbers go up from 1.
    claims: i64,
    /// Claims of which that is not known: their numbers go down from -1.
    doubted: i64,
}

impl Table {
    /// The number of a claim, which has `known` so far. Who was silent, or is not known, may have slept while the task went elsewhere: it comes behind whoever
    /// is live and claims the task, until that claim ends. A newcomer that has taken the task from an instance that died waits no longer than that is live.
    fn number(
        &mut self,
        (topology, generation, task): (&str, u32, TaskId),
        known: Option<i64>,
        is_heard: bool,
        now: Moment,
    ) -> i64 {
        let mut live = self.members.values().filter(|member| member.is_live(now));
        if !is_heard && live.any(|member| member.claim(topology, generation, task).is_some()) {
            self.doubted -= 1;
            return self.doubted;
        }
        known.unwrap_or_else(|| {
            self.claims += 1;
            self.claims
        })
    }
}

/// What is known of all live instances; cheap to clone an `Arc` of it.
#[derive(Default)]
pub struct Cluster {
    instance: OnceLock<String>,
    url: OnceLock<Option<String>>,
    table: RwLock<Arc<Table>>,
    local: Mutex<Vec<Weak<PublishedTopology>>>,
    /// The topic was read to its end.
    known: AtomicBool,
}

impl Cluster {
    /// One without others: for tests, and before anything was heard.
    pub fn alone(instance: &str) -> Arc<Self> {
        let cluster = Self::default();
        cluster.name(instance, None);
        Arc::new(cluster)
    }

    /// Says who this instance is, unless that was said.
    pub fn name(&self, instance: &str, url: Option<String>) {
        self.instance.get_or_init(|| instance.to_owned());
        self.url.get_or_init(|| url);
    }

    /// This instance.
    pub fn instance(&self) -> &str {
        self.instance.get().map_or("", String::as_str)
    }

    /// Where others reach this instance.
    pub fn url(&self) -> Option<&str> {
        self.url.get()?.as_deref()
    }

    /// The other instance that owns a task and can be asked, if one is known to.
    pub fn owner(&self, topology: &str, generation: u32, task: TaskId, now: Moment) -> Option<Peer> {
        self.owning(topology, generation, task, now)?.peer()
    }

    /// The other instances that follow a task, those with the least lag first.
    pub fn standbys(&self, topology: &str, generation: u32, task: TaskId, now: Moment) -> Vec<(Peer, StandbyRecord)> {
        let table = self.table();
        let live = table.members.values().filter(|member| member.is_live(now));
        let mut found: Vec<_> = live
            .filter_map(|member| Some((member.peer()?, member.standby(topology, generation, task)?)))
            .collect();
        found.sort_by_key(|(peer, standby)| (standby.lag, standby.behind_ms, std::cmp::Reverse(peer.seen)));
        found
    }

    /// All live instances, by id; this one among them.
    pub fn instances(&self, now: Moment) -> Vec<InstanceRecord> {
        let table = self.table();
        let live = table.members.values().filter(|member| member.is_live(now));
        let mut all: Vec<InstanceRecord> = live.map(|member| member.record.clone()).collect();
        all.push(self.own(now));
        all.sort_by(|a, b| a.instance.cmp(&b.instance));
        all
    }

    /// Takes in what another instance has said, at this moment.
    pub fn learn(&self, record: InstanceRecord, now: Moment) {
        if record.instance == self.instance() {
            return;
        }
        let mut table = self.table.write();
        let table = Arc::make_mut(&mut table);
        let before = table.members.get(&record.instance).cloned();
        let is_heard = before.as_ref().is_some_and(|before| before.is_live(now));
        let mut claims = BTreeMap::new();
        for (at, topology) in record.topologies.iter().enumerate() {
            for task in &topology.tasks {
                let known = before
                    .as_ref()
                    .and_then(|before| before.claim(&topology.topology, topology.generation, task.id()));
                let of = (&*topology.topology, topology.generation, task.id());
                let claim = table.number(of, known, is_heard, now);
                claims.insert((at, task.id()), claim);
            }
        }
        // who is away for long has no place any more
        table
            .members
            .retain(|_, member| member.was_seen_within(2 * placement::PLACE_MS, now));
        let seen = before.map_or(now.steady, |before| before.seen.max(now.steady));
        let member = Member {
            seen,
            left: false,
            claims,
            record,
        };
        table.members.insert(member.record.instance.clone(), Arc::new(member));
    }

    /// An instance has said that it stops.
    pub fn forget(&self, instance: &str) {
        let mut table = self.table.write();
        if let Some(member) = table.members.get(instance).cloned() {
            let gone = Member {
                record: member.record.clone(),
                seen: member.seen,
                left: true,
                claims: BTreeMap::new(),
            };
            Arc::make_mut(&mut table)
                .members
                .insert(instance.to_owned(), Arc::new(gone));
        }
    }

    /// Whether all that others had said was read once.
    pub fn is_known(&self) -> bool {
        self.known.load(SeqCst)
    }

    pub(super) fn set_known(&self) {
        self.known.store(true, SeqCst);
    }

    /// A generation that this instance runs: what it shows is said to the others as long as it lives.
    pub fn show(&self, published: &Arc<PublishedTopology>) {
        let mut local = self.local.lock();
        local.retain(|known| known.strong_count() > 0);
        local.push(Arc::downgrade(published));
    }

    /// What this instance has to say of itself.
    pub fn own(&self, now: Moment) -> InstanceRecord {
        let running: Vec<Arc<PublishedTopology>> = self.local.lock().iter().filter_map(Weak::upgrade).collect();
        let mut topologies: BTreeMap<(String, u32), TopologyRecord> = BTreeMap::new();
        for published in running {
            let name = published.topology.name.to_string();
            let record = topologies
                .entry((name.clone(), published.generation))
                .or_insert_with(|| TopologyRecord {
                    topology: name,
                    generation: published.generation,
                    ..TopologyRecord::default()
                });
            let shown = published.tasks().into_iter().filter(|task| task.reader().is_some());
            record.tasks.extend(shown.map(|task| TaskRecord {
                sub: task.id.sub,
                partition: task.id.partition,
            }));
            let followed = published.standbys().into_iter();
            record.standbys.extend(followed.map(|standby| StandbyRecord {
                sub: standby.id.sub,
                partition: standby.id.partition,
                lag: standby.lag(),
                behind_ms: standby.behind_ms(now),
            }));
        }
        InstanceRecord {
            instance: self.instance().to_owned(),
            url: self.url().map(str::to_owned),
            written_at: now.wall,
            topologies: topologies.into_values().collect(),
        }
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().clone()
    }

    fn owning(&self, topology: &str, generation: u32, task: TaskId, now: Moment) -> Option<Arc<Member>> {
        let table = self.table();
        let live = table.members.values().filter(|member| member.is_live(now));
        let claimed = live.filter_map(|member| Some((member.claim(topology, generation, task)?, member)));
        claimed
            .max_by_key(|(claim, _)| *claim)
            .map(|(_, member)| member.clone())
    }
}
