//! Standbys: copies of tasks that other instances own, kept near by following their changelogs, so that a take-over replays only the tail.
//!
//! ```text
//!            chosen (cluster::placement)           at its position                 whole once
//!   no copy ---------------------------> opening ------------------> following --------------> shown to readers
//!      ^                                    ^                            |                          |
//!      |                                    +---- the log fails ---------+--------------------------+
//!      +-- not chosen any more, or the task is this instance's now: its worker takes the store away at once
//! ```
//! One a generation of a topology, with one fetcher for all its copies; a synchronous state machine like the worker, stepped by a thread of its own or by the simulator.
//! It also warms a new instance up ([`warm_up`]). *Is not* in the way of data: it never stops a topology, and a worker that wants a store has it without asking.
//! *Invariants*: only committed records reach a copy, in one batch with the changelogs' positions; a copy is shown once it was whole.

mod copy;
mod warm_up;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::cluster::placement::Role;
use super::slots::{Route, Routes};
use super::trouble::{Backoff, Trouble};
use super::{Activity, Moment, RESTORE_BYTES, TaskId, WorkerShared};
use crate::log::{Fetched, Fetcher, FetcherConfig, LogError, LogResult};
use crate::state::StoreError;
use crate::types::{Timestamp, TopicPartition};
use copy::{Copy, Mark};
use warm_up::WarmUp;

/// Who follows what is decided anew this often, in milliseconds.
const PLAN_MS: i64 = 100;
/// The ends of changelogs are looked at this often, in milliseconds; less often where there are many of them.
const CHECK_MS: i64 = 1_000;
/// For each changelog that is followed, the ends are looked at later by this, in milliseconds.
const CHECK_PER_PART_MS: i64 = 5;
/// Changelog records taken from the fetcher at a time.
const STEP_RECORDS: usize = 4_000;
/// Rows are written in batches of about this many bytes, over all copies.
const BATCH_BYTES: usize = 8 << 20;
/// However many copies there are, a batch of one is at least so large.
const LEAST_BATCH_BYTES: usize = 64 << 10;
/// Copies opened in a step: opening a database takes its time.
const OPEN_IN_STEP: usize = 4;
/// A store that could not be had is asked for again after this, in milliseconds.
const STORE_RETRY_MS: i64 = 200;
/// What failed for one copy is tried again after this, in milliseconds.
const FAILED_RETRY_MS: i64 = 2_000;

/// See the module.
pub struct Standbys {
    shared: Arc<WorkerShared>,
    copies: Vec<Option<Copy>>,
    routes: Routes,
    fetcher: Option<Box<dyn Fetcher>>,
    warm_up: WarmUp,
    /// Tasks that were owned or followed here lately: their stores are near.
    near: BTreeSet<TaskId>,
    backoff: Backoff,
    /// Steady times, this one and those below.
    retry_at: Timestamp,
    next_plan: Timestamp,
    next_check: Timestamp,
    next_flush: Timestamp,
}

/// Nothing to do until a steady time; activities say the time of day.
fn idle(until: Timestamp, now: Moment) -> Activity {
    Activity::Idle {
        until: now.wall.saturating_add(until.saturating_sub(now.steady)),
    }
}

impl Standbys {
    /// One that follows nothing yet. Closes the gate for workers where a warm-up may be due.
    pub fn new(shared: Arc<WorkerShared>, now: Moment) -> Self {
        let warm_up = WarmUp::new(&shared, now);
        shared.gate.set_closed(warm_up.holds_back());
        Self {
            copies: Vec::new(),
            routes: Routes::default(),
            fetcher: None,
            warm_up,
            near: BTreeSet::new(),
            backoff: Backoff::default(),
            retry_at: Timestamp::MIN,
            next_plan: Timestamp::MIN,
            next_check: Timestamp::MIN,
            next_flush: now.steady + shared.settings.store_flush_interval.as_millis() as i64,
            shared,
        }
    }

    /// Does what can be done now, waiting for records up to `wait` where there is nothing else. [`Activity::Stopped`]: there is nothing to follow, nor will there be.
    pub fn step(&mut self, now: Moment, wait: Duration) -> Activity {
        self.let_go(now);
        if now.steady < self.retry_at {
            return idle(self.retry_at, now);
        }
        match self.work(now, wait) {
            Ok(busy) => {
                self.backoff.reset();
                let over = matches!(self.warm_up, WarmUp::Over) && self.shared.settings.standbys == 0;
                match (busy, over && self.copies.iter().all(Option::is_none)) {
                    (_, true) => Activity::Stopped,
                    (true, false) => Activity::Busy,
                    (false, false) => idle(self.next_plan, now),
                }
            }
            Err(trouble) => {
                self.retry_at = now.steady + self.backoff.next_ms();
                if self.backoff.is_notable() {
                    let topology = &*self.shared.deployment.topology.name;
                    tracing::info!(topology, ?trouble, "standbys cannot go on yet; trying again");
                }
                self.reset();
                idle(self.retry_at, now)
            }
        }
    }

    /// Gives all stores back; what they hold stays on the disk.
    pub fn close(&mut self, now: Moment) {
        for at in 0..self.copies.len() {
            self.close_copy(at, now);
        }
        self.fetcher = None;
        self.shared.gate.set_closed(false);
    }

    fn work(&mut self, now: Moment, wait: Duration) -> Result<bool, Trouble> {
        if now.steady >= self.next_plan {
            self.next_plan = now.steady + PLAN_MS;
            self.advance_warm_up(now);
            self.plan(now);
        }
        let mut busy = self.open_copies(now)?;
        busy |= self.take_in(now, if busy { Duration::ZERO } else { wait })?;
        self.apply_due(now);
        if let Err(error) = self.check(now) {
            // how far behind is looked at again the next time; what is read goes on
            tracing::debug!(%error, "the ends of changelogs cannot be looked at");
        }
        self.flush(now);
        Ok(busy)
    }

    /// The tasks that have state.
    fn stateful(shared: &WorkerShared) -> impl Iterator<Item = TaskId> {
        let subs = &shared.deployment.subs;
        let tasks = shared.deployment.tasks().into_iter();
        tasks.filter(|task| !subs[task.sub].changelogs.is_empty())
    }

    /// Decides what is followed.
    fn plan(&mut self, now: Moment) {
        let shared = self.shared.clone();
        let names = &shared.deployment.names;
        let topology = &*shared.deployment.topology.name;
        for task in Self::stateful(&shared) {
            if shared.published.task(task).is_some() {
                self.near.insert(task);
                continue;
            }
            let role = match self.warm_up {
                WarmUp::Deciding { .. } => Role::Leave,
                WarmUp::Warming { .. } | WarmUp::Settling { .. } => Role::Follow,
                WarmUp::Over => {
                    let standbys = shared.settings.standbys;
                    shared.cluster.role(topology, names.generation(), task, standbys, now)
                }
            };
            let wanted = match role {
                Role::Follow => true,
                Role::Keep => self.near.contains(&task),
                Role::Leave => false,
            };
            let at = self
                .copies
                .iter()
                .position(|c| c.as_ref().is_some_and(|c| c.id == task));
            match (wanted, at) {
                (true, None) => {
                    let for_warm_up = !matches!(self.warm_up, WarmUp::Over) && !self.near.contains(&task);
                    let copy = Copy::new(task, shared.deployment.store_path(task), for_warm_up);
                    match self.copies.iter_mut().find(|copy| copy.is_none()) {
                        Some(free) => *free = Some(copy),
                        None => self.copies.push(Some(copy)),
                    }
                    self.near.insert(task);
                }
                (false, Some(at)) => {
                    self.near.remove(&task);
                    self.give_up(at, now);
                }
                (false, None) => drop(self.near.remove(&task)),
                (true, Some(at)) => {
                    // a copy that the warm-up has made, and that is to stay
                    if let (WarmUp::Over, Role::Follow, Some(copy)) = (self.warm_up, role, &mut self.copies[at]) {
                        copy.for_warm_up = false;
                    }
                }
            }
        }
    }

    /// A copy that is not to be followed any more. One that only the warm-up has made goes from the disk, too.
    fn give_up(&mut self, at: usize, now: Moment) {
        let Some(copy) = &self.copies[at] else { return };
        let (path, delete) = (copy.path.clone(), copy.for_warm_up);
        self.close_copy(at, now);
        if delete && let Err(error) = self.shared.stores.delete(&path) {
            tracing::debug!(path, %error, "a copy that is not needed was not deleted");
        }
    }

    /// Lets go of copies whose tasks are this instance's own by now.
    fn let_go(&mut self, now: Moment) {
        for at in 0..self.copies.len() {
            let own = |copy: &Copy| copy.was_taken() || self.shared.published.task(copy.id).is_some();
            if self.copies[at].as_ref().is_some_and(own) {
                self.close_copy(at, now);
            }
        }
    }

    /// Opens stores and begins to read their changelogs.
    fn open_copies(&mut self, now: Moment) -> Result<bool, Trouble> {
        let mut opened = 0;
        for at in 0..self.copies.len() {
            let Some(copy) = &mut self.copies[at] else { continue };
            if copy.is_read() || now.steady < copy.retry_at || opened >= OPEN_IN_STEP {
                continue;
            }
            opened += 1;
            match copy.open(&self.shared, now) {
                Ok(true) => self.assign(at)?,
                Ok(false) => copy.retry_at = now.steady + STORE_RETRY_MS,
                Err(Trouble::Store(error)) => self.fail(at, &error, now),
                Err(trouble) => {
                    tracing::debug!(task = %copy.id, ?trouble, "a task cannot be followed yet");
                    copy.reset();
                    copy.retry_at = now.steady + FAILED_RETRY_MS;
                }
            }
        }
        Ok(opened > 0)
    }

    fn assign(&mut self, at: usize) -> Result<(), Trouble> {
        let Some(copy) = &mut self.copies[at] else {
            return Ok(());
        };
        let fetcher = match &mut self.fetcher {
            Some(fetcher) => fetcher,
            none => none.insert(self.shared.log.fetcher(&FetcherConfig {
                committed_only: true,
                buffer_bytes: RESTORE_BYTES,
            })?),
        };
        for (number, part) in copy.parts.iter_mut().enumerate() {
            let slot = self.routes.add(Route { task: at, part: number });
            part.slot = Some(slot);
            fetcher.assign(slot, &part.tp, part.next)?;
        }
        Ok(())
    }

    /// Takes in what has been committed to the changelogs.
    fn take_in(&mut self, now: Moment, wait: Duration) -> Result<bool, Trouble> {
        let Some(fetcher) = self.fetcher.as_mut() else {
            return Ok(false);
        };
        if !self.copies.iter().flatten().any(Copy::is_read) {
            return Ok(false);
        }
        let (copies, routes) = (&mut self.copies, &self.routes);
        let given = fetcher.poll(STEP_RECORDS, wait, &mut |fetched| {
            let number = match &fetched {
                Fetched::Record(record) => record.slot,
                Fetched::End { slot } => *slot,
                Fetched::Ahead { .. } => return,
            };
            let Some(Route { task, part }) = routes.get(number) else {
                return;
            };
            let Some(copy) = copies.get_mut(task).and_then(Option::as_mut) else {
                return;
            };
            match fetched {
                Fetched::Record(record) => copy.take(part, record.key, record.value, now.steady),
                Fetched::End { .. } => copy.parts[part].at_end = true,
                Fetched::Ahead { .. } => {}
            }
        })?;
        for part in self.copies.iter_mut().flatten().flat_map(|copy| &mut copy.parts) {
            if let Some(slot) = part.slot {
                part.next = fetcher.position(slot)?.unwrap_or(part.next).max(part.next);
            }
        }
        self.shared.published.metrics.followed.fetch_add(given as u64, Relaxed);
        Ok(given > 0)
    }

    /// Writes what was taken in, where there is enough of it, or nothing more for now.
    fn apply_due(&mut self, now: Moment) {
        let copies = self.copies.iter().flatten().count();
        let batch_bytes = (BATCH_BYTES / copies.max(1)).max(LEAST_BATCH_BYTES);
        for at in 0..self.copies.len() {
            let Some(copy) = &mut self.copies[at] else { continue };
            let applied = match copy.is_due(batch_bytes, now.steady) {
                true => copy.apply(&self.shared),
                false => Ok(()),
            };
            if let Err(error) = applied.and_then(|()| copy.note_whole(&self.shared)) {
                self.fail(at, &error, now);
            }
        }
    }

    /// Looks how far copies are behind: first at the group's stable offsets, then at the changelogs' ends. A copy that has reached those reflects these.
    fn check(&mut self, now: Moment) -> LogResult<()> {
        if now.steady < self.next_check {
            return Ok(());
        }
        let shared = self.shared.clone();
        let admin = shared.log.admin();
        let read = || self.copies.iter().flatten().filter(|copy| copy.is_read());
        let parts = read().map(|copy| copy.parts.len()).sum::<usize>();
        self.next_check = now.steady + CHECK_MS + parts as i64 * CHECK_PER_PART_MS;
        let inputs: Vec<TopicPartition> = read().flat_map(|copy| shared.deployment.inputs(copy.id)).collect();
        if parts == 0 {
            return Ok(());
        }
        let mut committed = match admin.committed(&shared.deployment.names.group(), &inputs) {
            Ok(committed) => Some(committed.into_iter()),
            // a transaction is about to end: how far the copies are counts without the inputs, too
            Err(LogError::Retry(_) | LogError::Unknown(_)) => None,
            Err(error) => return Err(error),
        };
        for copy in self.copies.iter_mut().flatten().filter(|copy| copy.is_read()) {
            let inputs = shared.deployment.inputs(copy.id);
            let committed = committed.as_mut().map(|all| {
                let offsets: Vec<_> = all.by_ref().take(inputs.len()).collect();
                let known = inputs.into_iter().zip(offsets);
                known.filter_map(|(tp, offset)| Some((tp, offset?))).collect()
            });
            let mut ends = Vec::with_capacity(copy.parts.len());
            for part in &copy.parts {
                ends.push(admin.watermarks(&part.tp)?.1);
            }
            copy.look(Mark {
                at: now,
                ends,
                committed,
            });
        }
        Ok(())
    }

    /// Flushes copies now and then, so that a crash leaves a small tail to follow again.
    fn flush(&mut self, now: Moment) {
        if now.steady < self.next_flush {
            return;
        }
        self.next_flush = now.steady + self.shared.settings.store_flush_interval.as_millis() as i64;
        for at in 0..self.copies.len() {
            let Some(copy) = &mut self.copies[at] else { continue };
            if let Err(error) = copy.flush_soon() {
                self.fail(at, &error, now);
            }
        }
    }

    /// The log has failed: what was not applied is read again.
    fn reset(&mut self) {
        self.fetcher = None;
        self.routes.clear();
        self.copies.iter_mut().flatten().for_each(Copy::reset);
    }

    fn unassign(&mut self, at: usize) {
        let Some(copy) = &mut self.copies[at] else { return };
        for slot in copy.parts.iter_mut().filter_map(|part| part.slot.take()) {
            // a fetcher that cannot let go hands nothing out any more: the route is gone
            if let Some(fetcher) = &mut self.fetcher {
                let _ = fetcher.unassign(slot);
            }
            self.routes.remove(slot);
        }
    }

    /// A store that failed is closed, and opened anew later; a damaged one is deleted: all of it is in the changelogs.
    fn fail(&mut self, at: usize, error: &StoreError, now: Moment) {
        self.unassign(at);
        let Some(copy) = &mut self.copies[at] else { return };
        tracing::warn!(task = %copy.id, %error, "the store of a standby failed; it is opened anew");
        self.shared.published.remove_standby(copy.id);
        copy.drop_store(&self.shared, error);
        copy.retry_at = now.steady + FAILED_RETRY_MS;
    }

    fn close_copy(&mut self, at: usize, now: Moment) {
        self.unassign(at);
        if let Some(copy) = self.copies[at].take() {
            copy.close(&self.shared, now.wall);
        }
    }
}
