//! Who follows which task: decided by each instance for itself from what all of them say, without asking anybody.
//!
//! Instances are ranked for a task by a hash of both (rendezvous hashing): when one comes or goes, only the copies that it is to have, or had, move. Nothing exclusive
//! follows from it: while instances know different things, a task may have a copy too many or too few for some moments. Copies are expensive to make, so an instance that is
//! away for a restart keeps its places for a while, and one that has a copy and is not to have it any more keeps it until those that are to have it do.

use super::{Cluster, LIVE_MS, Member};
use crate::engine::{Moment, TaskId};

/// An instance that was heard of so long ago keeps its places, in milliseconds: longer than a restart.
pub const PLACE_MS: i64 = 60_000;
/// A copy that is behind by no more changelog offsets is as good as whole.
const CAUGHT_UP: u64 = 10_000;

const _: () = assert!(PLACE_MS > LIVE_MS);

/// What an instance has to do about a task that it does not own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows the task.
    Follow,
    /// It goes on if it has a copy, and begins none.
    Keep,
    /// The task is no business of it.
    Leave,
}

impl Cluster {
    /// What this instance has to do about a task that it does not own, where each task is to have so many standbys.
    pub fn role(&self, topology: &str, generation: u32, task: TaskId, standbys: usize, now: Moment) -> Role {
        if standbys == 0 {
            return Role::Leave;
        }
        let Some(owner) = self.owning(topology, generation, task, now) else {
            // it is on its way from one to another, or its owner has died: whoever has a copy may be the next one
            return Role::Keep;
        };
        let table = self.table();
        let placed = table.members.values().filter(|member| {
            member.was_seen_within(PLACE_MS, now)
                && member.record.instance != owner.record.instance
                && member.topologies(topology, generation).next().is_some()
        });
        let others = placed.map(|member| (rank(&member.record.instance, topology, task), Some(member)));
        let mut ranking: Vec<_> = others.chain([(rank(self.instance(), topology, task), None)]).collect();
        ranking.sort_by_key(|(rank, _)| *rank);
        ranking.truncate(standbys);
        if ranking.iter().any(|(_, member)| member.is_none()) {
            return Role::Follow;
        }
        let has_copy = |member: &Member| {
            let standby = member.standby(topology, generation, task);
            member.is_live(now) && standby.is_some_and(|standby| standby.lag <= CAUGHT_UP)
        };
        match ranking
            .iter()
            .all(|(_, member)| member.is_some_and(|member| has_copy(member)))
        {
            true => Role::Leave,
            false => Role::Keep,
        }
    }

    /// Whether another live instance owns a task.
    pub fn is_owned(&self, topology: &str, generation: u32, task: TaskId, now: Moment) -> bool {
        self.owning(topology, generation, task, now).is_some()
    }

    /// Whether another live instance owns any task of a generation.
    pub fn is_run_elsewhere(&self, topology: &str, generation: u32, now: Moment) -> bool {
        let table = self.table();
        let mut live = table.members.values().filter(|member| member.is_live(now));
        live.any(|member| {
            member
                .topologies(topology, generation)
                .any(|(_, t)| !t.tasks.is_empty())
        })
    }
}

/// The place of an instance in the ranking for a task: FNV-1a, with its bits mixed. The same in every version, since instances of different versions work together.
fn rank(instance: &str, topology: &str, task: TaskId) -> u64 {
    let bytes = instance
        .bytes()
        .chain([0xff])
        .chain(topology.bytes())
        .chain([0xff])
        .chain((task.sub as u64).to_le_bytes())
        .chain(task.partition.to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
