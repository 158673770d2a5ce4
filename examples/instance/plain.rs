//! At-least-once, for comparison only: Kafka without transactions behind the engine's traits.
//!
//! Records go through the idempotent producer, and input offsets are committed plainly after them, one request a commit as in a transaction's end. They go to a
//! group of their own, `GROUP-plain`: an offset commit of the engine's own group is its member's alone. So a restart reads everything again: an instance over this
//! log is good for measuring what transactions cost, and for nothing else.

use std::time::Duration;

use millstream::log::kafka::KafkaLog;
use millstream::log::{
    Admin, Delivered, Fetcher, FetcherConfig, GroupMetadata, Log, LogError, LogResult, Membership, MembershipConfig,
    OutRecord, Producer, TopicHandle, TransactionalProducer,
};
use millstream::types::TopicPartition;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustc_hash::FxHashMap;

/// See the module.
pub struct WithoutTransactions {
    kafka: KafkaLog,
    bootstrap: String,
}

impl WithoutTransactions {
    /// Over Kafka.
    pub fn new(kafka: KafkaLog, bootstrap: &str) -> Self {
        Self {
            kafka,
            bootstrap: bootstrap.to_owned(),
        }
    }
}

impl Log for WithoutTransactions {
    fn admin(&self) -> &dyn Admin {
        self.kafka.admin()
    }

    fn membership(&self, config: &MembershipConfig) -> LogResult<Box<dyn Membership>> {
        self.kafka.membership(config)
    }

    fn fetcher(&self, config: &FetcherConfig) -> LogResult<Box<dyn Fetcher>> {
        self.kafka.fetcher(config)
    }

    fn transactional_producer(&self, _transactional_id: &str) -> LogResult<Box<dyn TransactionalProducer>> {
        Ok(Box::new(Plain {
            bootstrap: self.bootstrap.clone(),
            producer: self.kafka.producer()?,
            committer: None,
            offsets: TopicPartitionList::new(),
        }))
    }

    fn producer(&self) -> LogResult<Box<dyn Producer>> {
        self.kafka.producer()
    }
}

struct Plain {
    bootstrap: String,
    producer: Box<dyn Producer>,
    /// Commits offsets to a group that has no members.
    committer: Option<BaseConsumer>,
    offsets: TopicPartitionList,
}

fn failed(error: impl std::fmt::Display) -> LogError {
    LogError::Unknown(format!("committing offsets: {error}"))
}

impl TransactionalProducer for Plain {
    fn init(&mut self, _timeout: Duration) -> LogResult<()> {
        Ok(())
    }

    fn topic(&mut self, name: &str) -> LogResult<TopicHandle> {
        self.producer.topic(name)
    }

    fn begin(&mut self) -> LogResult<()> {
        Ok(())
    }

    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()> {
        self.producer.send(record)
    }

    fn flush(&mut self, timeout: Duration) -> LogResult<Delivered> {
        let mut highest: FxHashMap<(TopicHandle, i32), i64> = FxHashMap::default();
        for (topic, partition, offset) in self.producer.flush(timeout)? {
            let known = highest.entry((topic, partition)).or_insert(offset);
            *known = offset.max(*known);
        }
        Ok(highest
            .into_iter()
            .map(|((topic, partition), offset)| (topic, partition, offset))
            .collect())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, i64)],
        group: &GroupMetadata,
        _timeout: Duration,
    ) -> LogResult<()> {
        if self.committer.is_none() {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &self.bootstrap);
            config.set("group.id", format!("{}-plain", group.group));
            config.set("enable.auto.commit", "false");
            self.committer = Some(config.create().map_err(failed)?);
        }
        self.offsets = TopicPartitionList::new();
        for (tp, offset) in offsets {
            let added = self
                .offsets
                .add_partition_offset(&tp.topic, tp.partition, Offset::Offset(*offset));
            added.map_err(failed)?;
        }
        Ok(())
    }

    fn commit(&mut self, _timeout: Duration) -> LogResult<()> {
        match &self.committer {
            Some(committer) if self.offsets.count() > 0 => {
                committer.commit(&self.offsets, CommitMode::Sync).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    fn abort(&mut self, _timeout: Duration) -> LogResult<()> {
        Ok(())
    }
}
