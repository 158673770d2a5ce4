//! The simulated producers. Records are sent when they are flushed, a partition at a time, so that a crash or a fault can strike in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Access, Call, Part, TRANSACTION_TIMEOUT_MS, classify, max_message_bytes};
use crate::log::core::groups::{GroupMember, OffsetEntry};
use crate::log::core::{ErrorCode, ProducerIdentity, Record};
use crate::log::{
    Delivered, GroupMetadata, LogError, LogResult, OutRecord, Producer, TopicHandle, TransactionalProducer,
};
use crate::types::TopicPartition;

/// Topics by handle.
#[derive(Default)]
struct Topics(Vec<Arc<str>>);

impl Topics {
    fn handle(&mut self, name: &str) -> TopicHandle {
        let at = self.0.iter().position(|known| &**known == name).unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        });
        TopicHandle(at as u32)
    }

    fn name(&self, handle: TopicHandle) -> Arc<str> {
        self.0[handle.0 as usize].clone()
    }
}

fn owned(record: &OutRecord<'_>) -> Record {
    let headers = record.headers.iter().flat_map(|headers| headers.iter());
    let mut copy = Record::new(
        record.timestamp,
        record.key.map(Bytes::copy_from_slice),
        record.value.map(Bytes::copy_from_slice),
    );
    copy.headers = headers
        .map(|(name, value)| (name.to_string(), value.as_deref().map(Bytes::copy_from_slice)))
        .collect();
    copy
}

fn check_size(access: &Access, topic: &Arc<str>, record: &OutRecord<'_>) -> LogResult<()> {
    let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    if bytes > max_message_bytes(&access.peek().core, topic) {
        return Err(LogError::TooLarge {
            topic: topic.clone(),
            bytes,
        });
    }
    Ok(())
}

/// Batches of this size fit whatever a topic takes, unless single records do not.
const BATCH_RECORDS: usize = 500;

pub(super) struct SimTransactional {
    access: Access,
    id: String,
    producer: Option<ProducerIdentity>,
    topics: Topics,
    pending: BTreeMap<(TopicHandle, i32), Vec<Record>>,
    delivered: BTreeMap<(TopicHandle, i32), i64>,
    /// Something was sent or added: there is a transaction to end.
    dirty: bool,
    open: bool,
    /// Offsets were added: the group's coordinator has checked the member.
    checked: bool,
}

impl SimTransactional {
    pub(super) fn new(access: Access, id: &str) -> Self {
        Self {
            access,
            id: id.into(),
            producer: None,
            topics: Topics::default(),
            pending: BTreeMap::new(),
            delivered: BTreeMap::new(),
            dirty: false,
            open: false,
            checked: false,
        }
    }

    fn identity(&self) -> LogResult<ProducerIdentity> {
        let missing = || LogError::Fatal("the producer was not initialised".into());
        self.producer.clone().ok_or_else(missing)
    }

    fn end(&mut self, commit: bool) -> LogResult<()> {
        if self.dirty {
            let producer = self.identity()?;
            let unchecked = commit && !self.checked && !self.delivered.is_empty();
            let (kind, what) = if commit {
                (Call::Commit, "commit")
            } else {
                (Call::Write, "abort")
            };
            self.access
                .call(kind, Part::Transactions, (what, producer.id), |state| {
                    let now = state.now;
                    if unchecked {
                        state.unchecked.insert(self.id.clone());
                    }
                    state
                        .core
                        .end_txn(&producer, commit, now)
                        .map_err(|e| classify(e, &self.id))
                })?;
        }
        self.pending.clear();
        self.delivered.clear();
        self.dirty = false;
        self.open = false;
        self.checked = false;
        Ok(())
    }
}

impl TransactionalProducer for SimTransactional {
    fn init(&mut self, _timeout: Duration) -> LogResult<()> {
        let id = self.id.clone();
        let (producer, epoch) = self
            .access
            .call(Call::Write, Part::Transactions, ("init", 0), |state| {
                let now = state.now;
                let answer = state
                    .core
                    .init_producer_id(Some(&id), TRANSACTION_TIMEOUT_MS, None, now);
                answer.map_err(|e| classify(e, &id))
            })?;
        self.producer = Some(ProducerIdentity {
            id: producer,
            epoch,
            transactional_id: Some(self.id.clone()),
            sequence: None,
        });
        Ok(())
    }

    fn topic(&mut self, name: &str) -> LogResult<TopicHandle> {
        Ok(self.topics.handle(name))
    }

    fn begin(&mut self) -> LogResult<()> {
        assert!(!self.open, "a transaction is open already");
        self.identity()?;
        self.open = true;
        Ok(())
    }

    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()> {
        assert!(self.open, "no transaction is open");
        check_size(&self.access, &self.topics.name(record.topic), &record)?;
        self.pending
            .entry((record.topic, record.partition))
            .or_default()
            .push(owned(&record));
        Ok(())
    }

    fn flush(&mut self, _timeout: Duration) -> LogResult<Delivered> {
        let producer = self.identity()?;
        while let Some((place, mut records)) = self.pending.pop_first() {
            let topic = self.topics.name(place.0);
            let rest = records.split_off(records.len().min(BATCH_RECORDS));
            let (count, batch) = (records.len() as i64, records.clone());
            let mut done = None;
            self.dirty = true;
            let part = Part::Append(&topic, place.1);
            let answer = self
                .access
                .call(Call::Write, part, (&topic, i64::from(place.1)), |state| {
                    let now = state.now;
                    let append = || {
                        let partition = state.core.partition_id(&topic, place.1)?;
                        state.core.add_partitions_to_txn(&producer, &[partition], now)?;
                        state.core.append_as(&topic, place.1, batch, &producer, now)
                    };
                    done = Some(append().map_err(|e| match e {
                        // As a client does: whatever kept the record away, this transaction cannot be committed.
                        ErrorCode::InvalidRecord => LogError::Refused(format!("{topic}: {e}")),
                        other => classify(other, &topic),
                    }));
                    Ok(())
                });
            // An idempotent producer sends again what got no answer; what is in the log already is not taken twice.
            match done {
                Some(Ok(base)) => {
                    self.delivered.insert(place, base + count - 1);
                    if !rest.is_empty() {
                        self.pending.insert(place, rest);
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {
                    records.extend(rest);
                    self.pending.insert(place, records);
                }
            }
            answer?;
        }
        Ok(self
            .delivered
            .iter()
            .map(|((topic, partition), offset)| (*topic, *partition, *offset))
            .collect())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, i64)],
        group: &GroupMetadata,
        _timeout: Duration,
    ) -> LogResult<()> {
        assert!(self.open, "no transaction is open");
        let producer = self.identity()?;
        let member = group.inner.downcast_ref::<GroupMember>();
        let member = member.ok_or_else(|| LogError::Fatal("metadata of another log".into()))?;
        let entries = offsets
            .iter()
            .map(|(tp, offset)| OffsetEntry::new(&tp.topic, tp.partition, *offset))
            .collect();
        self.dirty = true;
        let count = offsets.len() as i64;
        self.access
            .call(Call::Write, Part::Transactions, ("add offsets", count), |state| {
                let now = state.now;
                let added = state.core.add_offsets_to_txn(&producer, &group.group, now);
                added.map_err(|e| classify(e, &group.group))
            })?;
        self.access
            .call(Call::Write, Part::Groups, ("offsets", count), |state| {
                let added = state.core.commit_txn_offsets(&producer, &group.group, member, entries);
                added.map_err(|e| classify(e, &group.group))
            })?;
        self.checked |= count > 0;
        Ok(())
    }

    fn commit(&mut self, timeout: Duration) -> LogResult<()> {
        self.flush(timeout)?;
        self.end(true)
    }

    fn abort(&mut self, _timeout: Duration) -> LogResult<()> {
        self.pending.clear();
        self.end(false)
    }
}

pub(super) struct SimProducer {
    access: Access,
    topics: Topics,
    pending: Vec<(TopicHandle, i32, Record)>,
    delivered: Vec<(TopicHandle, i32, i64)>,
}

impl SimProducer {
    pub(super) fn new(access: Access) -> Self {
        Self {
            access,
            topics: Topics::default(),
            pending: Vec::new(),
            delivered: Vec::new(),
        }
    }
}

impl Producer for SimProducer {
    fn topic(&mut self, name: &str) -> LogResult<TopicHandle> {
        Ok(self.topics.handle(name))
    }

    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()> {
        check_size(&self.access, &self.topics.name(record.topic), &record)?;
        self.pending.push((record.topic, record.partition, owned(&record)));
        Ok(())
    }

    fn flush(&mut self, _timeout: Duration) -> LogResult<Vec<(TopicHandle, i32, i64)>> {
        while !self.pending.is_empty() {
            let (handle, partition, record) = self.pending.remove(0);
            let topic = self.topics.name(handle);
            let mut done = None;
            let copy = record.clone();
            let part = Part::Partition(&topic, partition);
            let answer = self
                .access
                .call(Call::Write, part, (&topic, i64::from(partition)), |state| {
                    let now = state.now;
                    done = Some(
                        state
                            .core
                            .append(&topic, partition, vec![copy], now)
                            .map_err(|e| classify(e, &topic)),
                    );
                    Ok(())
                });
            match done {
                Some(Ok(offset)) => self.delivered.push((handle, partition, offset)),
                Some(Err(error)) => return Err(error),
                None => self.pending.insert(0, (handle, partition, record)),
            }
            answer?;
        }
        Ok(std::mem::take(&mut self.delivered))
    }
}
