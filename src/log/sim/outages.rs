//! Parts of the cluster that are away for a while: coordinators, partitions, members that the group has given up.

use super::{SimLog, State};
use crate::log::core::groups::{GroupKind, Heartbeat};
use crate::types::{Timestamp, TopicPartition};

const LEAVE_EPOCH: i32 = -1;

/// A part of the cluster that a call needs, or that can be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Any broker.
    Cluster,
    /// The coordinator of groups.
    Groups,
    /// The coordinator of transactions.
    Transactions,
    /// The leader of a partition.
    Partition(&'a str, i32),
    /// The leader of a partition, written to in a transaction.
    Append(&'a str, i32),
}

/// A part that is away.
#[derive(Debug)]
enum Missing {
    Cluster,
    Groups,
    Transactions,
    Partition(TopicPartition),
}

#[derive(Debug)]
struct Outage {
    missing: Missing,
    until: Timestamp,
    /// A call has met it.
    met: bool,
}

/// What is away, and until when.
#[derive(Debug, Default)]
pub(super) struct Outages(Vec<Outage>);

impl Missing {
    fn of(part: Part<'_>) -> Self {
        match part {
            Part::Cluster => Self::Cluster,
            Part::Groups => Self::Groups,
            Part::Transactions => Self::Transactions,
            Part::Partition(topic, partition) | Part::Append(topic, partition) => {
                Self::Partition(TopicPartition::new(topic, partition))
            }
        }
    }

    fn is_needed_by(&self, part: Part<'_>) -> bool {
        match (self, part) {
            (Self::Cluster, _)
            | (Self::Groups, Part::Groups)
            | (Self::Transactions, Part::Transactions | Part::Append(..)) => true,
            (Self::Partition(tp), Part::Partition(topic, partition) | Part::Append(topic, partition)) => {
                *tp.topic == *topic && tp.partition == partition
            }
            (Self::Groups | Self::Transactions | Self::Partition(_), _) => false,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Cluster => "broker away",
            Self::Groups => "group coordinator gone",
            Self::Transactions => "transaction coordinator gone",
            Self::Partition(_) => "partition unavailable",
        }
    }
}

impl State {
    /// Whether what a call needs is away. An outage counts once, when a call first meets it.
    pub(super) fn is_away(&mut self, part: Part<'_>) -> bool {
        let now = self.now;
        let outages = self.outages.0.iter_mut();
        let met = outages
            .filter(|outage| outage.until > now)
            .find(|outage| outage.missing.is_needed_by(part));
        let Some(outage) = met else { return false };
        if !std::mem::replace(&mut outage.met, true) {
            let kind = outage.missing.kind();
            self.strike(kind, 1);
        }
        true
    }
}

impl SimLog {
    /// A part of the cluster is away until a time: calls that need it get no answer.
    pub fn go_away(&self, part: Part<'_>, until: Timestamp) {
        let (missing, met) = (Missing::of(part), false);
        self.state.lock().outages.0.push(Outage { missing, until, met });
    }

    /// Everything is back.
    pub fn come_back(&self) {
        self.state.lock().outages = Outages::default();
    }

    /// The instance id of the member that has a partition, as the group sees it.
    pub fn owner(&self, group: &str, tp: &TopicPartition) -> Option<String> {
        let state = self.state.lock();
        let GroupKind::Consumer(members) = &state.core.group(group).ok()?.kind else {
            return None;
        };
        let topic = state.core.topic(&tp.topic).ok()?.id();
        let has = |places: &[(u128, Vec<i32>)]| {
            let mut of_topic = places.iter().filter(|(id, _)| *id == topic);
            of_topic.any(|(_, partitions)| partitions.contains(&tp.partition))
        };
        let owner = (members.members.values()).find(|member| has(&state.core.consumer_assignment(member)[0]))?;
        owner.instance_id.clone()
    }

    /// The group gives up a member as if its session had timed out; it learns of it at its next heartbeat. False when there is none.
    pub fn expel(&self, group: &str, nth: usize) -> bool {
        let mut state = self.state.lock();
        let Ok(found) = state.core.group(group) else {
            return false;
        };
        let GroupKind::Consumer(members) = &found.kind else {
            return false;
        };
        let count = members.members.len().max(1);
        let Some((id, member)) = members.members.iter().nth(nth % count) else {
            return false;
        };
        let beat = Heartbeat {
            group: group.into(),
            member_id: id.clone(),
            member_epoch: LEAVE_EPOCH,
            instance_id: member.instance_id.clone(),
            ..Heartbeat::default()
        };
        let now = state.now;
        let gone = state.core.consumer_heartbeat(beat, now).is_ok();
        state.core.take_outputs();
        if gone {
            state.strike("member expelled, group rebalanced", 1);
        }
        gone
    }
}
