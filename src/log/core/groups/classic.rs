//! The classic group protocol: members join, one of them (the leader) assigns, all heartbeat.
//!
//! ```text
//!  Empty --join--> PreparingRebalance --all joined, or too late--> CompletingRebalance --leader syncs--> Stable
//!                     ^   ^                                             |                                 |
//!                     |   +------ join with news, leave, time-out ------+---------------------------------+
//!                  (nobody left: Empty)
//! ```
//!
//! Joining is in `classic_join`; here are the state, synchronising, heartbeats, leaving and time-outs. Answers that wait
//! are kept as tokens and come out as [`Output`]s. *Invariant*: a token is answered exactly once.

use super::super::error::{ErrorCode, Result};
use super::super::{Core, Output};
use super::{GroupKind, GroupMember};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Where a classic group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassicState {
    /// No members.
    #[default]
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Everyone has an assignment.
    Stable,
}

impl ClassicState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
        }
    }

    fn may_become(self, next: ClassicState) -> bool {
        use ClassicState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        matches!(
            (self, next),
            (Empty | CompletingRebalance | Stable, PreparingRebalance)
                | (PreparingRebalance, CompletingRebalance | Empty)
                | (CompletingRebalance, Stable)
        )
    }
}

/// A member of a classic group.
#[derive(Debug)]
pub struct ClassicMember {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Assignors that it knows, with its metadata for each, best first.
    pub protocols: Vec<(String, Bytes)>,
    /// What the leader gave it.
    pub assignment: Bytes,
    pub(super) session_ms: i64,
    pub(super) rebalance_ms: i64,
    pub(super) seen_ms: i64,
    pub(super) joining: Option<u64>,
    pub(super) syncing: Option<u64>,
}

impl ClassicMember {
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|p| p.0 == protocol)
            .map(|p| p.1.clone())
            .unwrap_or_default()
    }

    /// A member that waits for an answer of ours cannot be expected to heartbeat.
    fn is_expired(&self, now_ms: i64) -> bool {
        self.joining.is_none() && self.syncing.is_none() && now_ms - self.seen_ms >= self.session_ms
    }
}

/// A classic group.
#[derive(Debug, Default)]
pub struct ClassicGroup {
    /// Where it stands.
    pub state: ClassicState,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// The assignor in use.
    pub protocol: String,
    /// Member id of the leader.
    pub leader: String,
    /// By member id.
    pub members: BTreeMap<String, ClassicMember>,
    /// Ids that were given to clients which have not joined with them yet (KIP-394), and until when they may.
    pub(super) promised: BTreeMap<String, i64>,
    pub(super) deadline_ms: i64,
    pub(super) not_before_ms: i64,
}

/// What a member needs to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group: String,
    /// Empty for a new member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Without a heartbeat for this long it is out, milliseconds.
    pub session_timeout_ms: i64,
    /// How long it may take to join again, milliseconds.
    pub rebalance_timeout_ms: i64,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// Assignors that it knows, with its metadata for each, best first.
    pub protocols: Vec<(String, Bytes)>,
    /// Whether a new member is first given an id to join with (KIP-394).
    pub wants_id_first: bool,
}

/// What a member is told when everyone has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    /// Set when there is more to say than the answer (`MemberIdRequired`).
    pub error: Option<ErrorCode>,
    /// The generation.
    pub generation: i32,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// The assignor to use.
    pub protocol: String,
    /// Member id of the leader.
    pub leader: String,
    /// The member's own id.
    pub member_id: String,
    /// For the leader: id, instance id and metadata of all.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// What a member sends to get its assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// The group.
    pub group: String,
    /// Who asks.
    pub member: GroupMember,
    /// From the leader: the assignment of each member id.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncAnswer {
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// The assignor used.
    pub protocol: String,
    /// The leader's words to this member.
    pub assignment: Bytes,
}

impl ClassicGroup {
    pub(super) fn become_state(&mut self, next: ClassicState) {
        assert!(
            self.state.may_become(next),
            "a classic group cannot go from {:?} to {next:?}",
            self.state
        );
        self.state = next;
    }

    pub(super) fn id_of_instance(&self, instance_id: &str) -> Option<&String> {
        self.members
            .iter()
            .find(|(_, m)| m.instance_id.as_deref() == Some(instance_id))
            .map(|(id, _)| id)
    }

    pub(super) fn touch(&mut self, member_id: &str, now_ms: i64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.seen_ms = now_ms;
        }
    }

    /// Whether this is a member of this generation.
    pub(super) fn check_member(&self, member: &GroupMember, generation: i32) -> Result<()> {
        self.check_instance(member)?;
        if !self.members.contains_key(&member.member_id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        if member.epoch >= 0 && member.epoch != generation {
            Err(ErrorCode::IllegalGeneration)
        } else {
            Ok(())
        }
    }

    fn check_instance(&self, member: &GroupMember) -> Result<()> {
        let Some(instance_id) = member.instance_id.as_deref() else {
            return Ok(());
        };
        match self.id_of_instance(instance_id) {
            Some(id) if *id != member.member_id => Err(ErrorCode::FencedInstanceId),
            Some(_) => Ok(()),
            None => Err(ErrorCode::UnknownMemberId),
        }
    }

    pub(super) fn sync_answer(&self, member_id: &str) -> SyncAnswer {
        SyncAnswer {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(member_id)
                .map(|m| m.assignment.clone())
                .unwrap_or_default(),
        }
    }

    /// Goes back to waiting for everyone; members that wait for an assignment are told to join again.
    pub(super) fn start_rebalance(&mut self, now_ms: i64, outputs: &mut Vec<Output>) {
        self.become_state(ClassicState::PreparingRebalance);
        self.not_before_ms = now_ms;
        self.deadline_ms = now_ms + self.members.values().map(|m| m.rebalance_ms).max().unwrap_or(0);
        for member in self.members.values_mut() {
            if let Some(token) = member.syncing.take() {
                outputs.push(Output::Synced {
                    token,
                    answer: Err(ErrorCode::RebalanceInProgress),
                });
            }
        }
    }

    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        let expired =
            self.members.values().any(|m| m.is_expired(now_ms)) || self.promised.values().any(|t| *t <= now_ms);
        expired
            || match self.state {
                ClassicState::PreparingRebalance => now_ms >= self.not_before_ms,
                ClassicState::CompletingRebalance => now_ms >= self.deadline_ms,
                ClassicState::Empty | ClassicState::Stable => false,
            }
    }
}

impl Core {
    pub(super) fn classic_mut(&mut self, id: &str) -> Result<(&mut ClassicGroup, i32, &mut Vec<Output>)> {
        match self.groups.get_mut(id) {
            Some(super::Group {
                kind: GroupKind::Classic(group),
                epoch,
                ..
            }) => Ok((group, *epoch, &mut self.outputs)),
            Some(_) | None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Asks for the assignment; the leader brings everyone's. The answer comes as [`Output::Synced`], unless the call
    /// itself fails.
    pub fn sync_group(&mut self, token: u64, request: SyncRequest, now_ms: i64) -> Result<()> {
        let (group, generation, outputs) = self.classic_mut(&request.group)?;
        let id = request.member.member_id.as_str();
        group.check_member(&request.member, generation)?;
        group.touch(id, now_ms);
        match group.state {
            ClassicState::Empty => return Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => return Err(ErrorCode::RebalanceInProgress),
            ClassicState::Stable => {
                outputs.push(Output::Synced {
                    token,
                    answer: Ok(group.sync_answer(id)),
                });
                return Ok(());
            }
            ClassicState::CompletingRebalance => {}
        }
        if let Some(member) = group.members.get_mut(id)
            && let Some(old) = member.syncing.replace(token)
        {
            outputs.push(Output::Synced {
                token: old,
                answer: Err(ErrorCode::RebalanceInProgress),
            });
        }
        if group.leader != id {
            return Ok(());
        }
        let mut assignments: BTreeMap<String, Bytes> = request.assignments.into_iter().collect();
        group.become_state(ClassicState::Stable);
        for (id, member) in &mut group.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        let waiting: Vec<(u64, String)> = group
            .members
            .iter_mut()
            .filter_map(|(id, m)| Some((m.syncing.take()?, id.clone())))
            .collect();
        for (token, id) in waiting {
            group.touch(&id, now_ms);
            outputs.push(Output::Synced {
                token,
                answer: Ok(group.sync_answer(&id)),
            });
        }
        Ok(())
    }

    /// Keeps a member's session alive.
    pub fn heartbeat(&mut self, group: &str, member: &GroupMember, now_ms: i64) -> Result<()> {
        let (group, generation, _) = self.classic_mut(group)?;
        group.check_member(member, generation)?;
        group.touch(&member.member_id, now_ms);
        match group.state {
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
        }
    }

    /// Takes a member out, by its id or its instance id.
    pub fn leave_group(&mut self, group: &str, member_id: &str, instance_id: Option<&str>, now_ms: i64) -> Result<()> {
        if matches!(self.groups.get(group).map(|g| &g.kind), Some(GroupKind::Consumer(_))) {
            return self.leave_consumer_group(group, member_id, instance_id, now_ms);
        }
        let (classic, _, outputs) = self.classic_mut(group)?;
        let id = match instance_id {
            None => member_id.to_string(),
            Some(instance) => {
                let id = classic.id_of_instance(instance).ok_or(ErrorCode::UnknownMemberId)?;
                if !member_id.is_empty() && id != member_id {
                    return Err(ErrorCode::FencedInstanceId);
                }
                id.clone()
            }
        };
        if classic.promised.remove(&id).is_some() {
            return Ok(());
        }
        let gone = classic.members.remove(&id).ok_or(ErrorCode::UnknownMemberId)?;
        dismiss(gone, outputs);
        self.rebalance_classic(group, now_ms);
        Ok(())
    }

    /// Starts a rebalance where none is under way, and ends it where everyone is there.
    pub(super) fn rebalance_classic(&mut self, id: &str, now_ms: i64) {
        if let Ok((group, _, outputs)) = self.classic_mut(id)
            && group.state != ClassicState::PreparingRebalance
        {
            group.start_rebalance(now_ms, outputs);
        }
        self.try_complete_join(id, now_ms);
    }

    pub(super) fn tick_classic(&mut self, id: &str, now_ms: i64) {
        let Ok((group, _, outputs)) = self.classic_mut(id) else {
            return;
        };
        group.promised.retain(|_, until| *until > now_ms);
        let late = group.state == ClassicState::CompletingRebalance && now_ms >= group.deadline_ms;
        let out = |m: &ClassicMember| m.is_expired(now_ms) || (late && m.syncing.is_none());
        let gone: Vec<String> = group
            .members
            .iter()
            .filter(|(_, m)| out(m))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            if let Some(member) = group.members.remove(id) {
                dismiss(member, outputs);
            }
        }
        if late {
            group.deadline_ms = i64::MAX;
        }
        if gone.is_empty() {
            self.try_complete_join(id, now_ms)
        } else {
            self.rebalance_classic(id, now_ms)
        }
    }
}

/// Answers whatever a member that is gone was waiting for.
pub(super) fn dismiss(member: ClassicMember, outputs: &mut Vec<Output>) {
    if let Some(token) = member.joining {
        outputs.push(Output::Joined {
            token,
            answer: Err(ErrorCode::UnknownMemberId),
        });
    }
    if let Some(token) = member.syncing {
        outputs.push(Output::Synced {
            token,
            answer: Err(ErrorCode::UnknownMemberId),
        });
    }
}
