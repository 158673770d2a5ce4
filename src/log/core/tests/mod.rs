//! The core in process: producing, transactions, recovery, compaction. Shared helpers are here.

mod compaction;
mod producing;
mod recovery;
mod transactions;

use super::*;
use bytes::Bytes;

/// Where the tests' time starts.
pub(super) const T0: i64 = 1_700_000_000_000;

pub(super) fn open_on(storage: &MemoryStorage) -> Core {
    Core::open(Box::new(storage.clone()), CoreConfig::default(), T0)
        .unwrap()
        .0
}

pub(super) fn core() -> Core {
    open_on(&MemoryStorage::default())
}

pub(super) fn rec(key: &str, value: &str) -> Record {
    Record::new(
        T0,
        Some(Bytes::from(key.to_string())),
        Some(Bytes::from(value.to_string())),
    )
}

pub(super) fn values(core: &Core, topic: &str, isolation: Isolation) -> Vec<String> {
    let read = core.read(
        topic,
        0,
        core.partition(core.partition_id(topic, 0).unwrap())
            .unwrap()
            .log_start(),
        usize::MAX,
        isolation,
    );
    read.unwrap()
        .records
        .iter()
        .map(|r| String::from_utf8(r.value.as_deref().unwrap_or(b"-").to_vec()).unwrap())
        .collect()
}

pub(super) fn committed(core: &Core, topic: &str) -> Vec<String> {
    values(core, topic, Isolation::ReadCommitted)
}

pub(super) fn producer(core: &mut Core, id: &str) -> ProducerIdentity {
    let (producer, epoch) = core.init_producer_id(Some(id), 10_000, None, T0).unwrap();
    ProducerIdentity {
        id: producer,
        epoch,
        transactional_id: Some(id.to_string()),
        sequence: None,
    }
}

pub(super) fn send(core: &mut Core, producer: &ProducerIdentity, topic: &str, value: &str) -> Result<i64> {
    let partition = core.partition_id(topic, 0)?;
    core.add_partitions_to_txn(producer, &[partition], T0)?;
    core.append_as(topic, 0, vec![rec("k", value)], producer, T0)
}

/// A small generator of numbers, so that a failure names its seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A topic's settings from pairs.
pub(super) fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// Everything that has to survive a restart, as text: the snapshot, and all records of all partitions.
pub(super) fn fingerprint(core: &Core) -> String {
    let mut snapshot = serde_json::to_value(core.snapshot()).unwrap();
    snapshot["counters"]["incarnation"] = 0.into();
    // A number that was drawn but not used yet may be drawn again.
    snapshot["counters"]["next_job"] = 0.into();
    let mut out = serde_json::to_string_pretty(&snapshot).unwrap();
    for (name, topic) in core.topics() {
        for index in 0..topic.partition_count() {
            let partition = core.partition(core.partition_id(name, index).unwrap()).unwrap();
            let view = |isolation| {
                core.read(name, index, partition.log_start(), usize::MAX, isolation)
                    .unwrap()
            };
            out.push_str(&format!(
                "\n{name}-{index} {:?} {:?}",
                partition.log_start(),
                partition.last_stable()
            ));
            for read in [view(Isolation::ReadUncommitted), view(Isolation::ReadCommitted)] {
                out.push_str(&format!("\n  next {} of {}", read.next_offset, read.high_watermark));
                for r in &read.records {
                    out.push_str(&format!("\n  {} {} {:?} {:?}", r.offset, r.timestamp, r.key, r.value));
                }
            }
        }
    }
    out
}
