//! What a task needs, and whether a snapshot is that.

use super::super::TaskId;
use super::super::worker::{Begin, Changelog, begin};
use super::manifest::Manifest;
use crate::types::{Timestamp, TopicPartition};

/// A changelog of the task as it is on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedLog {
    /// The partition.
    pub tp: TopicPartition,
    /// The topic's identity.
    pub id: String,
    /// Its first offset.
    pub low: i64,
    /// Its end.
    pub end: i64,
}

/// A task whose state is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The topology.
    pub topology: String,
    /// Its generation.
    pub generation: u32,
    /// The task.
    pub task: TaskId,
    /// The plan and row layout of its stores.
    pub fingerprint: String,
    /// Its changelogs.
    pub logs: Vec<WantedLog>,
    /// Offsets that a replay would go through without a snapshot.
    pub replay: u64,
    /// How old a state may be before deletes of its tail may be gone.
    pub delete_retention_ms: i64,
    /// Now.
    pub now: Timestamp,
}

impl Wanted {
    /// Why a snapshot is of no use; `None`: it is.
    pub fn refuse(&self, manifest: &Manifest) -> Option<String> {
        let of = (manifest.topology.as_str(), manifest.generation, manifest.task());
        if of != (self.topology.as_str(), self.generation, self.task) {
            return Some("it is of another task".into());
        }
        if manifest.position.fingerprint != self.fingerprint {
            return Some("it was built by another plan".into());
        }
        let mut tail = 0_u64;
        for log in &self.logs {
            let changelog = Changelog {
                tp: &log.tp,
                id: &log.id,
                low: log.low,
                end: log.end,
            };
            match begin(&manifest.position, &changelog, self.now, self.delete_retention_ms) {
                Begin::At(offset) => tail = (log.end - offset).max(0).unsigned_abs().saturating_add(tail),
                Begin::Rebuild(reason) => return Some(reason),
            }
        }
        // The files have to be brought and read, too.
        (tail > self.replay / 2).then(|| {
            format!(
                "{tail} of {} changelog offsets would still have to be replayed",
                self.replay
            )
        })
    }

    /// The task's path in stores of snapshots and on disk.
    pub fn path(&self) -> String {
        task_path(&self.topology, self.generation, self.task)
    }
}

/// As [`super::super::Names::store`] has it.
pub(super) fn task_path(topology: &str, generation: u32, task: TaskId) -> String {
    super::super::Names::new("", topology, generation).store(task.sub, task.partition)
}
