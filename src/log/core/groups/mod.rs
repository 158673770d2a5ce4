//! Consumer groups: members of either protocol, and committed offsets.
//!
//! A group is *idle* (only offsets), *classic* (clients assign, [`classic`]) or *consumer* (KIP-848, the core assigns,
//! [`consumer`]); one without members may become the other kind. Offsets and the epoch are durable; members are not:
//! after a restart every member is unknown, joins again, and finds the epoch where it was, so that no commit of the time
//! before can pass for one of the time after.

mod assignor;
pub mod classic;
mod classic_join;
pub mod consumer;
mod offsets;
mod reconcile;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_consumer;

pub use assignor::Assignor;
pub use classic::{ClassicGroup, ClassicState, JoinAnswer, JoinRequest, SyncAnswer, SyncRequest};
pub use consumer::{ConsumerGroup, ConsumerMember, Heartbeat, HeartbeatAnswer};
pub use offsets::{OffsetEntry, Offsets};

use super::Core;
use super::error::{ErrorCode, Result};
use super::events::Event;
use std::collections::BTreeMap;

/// How a member names itself when it commits offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Empty for a client that is no member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// Generation (classic) or member epoch (consumer); negative for a client that is no member.
    pub epoch: i32,
}

impl GroupMember {
    /// A client that commits without being a member.
    pub fn none() -> GroupMember {
        GroupMember {
            member_id: String::new(),
            instance_id: None,
            epoch: -1,
        }
    }
}

/// Who the members are.
#[derive(Debug, Default)]
pub enum GroupKind {
    /// Nobody ever joined since the start.
    #[default]
    Idle,
    /// Clients assign.
    Classic(ClassicGroup),
    /// The core assigns (KIP-848).
    Consumer(ConsumerGroup),
}

/// A group.
#[derive(Debug, Default)]
pub struct Group {
    /// Generation of a classic group, group epoch of a consumer group; never goes back.
    pub epoch: i32,
    /// Its members.
    pub kind: GroupKind,
    /// Committed offsets.
    pub offsets: Offsets,
    /// Offsets of open transactions, by producer id.
    pub(super) pending: BTreeMap<i64, Offsets>,
}

impl Group {
    fn member_count(&self) -> usize {
        match &self.kind {
            GroupKind::Idle => 0,
            GroupKind::Classic(group) => group.members.len(),
            GroupKind::Consumer(group) => group.members.len(),
        }
    }

    /// Kafka's name of the state that the group is in.
    pub fn state_name(&self) -> &'static str {
        match &self.kind {
            GroupKind::Idle => "Empty",
            GroupKind::Classic(group) => group.state.name(),
            GroupKind::Consumer(group) => group.state_name(self.epoch),
        }
    }

    /// Kafka's name of the group's type.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            GroupKind::Idle | GroupKind::Classic(_) => "Classic",
            GroupKind::Consumer(_) => "Consumer",
        }
    }

    /// `consumer`, `connect`, ...; empty for a group that nobody joined.
    pub fn protocol_type(&self) -> &str {
        match &self.kind {
            GroupKind::Idle => "",
            GroupKind::Classic(group) => &group.protocol_type,
            GroupKind::Consumer(_) => "consumer",
        }
    }

    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.offsets.remove_topic(topic);
        self.pending
            .values_mut()
            .for_each(|offsets| offsets.remove_topic(topic));
    }
}

impl Core {
    /// A group by its id.
    pub fn group(&self, id: &str) -> Result<&Group> {
        self.groups.get(id).ok_or(ErrorCode::GroupIdNotFound)
    }

    /// All groups, by id.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|(id, group)| (id.as_str(), group))
    }

    /// Commits offsets of a group.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        member: &GroupMember,
        offsets: Vec<OffsetEntry>,
        now_ms: i64,
    ) -> Result<()> {
        self.check_commit_member(group, member, now_ms)?;
        self.record(Event::Offsets {
            group: group.to_string(),
            offsets,
        })?;
        self.roll_if_full(now_ms);
        Ok(())
    }

    fn check_commit_member(&mut self, id: &str, member: &GroupMember, now_ms: i64) -> Result<()> {
        let Some(group) = self.groups.get_mut(id) else {
            return if member.epoch < 0 {
                Ok(())
            } else {
                Err(ErrorCode::IllegalGeneration)
            };
        };
        let outsider = member.epoch < 0 && member.member_id.is_empty();
        match &mut group.kind {
            GroupKind::Idle if outsider => Ok(()),
            GroupKind::Idle => Err(ErrorCode::UnknownMemberId),
            GroupKind::Classic(classic) if outsider && classic.members.is_empty() => Ok(()),
            GroupKind::Classic(classic) => {
                classic.check_member(member, group.epoch)?;
                classic.touch(&member.member_id, now_ms);
                match classic.state {
                    ClassicState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
                    ClassicState::Empty | ClassicState::PreparingRebalance | ClassicState::Stable => Ok(()),
                }
            }
            GroupKind::Consumer(consumer) if outsider && consumer.members.is_empty() => Ok(()),
            GroupKind::Consumer(consumer) => consumer.check_member(member),
        }
    }

    /// The check of KIP-447: a transaction may only commit offsets for a member that is still one.
    pub(super) fn check_txn_member(&mut self, id: &str, member: &GroupMember) -> Result<()> {
        if member.member_id.is_empty() && member.epoch < 0 {
            return Ok(()); // a producer that does not take part in the group's fencing
        }
        let group = self.groups.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        match &group.kind {
            GroupKind::Idle => Err(ErrorCode::UnknownMemberId),
            GroupKind::Classic(classic) => classic.check_member(member, group.epoch),
            // Producers know only the classic protocol's name for a member that is behind.
            GroupKind::Consumer(consumer) => consumer.check_member(member).map_err(|e| match e {
                ErrorCode::StaleMemberEpoch => ErrorCode::IllegalGeneration,
                other => other,
            }),
        }
    }

    /// Checks who asks for offsets (OffsetFetch from version 9 on says so).
    pub fn check_offset_reader(&self, id: &str, member: &GroupMember) -> Result<()> {
        if member.member_id.is_empty() && member.epoch < 0 {
            return Ok(());
        }
        match self.groups.get(id).map(|g| &g.kind) {
            Some(GroupKind::Consumer(consumer)) => consumer.check_member(member),
            Some(GroupKind::Classic(_) | GroupKind::Idle) | None => Ok(()),
        }
    }

    /// The committed offset of a partition. With `stable`, offsets of an open transaction make it an error.
    pub fn committed_offset(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        stable: bool,
    ) -> Result<Option<OffsetEntry>> {
        let Some(group) = self.groups.get(group) else {
            return Ok(None);
        };
        if stable
            && group
                .pending
                .values()
                .any(|offsets| offsets.get(topic, partition).is_some())
        {
            return Err(ErrorCode::UnstableOffsetCommit);
        }
        Ok(group.offsets.get(topic, partition))
    }

    /// Every partition for which the group has an offset, committed or pending.
    pub fn partitions_with_offsets(&self, group: &str) -> Vec<(String, i32)> {
        let Some(group) = self.groups.get(group) else {
            return Vec::new();
        };
        let all = std::iter::once(&group.offsets).chain(group.pending.values());
        let mut keys: Vec<(String, i32)> = all.flat_map(|o| o.entries()).map(|e| (e.topic, e.partition)).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Removes a group that has no members.
    pub fn delete_group(&mut self, id: &str) -> Result<()> {
        if self.group(id)?.member_count() > 0 {
            return Err(ErrorCode::NonEmptyGroup);
        }
        self.record(Event::GroupDeleted { group: id.to_string() })
    }

    /// Forgets committed offsets of a group without members.
    pub fn delete_offsets(&mut self, id: &str, partitions: Vec<(String, i32)>) -> Result<()> {
        if self.group(id)?.member_count() > 0 {
            return Err(ErrorCode::NonEmptyGroup);
        }
        self.record(Event::OffsetsDeleted {
            group: id.to_string(),
            partitions,
        })
    }

    /// A member id that was never used before and never will be again.
    pub(super) fn name_member(&mut self, client_id: &str) -> String {
        self.members_named += 1;
        format!("{client_id}-{}-{}", self.counters.incarnation, self.members_named)
    }

    /// Makes the group's next epoch durable; returns it.
    pub(super) fn next_group_epoch(&mut self, id: &str) -> Result<i32> {
        let epoch = self.groups.get(id).map_or(0, |g| g.epoch) + 1;
        self.record(Event::GroupEpoch {
            group: id.to_string(),
            epoch,
        })?;
        Ok(epoch)
    }

    pub(super) fn tick_groups(&mut self, now_ms: i64) {
        let due = |group: &Group| match &group.kind {
            GroupKind::Idle => false,
            GroupKind::Classic(classic) => classic.is_due(now_ms),
            GroupKind::Consumer(consumer) => consumer.is_due(now_ms),
        };
        let ids: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, g)| due(g))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            match self.groups.get(&id).map(|g| &g.kind) {
                Some(GroupKind::Classic(_)) => self.tick_classic(&id, now_ms),
                Some(GroupKind::Consumer(_)) => self.tick_consumer(&id, now_ms),
                Some(GroupKind::Idle) | None => {}
            }
        }
    }
}
