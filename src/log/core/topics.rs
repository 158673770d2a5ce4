//! Topics: making, changing and removing them.

use super::error::{ErrorCode, Result};
use super::events::Event;
use super::partition::Partition;
use super::topic_config::{self, ConfigChange, TopicSettings};
use super::{Core, Output};
use std::collections::BTreeMap;
use std::sync::Arc;

/// More partitions than this in one topic is a mistake; each costs memory.
const MAX_PARTITIONS: i32 = 10_000;
const MAX_NAME: usize = 249;
/// High half of every topic id, so that none is one of the ids that Kafka reserves.
const TOPIC_ID_HIGH: u128 = 0x6d69_6c6c_7374_7265 << 64;

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Unique in this log, for ever.
    pub(super) number: u64,
    /// The journal's numbers of its partitions, by index.
    pub(super) partitions: Vec<u32>,
    /// What its creator set.
    pub config: BTreeMap<String, String>,
    pub(super) settings: TopicSettings,
}

impl Topic {
    /// Kafka's id of the topic (a UUID).
    pub fn id(&self) -> u128 {
        TOPIC_ID_HIGH | u128::from(self.number)
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }
}

fn check_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ok = !name.is_empty() && name.len() <= MAX_NAME && name != "." && name != ".." && name.chars().all(legal);
    if ok { Ok(()) } else { Err(ErrorCode::InvalidTopic) }
}

fn check_count(partitions: i32) -> Result<u32> {
    if (1..=MAX_PARTITIONS).contains(&partitions) {
        Ok(partitions as u32)
    } else {
        Err(ErrorCode::InvalidPartitions)
    }
}

impl Core {
    /// Whether [`Core::create_topic`] would work.
    pub fn check_new_topic(&self, name: &str, partitions: i32, config: &BTreeMap<String, String>) -> Result<()> {
        check_name(name)?;
        if self.topics.contains_key(name) {
            return Err(ErrorCode::TopicAlreadyExists);
        }
        check_count(partitions)?;
        topic_config::parse(config).map(|_| ())
    }

    /// Makes a topic; returns its id.
    pub fn create_topic(&mut self, name: &str, partitions: i32, config: BTreeMap<String, String>) -> Result<u128> {
        self.check_new_topic(name, partitions, &config)?;
        self.record(Event::TopicCreated {
            name: name.to_string(),
            number: self.counters.next_topic,
            first_partition: self.counters.next_partition,
            partitions: partitions as u32,
            config,
        })?;
        Ok(self.topics[name].id())
    }

    /// Removes a topic with its data and committed offsets.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        self.topic(name)?;
        self.record(Event::TopicDeleted {
            topic: name.to_string(),
        })
    }

    /// Raises the number of partitions to `count`.
    pub fn create_partitions(&mut self, name: &str, count: i32, validate_only: bool) -> Result<()> {
        let have = self.topic(name)?.partition_count();
        let want = check_count(count)? as i32;
        if want <= have {
            return Err(ErrorCode::InvalidPartitions);
        }
        if validate_only {
            return Ok(());
        }
        let first_partition = self.counters.next_partition;
        self.record(Event::PartitionsAdded {
            topic: name.to_string(),
            first_partition,
            count: (want - have) as u32,
        })
    }

    /// Changes settings of a topic.
    pub fn alter_topic_config(&mut self, name: &str, changes: &[ConfigChange], validate_only: bool) -> Result<()> {
        let mut config = self.topic(name)?.config.clone();
        topic_config::change(&mut config, changes)?;
        topic_config::parse(&config)?;
        if validate_only {
            return Ok(());
        }
        self.record(Event::ConfigSet {
            topic: name.to_string(),
            config,
        })
    }

    /// Replaces all settings of a topic (the old `AlterConfigs`).
    pub fn replace_topic_config(
        &mut self,
        name: &str,
        config: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<()> {
        self.topic(name)?;
        topic_config::parse(&config)?;
        if validate_only {
            return Ok(());
        }
        self.record(Event::ConfigSet {
            topic: name.to_string(),
            config,
        })
    }

    /// Drops the records below an offset (-1: all); returns the new start.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64> {
        let id = self.partition_id(topic, partition)?;
        let log = &self.partitions[&id];
        let offset = if offset == -1 { log.next } else { offset };
        if offset < 0 || offset > log.next {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset > log.start {
            self.record(Event::LogStart { partition: id, offset })?;
        }
        Ok(self.partitions[&id].start)
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    /// The name of the topic with this id.
    pub fn topic_name(&self, id: u128) -> Result<&Arc<str>> {
        let number = id ^ TOPIC_ID_HIGH;
        u64::try_from(number)
            .ok()
            .and_then(|n| self.topic_names.get(&n))
            .ok_or(ErrorCode::UnknownTopicId)
    }

    /// The number by which the core knows a partition; stays valid until the topic is deleted.
    pub fn partition_id(&self, topic: &str, partition: i32) -> Result<u32> {
        let index = usize::try_from(partition).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        self.topic(topic)?
            .partitions
            .get(index)
            .copied()
            .ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// A partition by the core's number.
    pub fn partition(&self, id: u32) -> Result<&Partition> {
        self.partitions.get(&id).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    pub(super) fn settings_of(&self, id: u32) -> Result<&TopicSettings> {
        Ok(&self.topic(&self.partition(id)?.topic)?.settings)
    }

    pub(super) fn add_topic(&mut self, name: String, number: u64, config: BTreeMap<String, String>) {
        // A setting that an older version accepted must not keep the log from opening.
        let settings = topic_config::parse(&config).or_else(|_| topic_config::parse(&BTreeMap::new()));
        let Ok(settings) = settings else { return };
        self.topic_names.insert(number, name.as_str().into());
        self.counters.next_topic = self.counters.next_topic.max(number + 1);
        self.topics.insert(
            name,
            Topic {
                number,
                partitions: Vec::new(),
                config,
                settings,
            },
        );
    }

    pub(super) fn apply_partitions_added(&mut self, name: &str, first: u32, count: u32) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let shared: Arc<str> = name.into();
        for id in first..first.saturating_add(count) {
            let index = topic.partitions.len() as i32;
            topic.partitions.push(id);
            self.partitions.insert(id, Partition::new(Arc::clone(&shared), index));
        }
        self.counters.next_partition = self.counters.next_partition.max(first.saturating_add(count));
    }

    pub(super) fn apply_topic_deleted(&mut self, name: &str) {
        let Some(topic) = self.topics.remove(name) else { return };
        self.topic_names.remove(&topic.number);
        for id in topic.partitions {
            if let Some(partition) = self.partitions.remove(&id) {
                partition
                    .batches
                    .iter()
                    .for_each(|b| self.journal.count(b.at.segment, -i64::from(b.length)));
            }
            self.txns.values_mut().for_each(|txn| {
                txn.partitions.remove(&id);
            });
            self.outputs.push(Output::Advanced { partition: id });
        }
        self.groups.values_mut().for_each(|group| group.forget_topic(name));
    }

    pub(super) fn apply_config(&mut self, name: &str, config: BTreeMap<String, String>) {
        if let Some(topic) = self.topics.get_mut(name)
            && let Ok(settings) = topic_config::parse(&config)
        {
            topic.config = config;
            topic.settings = settings;
        }
    }

    pub(super) fn apply_log_start(&mut self, id: u32, offset: i64) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            let gone = partition.advance_start(offset);
            gone.iter()
                .for_each(|b| self.journal.count(b.at.segment, -i64::from(b.length)));
        }
    }
}
