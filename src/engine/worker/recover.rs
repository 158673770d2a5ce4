//! Failures and endings: the one recovery path, tasks that go elsewhere, and stopping.

use std::time::Duration;

use super::super::TaskStatus;
use super::life::{Life, TaskLife};
use super::restore::SnapshotUse;
use super::slots::TaskSlot;
use super::trouble::Trouble;
use super::{TopologyStatus, Worker};
use crate::log::LogError;
use crate::state::StoreError;
use crate::types::Timestamp;

/// Longest wait for an abort in one call.
const ABORT_WAIT: Duration = Duration::from_millis(500);
/// After being fenced, another process may be at work under the same name: not too fast, in milliseconds.
const FENCED_WAIT_MS: i64 = 1_000;

impl Worker {
    /// Decides what a failure means, and does it.
    pub(super) fn react(&mut self, trouble: Trouble, now: Timestamp) {
        match trouble {
            Trouble::Wait(text) => {
                self.retry_at = now + self.backoff.next_ms();
                if self.backoff.is_notable() {
                    self.tell_waiting(&text);
                }
            }
            Trouble::Recover(text) | Trouble::Refused(text) => {
                tracing::info!(
                    worker = self.index,
                    reason = text,
                    "uncommitted work is dropped and done again"
                );
                self.recover(now);
            }
            Trouble::Reopen(text) => {
                tracing::warn!(worker = self.index, reason = text, "clients are opened anew");
                self.reopen(now);
            }
            Trouble::Store(error) => {
                tracing::error!(worker = self.index, %error, "a store failed; it is opened anew");
                self.tell_waiting(&error.to_string());
                self.drop_stores(&error);
                self.recover(now);
                self.retry_at = now + self.backoff.next_ms();
            }
            Trouble::Poison(kind, text) => match self.isolate_poison(kind, text) {
                Ok(()) => self.recover(now),
                Err(Trouble::Stop(reason)) => self.fail(reason),
                Err(_) => self.recover(now),
            },
            Trouble::Stop(reason) => self.fail(reason),
        }
    }

    fn recover(&mut self, now: Timestamp) {
        if self.life == Life::Stopping {
            // Nothing is lost: the next start does the rest again.
            self.shut_down(now);
            return;
        }
        self.shared
            .published
            .metrics
            .aborts
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.reset_tasks(now);
        if self.life == Life::Running {
            self.life.become_(Life::Recovering);
        }
    }

    /// Drops what is uncommitted; the tasks are taken over again.
    fn reset_tasks(&mut self, now: Timestamp) {
        self.commit = None;
        self.dirty_since = None;
        self.moved_since = None;
        let mut released = Vec::new();
        for at in 0..self.tasks.len() {
            self.unassign(at);
            let Some(slot) = &mut self.tasks[at] else { continue };
            slot.reset();
            slot.reset_at.get_or_insert(now);
            if slot.life == TaskLife::Closing {
                released.push(slot.index);
                self.close_task(at, now);
            }
        }
        if let Some(clients) = &mut self.clients
            && !released.is_empty()
            && let Err(error) = clients.membership.release(&released)
        {
            tracing::debug!(%error, "tasks could not be given back; the group will take them");
        }
    }

    /// Aborts the open transaction; then tasks are taken over again.
    pub(super) fn finish_recovery(&mut self, now: Timestamp) -> Result<bool, Trouble> {
        if self.in_transaction
            && let Some(clients) = &mut self.clients
        {
            match clients.producer.abort(ABORT_WAIT) {
                Ok(()) => {}
                Err(LogError::Retry(text) | LogError::Unknown(text)) => return Err(Trouble::Wait(text)),
                // Whatever became of the transaction: a new producer ends it.
                Err(error) => return Err(Trouble::Reopen(error.to_string())),
            }
        }
        self.in_transaction = false;
        self.life.become_(Life::Running);
        let _ = now;
        Ok(true)
    }

    fn reopen(&mut self, now: Timestamp) {
        if self.life == Life::Stopping {
            self.shut_down(now);
            return;
        }
        self.reset_tasks(now);
        for at in 0..self.tasks.len() {
            self.close_task(at, now);
        }
        self.tasks.clear();
        self.data_routes.clear();
        self.restore_routes.clear();
        self.router = None;
        if let Some(mut clients) = self.clients.take() {
            clients.membership.close();
        }
        self.in_transaction = false;
        self.life.become_(Life::Opening);
        self.retry_at = now + FENCED_WAIT_MS;
    }

    /// Stores that may be damaged in memory are closed; they hold committed rows only, so nothing is lost. The one whose files are damaged is deleted.
    fn drop_stores(&mut self, error: &StoreError) {
        for slot in self.tasks.iter_mut().flatten() {
            if slot.task.take().is_none() {
                continue;
            }
            slot.published.set_status(TaskStatus::Opening);
            slot.published.set_reader(None);
            let path = self.shared.deployment.store_path(slot.id);
            self.shared.stores.forget(&path);
            if error.is_corrupt()
                && error.place.ends_with(&path)
                && let Err(trouble) = self.shared.rebuild_damaged(&path, error)
            {
                tracing::error!(
                    path,
                    ?trouble,
                    "the damaged store cannot be deleted; delete its directory and restart"
                );
            }
        }
    }

    fn unassign(&mut self, at: usize) {
        let (Some(slot), Some(clients)) = (&mut self.tasks[at], &mut self.clients) else {
            return;
        };
        // A fetcher that cannot let go hands nothing out any more: the route is gone.
        for input in &mut slot.inputs {
            if let Some(number) = input.slot.take() {
                let _ = clients.data.unassign(number);
                self.data_routes.remove(number);
            }
        }
        for store in slot.restore.iter_mut().flat_map(|restore| &mut restore.stores) {
            if let Some(number) = store.slot.take() {
                let _ = clients.restore.unassign(number);
                self.restore_routes.remove(number);
            }
        }
    }

    /// Tasks that the group has given to others already.
    pub(super) fn drop_tasks(&mut self, lost: &[i32]) -> Result<(), Trouble> {
        for at in 0..self.tasks.len() {
            if self.tasks[at].as_ref().is_some_and(|slot| lost.contains(&slot.index)) {
                self.unassign(at);
                if let Some(slot) = &mut self.tasks[at] {
                    slot.reset();
                }
                self.close_task(at, 0);
            }
        }
        Ok(())
    }

    /// Puts a task's store back and hides the task.
    fn close_task(&mut self, at: usize, now: Timestamp) {
        self.unassign(at);
        let Some(slot) = self.tasks[at].take() else { return };
        if !self.keep_readers {
            slot.published.set_reader(None);
            self.shared.published.remove_task(&slot.published);
        }
        let has_path = !self.shared.deployment.subs[slot.id.sub].changelogs.is_empty();
        if let Some(task) = slot.task {
            let mut store = task.into_store();
            if has_path {
                if slot.unflushed
                    && let Err(error) = store.flush()
                {
                    tracing::warn!(task = %slot.id, %error, "a store was not flushed; the next start replays more");
                }
                // A store that is shown to readers stays open until it is taken again.
                let since = if self.keep_readers { Timestamp::MAX } else { now };
                self.shared
                    .stores
                    .put(&self.shared.deployment.store_path(slot.id), store, since);
            }
        }
    }

    /// Gives revoked tasks back, once nothing of them is uncommitted.
    pub(super) fn release_revoked(&mut self, now: Timestamp) -> Result<(), Trouble> {
        if self.commit.is_some() || !self.is_closing() {
            return Ok(());
        }
        let waits = |slot: &TaskSlot| slot.life == TaskLife::Closing && slot.is_dirty();
        if self.tasks.iter().flatten().any(waits) {
            return Ok(());
        }
        let mut released = Vec::new();
        for at in 0..self.tasks.len() {
            if self.tasks[at]
                .as_ref()
                .is_some_and(|slot| slot.life == TaskLife::Closing)
            {
                released.extend(self.tasks[at].as_ref().map(|slot| slot.index));
                self.close_task(at, now);
            }
        }
        match &mut self.clients {
            Some(clients) => Ok(clients.membership.release(&released)?),
            None => Ok(()),
        }
    }

    /// Flushes stores now and then, so that a crash leaves a small tail to replay.
    pub(super) fn flush_stores(&mut self, now: Timestamp) -> Result<(), Trouble> {
        if now < self.next_store_flush {
            return Ok(());
        }
        self.next_store_flush = now + self.shared.settings.store_flush_interval.as_millis() as i64;
        for slot in self.tasks.iter_mut().flatten().filter(|slot| slot.unflushed) {
            let Some(task) = &mut slot.task else { continue };
            task.store_mut().flush_soon()?;
            slot.unflushed = false;
            let (bytes, keys) = task.store().size();
            slot.published
                .store_bytes
                .store(bytes, std::sync::atomic::Ordering::Relaxed);
            slot.published
                .store_keys
                .store(keys, std::sync::atomic::Ordering::Relaxed);
        }
        self.shared.stores.close_idle(now);
        Ok(())
    }

    /// Takes a stop further.
    pub(super) fn advance_stop(&mut self, now: Timestamp) {
        let Some(deadline) = self.stop_at else { return };
        match self.life {
            Life::Opening | Life::Recovering => self.shut_down(now),
            Life::Running => self.life.become_(Life::Stopping),
            Life::Stopping => {
                if (self.commit.is_none() && !self.is_dirty()) || now >= deadline {
                    self.shut_down(now);
                }
            }
            Life::Stopped => {}
        }
    }

    /// The topology cannot go on.
    fn fail(&mut self, reason: String) {
        tracing::error!(topology = &*self.shared.deployment.topology.name, reason, "stopped");
        self.shared
            .published
            .set_status(TopologyStatus::Stopped(reason.clone()));
        self.failed = Some(reason);
        // What is committed stays visible.
        self.keep_readers = true;
        self.shut_down(0);
    }

    /// Closes everything, dropping what is not committed.
    fn shut_down(&mut self, now: Timestamp) {
        self.reset_tasks(now);
        if self.in_transaction
            && let Some(clients) = &mut self.clients
            && let Err(error) = clients.producer.abort(ABORT_WAIT)
        {
            tracing::debug!(%error, "the open transaction was not aborted; it times out");
        }
        for at in 0..self.tasks.len() {
            self.close_task(at, now);
        }
        if let Some(mut clients) = self.clients.take() {
            match self.leaves {
                true => clients.membership.leave(),
                false => clients.membership.close(),
            }
        }
        self.life.become_(Life::Stopped);
    }
}

impl Drop for Worker {
    /// Ended by a panic, it still has its stores: whoever takes them next opens them anew.
    fn drop(&mut self) {
        for slot in self.tasks.iter_mut().flatten() {
            if slot.task.take().is_some() {
                self.shared.stores.forget(&self.shared.deployment.store_path(slot.id));
            }
        }
    }
}

impl TaskSlot {
    /// Back to the beginning of a take-over; a task that is to go elsewhere stays so.
    fn reset(&mut self) {
        if let Some(task) = &mut self.task {
            task.abort();
            self.counted = task.metrics().clone();
        }
        if self.restore.take().is_some_and(|restore| restore.snapshot.is_some()) {
            // Given up half-way, for no fault of its own.
            self.snapshot = SnapshotUse::Untried;
        }
        self.ready = false;
        self.taken = 0;
        self.last = None;
        self.committing = false;
        for input in &mut self.inputs {
            input.stalled_until = None;
            input.at_end = false;
            input.next = input.committed.max(0);
        }
        if let Some(queue) = &mut self.queue {
            (0..self.inputs.len()).for_each(|input| queue.clear(input));
        }
        if self.life != TaskLife::Closing {
            self.life.become_(TaskLife::Opening);
        }
    }
}
