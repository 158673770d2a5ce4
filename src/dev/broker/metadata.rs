//! Who is there (one node) and what topics there are.

use super::connection::Call;
use super::{NODE_ID, Server};
use crate::log::core::{Core, ErrorCode, Topic};
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use uuid::Uuid;

const CLUSTER_ID: &str = "millstream-embedded";

/// A string for the wire.
pub(super) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

/// A topic's name for the wire.
pub(super) fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}

fn node() -> BrokerId {
    BrokerId(NODE_ID)
}

/// One topic of a request for metadata: by name, or by id.
fn find_topic<'a>(core: &'a Core, name: Option<&'a str>, id: Uuid) -> (Option<String>, Result<&'a Topic, ErrorCode>) {
    match name {
        Some(name) => (Some(name.to_string()), core.topic(name)),
        None => match core.topic_name(id.as_u128()) {
            Ok(name) => (Some(name.to_string()), core.topic(name)),
            Err(error) => (None, Err(error)),
        },
    }
}

fn metadata_topic(name: Option<&str>, topic: Result<&Topic, ErrorCode>, id: Uuid) -> MetadataResponseTopic {
    let response = MetadataResponseTopic::default().with_name(name.map(topic_name));
    match topic {
        Err(error) => response.with_error_code(error.code()).with_topic_id(id),
        Ok(topic) => {
            let partition = |index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(node())
                    .with_leader_epoch(0)
                    .with_replica_nodes(vec![node()])
                    .with_isr_nodes(vec![node()])
            };
            response
                .with_topic_id(Uuid::from_u128(topic.id()))
                .with_partitions((0..topic.partition_count()).map(partition).collect())
        }
    }
}

impl Server {
    fn all_topics(&self) -> Vec<MetadataResponseTopic> {
        self.log.with(|core| {
            core.topics()
                .map(|(name, topic)| metadata_topic(Some(name), Ok(topic), Uuid::nil()))
                .collect()
        })
    }

    pub(super) fn metadata(&self, request: &MetadataRequest, call: &Call<'_>) -> MetadataResponse {
        let topics = match &request.topics {
            None => self.all_topics(),
            Some(topics) if topics.is_empty() && call.version == 0 => self.all_topics(),
            Some(topics) => {
                let create = call.version < 4 || request.allow_auto_topic_creation;
                let wanted = topics.iter().map(|t| (t.name.as_ref().map(|n| n.as_str()), t.topic_id));
                wanted.map(|(name, id)| self.one_topic(name, id, create)).collect()
            }
        };
        let broker = MetadataResponseBroker::default()
            .with_node_id(node())
            .with_host(text(&self.host))
            .with_port(self.port);
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text(CLUSTER_ID)))
            .with_controller_id(node())
            .with_topics(topics)
    }

    fn one_topic(&self, name: Option<&str>, id: Uuid, create: bool) -> MetadataResponseTopic {
        self.log.with(|core| {
            if let Some(name) = name.filter(|n| create && core.topic(n).is_err())
                && let Err(error) = core.create_topic(name, self.auto_create_partitions, BTreeMap::new())
            {
                return metadata_topic(Some(name), Err(error), id);
            }
            let (name, topic) = find_topic(core, name, id);
            metadata_topic(name.as_deref(), topic, id)
        })
    }

    pub(super) fn describe_cluster(&self) -> DescribeClusterResponse {
        let broker = DescribeClusterBroker::default()
            .with_broker_id(node())
            .with_host(text(&self.host))
            .with_port(self.port);
        DescribeClusterResponse::default()
            .with_cluster_id(text(CLUSTER_ID))
            .with_controller_id(node())
            .with_brokers(vec![broker])
    }

    pub(super) fn find_coordinator(
        &self,
        request: &FindCoordinatorRequest,
        call: &Call<'_>,
    ) -> FindCoordinatorResponse {
        let response = FindCoordinatorResponse::default();
        if call.version < 4 {
            return response
                .with_node_id(node())
                .with_host(text(&self.host))
                .with_port(self.port);
        }
        let coordinator = |key: &StrBytes| {
            Coordinator::default()
                .with_key(key.clone())
                .with_node_id(node())
                .with_host(text(&self.host))
                .with_port(self.port)
        };
        response.with_coordinators(request.coordinator_keys.iter().map(coordinator).collect())
    }

    pub(super) fn describe_topic_partitions(
        &self,
        request: &DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let mut room = request.response_partition_limit.clamp(1, 2000);
        let from = request
            .cursor
            .as_ref()
            .map(|c| (c.topic_name.to_string(), c.partition_index));
        self.log.with(|core| {
            let mut names: Vec<String> = if request.topics.is_empty() {
                core.topics().map(|(name, _)| name.to_string()).collect()
            } else {
                request.topics.iter().map(|t| t.name.to_string()).collect()
            };
            names.sort();
            let mut response = DescribeTopicPartitionsResponse::default();
            for name in names {
                let first = match &from {
                    Some((topic, _)) if name < *topic => continue,
                    Some((topic, partition)) if name == *topic => *partition,
                    Some(_) | None => 0,
                };
                let (topic, next) = describe_partitions(core, &name, first, room);
                room -= topic.partitions.len() as i32;
                response.topics.push(topic);
                if let Some(next) = next {
                    let cursor = Cursor::default()
                        .with_topic_name(topic_name(&name))
                        .with_partition_index(next);
                    return response.with_next_cursor(Some(cursor));
                }
            }
            response
        })
    }
}

/// A topic's partitions from one on, and where to go on when there is no room for all.
fn describe_partitions(
    core: &Core,
    name: &str,
    first: i32,
    room: i32,
) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let response = DescribeTopicPartitionsResponseTopic::default().with_name(Some(topic_name(name)));
    let topic = match core.topic(name) {
        Ok(topic) => topic,
        Err(error) => return (response.with_error_code(error.code()), None),
    };
    let partition = |index| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node())
            .with_leader_epoch(0)
            .with_replica_nodes(vec![node()])
            .with_isr_nodes(vec![node()])
            // Java's admin client cannot do without these lists.
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    let first = first.max(0);
    let end = topic.partition_count().min(first.saturating_add(room));
    let response = response
        .with_topic_id(Uuid::from_u128(topic.id()))
        .with_partitions((first..end).map(partition).collect());
    (response, (end < topic.partition_count()).then_some(end))
}
