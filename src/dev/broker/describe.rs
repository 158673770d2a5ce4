//! Producers and transactions seen from outside; what is open can be found here.

use super::Server;
use super::admin::code;
use super::connection::Call;
use super::metadata::{text, topic_name};
use crate::log::core::{Core, Txn};
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState as DescribedTransaction};
use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
};
use std::collections::BTreeMap;

impl Server {
    pub(super) fn describe_producers(&self, request: &DescribeProducersRequest) -> DescribeProducersResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let found = self.log.with(|core| {
                    let id = core.partition_id(topic.name.as_str(), *index)?;
                    Ok(core.partition(id)?.producers())
                });
                let producer = |p: crate::log::core::ProducerInfo| {
                    ProducerState::default()
                        .with_producer_id(ProducerId(p.producer_id))
                        .with_producer_epoch(i32::from(p.epoch))
                        .with_last_sequence(p.last_sequence)
                        .with_last_timestamp(p.last_ms)
                        .with_coordinator_epoch(-1)
                        .with_current_txn_start_offset(p.open_from.unwrap_or(-1))
                };
                PartitionResponse::default()
                    .with_partition_index(*index)
                    .with_error_code(code(&found))
                    .with_active_producers(found.unwrap_or_default().into_iter().map(producer).collect())
            });
            TopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }

    pub(super) fn list_transactions(
        &self,
        request: &ListTransactionsRequest,
        call: &Call<'_>,
    ) -> ListTransactionsResponse {
        let wanted = |txn: &Txn| {
            let state = request.state_filters.is_empty()
                || request.state_filters.iter().any(|s| s.as_str() == txn.state.name());
            let producers = &request.producer_id_filters;
            let producer = producers.is_empty() || producers.iter().any(|p| p.0 == txn.producer_id);
            let longer = call.version < 1
                || request.duration_filter < 0
                || (txn.is_open() && call.now_ms - txn.started_ms > request.duration_filter);
            state && producer && longer
        };
        let listed = |(id, txn): (&str, &Txn)| {
            wanted(txn).then(|| {
                ListedTransaction::default()
                    .with_transactional_id(TransactionalId(text(id)))
                    .with_producer_id(ProducerId(txn.producer_id))
                    .with_transaction_state(text(txn.state.name()))
            })
        };
        let states = self.log.with(|core| core.transactions().filter_map(listed).collect());
        ListTransactionsResponse::default().with_transaction_states(states)
    }

    pub(super) fn describe_transactions(&self, request: &DescribeTransactionsRequest) -> DescribeTransactionsResponse {
        let describe = |id: &TransactionalId| {
            let response = DescribedTransaction::default().with_transactional_id(id.clone());
            self.log.with(|core| match core.transaction(id.0.as_str()) {
                Err(error) => response.with_error_code(error.code()),
                Ok(txn) => response
                    .with_transaction_state(text(txn.state.name()))
                    .with_transaction_timeout_ms(txn.timeout_ms as i32)
                    .with_transaction_start_time_ms(if txn.is_open() { txn.started_ms } else { -1 })
                    .with_producer_id(ProducerId(txn.producer_id))
                    .with_producer_epoch(txn.epoch)
                    .with_topics(topics_of(core, txn)),
            })
        };
        let states = request.transactional_ids.iter().map(describe).collect();
        DescribeTransactionsResponse::default().with_transaction_states(states)
    }
}

fn topics_of(core: &Core, txn: &Txn) -> Vec<TopicData> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in txn.partitions.iter().filter_map(|id| core.partition(*id).ok()) {
        topics.entry(&partition.topic).or_default().push(partition.index);
    }
    let data = |(name, partitions): (&str, Vec<i32>)| {
        TopicData::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions)
    };
    topics.into_iter().map(data).collect()
}
