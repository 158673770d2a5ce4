//! The global tables of a process: all their partitions in one store, read from the topics themselves.
//!
//! ```text
//!   closed --> open: store at its position, ends of all partitions --> loading --> loaded: read on for ever
//!      ^                                                                  |            |
//!      +------------------------- any failure, after a pause -------------+------------+
//! ```
//!
//! One store a process, since its tasks read it and none writes it: a copy a worker would take the space again and give nothing, and its workers take turns in reading
//! the topics, whoever comes by (`try_lock`), so that no thread is needed. No task runs before all is loaded to the ends that were there at the start.
//! There are no changelogs and no committed offsets: the topics are the log, and the position is in the store, in one batch with the rows; after a crash the tail
//! is read again. A store of another plan or another topic, or older than the tombstones, is built anew; until that is loaded, tasks see what they saw before.
//! Bad records go to the dead-letter topic at least once ([`super::letters`]).
//!
//! *Invariant*: once loaded, what tasks see never goes back, until the process ends; where a disk fails, they wait.

mod stale;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::task::{GlobalRows, InputRecord, TaskPlan};
use super::super::{BadRecord, fingerprint};
use super::WorkerShared;
use super::letters::Letters;
use super::trouble::{Backoff, Trouble};
use crate::formats::{FormatError, SchemaSource};
use crate::log::{Fetched, Fetcher, FetcherConfig, LogError};
use crate::state::{ChangelogPosition, SharedRows, Store, StorePosition};
use crate::topology::Topology;
use crate::types::{Timestamp, TopicPartition};
use stale::{is_same, stale};

/// Records taken from the fetcher at a time.
const STEP_RECORDS: usize = 4_000;
/// Rows are written in batches of about this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Where nothing was there, the topics are looked at again after this, in milliseconds.
const POLL_MS: i64 = 5;
/// Topics are looked at this often, in milliseconds: they may have more partitions, or be other ones.
const TOPICS_MS: i64 = 60_000;
/// A store that has nothing to read says this often, in milliseconds, that it has missed nothing: much less than tombstones are kept.
const CONFIRM_MS: i64 = 3_600_000;
/// A store that is still in use is asked for again after this, in milliseconds.
const STORE_RETRY_MS: i64 = 20;
/// Kafka's default of `delete.retention.ms`: how long a compacted topic keeps tombstones.
const DELETE_RETENTION_MS: i64 = 86_400_000;

/// See the module.
pub struct Globals {
    loader: Mutex<Loader>,
    loaded: AtomicBool,
    users: AtomicUsize,
}

struct Loader {
    rows: GlobalRows,
    letters: Letters,
    /// The topic of each global table.
    topics: Vec<Arc<str>>,
    fingerprint: String,
    open: Option<Open>,
    backoff: Backoff,
    next: Timestamp,
    next_topics: Timestamp,
    next_confirm: Timestamp,
    next_flush: Timestamp,
    /// When a worker came by last.
    seen: Timestamp,
    /// Why the topology has to stop: nobody reads on behind a record that stopped it, or the next start would not see it.
    failed: Option<String>,
    /// What was loaded at the start is on the disk.
    flushed: bool,
    /// The store has at least what readers see: they see each batch at once. A store that is being loaded has not.
    shows: bool,
}

struct Open {
    path: String,
    store: Box<dyn Store>,
    fetcher: Option<Box<dyn Fetcher>>,
    ids: Vec<ChangelogPosition>,
    parts: Vec<Part>,
    unflushed: bool,
}

/// A partition of a global table's topic.
struct Part {
    table: usize,
    tp: TopicPartition,
    /// The next offset that is not in the store.
    next: i64,
    /// The end when the store was opened.
    target: i64,
}

impl Globals {
    /// The global tables of a topology, for tasks of these plans.
    ///
    /// # Errors
    /// When a format cannot hold its columns, or the registry is away.
    pub fn new(
        topology: &Topology,
        plans: &[Arc<TaskPlan>],
        bad_record: BadRecord,
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Arc<Self>, FormatError> {
        let shown = plans
            .first()
            .map_or_else(|| Arc::new(SharedRows::default()), |plan| plan.globals().clone());
        Ok(Arc::new(Self {
            loaded: AtomicBool::new(topology.globals.is_empty()),
            users: AtomicUsize::new(0),
            loader: Mutex::new(Loader {
                rows: GlobalRows::new(topology, bad_record, schemas, shown)?,
                letters: Letters::default(),
                topics: topology.global_topics(),
                fingerprint: fingerprint::of_globals(topology),
                open: None,
                backoff: Backoff::default(),
                next: 0,
                next_topics: 0,
                next_confirm: 0,
                next_flush: 0,
                seen: 0,
                failed: None,
                flushed: false,
                shows: false,
            }),
        }))
    }

    /// Whether tasks may run.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(SeqCst)
    }

    /// How far a partition of a global table has been read; `None` while something of it is still to be written.
    pub fn position(&self, tp: &TopicPartition) -> Option<i64> {
        let loader = self.loader.lock();
        if loader.rows.pending_bytes() > 0 {
            return None;
        }
        let parts = loader.open.iter().flat_map(|open| &open.parts);
        parts.filter(|part| part.tp == *tp).map(|part| part.next).min()
    }

    /// Reads on, unless another worker is at it; true when something was done.
    pub(super) fn advance(&self, shared: &WorkerShared, now: Timestamp) -> Result<bool, Trouble> {
        let Some(mut loader) = self.loader.try_lock() else {
            return Ok(false);
        };
        loader.follow(now);
        if let Some(reason) = &loader.failed {
            return Err(Trouble::Stop(reason.clone()));
        }
        if loader.topics.is_empty() || now < loader.next {
            return Ok(false);
        }
        match loader.step(shared, now) {
            Ok(busy) => {
                loader.backoff.reset();
                if !busy {
                    loader.next = loader.next.max(now + POLL_MS);
                }
                if loader.shows && !self.loaded.swap(true, SeqCst) {
                    tracing::info!(
                        topology = &*shared.deployment.topology.name,
                        "the global tables are loaded"
                    );
                }
                Ok(busy)
            }
            Err(Trouble::Stop(reason)) => {
                loader.close(shared, now);
                Err(Trouble::Stop(loader.failed.insert(reason).clone()))
            }
            Err(trouble) => {
                loader.next = now + loader.backoff.next_ms();
                if loader.backoff.is_notable() {
                    tracing::warn!(?trouble, "the global tables cannot be read on; they are opened anew");
                }
                if let Trouble::Store(error) = &trouble {
                    // nothing can be looked up in it before it is read again
                    self.loaded.store(false, SeqCst);
                    let path = loader.drop_store(shared);
                    if let Some(path) = path.filter(|_| error.is_corrupt()) {
                        shared.rebuild_damaged(&path, error)?;
                    }
                } else {
                    loader.close(shared, now);
                }
                Ok(false)
            }
        }
    }

    /// A worker begins to use them.
    pub(super) fn join(shared: &Arc<WorkerShared>) -> GlobalsUser {
        shared.globals.users.fetch_add(1, SeqCst);
        GlobalsUser(shared.clone())
    }
}

/// A worker that uses the global tables; when the last one ends, their store is closed.
pub(super) struct GlobalsUser(Arc<WorkerShared>);

impl Drop for GlobalsUser {
    fn drop(&mut self) {
        let globals = &self.0.globals;
        if globals.users.fetch_sub(1, SeqCst) == 1 {
            let mut loader = globals.loader.lock();
            globals.loaded.store(loader.topics.is_empty(), SeqCst);
            loader.hide();
            let now = loader.seen;
            loader.close(&self.0, now);
        }
    }
}

impl Loader {
    /// A clock that is put back takes what is waited for along.
    fn follow(&mut self, now: Timestamp) {
        let back = (self.seen - now).max(0);
        if back > 0 {
            for time in [
                &mut self.next,
                &mut self.next_topics,
                &mut self.next_confirm,
                &mut self.next_flush,
            ] {
                *time -= back;
            }
        }
        self.seen = now;
    }

    fn is_at_ends(&self) -> bool {
        let at_end = |open: &Open| open.fetcher.is_some() && open.parts.iter().all(|part| part.next >= part.target);
        self.rows.pending_bytes() == 0 && self.open.as_ref().is_some_and(at_end)
    }

    fn step(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<bool, Trouble> {
        if self.open.is_none() && !self.open_store(shared, now)? {
            return Ok(false);
        }
        if self.open.as_ref().is_some_and(|open| open.fetcher.is_none()) {
            self.open_fetcher(shared, now)?;
            return Ok(true);
        }
        if now >= self.next_topics {
            self.next_topics = now + TOPICS_MS;
            self.look_at_topics(shared, now)?;
        }
        let moved = self.read(shared, now)?;
        if self.is_at_ends() {
            if !std::mem::replace(&mut self.shows, true) {
                self.show()?;
            }
            if now >= self.next_confirm {
                self.next_confirm = now + CONFIRM_MS;
                self.confirm(shared, now)?;
            }
        }
        self.flush(shared, now)?;
        Ok(moved)
    }

    /// Shows what the store holds, unless it holds less than what is seen already.
    fn show(&self) -> Result<(), Trouble> {
        match self.open.as_ref().filter(|_| self.shows) {
            Some(open) => Ok(self.rows.show(open.store.as_ref())?),
            None => Ok(()),
        }
    }

    /// Nothing is to be seen before all is loaded again.
    fn hide(&mut self) {
        self.shows = false;
        self.rows.reset(true);
    }

    /// Where the topics have nothing more, the store has missed nothing by now: its position says so, although no record moves it.
    fn confirm(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<(), Trouble> {
        for part in self.open.iter().flat_map(|open| &open.parts) {
            if shared.log.admin().stable_end(&part.tp)? > part.next {
                return Ok(());
            }
        }
        self.apply(shared, now)
    }

    /// Flushes the store now and then, and once all is loaded, so that a crash leaves a small tail to read again.
    fn flush(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<(), Trouble> {
        let at_ends = self.is_at_ends();
        let Some(open) = self.open.as_mut().filter(|open| open.unflushed) else {
            return Ok(());
        };
        let first = at_ends && !std::mem::replace(&mut self.flushed, at_ends);
        if first || now >= self.next_flush {
            open.store.flush_soon()?;
            open.unflushed = false;
            self.next_flush = now + shared.settings.store_flush_interval.as_millis() as i64;
        }
        Ok(())
    }

    /// False while the store is in use elsewhere.
    fn open_store(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<bool, Trouble> {
        let path = shared.deployment.names.globals();
        let Some(store) = shared.take_store(&path)? else {
            self.next = now + STORE_RETRY_MS;
            return Ok(false);
        };
        self.open = Some(Open {
            path,
            store,
            fetcher: None,
            ids: Vec::new(),
            parts: Vec::new(),
            unflushed: false,
        });
        Ok(true)
    }

    /// Compares the store with the topics, and reads on where it stands.
    fn open_fetcher(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<(), Trouble> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let admin = shared.log.admin();
        let names: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        let infos = admin.topics(&names)?;
        open.ids.clear();
        open.parts.clear();
        let mut lows = Vec::new();
        for (table, (topic, info)) in self.topics.iter().zip(infos).enumerate() {
            let Some(info) = info else {
                return Err(Trouble::Wait(format!("topic {topic} of a global table does not exist")));
            };
            open.ids.push(ChangelogPosition {
                topic: topic.clone(),
                topic_id: info.id.clone(),
                offset: 0,
            });
            for partition in 0..info.partitions {
                let tp = TopicPartition::new(topic.clone(), partition);
                let (low, _) = admin.watermarks(&tp)?;
                let target = admin.stable_end(&tp)?;
                lows.push(low);
                open.parts.push(Part {
                    table,
                    tp,
                    next: low,
                    target,
                });
            }
        }
        let configured = admin.topic_setting(&names, "delete.retention.ms")?;
        let configured = configured.iter().flatten().filter_map(|ms| ms.parse().ok());
        let retention_ms = configured.fold(DELETE_RETENTION_MS, i64::min);
        let stored = open.store.position()?;
        match stored
            .as_ref()
            .map(|stored| stale(stored, open, &lows, (&self.fingerprint, now, retention_ms)))
        {
            Some(None) => {
                let stored = stored.unwrap_or_default();
                for part in &mut open.parts {
                    part.next = stored.input(&part.tp.topic, part.tp.partition).unwrap_or(part.next);
                }
            }
            Some(Some(reason)) => {
                tracing::warn!(path = open.path, reason, "the global tables are read anew");
                // snapshots of what it held stay as they are
                open.store.clear()?;
                self.shows = false;
            }
            None => {}
        }
        let mut fetcher = shared.log.fetcher(&FetcherConfig {
            committed_only: true,
            buffer_bytes: shared.settings.fetch_bytes,
        })?;
        for (slot, part) in open.parts.iter().enumerate() {
            fetcher.assign(slot as u32, &part.tp, part.next)?;
        }
        open.fetcher = Some(fetcher);
        self.next_topics = now + TOPICS_MS;
        self.rows.reset(false);
        Ok(())
    }

    /// A topic that is another one by now, or has more partitions than are read, is opened anew.
    fn look_at_topics(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<(), Trouble> {
        let names: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        let infos = shared.log.admin().topics(&names)?;
        let there: usize = infos.iter().flatten().map(|info| info.partitions.max(0) as usize).sum();
        let as_known = |open: &Open| {
            let mut pairs = infos.iter().zip(&open.ids);
            let same = pairs.all(|(info, known)| info.as_ref().is_some_and(|info| is_same(&info.id, &known.topic_id)));
            same && open.parts.len() == there
        };
        if self.open.as_ref().is_some_and(|open| !as_known(open)) {
            self.close(shared, now);
        }
        Ok(())
    }

    /// Reads what is there, and applies it where there is enough of it.
    fn read(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<bool, Trouble> {
        let (given, moved) = match self.letters.are_under_way() {
            true => (0, false),
            false => self.take_in()?,
        };
        let waits = moved || self.rows.pending_bytes() > 0;
        if waits && (given < STEP_RECORDS || self.rows.pending_bytes() >= BATCH_BYTES) {
            self.apply(shared, now)?;
        }
        Ok(moved)
    }

    /// Takes in what the fetcher has; how many records that was, and whether anything has moved.
    fn take_in(&mut self) -> Result<(usize, bool), Trouble> {
        let (rows, Some(open)) = (&mut self.rows, &mut self.open) else {
            return Ok((0, false));
        };
        let Open { fetcher, parts, .. } = open;
        let Some(fetcher) = fetcher else { return Ok((0, false)) };
        let mut failed = None;
        let given = fetcher.poll(STEP_RECORDS, Duration::ZERO, &mut |fetched| {
            let Fetched::Record(record) = fetched else { return };
            let Some(part) = parts.get(record.slot as usize).filter(|_| failed.is_none()) else {
                return;
            };
            let input = InputRecord {
                topic: &part.tp.topic,
                partition: part.tp.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers,
            };
            failed = rows.take(part.table, &input).err();
        });
        let given = given.map_err(|error| match error {
            // whether its records or the whole topic are gone is seen when it is opened again
            LogError::OutOfRange { .. } => Trouble::Recover(error.to_string()),
            other => other.into(),
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let mut moved = given > 0;
        for (slot, part) in parts.iter_mut().enumerate() {
            // also past markers, behind which there is nothing of ours
            let position = fetcher.position(slot as u32)?.unwrap_or(part.next).max(part.next);
            moved |= position > part.next && part.next < part.target;
            part.next = position;
        }
        Ok((given, moved))
    }

    /// Writes what was taken in: dead letters first, then rows with the position.
    fn apply(&mut self, shared: &WorkerShared, now: Timestamp) -> Result<(), Trouble> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if !self.letters.write(&mut self.rows, shared)? {
            return Ok(());
        }
        let position = StorePosition {
            changelogs: open.ids.clone(),
            inputs: (open.parts.iter())
                .map(|part| (part.tp.topic.clone(), part.tp.partition, part.next))
                .collect(),
            applied_at: now,
            fingerprint: self.fingerprint.clone(),
        };
        self.rows.apply(open.store.as_mut(), &position)?;
        open.unflushed = true;
        self.show()
    }

    /// Gives the store back; what was not applied is read again.
    fn close(&mut self, shared: &WorkerShared, now: Timestamp) {
        self.letters.reset();
        self.rows.reset(false);
        if let Some(mut open) = self.open.take() {
            if open.unflushed
                && let Err(error) = open.store.flush()
            {
                tracing::warn!(path = open.path, %error, "the global tables were not flushed; the next start reads more again");
            }
            shared.stores.put(&open.path, open.store, now);
        }
    }

    /// Closes the store itself; its path.
    fn drop_store(&mut self, shared: &WorkerShared) -> Option<String> {
        self.letters.reset();
        self.hide();
        let Open { path, store, .. } = self.open.take()?;
        drop(store);
        shared.stores.forget(&path);
        Some(path)
    }
}
