//! Everything but the batches, as it stands at the start of each journal segment.

use super::groups::{Group, OffsetEntry};
use super::partition::{Partition, PartitionSnapshot};
use super::transactions::Txn;
use super::{Core, Counters};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct TopicSnapshot {
    name: String,
    number: u64,
    config: BTreeMap<String, String>,
    partitions: Vec<PartitionSnapshot>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct GroupSnapshot {
    name: String,
    epoch: i32,
    offsets: Vec<OffsetEntry>,
    pending: BTreeMap<i64, Vec<OffsetEntry>>,
}

/// The stored form.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Snapshot {
    counters: Counters,
    topics: Vec<TopicSnapshot>,
    groups: Vec<GroupSnapshot>,
    txns: BTreeMap<String, Txn>,
}

impl Core {
    pub(super) fn snapshot(&self) -> Snapshot {
        let topic = |(name, topic): (&String, &super::Topic)| TopicSnapshot {
            name: name.clone(),
            number: topic.number,
            config: topic.config.clone(),
            partitions: topic
                .partitions
                .iter()
                .filter_map(|id| Some(self.partitions.get(id)?.snapshot(*id)))
                .collect(),
        };
        let group = |(name, group): (&String, &Group)| GroupSnapshot {
            name: name.clone(),
            epoch: group.epoch,
            offsets: group.offsets.entries(),
            pending: group
                .pending
                .iter()
                .map(|(producer, offsets)| (*producer, offsets.entries()))
                .collect(),
        };
        Snapshot {
            counters: self.counters.clone(),
            topics: self.topics.iter().map(topic).collect(),
            groups: self.groups.iter().map(group).collect(),
            txns: self.txns.clone(),
        }
    }

    /// Replaces the state by a snapshot's.
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        for topic in snapshot.topics {
            self.add_topic(topic.name.clone(), topic.number, topic.config);
            let Some(entry) = self.topics.get_mut(&topic.name) else {
                continue;
            };
            for (index, partition) in topic.partitions.into_iter().enumerate() {
                let id = partition.id;
                entry.partitions.push(id);
                self.partitions.insert(
                    id,
                    Partition::restore(topic.name.as_str().into(), index as i32, partition),
                );
            }
        }
        for snapshot in snapshot.groups {
            let mut group = Group {
                epoch: snapshot.epoch,
                ..Group::default()
            };
            group.offsets.merge(snapshot.offsets);
            for (producer, offsets) in snapshot.pending {
                group.pending.entry(producer).or_default().merge(offsets);
            }
            self.groups.insert(snapshot.name, group);
        }
        self.txns = snapshot.txns;
        self.counters = snapshot.counters;
    }

    /// Forgets idle producers and transactional ids, as of `now_ms`; done when a segment starts.
    pub(super) fn forget_idle(&mut self, now_ms: i64) {
        let producers_from = now_ms - self.config.producer_expiry_ms;
        for partition in self.partitions.values_mut() {
            let open = &partition.open;
            partition
                .producers
                .retain(|id, p| p.last_ms >= producers_from || open.contains_key(id));
        }
        let txns_from = now_ms - self.config.transactional_id_expiry_ms;
        self.txns
            .retain(|_, txn| txn.is_open() || txn.last_used_ms >= txns_from);
    }
}
