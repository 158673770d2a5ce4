//! Consumer groups of KIP-848: members heartbeat, the core assigns and reconciles.
//!
//! Epochs: the *group epoch* rises with every change of members, subscriptions or topics; the *target epoch* is the group
//! epoch that the target assignment was computed for; a *member epoch* is the target epoch that the member has reached.
//! How a member gets there is in `reconcile`, who should have what in `assignor`.

use super::super::error::{ErrorCode, Result};
use super::super::{Core, Topic};
use super::assignor::{self, Assignor, Places, Subscriber};
use super::reconcile::MemberState;
use super::{Group, GroupKind, GroupMember};
use std::collections::{BTreeMap, BTreeSet};

/// Epoch with which a member leaves for good.
pub const LEAVE_EPOCH: i32 = -1;
/// Epoch with which a static member leaves to come back.
pub const LEAVE_STATIC_EPOCH: i32 = -2;
/// Rebalance time-out of members that do not give one, milliseconds.
const DEFAULT_REBALANCE_MS: i64 = 300_000;

/// A member of a consumer group.
#[derive(Debug, Default)]
pub struct ConsumerMember {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Names of the topics that it subscribes to.
    pub subscribed: BTreeSet<String>,
    /// The target epoch that it has reached; [`LEAVE_STATIC_EPOCH`] while a static member is away.
    pub epoch: i32,
    pub(super) previous_epoch: i32,
    /// The assignor that it asks for.
    pub(super) assignor: Option<Assignor>,
    pub(super) rebalance_ms: i64,
    pub(super) expires_ms: i64,
    pub(super) state: MemberState,
    pub(super) assigned: Places,
    pub(super) revoking: Places,
    pub(super) target: Places,
    pub(super) revoke_by_ms: Option<i64>,
}

/// A consumer group.
#[derive(Debug, Default)]
pub struct ConsumerGroup {
    /// By member id.
    pub members: BTreeMap<String, ConsumerMember>,
    /// The group epoch that the target assignment is for.
    pub target_epoch: i32,
    /// Number and partition count of the topics when the epoch last rose.
    pub(super) topics: BTreeMap<u64, i32>,
}

/// What a member says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heartbeat {
    /// The group.
    pub group: String,
    /// Empty: the core makes one up.
    pub member_id: String,
    /// 0 to join, negative to leave.
    pub member_epoch: i32,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// How long it may take to give partitions back, milliseconds.
    pub rebalance_timeout_ms: Option<i64>,
    /// Topics that it subscribes to, when they have changed.
    pub subscribed: Option<Vec<String>>,
    /// The server-side assignor that it asks for.
    pub assignor: Option<String>,
    /// Topic ids and partitions that it has, when they have changed.
    pub owned: Option<Vec<(u128, Vec<i32>)>>,
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// Its id.
    pub member_id: String,
    /// Its epoch from now on.
    pub member_epoch: i32,
    /// When to heartbeat again, milliseconds.
    pub interval_ms: i32,
    /// Topic ids and partitions that it may have, when it has to know.
    pub assignment: Option<Vec<(u128, Vec<i32>)>>,
}

impl ConsumerGroup {
    pub(super) fn id_of_instance(&self, instance_id: &str) -> Option<&String> {
        self.members
            .iter()
            .find(|(_, m)| m.instance_id.as_deref() == Some(instance_id))
            .map(|(id, _)| id)
    }

    /// Whether this member may commit offsets.
    pub(super) fn check_member(&self, member: &GroupMember) -> Result<()> {
        if let Some(id) = member.instance_id.as_deref().and_then(|i| self.id_of_instance(i))
            && *id != member.member_id
        {
            return Err(ErrorCode::FencedInstanceId);
        }
        let known = self.members.get(&member.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if known.epoch == member.epoch {
            Ok(())
        } else {
            Err(ErrorCode::StaleMemberEpoch)
        }
    }

    /// Kafka's name of the state that the group is in.
    pub(super) fn state_name(&self, group_epoch: i32) -> &'static str {
        if self.members.is_empty() {
            return "Empty";
        }
        if group_epoch > self.target_epoch {
            return "Assigning";
        }
        let settled = |m: &ConsumerMember| m.state == MemberState::Stable && m.epoch == self.target_epoch;
        if self.members.values().all(settled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// The assignor that most members ask for.
    pub fn assignor(&self) -> Assignor {
        let range = self
            .members
            .values()
            .filter(|m| m.assignor == Some(Assignor::Range))
            .count();
        if range * 2 > self.members.len() {
            Assignor::Range
        } else {
            Assignor::Uniform
        }
    }

    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        self.members.values().any(|m| m.is_due(now_ms))
    }

    /// Topics of all subscriptions that exist, with their partition counts.
    fn current_topics(&self, topics: &BTreeMap<String, Topic>) -> BTreeMap<u64, i32> {
        let names: BTreeSet<&String> = self.members.values().flat_map(|m| &m.subscribed).collect();
        names
            .into_iter()
            .filter_map(|n| topics.get(n))
            .map(|t| (t.number, t.partition_count()))
            .collect()
    }

    fn assign(&mut self, group_epoch: i32, topics: &BTreeMap<String, Topic>) {
        let subscriber = |(id, m): (&String, &ConsumerMember)| {
            let numbers = m
                .subscribed
                .iter()
                .filter_map(|name| topics.get(name))
                .map(|t| t.number);
            (
                id.clone(),
                Subscriber {
                    topics: numbers.collect(),
                    before: m.target.clone(),
                },
            )
        };
        let subscribers = self.members.iter().map(subscriber).collect();
        let mut targets = assignor::assign(self.assignor(), &subscribers, &self.topics);
        for (id, member) in &mut self.members {
            member.target = targets.remove(id).unwrap_or_default();
        }
        self.target_epoch = group_epoch;
    }
}

impl ConsumerMember {
    fn is_due(&self, now_ms: i64) -> bool {
        self.expires_ms <= now_ms || self.revoke_by_ms.is_some_and(|t| t <= now_ms)
    }
}

impl Core {
    fn consumer_mut(&mut self, id: &str) -> Result<(&mut ConsumerGroup, &BTreeMap<String, Topic>)> {
        match self.groups.get_mut(id) {
            Some(Group {
                kind: GroupKind::Consumer(group),
                ..
            }) => Ok((group, &self.topics)),
            Some(_) | None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// A member's heartbeat: it joins, stays, or leaves.
    pub fn consumer_heartbeat(&mut self, beat: Heartbeat, now_ms: i64) -> Result<HeartbeatAnswer> {
        if beat.group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        match beat.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => return self.consumer_leaves(&beat, now_ms),
            epoch if epoch < 0 => return Err(ErrorCode::InvalidRequest),
            _ => {}
        }
        let assignor = beat.assignor.as_deref().map(Assignor::parse).transpose()?;
        let joins = beat.member_epoch == 0;
        let (member_id, mut changed) = if joins {
            self.consumer_joins(&beat)?
        } else {
            (beat.member_id.clone(), false)
        };
        let owned: Option<Places> = beat.owned.as_ref().map(|owned| self.places(owned));
        if !joins {
            let (group, _) = self.consumer_mut(&beat.group)?;
            group.check_heartbeat(&beat, owned.as_ref())?;
        }
        let session_ms = self.config.consumer_session_ms;
        let (group, topics) = self.consumer_mut(&beat.group)?;
        let member = group.members.get_mut(&member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let behind = beat.member_epoch != member.epoch;
        member.expires_ms = now_ms + session_ms;
        member.rebalance_ms = beat.rebalance_timeout_ms.unwrap_or(member.rebalance_ms);
        if !beat.client_id.is_empty() {
            member.client_id.clone_from(&beat.client_id);
        }
        if let Some(subscribed) = beat.subscribed {
            let subscribed: BTreeSet<String> = subscribed.into_iter().collect();
            changed |= subscribed != member.subscribed;
            member.subscribed = subscribed;
        }
        if assignor.is_some() && assignor != member.assignor {
            member.assignor = assignor;
            changed = true;
        }
        let current = group.current_topics(topics);
        changed |= current != group.topics;
        group.topics = current;
        let before = member_assignment(group, &member_id);
        self.bring_up_to_date(&beat.group, changed)?;
        let (group, _) = self.consumer_mut(&beat.group)?;
        let reported = if joins { Some(Places::new()) } else { owned };
        group.reconcile(&member_id, reported.as_ref(), now_ms);
        let after = member_assignment(group, &member_id);
        let member_epoch = group.members.get(&member_id).map_or(0, |m| m.epoch);
        // A member that missed an answer, or reports in full (as clients do after an error), is told in full.
        let tell = joins || behind || after != before || (beat.owned.is_some() && beat.rebalance_timeout_ms.is_some());
        let assignment = tell.then(|| self.topic_ids(&after));
        Ok(HeartbeatAnswer {
            member_id,
            member_epoch,
            interval_ms: self.config.consumer_heartbeat_ms,
            assignment,
        })
    }

    /// Raises the group epoch where something has changed, and computes the target where it is behind.
    fn bring_up_to_date(&mut self, id: &str, changed: bool) -> Result<()> {
        if changed {
            self.next_group_epoch(id)?;
        }
        let epoch = self.groups.get(id).map_or(0, |g| g.epoch);
        let (group, topics) = self.consumer_mut(id)?;
        if epoch > group.target_epoch {
            group.assign(epoch, topics);
        }
        Ok(())
    }

    /// Makes the member; returns its id, and whether that changes the group.
    fn consumer_joins(&mut self, beat: &Heartbeat) -> Result<(String, bool)> {
        if beat.subscribed.is_none() {
            return Err(ErrorCode::InvalidRequest);
        }
        let named = if beat.member_id.is_empty() {
            self.name_member(&beat.client_id)
        } else {
            beat.member_id.clone()
        };
        let group = self.groups.entry(beat.group.clone()).or_default();
        let free = match &group.kind {
            GroupKind::Idle => true,
            GroupKind::Classic(classic) => classic.members.is_empty(),
            GroupKind::Consumer(_) => false,
        };
        if free {
            group.kind = GroupKind::Consumer(ConsumerGroup::default());
        }
        let GroupKind::Consumer(group) = &mut group.kind else {
            return Err(ErrorCode::GroupIdNotFound);
        };
        let holder = beat
            .instance_id
            .as_deref()
            .and_then(|i| group.id_of_instance(i))
            .cloned();
        if let Some(old) = holder.filter(|old| *old != named) {
            if group.members.get(&old).is_some_and(|m| m.epoch != LEAVE_STATIC_EPOCH) {
                return Err(ErrorCode::UnreleasedInstanceId);
            }
            // The static member is back under a new id: it gets what it had.
            let mut member = group.members.remove(&old).unwrap_or_default();
            member.rejoin();
            group.members.insert(named.clone(), member);
            return Ok((named, false));
        }
        let known = group.members.contains_key(&named);
        let member = group.members.entry(named.clone()).or_default();
        member.rejoin();
        if !known {
            member.instance_id.clone_from(&beat.instance_id);
            member.rebalance_ms = DEFAULT_REBALANCE_MS;
        }
        Ok((named, !known))
    }

    fn consumer_leaves(&mut self, beat: &Heartbeat, now_ms: i64) -> Result<HeartbeatAnswer> {
        let session_ms = self.config.consumer_session_ms;
        let (group, _) = self.consumer_mut(&beat.group)?;
        let id = match beat.instance_id.as_deref() {
            None => beat.member_id.clone(),
            Some(instance) => match group.id_of_instance(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(id) if *id != beat.member_id => return Err(ErrorCode::FencedInstanceId),
                Some(id) => id.clone(),
            },
        };
        let member = group.members.get_mut(&id).ok_or(ErrorCode::UnknownMemberId)?;
        if beat.member_epoch == LEAVE_STATIC_EPOCH && member.instance_id.is_some() {
            member.epoch = LEAVE_STATIC_EPOCH;
            member.expires_ms = now_ms + session_ms;
        } else {
            group.members.remove(&id);
            self.next_group_epoch(&beat.group)?;
        }
        Ok(HeartbeatAnswer {
            member_id: id,
            member_epoch: beat.member_epoch,
            interval_ms: 0,
            assignment: None,
        })
    }

    /// An administrator takes a member out.
    pub(super) fn leave_consumer_group(
        &mut self,
        group: &str,
        member_id: &str,
        instance: Option<&str>,
        now_ms: i64,
    ) -> Result<()> {
        let (consumer, _) = self.consumer_mut(group)?;
        let by_instance = instance.and_then(|i| consumer.id_of_instance(i));
        let member_id = by_instance.map_or(member_id, String::as_str).to_string();
        let instance_id = instance.map(str::to_string);
        let beat = Heartbeat {
            group: group.into(),
            member_id,
            member_epoch: LEAVE_EPOCH,
            instance_id,
            ..Heartbeat::default()
        };
        self.consumer_leaves(&beat, now_ms).map(|_| ())
    }

    /// Takes out members whose session ended or who did not give back what they had to.
    pub(super) fn tick_consumer(&mut self, id: &str, now_ms: i64) {
        let Ok((group, _)) = self.consumer_mut(id) else { return };
        let before = group.members.len();
        group.members.retain(|_, m| !m.is_due(now_ms));
        if group.members.len() != before
            && let Err(error) = self.next_group_epoch(id)
        {
            tracing::error!(group = id, %error, "a group's epoch cannot be stored");
        }
    }

    fn places(&self, owned: &[(u128, Vec<i32>)]) -> Places {
        let number = |id: &u128| {
            self.topic_name(*id)
                .ok()
                .and_then(|name| self.topics.get(&**name))
                .map(|t| t.number)
        };
        let known = owned
            .iter()
            .filter_map(|(id, partitions)| Some((number(id)?, partitions)));
        known
            .flat_map(|(number, partitions)| partitions.iter().map(move |p| (number, *p)))
            .collect()
    }

    fn topic_ids(&self, places: &Places) -> Vec<(u128, Vec<i32>)> {
        let mut out: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        places
            .iter()
            .for_each(|(topic, partition)| out.entry(*topic).or_default().push(*partition));
        let id = |number: &u64| {
            self.topic_names
                .get(number)
                .and_then(|name| self.topics.get(&**name))
                .map(Topic::id)
        };
        out.into_iter()
            .filter_map(|(number, partitions)| Some((id(&number)?, partitions)))
            .collect()
    }

    /// What a member has and what it should have, as topic ids and partitions.
    pub fn consumer_assignment(&self, member: &ConsumerMember) -> [Vec<(u128, Vec<i32>)>; 2] {
        [self.topic_ids(&member.assigned), self.topic_ids(&member.target)]
    }
}

fn member_assignment(group: &ConsumerGroup, id: &str) -> Places {
    group.members.get(id).map(|m| m.assigned.clone()).unwrap_or_default()
}

impl ConsumerMember {
    /// A member that joins (again) has nothing and starts at epoch 0.
    fn rejoin(&mut self) {
        self.epoch = 0;
        self.previous_epoch = 0;
        self.state = MemberState::Stable;
        self.assigned.clear();
        self.revoking.clear();
        self.revoke_by_ms = None;
    }
}

impl ConsumerGroup {
    /// Whether a heartbeat comes from a member as the group knows it.
    fn check_heartbeat(&self, beat: &Heartbeat, owned: Option<&Places>) -> Result<()> {
        if let Some(instance) = beat.instance_id.as_deref() {
            match self.id_of_instance(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(id) if *id != beat.member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.members.get(&beat.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        // The answer that raised the epoch may have been lost: then it still comes with the one before.
        let has_no_more = owned.is_none_or(|owned| owned.is_subset(&member.assigned));
        let behind = beat.member_epoch == member.previous_epoch && has_no_more;
        if beat.member_epoch == member.epoch || (beat.member_epoch < member.epoch && behind) {
            return Ok(());
        }
        Err(ErrorCode::FencedMemberEpoch)
    }
}
