//! The log for callers in the same process: records in, records out, without batches.

use super::Core;
use super::batch::{self, BatchHeader};
use super::error::{ErrorCode, Result};
use super::fetch::{FetchPlan, Isolation};
use super::produce::ProduceBatch;
use super::records::{self, BatchMeta, Record};
use super::transactions::ProducerIdentity;
use rustc_hash::FxHashMap;

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecords {
    /// The records, in order; markers and aborted ones are left out.
    pub records: Vec<Record>,
    /// Where to read on; it can be further than the last record.
    pub next_offset: i64,
    /// Offset after the last record.
    pub high_watermark: i64,
    /// Offset up to which every transaction has ended.
    pub last_stable: i64,
}

/// A fetch that still has to be opened, without the core's lock.
#[derive(Debug)]
pub struct ReadView {
    plan: FetchPlan,
    offset: i64,
    isolation: Isolation,
}

impl ReadView {
    /// Reads and decodes.
    pub fn open(self) -> Result<ReadRecords> {
        let mut records = Vec::new();
        let mut aborted: FxHashMap<i64, Vec<(i64, i64)>> = FxHashMap::default();
        for txn in &self.plan.aborted {
            aborted
                .entry(txn.producer_id)
                .or_default()
                .push((txn.first, txn.marker));
        }
        for slice in &self.plan.slices {
            let data = slice.read()?;
            let header = BatchHeader::parse(&data)?;
            let inside = |range: &(i64, i64)| header.base_offset >= range.0 && header.base_offset < range.1;
            let dead = header.is_transactional()
                && self.isolation == Isolation::ReadCommitted
                && aborted
                    .get(&header.producer_id)
                    .is_some_and(|ranges| ranges.iter().any(inside));
            if header.is_control() || dead {
                continue;
            }
            records.extend(records::decode(&data)?.into_iter().filter(|r| r.offset >= self.offset));
        }
        Ok(ReadRecords {
            records,
            next_offset: self.plan.next_offset,
            high_watermark: self.plan.high_watermark,
            last_stable: self.plan.last_stable,
        })
    }
}

impl Core {
    /// Appends records as one batch; returns the offset of the first.
    pub fn append(&mut self, topic: &str, partition: i32, records: Vec<Record>, now_ms: i64) -> Result<i64> {
        self.append_batch(topic, partition, records, None, now_ms)
    }

    /// Appends records as one batch of an idempotent (sequence given) or transactional producer.
    pub fn append_as(
        &mut self,
        topic: &str,
        partition: i32,
        records: Vec<Record>,
        producer: &ProducerIdentity,
        now_ms: i64,
    ) -> Result<i64> {
        self.append_batch(topic, partition, records, Some(producer), now_ms)
    }

    fn append_batch(
        &mut self,
        topic: &str,
        partition: i32,
        mut records: Vec<Record>,
        producer: Option<&ProducerIdentity>,
        now_ms: i64,
    ) -> Result<i64> {
        let partition = self.partition_id(topic, partition)?;
        if records.is_empty() {
            return Err(ErrorCode::InvalidRecord);
        }
        for (index, record) in records.iter_mut().enumerate() {
            record.offset = index as i64;
        }
        let mut meta = BatchMeta::plain(0, records.len());
        let mut txn = None;
        if let Some(producer) = producer {
            meta.producer_id = producer.id;
            meta.producer_epoch = producer.epoch;
            meta.base_sequence = match producer.sequence {
                Some(sequence) => sequence,
                None => self.partition(partition)?.next_sequence(producer.id, producer.epoch),
            };
            if producer.transactional_id.is_some() {
                meta.attributes = batch::TRANSACTIONAL;
            }
            txn = producer.transactional_id.as_deref();
        }
        let data = records::encode(&meta, &records);
        let answers = self.produce(&[ProduceBatch { partition, data }], txn, now_ms);
        answers
            .into_iter()
            .next()
            .unwrap_or(Err(ErrorCode::InvalidRequest))
            .map(|a| a.base_offset)
    }

    /// Finds records from an offset on; [`ReadView::open`] reads them, with or without the core at hand.
    pub fn view(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: usize,
        isolation: Isolation,
    ) -> Result<ReadView> {
        let id = self.partition_id(topic, partition)?;
        Ok(ReadView {
            plan: self.fetch(id, offset, max_bytes, true, isolation)?,
            offset,
            isolation,
        })
    }

    /// Reads records from an offset on.
    pub fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: usize,
        isolation: Isolation,
    ) -> Result<ReadRecords> {
        self.view(topic, partition, offset, max_bytes, isolation)?.open()
    }
}
