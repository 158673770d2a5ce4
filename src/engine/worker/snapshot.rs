//! A take-over by snapshot: where a long replay lies ahead, the state of another place at a later position takes the place of the store.
//!
//! The worker only looks whether it is there. Once it is, the task is taken over again from the start, as with any store that has a position.

use super::super::snapshots::{Fetch, Fetched, Wanted, WantedLog};
use super::life::TaskLife;
use super::restore::{Restore, SnapshotUse};
use super::slots::TaskSlot;
use super::trouble::Trouble;
use super::{Worker, WorkerShared};
use crate::types::Timestamp;

/// Between two looks at a snapshot that is on its way, in milliseconds.
const LOOK_MS: i64 = 20;

impl TaskSlot {
    /// Whether its changelogs are read: no snapshot is waited for.
    pub(super) fn is_replaying(&self) -> bool {
        let replays = self.restore.as_ref().is_some_and(|restore| restore.snapshot.is_none());
        self.life == TaskLife::Restoring && replays
    }
}

/// Asks for a snapshot of a task, where the replay is long enough and none was asked for before.
pub(super) fn ask(
    shared: &WorkerShared,
    slot: &mut TaskSlot,
    restore: &Restore,
    now: Timestamp,
) -> Option<Box<dyn Fetch>> {
    let snapshots = shared.stores.snapshots()?;
    let replay = restore.offsets();
    if slot.snapshot != SnapshotUse::Untried || replay == 0 || replay < snapshots.min_records() {
        return None;
    }
    slot.snapshot = SnapshotUse::Tried;
    let log = |store: &super::restore::RestoreStore| WantedLog {
        tp: store.tp.clone(),
        id: store.topic_id.clone(),
        low: store.low,
        end: store.target,
    };
    let deployment = &shared.deployment;
    Some(snapshots.fetch(Wanted {
        topology: deployment.topology.name.to_string(),
        generation: deployment.names.generation(),
        task: slot.id,
        fingerprint: deployment.subs[slot.id.sub].fingerprint.clone(),
        logs: restore.stores.iter().map(log).collect(),
        replay,
        delete_retention_ms: shared.settings.delete_retention.as_millis() as i64,
        now,
    }))
}

impl Worker {
    /// Looks after the snapshots that are on their way; true when something was done.
    pub(super) fn advance_snapshots(&mut self, now: Timestamp) -> Result<bool, Trouble> {
        let mut busy = false;
        for at in 0..self.tasks.len() {
            // A task that goes elsewhere gives its snapshot up with everything else.
            let slot = self.tasks[at].as_mut().filter(|slot| slot.life == TaskLife::Restoring);
            let restore = slot.and_then(|slot| slot.restore.as_mut());
            let Some(fetch) = restore.and_then(|restore| restore.snapshot.as_mut()) else {
                continue;
            };
            match fetch.poll() {
                Fetched::Pending => self.wake_at(now + LOOK_MS),
                Fetched::Nothing => {
                    busy = true;
                    self.replay_instead(at)?;
                }
                Fetched::Ready { directory, from } => {
                    busy = true;
                    self.import(at, &directory, &from)?;
                }
            }
        }
        Ok(busy)
    }

    fn replay_instead(&mut self, at: usize) -> Result<(), Trouble> {
        if let Some(restore) = self.tasks[at].as_mut().and_then(|slot| slot.restore.as_mut()) {
            restore.snapshot = None;
        }
        self.assign_restore(at)
    }

    /// Puts what was brought in the place of the store; the task is taken over again.
    fn import(&mut self, at: usize, directory: &std::path::Path, from: &str) -> Result<(), Trouble> {
        let Some(slot) = &mut self.tasks[at] else { return Ok(()) };
        let path = self.shared.deployment.store_path(slot.id);
        // Readers would keep the store open that goes.
        slot.published.set_reader(None);
        drop(slot.task.take());
        match self.shared.stores.import(&path, directory) {
            Ok(()) => {
                slot.snapshot = SnapshotUse::Imported;
                let topology = &*self.shared.deployment.topology.name;
                tracing::info!(topology, task = %slot.id, from, "the state is a snapshot's; the changelog's tail is replayed");
            }
            Err(error) => {
                tracing::warn!(task = %slot.id, from, %error, "a snapshot cannot be used; the changelogs are replayed");
            }
        }
        slot.restore = None;
        slot.life.become_(TaskLife::Opening);
        Ok(())
    }
}
