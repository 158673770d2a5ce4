//! The `_schemas` topic: where the embedded registry keeps its events.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::registry::{Record, SchemasLog};
use crate::log::{Fetched, FetcherConfig, Log, LogError, NewTopic, OutRecord, Producer};
use crate::types::TopicPartition;

/// Confluent's name for it.
pub const TOPIC: &str = "_schemas";
/// Longest wait for an event to be kept.
const KEEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the next events when reading.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Bytes fetched ahead when reading.
const READ_BYTES: usize = 1 << 20;

/// The topic, read and written.
pub struct SchemasTopic {
    log: Arc<dyn Log>,
    producer: Mutex<Box<dyn Producer>>,
}

impl SchemasTopic {
    /// Makes the topic where it is missing.
    ///
    /// # Errors
    /// Those of the log.
    pub fn open(log: Arc<dyn Log>) -> Result<Self, LogError> {
        log.admin().create_topics(&[NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            replicas: 1,
            config: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
        }])?;
        let producer = Mutex::new(log.producer()?);
        Ok(Self { log, producer })
    }
}

impl SchemasLog for SchemasTopic {
    fn append(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let mut producer = self.producer.lock();
        let mut keep = || {
            let topic = producer.topic(TOPIC)?;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            producer.send(OutRecord {
                topic,
                partition: 0,
                key: Some(key),
                value,
                timestamp: since.as_millis() as i64,
                headers: &None,
            })?;
            producer.flush(KEEP_TIMEOUT)
        };
        keep().map(|_| ()).map_err(|error| format!("{TOPIC}: {error}"))
    }

    fn read_all(&self) -> Result<Vec<Record>, String> {
        let read = || -> Result<Vec<Record>, LogError> {
            let partition = TopicPartition::new(TOPIC, 0);
            let (low, _) = self.log.admin().watermarks(&partition)?;
            let mut fetcher = self.log.fetcher(&FetcherConfig {
                committed_only: true,
                buffer_bytes: READ_BYTES,
            })?;
            fetcher.assign(0, &partition, low)?;
            let (mut records, mut ended) = (Vec::new(), false);
            while !ended {
                fetcher.poll(1_000, READ_TIMEOUT, &mut |fetched| match fetched {
                    Fetched::Record(record) => {
                        let key = record.key.unwrap_or_default().to_vec();
                        records.push((key, record.value.map(<[u8]>::to_vec)));
                    }
                    Fetched::End { .. } => ended = true,
                })?;
            }
            Ok(records)
        };
        read().map_err(|error| format!("{TOPIC}: {error}"))
    }
}
