//! The simulated member: the client's half of KIP-848, over the core's groups.
//!
//! It tells the core what it has and does as it is told; revoked tasks count as its own until they are released.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Access, Call, Part, classify};
use crate::log::core::ErrorCode;
use crate::log::core::groups::{GroupMember, Heartbeat, HeartbeatAnswer};
use crate::log::{GroupMetadata, LogError, LogResult, Membership, MembershipConfig, MembershipEvent};

/// What production gives a worker to commit and let go, in milliseconds.
const REBALANCE_TIMEOUT_MS: i64 = 60_000;
/// A static member that leaves to come back says so with this epoch.
const LEAVE_STATIC_EPOCH: i32 = -2;
const LEAVE_EPOCH: i32 = -1;

pub(super) struct SimMembership {
    access: Access,
    config: MembershipConfig,
    member_id: String,
    epoch: i32,
    owned: BTreeSet<i32>,
    /// Revoked, not released yet; part of `owned`.
    releasing: BTreeSet<i32>,
    next_beat: i64,
    report: bool,
}

impl SimMembership {
    pub(super) fn new(access: Access, config: &MembershipConfig) -> Self {
        // As current clients do, it names itself, so that a lost answer to its first heartbeat does not leave a stranger behind.
        let member_id = format!("sim-{:016x}", access.peek().rng.next_u64());
        Self {
            access,
            config: config.clone(),
            member_id,
            epoch: 0,
            owned: BTreeSet::new(),
            releasing: BTreeSet::new(),
            next_beat: 0,
            report: true,
        }
    }

    fn beat(&mut self) -> LogResult<Option<HeartbeatAnswer>> {
        let (now, topic_id) = {
            let state = self.access.peek();
            let topic = state.core.topic(&self.config.tasks_topic);
            (
                state.now,
                topic
                    .map(|t| t.id())
                    .map_err(|e| classify(e, &self.config.tasks_topic))?,
            )
        };
        if now < self.next_beat && !self.report {
            return Ok(None);
        }
        let joins = self.epoch == 0;
        let owned = vec![(topic_id, self.owned.iter().copied().collect())];
        let beat = Heartbeat {
            group: self.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: self.config.instance_id.clone(),
            client_id: "sim".into(),
            // With it the core answers in full, whatever answer was lost before.
            rebalance_timeout_ms: Some(REBALANCE_TIMEOUT_MS),
            subscribed: joins.then(|| vec![self.config.tasks_topic.clone()]),
            assignor: None,
            owned: if joins { Some(Vec::new()) } else { Some(owned) },
        };
        let mut refused = None;
        let answer = self.access.call(
            Call::Write,
            Part::Groups,
            ("heartbeat", i64::from(self.epoch)),
            |state| {
                let now = state.now;
                state.core.consumer_heartbeat(beat, now).map_err(|e| {
                    refused = Some(e);
                    classify(e, &self.config.group)
                })
            },
        );
        match (answer, refused) {
            (Ok(answer), _) => {
                self.next_beat = now + i64::from(answer.interval_ms);
                Ok(Some(answer))
            }
            (Err(_), Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId)) => {
                self.epoch = 0;
                self.report = true;
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What an assignment changes.
    fn follow(&mut self, assignment: BTreeSet<i32>, events: &mut Vec<MembershipEvent>) {
        let gone: Vec<i32> = self
            .owned
            .difference(&assignment)
            .copied()
            .filter(|t| !self.releasing.contains(t))
            .collect();
        let new: Vec<i32> = assignment.difference(&self.owned).copied().collect();
        if !gone.is_empty() {
            self.releasing.extend(&gone);
            events.push(MembershipEvent::Revoked(gone));
        }
        if !new.is_empty() {
            self.owned.extend(&new);
            self.report = true;
            events.push(MembershipEvent::Assigned(new));
        }
    }
}

impl Membership for SimMembership {
    fn poll(&mut self) -> LogResult<Vec<MembershipEvent>> {
        let mut events = Vec::new();
        let was_member = self.epoch != 0;
        let answer = self.beat()?;
        if was_member && self.epoch == 0 {
            self.releasing.clear();
            let lost: Vec<i32> = std::mem::take(&mut self.owned).into_iter().collect();
            return Ok(if lost.is_empty() {
                events
            } else {
                vec![MembershipEvent::Lost(lost)]
            });
        }
        if let Some(answer) = answer {
            self.epoch = answer.member_epoch;
            self.report = false;
            if let Some(assignment) = answer.assignment {
                let tasks = assignment.into_iter().flat_map(|(_, partitions)| partitions).collect();
                self.follow(tasks, &mut events);
            }
        }
        Ok(events)
    }

    fn release(&mut self, tasks: &[i32]) -> LogResult<()> {
        for task in tasks {
            self.releasing.remove(task);
            self.owned.remove(task);
        }
        self.report = true;
        Ok(())
    }

    fn metadata(&self) -> LogResult<GroupMetadata> {
        if self.epoch == 0 {
            return Err(LogError::Abort(format!(
                "{}: not a member at the moment",
                self.config.group
            )));
        }
        let member = GroupMember {
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            epoch: self.epoch,
        };
        Ok(GroupMetadata {
            group: self.config.group.clone(),
            inner: Arc::new(member),
        })
    }

    fn close(&mut self) {
        self.say_goodbye(self.config.instance_id.is_some());
    }

    fn leave(&mut self) {
        self.say_goodbye(false);
    }
}

impl SimMembership {
    fn say_goodbye(&mut self, comes_back: bool) {
        if self.epoch == 0 {
            return;
        }
        let beat = Heartbeat {
            group: self.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: if comes_back { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH },
            instance_id: self.config.instance_id.clone(),
            ..Heartbeat::default()
        };
        self.epoch = 0;
        // A leave that gets lost is made up for by the session's time-out.
        let _ = self.access.call(Call::Write, Part::Groups, ("leave", 0), |state| {
            let now = state.now;
            state
                .core
                .consumer_heartbeat(beat, now)
                .map(|_| ())
                .map_err(|e| classify(e, &self.config.group))
        });
    }
}
