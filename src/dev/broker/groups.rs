//! Members of groups: joining, synchronising, heartbeats, leaving; both protocols.

use super::Server;
use super::admin::{code, message};
use super::connection::Call;
use super::metadata::text;
use crate::log::core::ErrorCode;
use crate::log::core::groups::{GroupMember, Heartbeat, JoinRequest, SyncRequest};
use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// From this version on a new member is given its id before it may join (KIP-394).
const ID_FIRST_FROM: i16 = 4;
/// From this version on members may leave by several at once.
const LEAVE_MANY_FROM: i16 = 3;

fn owned(s: Option<&StrBytes>) -> Option<String> {
    s.map(|s| s.to_string())
}

/// Bytes that outlive the request that they came in must not keep all of it in memory.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

impl Server {
    pub(super) async fn join_group(&self, request: JoinGroupRequest, call: &Call<'_>) -> JoinGroupResponse {
        let session_timeout_ms = i64::from(request.session_timeout_ms);
        let rebalance_timeout_ms = if call.version == 0 {
            session_timeout_ms
        } else {
            i64::from(request.rebalance_timeout_ms)
        };
        let join = JoinRequest {
            group: request.group_id.to_string(),
            member_id: request.member_id.to_string(),
            instance_id: owned(request.group_instance_id.as_ref()),
            client_id: call.client_id.clone(),
            session_timeout_ms,
            rebalance_timeout_ms: rebalance_timeout_ms.max(0),
            protocol_type: request.protocol_type.to_string(),
            protocols: request
                .protocols
                .iter()
                .map(|p| (p.name.to_string(), detached(&p.metadata)))
                .collect(),
            wants_id_first: call.version >= ID_FIRST_FROM,
        };
        let now_ms = call.now_ms;
        // Before version 7 the protocol's name may not be null.
        let named = |name: &str| {
            if name.is_empty() && call.version >= 7 {
                None
            } else {
                Some(text(name))
            }
        };
        match self.log.join(|core, token| core.join_group(token, join, now_ms)).await {
            Err(error) => JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_generation_id(-1)
                .with_protocol_name(named(""))
                .with_member_id(request.member_id),
            Ok(answer) => {
                let member = |(id, instance, metadata): (String, Option<String>, Bytes)| {
                    JoinGroupResponseMember::default()
                        .with_member_id(text(&id))
                        .with_group_instance_id(instance.as_deref().map(text))
                        .with_metadata(metadata)
                };
                JoinGroupResponse::default()
                    .with_error_code(answer.error.map_or(0, ErrorCode::code))
                    .with_generation_id(answer.generation)
                    .with_protocol_type(Some(text(&answer.protocol_type)))
                    .with_protocol_name(named(&answer.protocol))
                    .with_leader(text(&answer.leader))
                    .with_member_id(text(&answer.member_id))
                    .with_members(answer.members.into_iter().map(member).collect())
            }
        }
    }

    pub(super) async fn sync_group(&self, request: SyncGroupRequest, call: &Call<'_>) -> SyncGroupResponse {
        let sync = SyncRequest {
            group: request.group_id.to_string(),
            member: GroupMember {
                member_id: request.member_id.to_string(),
                instance_id: owned(request.group_instance_id.as_ref()),
                epoch: request.generation_id,
            },
            assignments: request
                .assignments
                .iter()
                .map(|a| (a.member_id.to_string(), detached(&a.assignment)))
                .collect(),
        };
        let now_ms = call.now_ms;
        match self.log.sync(|core, token| core.sync_group(token, sync, now_ms)).await {
            Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
            Ok(answer) => SyncGroupResponse::default()
                .with_protocol_type(Some(text(&answer.protocol_type)))
                .with_protocol_name(Some(text(&answer.protocol)))
                .with_assignment(answer.assignment),
        }
    }

    pub(super) fn heartbeat(&self, request: &HeartbeatRequest, call: &Call<'_>) -> HeartbeatResponse {
        let member = GroupMember {
            member_id: request.member_id.to_string(),
            instance_id: owned(request.group_instance_id.as_ref()),
            epoch: request.generation_id,
        };
        let done = self
            .log
            .with(|core| core.heartbeat(request.group_id.as_str(), &member, call.now_ms));
        HeartbeatResponse::default().with_error_code(code(&done))
    }

    pub(super) fn leave_group(&self, request: &LeaveGroupRequest, call: &Call<'_>) -> LeaveGroupResponse {
        let group = request.group_id.as_str();
        let leave = |member: &StrBytes, instance: Option<&str>| {
            self.log
                .with(|core| core.leave_group(group, member.as_str(), instance, call.now_ms))
        };
        if call.version < LEAVE_MANY_FROM {
            return LeaveGroupResponse::default().with_error_code(code(&leave(&request.member_id, None)));
        }
        let members = request.members.iter().map(|member| {
            let left = leave(&member.member_id, member.group_instance_id.as_deref());
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(code(&left))
        });
        LeaveGroupResponse::default().with_members(members.collect())
    }

    pub(super) fn consumer_group_heartbeat(
        &self,
        request: ConsumerGroupHeartbeatRequest,
        call: &Call<'_>,
    ) -> ConsumerGroupHeartbeatResponse {
        if request.subscribed_topic_regex.as_ref().is_some_and(|r| !r.is_empty()) {
            let error = ErrorCode::InvalidRegularExpression;
            return ConsumerGroupHeartbeatResponse::default()
                .with_error_code(error.code())
                .with_error_message(Some(text(error.message())));
        }
        let beat = Heartbeat {
            group: request.group_id.to_string(),
            member_id: request.member_id.to_string(),
            member_epoch: request.member_epoch,
            instance_id: owned(request.instance_id.as_ref()),
            client_id: call.client_id.clone(),
            rebalance_timeout_ms: (request.rebalance_timeout_ms >= 0).then(|| i64::from(request.rebalance_timeout_ms)),
            subscribed: request
                .subscribed_topic_names
                .map(|names| names.iter().map(|n| n.to_string()).collect()),
            assignor: owned(request.server_assignor.as_ref()),
            owned: request.topic_partitions.map(|topics| {
                topics
                    .into_iter()
                    .map(|t| (t.topic_id.as_u128(), t.partitions))
                    .collect()
            }),
        };
        let answer = self.log.with(|core| core.consumer_heartbeat(beat, call.now_ms));
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_error_code(code(&answer))
            .with_error_message(message(&answer));
        let Ok(answer) = answer else { return response };
        let topic = |(id, partitions): (u128, Vec<i32>)| {
            TopicPartitions::default()
                .with_topic_id(Uuid::from_u128(id))
                .with_partitions(partitions)
        };
        let assignment = |topics: Vec<(u128, Vec<i32>)>| {
            Assignment::default().with_topic_partitions(topics.into_iter().map(topic).collect())
        };
        response
            .with_member_id(Some(text(&answer.member_id)))
            .with_member_epoch(answer.member_epoch)
            .with_heartbeat_interval_ms(answer.interval_ms)
            .with_assignment(answer.assignment.map(assignment))
    }
}
