//! Producer ids and transactions.

use super::Server;
use super::admin::code;
use super::connection::Call;
use super::offsets::{OffsetRow, offset_rows, per_topic};
use crate::log::core::groups::{GroupMember, OffsetEntry};
use crate::log::core::{ErrorCode, ProducerIdentity, Result};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId, TransactionalId,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

fn identity(transactional_id: &TransactionalId, producer_id: ProducerId, epoch: i16) -> ProducerIdentity {
    let transactional_id = Some(transactional_id.0.to_string());
    ProducerIdentity {
        id: producer_id.0,
        epoch,
        transactional_id,
        sequence: None,
    }
}

/// Clients of older versions know being fenced only by its older name.
fn fenced_code<T>(result: &Result<T>, version: i16, named_from: i16) -> i16 {
    match result {
        Err(ErrorCode::ProducerFenced) if version < named_from => ErrorCode::InvalidProducerEpoch.code(),
        other => code(other),
    }
}

impl Server {
    pub(super) fn init_producer_id(&self, request: &InitProducerIdRequest, call: &Call<'_>) -> InitProducerIdResponse {
        let id = request.transactional_id.as_ref().map(|id| id.0.as_str());
        let current = (request.producer_id.0 >= 0).then_some((request.producer_id.0, request.producer_epoch));
        let timeout_ms = i64::from(request.transaction_timeout_ms);
        let given = self
            .log
            .with(|core| core.init_producer_id(id, timeout_ms, current, call.now_ms));
        let error = fenced_code(&given, call.version, 4);
        let (producer_id, epoch) = given.unwrap_or((-1, -1));
        InitProducerIdResponse::default()
            .with_error_code(error)
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(epoch)
    }

    pub(super) fn add_partitions_to_txn(
        &self,
        request: &AddPartitionsToTxnRequest,
        call: &Call<'_>,
    ) -> AddPartitionsToTxnResponse {
        let producer = identity(
            &request.v3_and_below_transactional_id,
            request.v3_and_below_producer_id,
            request.v3_and_below_producer_epoch,
        );
        let topics = &request.v3_and_below_topics;
        let wanted = topics
            .iter()
            .flat_map(|t| t.partitions.iter().map(move |p| (t.name.as_str(), *p)));
        let (found, done) = self.log.with(|core| {
            let found: Vec<Result<u32>> = wanted
                .map(|(topic, partition)| core.partition_id(topic, partition))
                .collect();
            // All or nothing, as Kafka does it.
            let done = match found.iter().copied().collect::<Result<Vec<u32>>>() {
                Ok(all) => core.add_partitions_to_txn(&producer, &all, call.now_ms),
                Err(_) => Err(ErrorCode::OperationNotAttempted),
            };
            (found, done)
        });
        let mut found = found.into_iter();
        let results = topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let outcome = found
                    .next()
                    .unwrap_or(Err(ErrorCode::UnknownTopicOrPartition))
                    .and(done);
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_partition_error_code(fenced_code(&outcome, call.version, 2))
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions.collect())
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
    }

    pub(super) fn add_offsets_to_txn(
        &self,
        request: &AddOffsetsToTxnRequest,
        call: &Call<'_>,
    ) -> AddOffsetsToTxnResponse {
        let producer = identity(&request.transactional_id, request.producer_id, request.producer_epoch);
        let group = request.group_id.as_str();
        let done = self
            .log
            .with(|core| core.add_offsets_to_txn(&producer, group, call.now_ms));
        AddOffsetsToTxnResponse::default().with_error_code(fenced_code(&done, call.version, 2))
    }

    pub(super) fn end_txn(&self, request: &EndTxnRequest, call: &Call<'_>) -> EndTxnResponse {
        let producer = identity(&request.transactional_id, request.producer_id, request.producer_epoch);
        let done = self
            .log
            .with(|core| core.end_txn(&producer, request.committed, call.now_ms));
        EndTxnResponse::default().with_error_code(fenced_code(&done, call.version, 2))
    }

    pub(super) fn txn_offset_commit(&self, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
        let producer = identity(&request.transactional_id, request.producer_id, request.producer_epoch);
        let member = GroupMember {
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.as_ref().map(|i| i.to_string()),
            epoch: request.generation_id,
        };
        let rows = offset_rows!(request);
        let group = request.group_id.as_str();
        let commit = |core: &mut crate::log::core::Core, entries: Vec<OffsetEntry>| {
            core.commit_txn_offsets(&producer, group, &member, entries)
        };
        let errors = self.commit_rows(rows.collect(), commit);
        let older_name = |error| {
            if error == ErrorCode::ProducerFenced {
                ErrorCode::InvalidProducerEpoch
            } else {
                error
            }
        };
        let mut errors = errors.into_iter().map(|e| e.map_err(older_name));
        let topics = per_topic(&request.topics, |topic| {
            let partitions = topic.partitions.iter().map(|p| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_error_code(errors.next().map_or(0, |e| code(&e)))
            });
            TxnOffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        TxnOffsetCommitResponse::default().with_topics(topics)
    }
}
