//! The registry's events in the embedded broker: the compacted topic `_schemas` with one partition, as Confluent's registry keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dev::broker::SharedLog;
use crate::log::core::ErrorCode;

use super::{Record, SchemasLog};

const TOPIC: &str = "_schemas";
const PARTITION: i32 = 0;

/// A read takes up to this many bytes, or one batch.
const READ_BYTES: usize = 1 << 20;

/// The `_schemas` topic.
pub struct BrokerLog {
    log: Arc<SharedLog>,
}

impl BrokerLog {
    /// Makes the topic where there is none yet.
    ///
    /// # Errors
    /// When the broker cannot make it.
    pub fn open(log: Arc<SharedLog>) -> Result<Self, String> {
        let config = BTreeMap::from([("cleanup.policy".to_string(), "compact".to_string())]);
        match log.with(|core| core.create_topic(TOPIC, 1, config)) {
            Ok(_) | Err(ErrorCode::TopicAlreadyExists) => Ok(Self { log }),
            Err(e) => Err(format!("the topic {TOPIC} cannot be made: {e}")),
        }
    }
}

impl SchemasLog for BrokerLog {
    fn append(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let (key, value) = (key.to_vec().into(), value.map(|v| v.to_vec().into()));
        let appended = self.log.append(TOPIC, PARTITION, Some(key), value);
        appended
            .map(drop)
            .map_err(|e| format!("the topic {TOPIC} cannot be written: {e}"))
    }

    fn read_all(&self) -> Result<Vec<Record>, String> {
        let (mut records, mut offset) = (Vec::new(), 0);
        loop {
            let read = self
                .log
                .read(TOPIC, PARTITION, offset, READ_BYTES)
                .map_err(|e| format!("the topic {TOPIC} cannot be read from offset {offset} on: {e}"))?;
            // a record without key says nothing here; another client may have put it there
            let keyed = |r: crate::log::core::Record| Some((r.key?.to_vec(), r.value.map(|v| v.to_vec())));
            records.extend(read.records.into_iter().filter_map(keyed));
            if read.next_offset <= offset || read.next_offset >= read.last_stable {
                return Ok(records);
            }
            offset = read.next_offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::registry::EmbeddedRegistry;
    use crate::formats::{SchemaSource, SchemaText};
    use crate::log::core::{Core, CoreConfig, MemoryStorage};

    #[test]
    fn a_registry_comes_back_from_the_broker() {
        let (core, _) = Core::open(Box::<MemoryStorage>::default(), CoreConfig::default(), 0).unwrap();
        let log = Arc::new(SharedLog::new(core));
        let open = || EmbeddedRegistry::open(Box::new(BrokerLog::open(log.clone()).unwrap())).unwrap();
        let first = open();
        for i in 0..50 {
            let text = format!(r#"{{"type":"enum","name":"E{i}","symbols":["A"]}}"#);
            assert_eq!(
                first.register(&format!("s{i}"), &SchemaText::avro(text)).unwrap().id,
                i + 1
            );
        }
        let again = open();
        for i in 1..=50 {
            assert_eq!(again.by_id(i).unwrap(), first.by_id(i).unwrap());
        }
    }
}
