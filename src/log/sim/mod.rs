//! The simulated log: the traits of the log directly over [`super::core`], with virtual time and seeded faults.
//!
//! A [`SimLog`] is the cluster; [`SimLog::process`] gives the access of one process, which can be killed: nothing that it
//! holds works any more, and the cluster learns of it only by time-outs, as with a real crash. Faults are drawn from the seed
//! at every call: lost requests, lost answers (a commit whose fate is unknown), crashes before or after the effect. They can be planned, too: for a call of
//! a process ([`SimProcess::plan`]), or for a part of the cluster ([`SimLog::go_away`]). What really strikes is counted ([`SimLog::struck`]).
//!
//! *Is not* a model of Kafka: groups, transactions, fencing and compaction are the core's, the ones that the embedded broker serves.
//! *Invariant*: the same seed and the same calls give the same run; [`SimLog::trace`] is a hash of all of it.

mod admin;
mod faults;
mod fetcher;
mod membership;
mod outages;
mod producer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::core::{self, Core, CoreConfig, ErrorCode, Isolation, MemoryStorage, Record};
use super::{
    Admin, Fetcher, FetcherConfig, Log, LogError, LogResult, Membership, MembershipConfig, Producer,
    TransactionalProducer,
};
use crate::types::{Headers, Timestamp, TopicPartition};

use faults::Fate;
pub use faults::{CallFault, Faults, Rng};
pub use outages::Part;

/// Transactions that stay open are aborted after this, in milliseconds: what production asks for.
const TRANSACTION_TIMEOUT_MS: i64 = 10_000;
/// Largest batch of a topic that does not say: Kafka's default.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

struct State {
    core: Core,
    now: Timestamp,
    rng: Rng,
    faults: Faults,
    trace: u64,
    calls: u64,
    outages: outages::Outages,
    struck: BTreeMap<&'static str, u64>,
    processes: u64,
    /// See [`SimLog::unchecked`].
    unchecked: BTreeSet<String>,
}

/// The simulated cluster.
#[derive(Clone)]
pub struct SimLog {
    state: Arc<Mutex<State>>,
}

/// A record as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

impl SimLog {
    /// An empty cluster without faults, at the given time.
    ///
    /// # Errors
    /// When the core cannot open its empty storage.
    pub fn new(seed: u64, now: Timestamp) -> LogResult<Self> {
        let storage = Box::new(MemoryStorage::default());
        let (core, _) = Core::open(storage, CoreConfig::default(), now).map_err(|e| LogError::Fatal(e.to_string()))?;
        let state = State {
            core,
            now,
            rng: Rng::new(seed),
            faults: Faults::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            calls: 0,
            outages: outages::Outages::default(),
            struck: BTreeMap::new(),
            processes: 0,
            unchecked: BTreeSet::new(),
        };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// The access of one process.
    pub fn process(&self) -> Arc<SimProcess> {
        let number = {
            let mut state = self.state.lock();
            state.processes += 1;
            state.processes
        };
        let access = Access {
            number,
            state: self.state.clone(),
            dead: Arc::new(AtomicBool::new(false)),
            planned: Arc::default(),
        };
        Arc::new(SimProcess { access })
    }

    /// From now on these faults happen.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.state.lock().now
    }

    /// Lets time pass; sessions and transactions time out.
    pub fn advance(&self, ms: i64) {
        self.state.lock().pass(ms);
    }

    /// Adds what happens outside of the log to the trace: a store's write, say.
    pub fn note(&self, what: &str, number: i64) {
        self.state.lock().note(what, number, 0);
    }

    /// How often each kind of fault has struck, those of stores included ([`Self::strike`]).
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().struck.clone()
    }

    /// Counts a fault that struck outside of the log.
    pub fn strike(&self, kind: &'static str) {
        self.state.lock().strike(kind, 1);
    }

    /// A hash of every call and answer so far.
    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Transactional ids whose transaction is open.
    pub fn open_transactions(&self) -> Vec<String> {
        let state = self.state.lock();
        let open = state.core.transactions().filter(|(_, txn)| txn.is_open());
        open.map(|(id, _)| id.to_string()).collect()
    }

    /// Transactional ids that have committed records without offsets: no coordinator of a group has checked whose turn it was.
    pub fn unchecked(&self) -> BTreeSet<String> {
        self.state.lock().unchecked.clone()
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> LogResult<()> {
        let config: BTreeMap<_, _> = config.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut state = self.state.lock();
        state
            .core
            .create_topic(name, partitions, config)
            .map(|_| ())
            .map_err(|e| classify(e, name))
    }

    /// Raises a topic's partitions.
    pub fn add_partitions(&self, name: &str, count: i32) -> LogResult<()> {
        let mut state = self.state.lock();
        state
            .core
            .create_partitions(name, count, false)
            .map_err(|e| classify(e, name))
    }

    /// Appends a record, as any client would; returns its offset.
    pub fn append(
        &self,
        tp: &TopicPartition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
    ) -> LogResult<i64> {
        let record = Record::new(
            timestamp,
            key.map(Bytes::copy_from_slice),
            value.map(Bytes::copy_from_slice),
        );
        let mut state = self.state.lock();
        let now = state.now;
        let topic = tp.topic.to_string();
        state
            .core
            .append(&topic, tp.partition, vec![record], now)
            .map_err(|e| classify(e, &topic))
    }

    /// The end of what readers of committed records see of a partition.
    pub fn stable_end(&self, tp: &TopicPartition) -> LogResult<i64> {
        let state = self.state.lock();
        let id = state.core.partition_id(&tp.topic, tp.partition);
        let end = id.and_then(|id| state.core.partition(id).map(core::Partition::last_stable));
        end.map_err(|e| classify(e, &tp.topic))
    }

    /// All committed records of a topic, a partition after the other.
    pub fn read_all(&self, topic: &str) -> LogResult<Vec<SimRecord>> {
        let partitions = {
            let state = self.state.lock();
            let found = state.core.topic(topic).map_err(|e| classify(e, topic))?;
            found.partition_count()
        };
        let mut out = Vec::new();
        for partition in 0..partitions {
            out.extend(self.read(&TopicPartition::new(topic, partition), true)?);
        }
        Ok(out)
    }

    /// All records of a partition; committed ones only, or all.
    pub fn read(&self, tp: &TopicPartition, committed_only: bool) -> LogResult<Vec<SimRecord>> {
        let state = self.state.lock();
        let start = state
            .core
            .partition_id(&tp.topic, tp.partition)
            .and_then(|id| state.core.partition(id));
        let mut offset = start.map_err(|e| classify(e, &tp.topic))?.log_start();
        let mut out = Vec::new();
        loop {
            let isolation = isolation(committed_only);
            let read = state.core.read(&tp.topic, tp.partition, offset, 1 << 20, isolation);
            let read = read.map_err(|e| classify(e, &tp.topic))?;
            out.extend(read.records.iter().map(|r| SimRecord {
                offset: r.offset,
                timestamp: r.timestamp,
                key: r.key.as_deref().map(<[u8]>::to_vec),
                value: r.value.as_deref().map(<[u8]>::to_vec),
                headers: headers_of(r),
            }));
            if read.next_offset <= offset {
                return Ok(out);
            }
            offset = read.next_offset;
        }
    }
}

/// A process's access to the simulated cluster.
pub struct SimProcess {
    access: Access,
}

impl SimProcess {
    /// Kills the process: no call of it has any effect any more.
    pub fn kill(&self) {
        self.access.dead.store(true, Ordering::Relaxed);
    }

    /// Plans what happens to a call of this process: the first one after `calls` more, fetches not counted.
    pub fn plan(&self, calls: usize, fault: CallFault) {
        self.access.planned.lock().push((calls, fault));
    }

    /// Forgets what is planned and has not happened yet.
    pub fn forget_plans(&self) {
        self.access.planned.lock().clear();
    }

    /// Whether it was killed, by [`Self::kill`] or by a fault.
    pub fn is_dead(&self) -> bool {
        self.access.dead.load(Ordering::Relaxed)
    }
}

impl Log for SimProcess {
    fn admin(&self) -> &dyn Admin {
        &self.access
    }

    fn membership(&self, config: &MembershipConfig) -> LogResult<Box<dyn Membership>> {
        Ok(Box::new(membership::SimMembership::new(self.access.clone(), config)))
    }

    fn fetcher(&self, config: &FetcherConfig) -> LogResult<Box<dyn Fetcher>> {
        Ok(Box::new(fetcher::SimFetcher::new(self.access.clone(), config)))
    }

    fn transactional_producer(&self, transactional_id: &str) -> LogResult<Box<dyn TransactionalProducer>> {
        Ok(Box::new(producer::SimTransactional::new(
            self.access.clone(),
            transactional_id,
        )))
    }

    fn producer(&self) -> LogResult<Box<dyn Producer>> {
        Ok(Box::new(producer::SimProducer::new(self.access.clone())))
    }
}

/// What a call is to the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Reads records: a client tries again by itself.
    Fetch,
    /// Reads only: losing the request or the answer is the same.
    Read,
    /// Writes; the caller repeats it when the answer is lost.
    Write,
    /// The commit of a transaction: a lost answer leaves its fate unknown.
    Commit,
}

/// A process's handle, shared by everything it opens.
#[derive(Clone)]
struct Access {
    /// Tells processes apart in what is logged.
    number: u64,
    state: Arc<Mutex<State>>,
    dead: Arc<AtomicBool>,
    planned: Arc<Mutex<Vec<(usize, CallFault)>>>,
}

impl Access {
    /// The state without any fault, for what is no call to the cluster.
    fn peek(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A partition without leader gives nothing, and its reader waits without hearing of it.
    fn is_unavailable(&self, tp: &TopicPartition) -> bool {
        let part = Part::Partition(&tp.topic, tp.partition);
        self.state.lock().is_away(part)
    }

    /// What is planned for the next call.
    fn planned(&self, kind: Call) -> Option<CallFault> {
        if kind == Call::Fetch {
            return None;
        }
        let mut planned = self.planned.lock();
        let due = planned.iter().position(|(calls, _)| *calls == 0);
        planned
            .iter_mut()
            .for_each(|(calls, _)| *calls = calls.saturating_sub(1));
        due.map(|at| planned.remove(at).1)
    }

    /// One call to a part of the cluster: draws its fate, runs it, notes it in the trace.
    fn call<T>(
        &self,
        kind: Call,
        part: Part<'_>,
        (what, number): (&str, i64),
        run: impl FnOnce(&mut State) -> LogResult<T>,
    ) -> LogResult<T> {
        let dead = || LogError::Fatal("this process was killed".into());
        let unanswered = || match kind {
            Call::Commit => LogError::Unknown(lost(what)),
            Call::Fetch | Call::Read | Call::Write => LogError::Retry(lost(what)),
        };
        let mut state = self.state.lock();
        if self.dead.load(Ordering::Relaxed) {
            return Err(dead());
        }
        state.calls += 1;
        let drawn = state.draw(kind);
        let (fate, late_ms) = match self.planned(kind) {
            None => (drawn, 0),
            Some(planned) => {
                state.strike(planned.kind(), 1);
                planned.fate()
            }
        };
        state.note(what, number, fate as u64);
        if kind != Call::Fetch {
            tracing::debug!(process = self.number, what, number, ?fate, "call at {}", state.now);
        }
        if state.is_away(part) {
            return Err(unanswered());
        }
        match fate {
            Fate::CrashBefore => {
                self.dead.store(true, Ordering::Relaxed);
                return Err(dead());
            }
            Fate::LostRequest => return Err(unanswered()),
            Fate::LateRequest => state.pass(late_ms),
            Fate::Works | Fate::LostAnswer | Fate::LateAnswer | Fate::CrashAfter => {}
        }
        let answer = run(&mut state);
        state.core.take_outputs();
        state.note("=", i64::from(answer.is_ok()), 0);
        if let Err(error) = &answer {
            tracing::debug!(process = self.number, what, %error, "answer");
        }
        if matches!(answer, Err(LogError::Fenced(_))) {
            state.strike("fenced by a successor or a time-out", 1);
        }
        match fate {
            Fate::CrashAfter => {
                self.dead.store(true, Ordering::Relaxed);
                Err(dead())
            }
            Fate::LostAnswer => Err(unanswered()),
            Fate::LateAnswer => {
                state.pass(late_ms);
                answer
            }
            Fate::Works | Fate::LostRequest | Fate::LateRequest | Fate::CrashBefore => answer,
        }
    }
}

fn lost(what: &str) -> String {
    format!("{what}: no answer from the broker")
}

impl State {
    fn draw(&mut self, kind: Call) -> Fate {
        self.faults.draw(&mut self.rng, kind)
    }

    fn strike(&mut self, kind: &'static str, times: u64) {
        *self.struck.entry(kind).or_default() += times;
    }

    /// Time passes: sessions and transactions time out.
    fn pass(&mut self, ms: i64) {
        let open = |core: &Core| core.transactions().filter(|(_, txn)| txn.is_open()).count();
        let before = open(&self.core);
        self.now += ms;
        self.core.tick(self.now);
        self.core.take_outputs();
        let ended = before.saturating_sub(open(&self.core));
        if ended > 0 {
            self.strike("transaction time-out", ended as u64);
        }
    }

    /// FNV-1a over what happened.
    fn note(&mut self, what: &str, number: i64, extra: u64) {
        let bytes = what
            .bytes()
            .chain(number.to_le_bytes())
            .chain(extra.to_le_bytes())
            .chain(self.now.to_le_bytes());
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn isolation(committed_only: bool) -> Isolation {
    if committed_only {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    }
}

fn headers_of(record: &Record) -> Headers {
    if record.headers.is_empty() {
        return None;
    }
    let header = |(name, value): &(String, Option<Bytes>)| (name.as_str().into(), value.as_deref().map(Into::into));
    Some(Arc::new(record.headers.iter().map(header).collect()))
}

/// What a worker can do about an error of the core.
fn classify(error: ErrorCode, about: &str) -> LogError {
    let text = format!("{about}: {error}");
    match error {
        ErrorCode::ProducerFenced
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::FencedInstanceId => LogError::Fenced(text),
        // The group has moved on: the transaction is aborted, and the membership says what is lost.
        ErrorCode::IllegalGeneration
        | ErrorCode::UnknownMemberId
        | ErrorCode::FencedMemberEpoch
        | ErrorCode::StaleMemberEpoch
        | ErrorCode::InvalidTxnState
        | ErrorCode::OutOfOrderSequence => LogError::Abort(text),
        ErrorCode::RebalanceInProgress | ErrorCode::UnstableOffsetCommit | ErrorCode::UnreleasedInstanceId => {
            LogError::Retry(text)
        }
        _ => LogError::Fatal(text),
    }
}

/// The largest batch that a topic takes.
fn max_message_bytes(core: &core::Core, topic: &str) -> usize {
    let set = core.topic(topic).ok().and_then(|t| t.config.get("max.message.bytes"));
    set.and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests;
