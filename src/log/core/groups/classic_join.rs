//! Joining a classic group, and the end of the joining phase.

use super::super::error::{ErrorCode, Result};
use super::super::{Core, Output};
use super::classic::{ClassicGroup, ClassicMember, ClassicState, JoinAnswer, JoinRequest, dismiss};
use super::{Group, GroupKind};
use bytes::Bytes;

/// Sessions outside this range are a mistake, milliseconds.
const SESSION_RANGE_MS: std::ops::RangeInclusive<i64> = 1..=1_800_000;

/// What is to be done with a join.
enum Step {
    /// A new member; first give it an id, then let it come back (KIP-394).
    Promise,
    /// A new member.
    Add,
    /// A static member that restarted under the same instance id; it takes the place of this id.
    Replace(String),
    /// A member that joins (again).
    Update,
}

impl ClassicGroup {
    fn decide(&self, request: &JoinRequest) -> Result<Step> {
        let holder = request.instance_id.as_deref().and_then(|i| self.id_of_instance(i));
        if request.member_id.is_empty() {
            return Ok(match holder {
                Some(old) => Step::Replace(old.clone()),
                None if request.wants_id_first && request.instance_id.is_none() => Step::Promise,
                None => Step::Add,
            });
        }
        match holder {
            Some(id) if *id != request.member_id => Err(ErrorCode::FencedInstanceId),
            None if request.instance_id.is_some() => Err(ErrorCode::UnknownMemberId),
            Some(_) | None if self.members.contains_key(&request.member_id) => Ok(Step::Update),
            Some(_) | None if self.promised.contains_key(&request.member_id) => Ok(Step::Add),
            Some(_) | None => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Whether the protocols offered include one that all (other) members know.
    fn fits(&self, request: &JoinRequest, replaced: Option<&str>) -> bool {
        let mut others = self
            .members
            .iter()
            .filter(|(id, _)| **id != request.member_id && Some(id.as_str()) != replaced)
            .peekable();
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return false;
        }
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<_> = others.collect();
        let knows = |m: &ClassicMember, name: &str| m.protocols.iter().any(|p| p.0 == name);
        self.protocol_type == request.protocol_type
            && request
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|(_, m)| knows(m, name)))
    }

    fn select_protocol(&self) -> String {
        let knows = |m: &ClassicMember, name: &str| m.protocols.iter().any(|p| p.0 == name);
        let offered = self
            .members
            .get(&self.leader)
            .map(|m| m.protocols.as_slice())
            .unwrap_or_default();
        let common = offered
            .iter()
            .find(|(name, _)| self.members.values().all(|m| knows(m, name)));
        common.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn join_answer(&self, member_id: &str, generation: i32, leader: &str) -> JoinAnswer {
        let leads = leader == member_id;
        let all = self.members.iter().filter(|_| leads);
        JoinAnswer {
            error: None,
            generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: leader.to_string(),
            member_id: member_id.to_string(),
            members: all
                .map(|(id, m)| (id.clone(), m.instance_id.clone(), m.metadata(&self.protocol)))
                .collect(),
        }
    }
}

/// A join on its way.
struct Joining<'a> {
    token: u64,
    member_id: String,
    request: &'a JoinRequest,
    generation: i32,
    now_ms: i64,
    delay_ms: i64,
}

fn new_member(request: &JoinRequest, now_ms: i64) -> ClassicMember {
    ClassicMember {
        instance_id: request.instance_id.clone(),
        client_id: request.client_id.clone(),
        protocols: request.protocols.clone(),
        assignment: Bytes::new(),
        session_ms: request.session_timeout_ms,
        rebalance_ms: request.rebalance_timeout_ms,
        seen_ms: now_ms,
        joining: None,
        syncing: None,
    }
}

impl Core {
    /// Joins a group, or joins it again. The answer comes as [`Output::Joined`], unless the call itself fails.
    pub fn join_group(&mut self, token: u64, request: JoinRequest, now_ms: i64) -> Result<()> {
        if request.group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        if !SESSION_RANGE_MS.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let step = self.prepare_join(&request)?;
        let member_id = if request.member_id.is_empty() {
            self.name_member(&request.client_id)
        } else {
            request.member_id.clone()
        };
        let delay_ms = self.config.initial_rebalance_delay_ms;
        let (group, generation, outputs) = self.classic_mut(&request.group)?;
        let joining = Joining {
            token,
            member_id,
            request: &request,
            generation,
            now_ms,
            delay_ms,
        };
        match group.take_step(step, joining, outputs) {
            Some(answer) => outputs.push(Output::Joined {
                token,
                answer: Ok(answer),
            }),
            None => self.try_complete_join(&request.group, now_ms),
        }
        Ok(())
    }

    /// Makes the group a classic one where it has no members of the other kind, and says what the join is.
    fn prepare_join(&mut self, request: &JoinRequest) -> Result<Step> {
        let group: &mut Group = self.groups.entry(request.group.clone()).or_default();
        let free = match &group.kind {
            GroupKind::Idle => true,
            GroupKind::Classic(_) => false,
            GroupKind::Consumer(consumer) => consumer.members.is_empty(),
        };
        if free {
            group.kind = GroupKind::Classic(ClassicGroup::default());
        }
        let GroupKind::Classic(classic) = &group.kind else {
            return Err(ErrorCode::InconsistentGroupProtocol);
        };
        let step = classic.decide(request)?;
        let replaced = if let Step::Replace(old) = &step {
            Some(old.as_str())
        } else {
            None
        };
        if !classic.fits(request, replaced) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(step)
    }

    /// Ends the joining phase when everyone is there, or when those who are not have had their time.
    pub(super) fn try_complete_join(&mut self, id: &str, now_ms: i64) {
        let Ok((group, _, _)) = self.classic_mut(id) else {
            return;
        };
        if group.state != ClassicState::PreparingRebalance || now_ms < group.not_before_ms {
            return;
        }
        if group.members.values().any(|m| m.joining.is_none()) {
            if now_ms < group.deadline_ms {
                return;
            }
            // A static member keeps its place until its session ends.
            group
                .members
                .retain(|_, m| m.joining.is_some() || m.instance_id.is_some());
        }
        let Ok(generation) = self.next_group_epoch(id) else {
            return;
        };
        let Ok((group, _, outputs)) = self.classic_mut(id) else {
            return;
        };
        if group.members.is_empty() {
            group.leader.clear();
            group.protocol.clear();
            group.become_state(ClassicState::Empty);
            return;
        }
        group.become_state(ClassicState::CompletingRebalance);
        group.deadline_ms = now_ms + group.members.values().map(|m| m.rebalance_ms).max().unwrap_or(0);
        let joined = |group: &ClassicGroup, id: &str| group.members.get(id).is_some_and(|m| m.joining.is_some());
        if !joined(group, &group.leader) {
            let next = group
                .members
                .iter()
                .find(|(_, m)| m.joining.is_some())
                .or(group.members.iter().next());
            group.leader = next.map(|(id, _)| id.clone()).unwrap_or_default();
        }
        group.protocol = group.select_protocol();
        let waiting: Vec<(String, u64)> = group
            .members
            .iter_mut()
            .filter_map(|(id, m)| Some((id.clone(), m.joining.take()?)))
            .collect();
        for (id, token) in waiting {
            group.touch(&id, now_ms);
            let answer = group.join_answer(&id, generation, &group.leader);
            outputs.push(Output::Joined {
                token,
                answer: Ok(answer),
            });
        }
    }
}

impl ClassicGroup {
    /// Carries out what was decided; `Some` is an answer that need not wait for the others.
    fn take_step(&mut self, step: Step, joining: Joining<'_>, outputs: &mut Vec<Output>) -> Option<JoinAnswer> {
        let Joining {
            token,
            member_id,
            request,
            generation,
            now_ms,
            delay_ms,
        } = joining;
        match step {
            Step::Promise => {
                let until = now_ms + request.session_timeout_ms;
                self.promised.insert(member_id.clone(), until);
                Some(JoinAnswer {
                    error: Some(ErrorCode::MemberIdRequired),
                    generation: -1,
                    protocol_type: request.protocol_type.clone(),
                    protocol: String::new(),
                    leader: String::new(),
                    member_id,
                    members: Vec::new(),
                })
            }
            Step::Add => {
                let first = self.members.is_empty();
                self.promised.remove(&member_id);
                self.protocol_type.clone_from(&request.protocol_type);
                self.members.insert(member_id.clone(), new_member(request, now_ms));
                self.wait_for_join(&member_id, token, now_ms, outputs);
                if first {
                    self.not_before_ms = now_ms + delay_ms;
                }
                None
            }
            Step::Replace(old_id) => {
                if !self.replace_static(&old_id, &member_id, request, now_ms, outputs) {
                    self.wait_for_join(&member_id, token, now_ms, outputs);
                    return None;
                }
                // Nothing that matters to the others has changed: it gets its old assignment back. It is told the
                // leader's old id, so that a leader that restarted does not assign again.
                let leader = if self.leader == member_id {
                    old_id
                } else {
                    self.leader.clone()
                };
                Some(self.join_answer(&member_id, generation, &leader))
            }
            Step::Update => {
                let answer = self.rejoin(&member_id, request, generation, now_ms);
                if answer.is_none() {
                    self.wait_for_join(&member_id, token, now_ms, outputs);
                }
                answer
            }
        }
    }

    /// Puts a member among those that wait for the others, starting a rebalance where none is under way.
    fn wait_for_join(&mut self, member_id: &str, token: u64, now_ms: i64, outputs: &mut Vec<Output>) {
        if let Some(member) = self.members.get_mut(member_id)
            && let Some(old) = member.joining.replace(token)
        {
            outputs.push(Output::Joined {
                token: old,
                answer: Err(ErrorCode::RebalanceInProgress),
            });
        }
        if self.state != ClassicState::PreparingRebalance {
            self.start_rebalance(now_ms, outputs);
        }
    }

    /// A known member joins: `Some` is the answer when nothing has changed for the others.
    fn rejoin(&mut self, member_id: &str, request: &JoinRequest, generation: i32, now_ms: i64) -> Option<JoinAnswer> {
        let leads = self.leader == member_id;
        let member = self.members.get_mut(member_id)?;
        let same = member.protocols == request.protocols;
        member.protocols.clone_from(&request.protocols);
        member.session_ms = request.session_timeout_ms;
        member.rebalance_ms = request.rebalance_timeout_ms;
        member.seen_ms = now_ms;
        let settled = match self.state {
            ClassicState::CompletingRebalance => same,
            ClassicState::Stable => same && !leads,
            ClassicState::Empty | ClassicState::PreparingRebalance => false,
        };
        settled.then(|| self.join_answer(member_id, generation, &self.leader))
    }

    /// A static member comes back under a new id. True when the group can go on as it is.
    fn replace_static(
        &mut self,
        old_id: &str,
        new_id: &str,
        request: &JoinRequest,
        now_ms: i64,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let Some(old) = self.members.remove(old_id) else {
            return false;
        };
        let fresh = ClassicMember {
            assignment: old.assignment.clone(),
            ..new_member(request, now_ms)
        };
        let same = old.metadata(&self.protocol) == fresh.metadata(&self.protocol);
        dismiss_as_fenced(old, outputs);
        self.members.insert(new_id.to_string(), fresh);
        if self.leader == old_id {
            self.leader = new_id.to_string();
        }
        self.state == ClassicState::Stable && same && self.select_protocol() == self.protocol
    }
}

fn dismiss_as_fenced(mut old: ClassicMember, outputs: &mut Vec<Output>) {
    if let Some(token) = old.joining.take() {
        outputs.push(Output::Joined {
            token,
            answer: Err(ErrorCode::FencedInstanceId),
        });
    }
    if let Some(token) = old.syncing.take() {
        outputs.push(Output::Synced {
            token,
            answer: Err(ErrorCode::FencedInstanceId),
        });
    }
    dismiss(old, outputs);
}
