//! Making, changing and removing topics; finding offsets; deleting records.

use super::Server;
use super::connection::Call;
use super::metadata::text;
use crate::log::core::{ErrorCode, Isolation, OffsetQuery, Result};
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The error code of an outcome.
pub(super) fn code<T>(result: &Result<T>) -> i16 {
    result.as_ref().err().map_or(0, |error| error.code())
}

/// The error text of an outcome.
pub(super) fn message<T>(result: &Result<T>) -> Option<kafka_protocol::protocol::StrBytes> {
    result.as_ref().err().map(|error| text(error.message()))
}

impl Server {
    pub(super) fn create_topics(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let topics = request.topics.iter().map(|topic| {
            let created = self.create_topic(topic, request.validate_only);
            let response = CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(code(&created))
                .with_error_message(message(&created));
            match created {
                Ok((id, partitions)) => response
                    .with_topic_id(Uuid::from_u128(id))
                    .with_num_partitions(partitions)
                    .with_replication_factor(1),
                Err(_) => response,
            }
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    fn create_topic(&self, topic: &CreatableTopic, validate_only: bool) -> Result<(u128, i32)> {
        let partitions = match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => self.auto_create_partitions,
            (0, partitions) => partitions,
            (assigned, _) => assigned as i32,
        };
        // This is one node: a topic that asks for more copies gets one, so that settings meant for a cluster work here.
        if topic.assignments.is_empty() && topic.replication_factor == 0 {
            return Err(ErrorCode::InvalidReplicationFactor);
        }
        let value = |c: &kafka_protocol::messages::create_topics_request::CreatableTopicConfig| {
            Some((c.name.to_string(), c.value.as_ref()?.to_string()))
        };
        let config: BTreeMap<String, String> = topic.configs.iter().filter_map(value).collect();
        self.log.with(|core| {
            if validate_only {
                return core
                    .check_new_topic(topic.name.as_str(), partitions, &config)
                    .map(|()| (0, partitions));
            }
            Ok((core.create_topic(topic.name.as_str(), partitions, config)?, partitions))
        })
    }

    pub(super) fn delete_topics(&self, request: &DeleteTopicsRequest, call: &Call<'_>) -> DeleteTopicsResponse {
        let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
        let by_state = request.topics.iter().map(|t| (t.name.clone(), t.topic_id));
        let wanted: Vec<(Option<TopicName>, Uuid)> = if call.version >= 6 {
            by_state.collect()
        } else {
            by_name.collect()
        };
        let responses = wanted.into_iter().map(|(name, id)| {
            let deleted = self.log.with(|core| {
                let name = match &name {
                    Some(name) => name.to_string(),
                    None => core.topic_name(id.as_u128())?.to_string(),
                };
                core.delete_topic(&name).map(|()| name)
            });
            DeletableTopicResult::default()
                .with_topic_id(id)
                .with_error_code(code(&deleted))
                .with_error_message(message(&deleted))
                .with_name(deleted.ok().map(|n| super::metadata::topic_name(&n)).or(name))
        });
        DeleteTopicsResponse::default().with_responses(responses.collect())
    }

    pub(super) fn create_partitions(&self, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
        let results = request.topics.iter().map(|topic| {
            let name = topic.name.as_str();
            let done = self
                .log
                .with(|core| core.create_partitions(name, topic.count, request.validate_only));
            CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(code(&done))
                .with_error_message(message(&done))
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }

    pub(super) fn delete_records(&self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                let name = topic.name.as_str();
                let done = self
                    .log
                    .with(|core| core.delete_records(name, p.partition_index, p.offset));
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(code(&done))
                    .with_low_watermark(done.unwrap_or(-1))
            });
            DeleteRecordsTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }

    pub(super) fn list_offsets(&self, request: &ListOffsetsRequest, call: &Call<'_>) -> ListOffsetsResponse {
        let isolation = if request.isolation_level == 1 {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                let found = self.find_offset(topic.name.as_str(), p.partition_index, p.timestamp, isolation);
                let (timestamp, offset) = found.ok().flatten().unwrap_or((-1, -1));
                let epoch = if call.version >= 4 && offset >= 0 { 0 } else { -1 };
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(code(&found))
                    .with_timestamp(timestamp)
                    .with_offset(offset)
                    .with_leader_epoch(epoch)
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn find_offset(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<Option<(i64, i64)>> {
        let query = match timestamp {
            -1 => OffsetQuery::Latest,
            -2 | -4 => OffsetQuery::Earliest, // -4: earliest on this node, the same without tiers
            -3 => OffsetQuery::MaxTimestamp,
            time => OffsetQuery::AtOrAfter(time),
        };
        self.log
            .with(|core| core.find_offset(core.partition_id(topic, partition)?, query, isolation))?
            .resolve()
    }

    /// The leader never changes, so every epoch ends at the end of the log.
    pub(super) fn offset_for_leader_epoch(
        &self,
        request: &OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| {
                let end = self.log.with(|core| {
                    Ok(core
                        .partition(core.partition_id(topic.topic.as_str(), p.partition)?)?
                        .high_watermark())
                });
                EpochEndOffset::default()
                    .with_partition(p.partition)
                    .with_error_code(code(&end))
                    .with_leader_epoch(if end.is_ok() { 0 } else { -1 })
                    .with_end_offset(end.unwrap_or(-1))
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}
