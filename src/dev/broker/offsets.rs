//! Committed offsets of groups.

use super::Server;
use super::admin::code;
use super::connection::Call;
use super::metadata::{text, topic_name};
use crate::log::core::groups::{GroupMember, OffsetEntry};
use crate::log::core::{Core, ErrorCode, Result};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use std::collections::BTreeMap;

/// Kafka's `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

/// One offset of a request.
pub(super) struct OffsetRow<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<&'a str>,
}

/// The offsets that a request commits: those of a member and those of a transaction are two types of the same shape.
macro_rules! offset_rows {
    ($request:expr) => {
        $request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|p| OffsetRow {
                topic: topic.name.as_str(),
                partition: p.partition_index,
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: p.committed_metadata.as_deref(),
            })
        })
    };
}
pub(super) use offset_rows;

/// The topics that a request asks for; `None` for all that the group has. Older requests and newer ones are two types of the same shape.
macro_rules! wanted_partitions {
    ($request:expr) => {
        $request.topics.as_ref().map(|topics| {
            let topic = topics.iter().map(|t| (t.name.to_string(), t.partition_indexes.clone()));
            topic.collect::<Vec<_>>()
        })
    };
}

/// A group's committed offsets, as topics of the older answer or of the newer one.
macro_rules! committed {
    ($core:expr, $group:expr, $wanted:expr, $stable:expr, $topic:ty, $partition:ty) => {
        all_or($core, $group, $wanted).into_iter().map(|(name, partitions)| {
            let row = |partition| {
                let (error, entry) = one_offset($core, $group, &name, partition, $stable);
                <$partition>::default()
                    .with_partition_index(partition)
                    .with_error_code(error)
                    .with_committed_offset(entry.offset)
                    .with_committed_leader_epoch(entry.leader_epoch)
                    .with_metadata(Some(text(entry.metadata.as_deref().unwrap_or_default())))
            };
            let rows = partitions.into_iter().map(row).collect();
            <$topic>::default().with_name(topic_name(&name)).with_partitions(rows)
        })
    };
}

/// Answers topic by topic, in the order of the request (which the closure may rely on).
pub(super) fn per_topic<T, R>(topics: &[T], answer: impl FnMut(&T) -> R) -> Vec<R> {
    topics.iter().map(answer).collect()
}

impl OffsetRow<'_> {
    fn check(&self, core: &Core) -> Result<()> {
        core.partition_id(self.topic, self.partition)?;
        if self.metadata.is_some_and(|m| m.len() > MAX_METADATA_BYTES) {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    fn entry(&self) -> OffsetEntry {
        OffsetEntry {
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.filter(|m| !m.is_empty()).map(str::to_string),
        }
    }
}

impl Server {
    /// Commits the rows that are sound; one outcome a row.
    pub(super) fn commit_rows(
        &self,
        rows: Vec<OffsetRow<'_>>,
        commit: impl FnOnce(&mut Core, Vec<OffsetEntry>) -> Result<()>,
    ) -> Vec<Result<()>> {
        self.log.with(|core| {
            let checks: Vec<Result<()>> = rows.iter().map(|row| row.check(core)).collect();
            let sound = rows
                .iter()
                .zip(&checks)
                .filter(|(_, check)| check.is_ok())
                .map(|(row, _)| row.entry())
                .collect();
            let committed = commit(core, sound);
            checks.into_iter().map(|check| check.and(committed)).collect()
        })
    }

    pub(super) fn offset_commit(&self, request: &OffsetCommitRequest, call: &Call<'_>) -> OffsetCommitResponse {
        let member = GroupMember {
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.as_ref().map(|i| i.to_string()),
            epoch: request.generation_id_or_member_epoch,
        };
        let rows = offset_rows!(request);
        let group = request.group_id.as_str();
        let errors = self.commit_rows(rows.collect(), |core, entries| {
            core.commit_offsets(group, &member, entries, call.now_ms)
        });
        let mut errors = errors.iter();
        let topics = per_topic(&request.topics, |topic| {
            let partitions = topic.partitions.iter().map(|p| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(errors.next().map_or(0, code))
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        OffsetCommitResponse::default().with_topics(topics)
    }

    pub(super) fn offset_fetch(&self, request: &OffsetFetchRequest, call: &Call<'_>) -> OffsetFetchResponse {
        let stable = request.require_stable;
        if call.version >= 8 {
            let groups = request
                .groups
                .iter()
                .map(|group| self.fetch_group(group, stable))
                .collect();
            return OffsetFetchResponse::default().with_groups(groups);
        }
        let wanted = wanted_partitions!(request);
        let group = request.group_id.as_str();
        let topics = self.log.with(|core| {
            committed!(
                core,
                group,
                wanted,
                stable,
                OffsetFetchResponseTopic,
                OffsetFetchResponsePartition
            )
            .collect()
        });
        OffsetFetchResponse::default().with_topics(topics)
    }

    fn fetch_group(&self, request: &OffsetFetchRequestGroup, stable: bool) -> OffsetFetchResponseGroup {
        let group = request.group_id.as_str();
        let response = OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
        let member = GroupMember {
            member_id: request.member_id.as_ref().map(|m| m.to_string()).unwrap_or_default(),
            instance_id: None,
            epoch: request.member_epoch,
        };
        let wanted = wanted_partitions!(request);
        let topics = self.log.with(|core| {
            core.check_offset_reader(group, &member)?;
            let topics = committed!(
                core,
                group,
                wanted,
                stable,
                OffsetFetchResponseTopics,
                OffsetFetchResponsePartitions
            );
            Ok(topics.collect())
        });
        match topics {
            Ok(topics) => response.with_topics(topics),
            Err(error) => response.with_error_code(ErrorCode::code(error)),
        }
    }

    pub(super) fn offset_delete(&self, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
        let group = request.group_id.as_str();
        let partitions = request
            .topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(move |p| (t, p.partition_index)));
        let wanted = partitions
            .map(|(topic, partition)| (topic.name.to_string(), partition))
            .collect();
        let done = self.log.with(|core| core.delete_offsets(group, wanted));
        let topics = per_topic(&request.topics, |topic| {
            let partition = |index| OffsetDeleteResponsePartition::default().with_partition_index(index);
            let partitions = topic.partitions.iter().map(|p| partition(p.partition_index)).collect();
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        });
        OffsetDeleteResponse::default()
            .with_error_code(code(&done))
            .with_topics(topics)
    }
}

/// What was asked for, or every partition that the group has committed.
fn all_or(core: &Core, group: &str, wanted: Option<Vec<(String, Vec<i32>)>>) -> Vec<(String, Vec<i32>)> {
    wanted.unwrap_or_else(|| all_partitions(core, group))
}

fn all_partitions(core: &Core, group: &str) -> Vec<(String, Vec<i32>)> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in core.partitions_with_offsets(group) {
        topics.entry(topic).or_default().push(partition);
    }
    topics.into_iter().collect()
}

/// Error code and offset; -1 where there is none.
fn one_offset(core: &Core, group: &str, topic: &str, partition: i32, stable: bool) -> (i16, OffsetEntry) {
    let found = core.committed_offset(group, topic, partition, stable);
    let error = code(&found);
    (
        error,
        found
            .ok()
            .flatten()
            .unwrap_or_else(|| OffsetEntry::new(topic, partition, -1)),
    )
}
