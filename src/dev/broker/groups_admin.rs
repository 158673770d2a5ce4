//! Groups seen from outside: listing, describing, deleting; both protocols.

use super::Server;
use super::admin::code;
use super::metadata::{text, topic_name};
use crate::log::core::groups::{ConsumerMember, Group, GroupKind};
use crate::log::core::{Core, ErrorCode, Result};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup as DescribedConsumerGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerProtocolAssignment, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ListGroupsRequest,
    ListGroupsResponse, consumer_protocol_assignment,
};
use kafka_protocol::protocol::Encodable;
use uuid::Uuid;

type Places = Vec<(u128, Vec<i32>)>;

impl Server {
    pub(super) fn list_groups(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(value))
        };
        let listed = |(id, group): (&str, &Group)| {
            let fits =
                wanted(&request.states_filter, group.state_name()) && wanted(&request.types_filter, group.type_name());
            fits.then(|| {
                ListedGroup::default()
                    .with_group_id(GroupId(text(id)))
                    .with_protocol_type(text(group.protocol_type()))
                    .with_group_state(text(group.state_name()))
                    .with_group_type(text(group.type_name()))
            })
        };
        let groups = self.log.with(|core| core.groups().filter_map(listed).collect());
        ListGroupsResponse::default().with_groups(groups)
    }

    pub(super) fn describe_groups(&self, request: &DescribeGroupsRequest) -> DescribeGroupsResponse {
        let describe = |id: &GroupId| {
            let response = DescribedGroup::default().with_group_id(id.clone());
            self.log.with(|core| match core.group(id.as_str()) {
                Err(_) => response.with_group_state(text("Dead")),
                Ok(group) => describe_classic(core, group, response, &self.host),
            })
        };
        DescribeGroupsResponse::default().with_groups(request.groups.iter().map(describe).collect())
    }

    pub(super) fn consumer_group_describe(
        &self,
        request: &ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        let describe = |id: &GroupId| {
            let response = DescribedConsumerGroup::default().with_group_id(id.clone());
            let described = self
                .log
                .with(|core| describe_consumer(core, id.as_str(), response.clone(), &self.host));
            described.unwrap_or_else(|error| {
                response
                    .with_error_code(error.code())
                    .with_error_message(Some(text(error.message())))
                    .with_group_state(text("Dead"))
            })
        };
        ConsumerGroupDescribeResponse::default().with_groups(request.group_ids.iter().map(describe).collect())
    }

    pub(super) fn delete_groups(&self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let delete = |id: &GroupId| {
            let deleted = self.log.with(|core| core.delete_group(id.as_str()));
            DeletableGroupResult::default()
                .with_group_id(id.clone())
                .with_error_code(code(&deleted))
        };
        DeleteGroupsResponse::default().with_results(request.groups_names.iter().map(delete).collect())
    }
}

/// Groups of the newer protocol are described in the older form, too, for clients that know no other.
fn describe_classic(core: &Core, group: &Group, response: DescribedGroup, host: &str) -> DescribedGroup {
    let response = response
        .with_group_state(text(group.state_name()))
        .with_protocol_type(text(group.protocol_type()));
    let member = |id: &str, client: &str, instance: Option<&String>| {
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(|i| text(i)))
            .with_client_id(text(client))
            .with_client_host(text(host))
    };
    match &group.kind {
        GroupKind::Idle => response,
        GroupKind::Classic(classic) => {
            let members = classic.members.iter().map(|(id, m)| {
                let metadata = m
                    .protocols
                    .iter()
                    .find(|p| p.0 == classic.protocol)
                    .map(|p| p.1.clone());
                member(id, &m.client_id, m.instance_id.as_ref())
                    .with_member_assignment(m.assignment.clone())
                    .with_member_metadata(metadata.unwrap_or_default())
            });
            response
                .with_protocol_data(text(&classic.protocol))
                .with_members(members.collect())
        }
        GroupKind::Consumer(consumer) => {
            let members = consumer.members.iter().map(|(id, m)| {
                let [has, _] = core.consumer_assignment(m);
                member(id, &m.client_id, m.instance_id.as_ref()).with_member_assignment(classic_assignment(core, has))
            });
            response
                .with_protocol_data(text(consumer.assignor().name()))
                .with_members(members.collect())
        }
    }
}

/// An assignment as the classic protocol's clients write it.
fn classic_assignment(core: &Core, places: Places) -> Bytes {
    let topic = |(id, partitions): (u128, Vec<i32>)| {
        let name = core.topic_name(id).ok()?;
        let topic = consumer_protocol_assignment::TopicPartition::default();
        Some(topic.with_topic(topic_name(name)).with_partitions(partitions))
    };
    let assignment =
        ConsumerProtocolAssignment::default().with_assigned_partitions(places.into_iter().filter_map(topic).collect());
    let mut out = BytesMut::new();
    out.put_i16(0); // the version of what follows
    match assignment.encode(&mut out, 0) {
        Ok(()) => out.freeze(),
        Err(error) => {
            tracing::warn!(%error, "an assignment cannot be described");
            Bytes::new()
        }
    }
}

fn describe_consumer(
    core: &Core,
    id: &str,
    response: DescribedConsumerGroup,
    host: &str,
) -> Result<DescribedConsumerGroup> {
    let group = core.group(id)?;
    let GroupKind::Consumer(consumer) = &group.kind else {
        return Err(ErrorCode::GroupIdNotFound);
    };
    let assignment = |places: Places| {
        let topic = |(id, partitions): (u128, Vec<i32>)| {
            let name = core.topic_name(id).map(|n| topic_name(n)).unwrap_or_default();
            let topic = TopicPartitions::default().with_topic_id(Uuid::from_u128(id));
            topic.with_topic_name(name).with_partitions(partitions)
        };
        Assignment::default().with_topic_partitions(places.into_iter().map(topic).collect())
    };
    let member = |(id, m): (&String, &ConsumerMember)| {
        let [has, target] = core.consumer_assignment(m);
        Member::default()
            .with_member_id(text(id))
            .with_instance_id(m.instance_id.as_deref().map(text))
            .with_member_epoch(m.epoch)
            .with_client_id(text(&m.client_id))
            .with_client_host(text(host))
            .with_subscribed_topic_names(m.subscribed.iter().map(|t| topic_name(t)).collect())
            .with_assignment(assignment(has))
            .with_target_assignment(assignment(target))
            .with_member_type(1)
    };
    Ok(response
        .with_group_state(text(group.state_name()))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(consumer.target_epoch)
        .with_assignor_name(text(consumer.assignor().name()))
        .with_members(consumer.members.iter().map(member).collect()))
}
