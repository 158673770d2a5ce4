//! Warming a new instance up: before it joins the group of a topology with large state, it follows the changelogs, so that the tasks that move to it stop only for the tail.
//!
//! ```text
//!   Deciding --> Warming ---------------------------------> Settling ----------------> Over
//!      |          all copies are whole, or the time is up:     all tasks have owners
//!      |          workers join the group                       again: copies of others'
//!      |                                                       tasks are deleted
//!      +-- the state is here already, or small, or nobody else runs the topology --> Over
//! ```
//! Which tasks will move to it nobody can say beforehand, so all that have state are followed. Alone, an instance never waits.

use std::time::Duration;

use super::super::{Moment, TopologyStatus, WorkerShared};
use super::Standbys;
use super::copy::Copy;
use crate::log::LogResult;
use crate::types::{Timestamp, TopicPartition};

/// Longest wait for what the others say, in milliseconds: where that cannot be read, nothing else goes on either.
const DECIDE_MS: i64 = 5_000;
/// After joining, tasks move for at least so long, in milliseconds: who owned them says so some moments later.
const SETTLE_MS: i64 = 10_000;
/// However long tasks move, the copies are kept no longer, in milliseconds.
const SETTLE_MOST_MS: i64 = 120_000;
/// Progress is told this often, in milliseconds.
const TELL_MS: i64 = 5_000;

/// See the module. Its times are steady ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WarmUp {
    Deciding { until: Timestamp },
    Warming { until: Timestamp, next_tell: Timestamp },
    Settling { since: Timestamp },
    Over,
}

impl WarmUp {
    /// Whether one may be due: nothing of the topology's state is here.
    pub fn new(shared: &WorkerShared, now: Moment) -> Self {
        if shared.settings.warm_up_timeout == Duration::ZERO || Standbys::stateful(shared).next().is_none() {
            return Self::Over;
        }
        match Standbys::stateful(shared).any(|task| has_state(shared, &shared.deployment.store_path(task), now)) {
            true => Self::Over,
            false => Self::Deciding {
                until: now.steady + DECIDE_MS,
            },
        }
    }

    /// Whether workers have to wait.
    pub fn holds_back(&self) -> bool {
        matches!(self, Self::Deciding { .. } | Self::Warming { .. })
    }
}

/// Whether a store is here that was whole once. A disk that fails is the worker's to tell of.
fn has_state(shared: &WorkerShared, path: &str, now: Moment) -> bool {
    if !shared.stores.exists(path) {
        return false;
    }
    let Ok(Some(store)) = shared.stores.take(path) else {
        return true;
    };
    let whole = store
        .position()
        .map_or(true, |position| position.is_some_and(|p| !p.inputs.is_empty()));
    shared.stores.put(path, store, now.wall);
    whole
}

impl Standbys {
    pub(super) fn advance_warm_up(&mut self, now: Moment) {
        match self.warm_up {
            WarmUp::Over => return,
            WarmUp::Deciding { until } => {
                // while the log is away, workers could not join either
                self.warm_up = self.decide(until, now).unwrap_or(self.warm_up);
            }
            WarmUp::Warming { until, next_tell } => self.warm_up = self.warm(until, next_tell, now),
            WarmUp::Settling { since } => {
                let waited = now.steady - since;
                if (waited >= SETTLE_MS && self.all_are_owned(now)) || waited >= SETTLE_MOST_MS {
                    self.warm_up = WarmUp::Over;
                }
            }
        }
        self.shared.gate.set_closed(self.warm_up.holds_back());
    }

    fn is_run_elsewhere(&self, now: Moment) -> bool {
        let deployment = &self.shared.deployment;
        let generation = deployment.names.generation();
        self.shared
            .cluster
            .is_run_elsewhere(&deployment.topology.name, generation, now)
    }

    fn decide(&self, until: Timestamp, now: Moment) -> LogResult<WarmUp> {
        let elsewhere = self.is_run_elsewhere(now);
        if !elsewhere {
            let heard = self.shared.cluster.is_known() || now.steady >= until;
            return Ok(if heard {
                WarmUp::Over
            } else {
                WarmUp::Deciding { until }
            });
        }
        let offsets = self.offsets()?;
        if offsets <= self.shared.settings.warm_up_records {
            return Ok(WarmUp::Over);
        }
        tracing::info!(
            topology = &*self.shared.deployment.topology.name,
            offsets,
            "the state of the topology is brought near before this instance joins its group"
        );
        Ok(WarmUp::Warming {
            until: now.steady + self.shared.settings.warm_up_timeout.as_millis() as i64,
            next_tell: now.steady + TELL_MS,
        })
    }

    /// What there is to follow: offsets of all changelogs.
    fn offsets(&self) -> LogResult<u64> {
        let (admin, deployment) = (self.shared.log.admin(), &self.shared.deployment);
        let mut offsets = 0;
        for task in Self::stateful(&self.shared) {
            for (_, target) in &deployment.subs[task.sub].changelogs {
                let (low, end) = admin.watermarks(&TopicPartition::new(target.topic.clone(), task.partition))?;
                offsets += (end - low).max(0).unsigned_abs();
            }
        }
        Ok(offsets)
    }

    fn warm(&self, until: Timestamp, next_tell: Timestamp, now: Moment) -> WarmUp {
        let published = &self.shared.published;
        let topology = &*self.shared.deployment.topology.name;
        let tasks = Self::stateful(&self.shared).count();
        let copies = || self.copies.iter().flatten();
        let whole = copies().filter(|copy| copy.is_whole()).count();
        let reason = if whole >= tasks {
            "all of it is here"
        } else if now.steady >= until {
            "the time for it is up"
        } else if !self.is_run_elsewhere(now) {
            "nobody else runs the topology any more"
        } else {
            if now.steady >= next_tell {
                let lag: u64 = copies().filter_map(Copy::lag).sum();
                tracing::info!(topology, whole, tasks, lag, "warming up");
                published.set_status(TopologyStatus::Waiting(format!(
                    "warming up: {whole} of {tasks} tasks are near, {lag} changelog offsets to go"
                )));
            }
            let next_tell = if now.steady >= next_tell {
                now.steady + TELL_MS
            } else {
                next_tell
            };
            return WarmUp::Warming { until, next_tell };
        };
        tracing::info!(topology, whole, tasks, reason, "warmed up: joining the group");
        published.set_status(TopologyStatus::Starting);
        WarmUp::Settling { since: now.steady }
    }

    fn all_are_owned(&self, now: Moment) -> bool {
        let (shared, deployment) = (&self.shared, &self.shared.deployment);
        let (topology, generation) = (&*deployment.topology.name, deployment.names.generation());
        Self::stateful(shared).all(|task| {
            shared.published.task(task).is_some() || shared.cluster.is_owned(topology, generation, task, now)
        })
    }
}
