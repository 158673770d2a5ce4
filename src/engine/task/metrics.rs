//! What a task counts. Counts grow for the life of the task; work that was aborted and done again is counted again.

use std::collections::BTreeMap;

use crate::operators::DropReason;
use crate::topology::NodeId;

use super::error::Reason;

/// Counters of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskMetrics {
    /// Records taken in.
    pub records_in: u64,
    /// Their bytes, keys and values.
    pub bytes_in: u64,
    /// Records given out to sinks and repartition topics.
    pub records_out: u64,
    /// Records given out to changelogs.
    pub changelog_out: u64,
    dead_letters: [u64; Reason::ALL.len()],
    dropped: BTreeMap<(NodeId, DropReason), Dropped>,
}

/// Records that a node has passed over for a reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// The last one: source node, partition and offset; `None` for one that was forwarded at a flush.
    pub last: Option<(NodeId, i32, i64)>,
}

impl TaskMetrics {
    /// Dead letters for a reason.
    pub fn dead_letters(&self, reason: Reason) -> u64 {
        self.dead_letters[reason as usize]
    }

    /// All dead letters.
    pub fn all_dead_letters(&self) -> u64 {
        self.dead_letters.iter().sum()
    }

    /// What nodes have passed over, by node and reason.
    pub fn dropped(&self) -> impl Iterator<Item = (NodeId, DropReason, &Dropped)> {
        self.dropped
            .iter()
            .map(|((node, reason), dropped)| (*node, *reason, dropped))
    }

    pub(super) fn count_dead_letter(&mut self, reason: Reason) {
        self.dead_letters[reason as usize] += 1;
    }

    pub(super) fn count_dropped(&mut self, node: NodeId, reason: DropReason, last: Option<(NodeId, i32, i64)>) {
        let dropped = self.dropped.entry((node, reason)).or_default();
        dropped.count += 1;
        dropped.last = last.or(dropped.last);
    }
}
