//! Committed offsets of a group.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetEntry {
    /// Name of the topic.
    #[serde(rename = "t")]
    pub topic: String,
    /// Number within the topic.
    #[serde(rename = "p")]
    pub partition: i32,
    /// Where to read on.
    #[serde(rename = "o")]
    pub offset: i64,
    /// As the client gave it; -1 when unknown.
    #[serde(rename = "e")]
    pub leader_epoch: i32,
    /// Whatever the client wants to remember.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl OffsetEntry {
    /// An offset without metadata.
    pub fn new(topic: &str, partition: i32, offset: i64) -> OffsetEntry {
        OffsetEntry {
            topic: topic.to_string(),
            partition,
            offset,
            leader_epoch: -1,
            metadata: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    offset: i64,
    leader_epoch: i32,
    metadata: Option<String>,
}

/// Offsets by topic and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets {
    topics: BTreeMap<String, BTreeMap<i32, Value>>,
}

impl Offsets {
    pub(in super::super) fn merge(&mut self, entries: Vec<OffsetEntry>) {
        for entry in entries {
            let value = Value {
                offset: entry.offset,
                leader_epoch: entry.leader_epoch,
                metadata: entry.metadata,
            };
            match self.topics.get_mut(&entry.topic) {
                Some(topic) => topic.insert(entry.partition, value),
                None => self
                    .topics
                    .entry(entry.topic)
                    .or_default()
                    .insert(entry.partition, value),
            };
        }
    }

    /// All of them, in order.
    pub fn entries(&self) -> Vec<OffsetEntry> {
        let all = self
            .topics
            .iter()
            .flat_map(|(topic, values)| values.iter().map(move |(p, v)| (topic, *p, v)));
        all.map(|(topic, partition, value)| entry(topic, partition, value))
            .collect()
    }

    /// The offset of a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<OffsetEntry> {
        self.topics
            .get(topic)?
            .get(&partition)
            .map(|value| entry(topic, partition, value))
    }

    pub(in super::super) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(values) = self.topics.get_mut(topic) {
            values.remove(&partition);
            if values.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    pub(in super::super) fn remove_topic(&mut self, topic: &str) {
        self.topics.remove(topic);
    }
}

fn entry(topic: &str, partition: i32, value: &Value) -> OffsetEntry {
    OffsetEntry {
        topic: topic.to_string(),
        partition,
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.clone(),
    }
}
