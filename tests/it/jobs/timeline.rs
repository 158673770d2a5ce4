//! When the records of a topic were written, by the broker's clock: how long a partition's task paused. Measured and printed, never asserted.

use std::collections::BTreeMap;

use millstream::types::Timestamp;

use super::cluster::Cluster;

/// The setting of a topic whose records carry the broker's time.
pub const BROKERS_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// Times of a topic's committed records, by partition.
pub struct Timeline(BTreeMap<i32, Vec<Timestamp>>);

impl Timeline {
    /// Of a topic that was made with [`BROKERS_TIME`].
    pub fn of(cluster: &Cluster, topic: &str) -> Self {
        let mut times: BTreeMap<i32, Vec<Timestamp>> = BTreeMap::new();
        for record in cluster.read(&cluster.topic(topic)) {
            times.entry(record.partition).or_default().push(record.timestamp);
        }
        Self(times)
    }

    /// The longest time without a record of a partition, as far as it is in the span, in milliseconds.
    fn pause(&self, partition: i32, (from, to): (Timestamp, Timestamp)) -> i64 {
        let times = self.0.get(&partition).map_or(&[][..], Vec::as_slice);
        let gaps = times.windows(2).map(|pair| pair[1].min(to) - pair[0].max(from));
        gaps.max().unwrap_or(0)
    }

    /// The longest pause of these partitions.
    pub fn longest(&self, partitions: impl IntoIterator<Item = i32>, span: (Timestamp, Timestamp)) -> i64 {
        let pauses = partitions.into_iter().map(|partition| self.pause(partition, span));
        pauses.max().unwrap_or(0)
    }
}
