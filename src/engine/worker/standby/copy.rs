//! One copy: a store that is lent to the standby, and the changelogs that it follows.
//!
//! Rows gather and are written with the changelogs' positions in one batch, where possible at the ends of all its changelogs, so that a reader mostly sees what one of
//! the owner's commits left. *Invariant*: the position in the store never passes a record that is not in it.

use std::sync::Arc;

use super::super::super::stores::Lent;
use super::super::restore::{self, Begin, Changelog};
use super::super::trouble::Trouble;
use super::super::{Moment, TaskId, WorkerShared};
use crate::engine::PublishedStandby;
use crate::state::{ChangelogPosition, Store, StoreError, StorePosition, StoreResult, Write};
use crate::topology::StoreId;
use crate::types::{Timestamp, TopicPartition};

/// Rows wait for the ends of changelogs no longer than this, in milliseconds.
const APPLY_MS: i64 = 500;
/// A store where nothing changes says after this that it is whole still, in milliseconds: else it would be taken for too old at last.
const AGE_MS: i64 = 3_600_000;
/// What cannot be followed at all (its state is of another plan) is looked at again after this, in milliseconds.
const REFUSED_RETRY_MS: i64 = 3_600_000;

/// A changelog partition that is followed.
pub(super) struct Part {
    pub store: StoreId,
    pub tp: TopicPartition,
    pub topic_id: String,
    /// The fetcher's number while it is read.
    pub slot: Option<u32>,
    /// Everything before it was taken in.
    pub next: i64,
    /// Its end was reached, and nothing came since.
    pub at_end: bool,
}

/// How things stood at some moment: a copy that has reached the ends is whole as of then.
pub(super) struct Mark {
    pub at: Moment,
    /// The ends of the changelogs, uncommitted records included.
    pub ends: Vec<i64>,
    /// The group's offsets, read before the ends; `None`: they could not be had.
    pub committed: Option<Vec<(TopicPartition, i64)>>,
}

/// See the module.
pub(super) struct Copy {
    pub id: TaskId,
    pub path: String,
    /// Nobody but the warm-up wants it.
    pub for_warm_up: bool,
    pub parts: Vec<Part>,
    /// It is not opened before, by the steady clock.
    pub retry_at: Timestamp,
    store: Option<Lent>,
    position: StorePosition,
    /// As of when the store says that it is whole.
    aged_at: Timestamp,
    pending: Vec<Write>,
    pending_bytes: usize,
    /// By the steady clock.
    pending_since: Timestamp,
    mark: Option<Mark>,
    shown: Option<Arc<PublishedStandby>>,
    unflushed: bool,
    /// It was whole at some moment since it was begun.
    whole: bool,
}

impl Copy {
    pub fn new(id: TaskId, path: String, for_warm_up: bool) -> Self {
        Self {
            id,
            path,
            for_warm_up,
            parts: Vec::new(),
            retry_at: Timestamp::MIN,
            store: None,
            position: StorePosition::default(),
            aged_at: Timestamp::MIN,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_since: 0,
            mark: None,
            shown: None,
            unflushed: false,
            whole: false,
        }
    }

    /// Whether its changelogs are being read.
    pub fn is_read(&self) -> bool {
        self.parts.iter().any(|part| part.slot.is_some())
    }

    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether a worker has taken the store away.
    pub fn was_taken(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.lock().is_none())
    }

    /// Runs something over the store; `None`: a worker has taken it away.
    fn with_store<R>(&self, run: impl FnOnce(&mut dyn Store) -> StoreResult<R>) -> StoreResult<Option<R>> {
        let Some(lent) = &self.store else { return Ok(None) };
        match lent.lock().as_mut() {
            Some(store) => run(&mut **store).map(Some),
            None => Ok(None),
        }
    }

    /// Opens the store, compares it with its changelogs, and decides where they are read on. False: it cannot be had now.
    pub fn open(&mut self, shared: &WorkerShared, now: Moment) -> Result<bool, Trouble> {
        self.reset();
        if self.store.is_none() {
            self.store = match shared.stores.lend(&self.path) {
                Err(error) if error.is_corrupt() => {
                    shared.rebuild_damaged(&self.path, &error)?;
                    shared.stores.lend(&self.path)?
                }
                lent => lent?,
            };
        }
        let Some(stored) = self.with_store(|store| store.position())? else {
            return Ok(false);
        };
        let sub = &shared.deployment.subs[self.id.sub];
        if stored
            .as_ref()
            .is_some_and(|stored| stored.fingerprint != sub.fingerprint)
        {
            tracing::warn!(task = %self.id, "the state here was built by another plan; the task is not followed");
            self.retry_at = now.steady + REFUSED_RETRY_MS;
            return Ok(true);
        }
        let admin = shared.log.admin();
        let retention_ms = shared.settings.delete_retention.as_millis() as i64;
        let mut parts = Vec::with_capacity(sub.changelogs.len());
        let mut rebuild = None;
        for (store, target) in &sub.changelogs {
            let tp = TopicPartition::new(target.topic.clone(), self.id.partition);
            let (low, end) = restore::watermarks(admin, &tp)?;
            let (tp_ref, id) = (&tp, target.id.as_str());
            let log = Changelog {
                tp: tp_ref,
                id,
                low,
                end,
            };
            let next = match stored
                .as_ref()
                .map(|stored| restore::begin(stored, &log, now.wall, retention_ms))
            {
                Some(Begin::At(offset)) => offset,
                Some(Begin::Rebuild(reason)) => {
                    rebuild.get_or_insert(reason);
                    low
                }
                None => low,
            };
            parts.push((
                low,
                Part {
                    store: *store,
                    topic_id: target.id.clone(),
                    tp,
                    slot: None,
                    next,
                    at_end: false,
                },
            ));
        }
        let again = rebuild.is_some();
        if let Some(reason) = rebuild {
            tracing::info!(task = %self.id, reason, "the copy is built anew from its changelogs");
            shared.published.remove_standby(self.id);
            (self.shown, self.whole) = (None, false);
            if self.with_store(|store| store.clear())?.is_none() {
                return Ok(false);
            }
        }
        // from nothing, it takes in whatever is deleted from now on
        self.position = stored.filter(|_| !again).unwrap_or(StorePosition {
            applied_at: now.wall,
            ..StorePosition::default()
        });
        self.aged_at = self.position.applied_at;
        let from = |(low, part): (i64, Part)| Part {
            next: if again { low } else { part.next },
            ..part
        };
        self.parts = parts.into_iter().map(from).collect();
        Ok(true)
    }

    /// Takes a changelog record in.
    pub fn take(&mut self, part: usize, key: Option<&[u8]>, value: Option<&[u8]>, steady: Timestamp) {
        let part = &mut self.parts[part];
        part.at_end = false;
        // our changelogs have keys; a record without one was put there by somebody else
        let Some(key) = key else { return };
        if self.pending.is_empty() {
            self.pending_since = steady;
        }
        let full_key = [&part.store.to_be_bytes()[..], key].concat();
        self.pending_bytes += full_key.len() + value.map_or(0, <[u8]>::len) + size_of::<Write>();
        self.pending.push((full_key, value.map(<[u8]>::to_vec)));
    }

    /// Whether rows are to be written now.
    pub fn is_due(&self, batch_bytes: usize, steady: Timestamp) -> bool {
        let waited = steady - self.pending_since;
        let at_ends = self.parts.iter().all(|part| part.at_end);
        !self.pending.is_empty() && (at_ends || self.pending_bytes >= batch_bytes || waited >= APPLY_MS)
    }

    /// Writes what was taken in, with how far it goes. As of when it is whole is not known by that: see [`Self::note_whole`].
    pub fn apply(&mut self, shared: &WorkerShared) -> StoreResult<()> {
        self.write(&shared.deployment.subs[self.id.sub].fingerprint)
    }

    fn write(&mut self, fingerprint: &str) -> StoreResult<()> {
        let changelogs = self.parts.iter().map(|part| ChangelogPosition {
            topic: part.tp.topic.clone(),
            topic_id: part.topic_id.clone(),
            offset: part.next,
        });
        self.position.changelogs = changelogs.collect();
        fingerprint.clone_into(&mut self.position.fingerprint);
        self.pending_bytes = 0;
        let mut rows = std::mem::take(&mut self.pending);
        let position = &self.position;
        // a worker that has taken the store reads the rows itself
        self.with_store(|store| store.apply(&mut rows.drain(..), position))?;
        self.pending = rows;
        self.unflushed = true;
        self.aged_at = self.position.applied_at;
        Ok(())
    }

    /// Notes how things stand on the broker.
    pub fn look(&mut self, mark: Mark) {
        if let Some(shown) = &self.shown {
            let behind = self.parts.iter().zip(&mark.ends);
            shown.set_lag(behind.map(|(part, end)| (end - part.next).max(0).unsigned_abs()).sum());
        }
        self.mark.get_or_insert(mark);
    }

    /// How far it is behind, as far as is known.
    pub fn lag(&self) -> Option<u64> {
        let mark = self.mark.as_ref()?;
        let behind = self.parts.iter().zip(&mark.ends);
        Some(behind.map(|(part, end)| (end - part.next).max(0).unsigned_abs()).sum())
    }

    /// Where it has reached the ends that were looked at: when that was. It is whole as of then, and its store says so.
    fn reach(&mut self, fingerprint: &str) -> StoreResult<Option<Moment>> {
        let reached = |mark: &Mark| self.parts.iter().zip(&mark.ends).all(|(part, end)| part.next >= *end);
        if !self.is_read() || !self.pending.is_empty() || !self.mark.as_ref().is_some_and(reached) {
            return Ok(None);
        }
        let Some(mark) = self.mark.take() else { return Ok(None) };
        let before = self.position.inputs.clone();
        if let Some(committed) = mark.committed {
            restore::set_inputs(&mut self.position, committed.iter().map(|(tp, offset)| (tp, *offset)));
        }
        self.position.applied_at = mark.at.wall;
        // put back, the clock was wrong before
        let aged = !(0..AGE_MS).contains(&mark.at.wall.saturating_sub(self.aged_at));
        if self.position.inputs != before || aged {
            self.write(fingerprint)?;
        }
        Ok(Some(mark.at))
    }

    /// Where it has reached the ends that were looked at, it is whole as of that moment: readers may know.
    pub fn note_whole(&mut self, shared: &WorkerShared) -> StoreResult<()> {
        let Some(whole_at) = self.reach(&shared.deployment.subs[self.id.sub].fingerprint)? else {
            return Ok(());
        };
        self.whole = true;
        if self.shown.is_none()
            && let Some(reader) = self.with_store(|store| Ok(store.reader()))?
        {
            let shown = Arc::new(PublishedStandby::new(self.id, reader));
            shown.set_lag(0);
            shared.published.insert_standby(shown.clone());
            tracing::info!(topology = &*shared.deployment.topology.name, task = %self.id, "a standby is whole");
            self.shown = Some(shown);
        }
        if let Some(shown) = &self.shown {
            shown.set_whole_at(whole_at);
        }
        Ok(())
    }

    pub fn flush_soon(&mut self) -> StoreResult<()> {
        if std::mem::take(&mut self.unflushed) {
            self.with_store(|store| store.flush_soon())?;
        }
        Ok(())
    }

    /// What was not applied is forgotten; it is read again from the position of the store.
    pub fn reset(&mut self) {
        self.parts.clear();
        self.pending.clear();
        self.pending_bytes = 0;
        self.mark = None;
    }

    /// Closes a store that has failed.
    pub fn drop_store(&mut self, shared: &WorkerShared, error: &StoreError) {
        self.reset();
        (self.shown, self.whole) = (None, false);
        let Some(lent) = self.store.take() else { return };
        if lent.lock().take().is_none() {
            return;
        }
        shared.stores.forget(&self.path);
        if error.is_corrupt()
            && let Err(trouble) = shared.rebuild_damaged(&self.path, error)
        {
            tracing::error!(path = self.path, ?trouble, "the damaged store cannot be deleted");
        }
    }

    /// Gives the store back. Rows that were taken in go with it, unless a worker waits for the store.
    pub fn close(mut self, shared: &WorkerShared, wall: Timestamp) {
        shared.published.remove_standby(self.id);
        let wanted = shared.published.task(self.id).is_some();
        if !wanted && !self.pending.is_empty() && self.apply(shared).is_err() {
            self.pending.clear();
        }
        let Some(lent) = self.store.take() else { return };
        if !wanted && self.unflushed {
            let flushed = lent.lock().as_mut().map(|store| store.flush());
            if let Some(Err(error)) = flushed {
                tracing::debug!(task = %self.id, %error, "a standby was not flushed; the next start follows more");
            }
        }
        shared.stores.give_back(&self.path, &lent, wall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::OpenStores;
    use crate::state::memory::MemoryStores;

    const BEGUN: Timestamp = 1_000;

    /// Followed from nothing since [`BEGUN`], its store open.
    fn copy(stores: &OpenStores) -> Copy {
        let id = TaskId { sub: 0, partition: 0 };
        let mut copy = Copy::new(id, "t/0_0".into(), false);
        copy.store = stores.lend("t/0_0").unwrap();
        copy.parts.push(Part {
            store: 0,
            tp: TopicPartition::new("log", 0),
            topic_id: "id".into(),
            slot: Some(0),
            next: 0,
            at_end: false,
        });
        copy.position.applied_at = BEGUN;
        copy.aged_at = BEGUN;
        copy
    }

    fn stored(copy: &Copy) -> StorePosition {
        copy.with_store(|store| store.position()).unwrap().flatten().unwrap()
    }

    fn mark(at: Timestamp, end: i64) -> Mark {
        Mark {
            at: Moment::of(at),
            ends: vec![end],
            committed: None,
        }
    }

    #[test]
    fn a_copy_that_is_not_whole_stays_as_old_as_it_was() {
        let stores = OpenStores::new(Arc::new(MemoryStores::new()));
        let mut copy = copy(&stores);
        copy.take(0, Some(b"a"), Some(b"1"), BEGUN + 10 * AGE_MS);
        copy.parts[0].next = 5;
        copy.look(mark(BEGUN + 10 * AGE_MS, 9));
        copy.write("plan").unwrap();
        assert_eq!(copy.reach("plan"), Ok(None));
        let position = stored(&copy);
        assert_eq!((position.changelogs[0].offset, position.applied_at), (5, BEGUN));
        // it reaches the end that was looked at, however much later
        copy.parts[0].next = 9;
        assert_eq!(copy.reach("plan"), Ok(Some(Moment::of(BEGUN + 10 * AGE_MS))));
        let position = stored(&copy);
        assert_eq!(
            (position.changelogs[0].offset, position.applied_at),
            (9, BEGUN + 10 * AGE_MS)
        );
    }

    #[test]
    fn a_copy_that_is_followed_does_not_grow_old_where_nothing_changes() {
        let stores = OpenStores::new(Arc::new(MemoryStores::new()));
        let mut copy = copy(&stores);
        copy.take(0, Some(b"a"), Some(b"1"), BEGUN);
        copy.parts[0].next = 5;
        copy.write("plan").unwrap();
        for (at, said) in [
            (BEGUN + AGE_MS - 1, BEGUN),
            (BEGUN + AGE_MS, BEGUN + AGE_MS),
            (BEGUN + AGE_MS + 9, BEGUN + AGE_MS),
            (BEGUN + 3 * AGE_MS, BEGUN + 3 * AGE_MS),
            // the clock was wrong, and is put right
            (BEGUN + AGE_MS, BEGUN + AGE_MS),
        ] {
            copy.look(mark(at, 5));
            assert_eq!(copy.reach("plan"), Ok(Some(Moment::of(at))));
            assert_eq!(stored(&copy).applied_at, said, "at {at}");
        }
    }
}
