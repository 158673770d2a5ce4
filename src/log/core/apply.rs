//! The one place where the state changes: journal first, then apply; and apply alone when the journal is read at start.

use super::batch::BatchHeader;
use super::error::{ErrorCode, Result};
use super::events::{Event, TxnEnd};
use super::journal::{Draft, Kind, Location};
use super::partition::{BatchRef, Clean};
use super::{Core, Output};
use bytes::Bytes;

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "a journal entry cannot be encoded");
        ErrorCode::StorageError
    })
}

impl Core {
    /// Writes and applies one event.
    pub(super) fn record(&mut self, event: Event) -> Result<()> {
        let mut draft = Draft::default();
        draft.json(Kind::Event, to_json(&event)?);
        self.journal.write(&draft)?;
        self.apply_event(event);
        Ok(())
    }

    /// Writes and applies the end of a transaction: markers, offsets and the new state, all or nothing.
    pub(super) fn record_txn_end(&mut self, end: TxnEnd, markers: Vec<(u32, Bytes)>) -> Result<()> {
        let mut draft = Draft::default();
        let positions = draft.txn_end(&to_json(&end)?, &markers);
        let at = self.journal.write(&draft)?;
        let placed = markers
            .iter()
            .zip(positions)
            .filter_map(|((partition, marker), position)| {
                let at = Location {
                    segment: at.segment,
                    position: at.position + position,
                };
                Some((*partition, BatchHeader::parse(marker).ok()?, at))
            });
        let placed: Vec<_> = placed.collect();
        self.apply_txn_end(end, &placed);
        Ok(())
    }

    /// Starts a new journal segment when the active one is full.
    pub(super) fn roll_if_full(&mut self, now_ms: i64) {
        if !self.journal.wants_roll() {
            return;
        }
        self.forget_idle(now_ms);
        let rolled = to_json(&self.snapshot()).map(|snapshot| self.journal.roll(snapshot));
        if let Ok(Err(error)) = rolled {
            tracing::error!(%error, "no new journal segment can be started; the old one goes on growing");
        }
    }

    pub(super) fn apply_event(&mut self, event: Event) {
        match event {
            Event::Opened { incarnation } => self.counters.incarnation = incarnation,
            Event::TopicCreated {
                name,
                number,
                first_partition,
                partitions,
                config,
            } => {
                self.add_topic(name.clone(), number, config);
                self.apply_partitions_added(&name, first_partition, partitions);
            }
            Event::PartitionsAdded {
                topic,
                first_partition,
                count,
            } => {
                self.apply_partitions_added(&topic, first_partition, count);
            }
            Event::TopicDeleted { topic } => self.apply_topic_deleted(&topic),
            Event::ConfigSet { topic, config } => self.apply_config(&topic, config),
            Event::LogStart { partition, offset } => self.apply_log_start(partition, offset),
            Event::Compacted { partition, upto, job } => self.apply_compacted(partition, Clean { upto, job }),
            Event::ProducerIds { next } => self.counters.next_producer = self.counters.next_producer.max(next),
            Event::Txn { id, txn } => {
                self.txns.insert(id, txn);
            }
            Event::TxnOffsets {
                group,
                producer_id,
                offsets,
            } => {
                self.groups
                    .entry(group)
                    .or_default()
                    .pending
                    .entry(producer_id)
                    .or_default()
                    .merge(offsets);
            }
            Event::Offsets { group, offsets } => self.groups.entry(group).or_default().offsets.merge(offsets),
            Event::OffsetsDeleted { group, partitions } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    partitions
                        .iter()
                        .for_each(|(topic, partition)| group.offsets.remove(topic, *partition));
                }
            }
            Event::GroupEpoch { group, epoch } => self.groups.entry(group).or_default().epoch = epoch,
            Event::GroupDeleted { group } => {
                self.groups.remove(&group);
            }
        }
    }

    /// Takes a batch entry: a new batch at the end, another copy of one, or the output of a compaction.
    pub(super) fn apply_batch(&mut self, to: (u32, u32), header: &BatchHeader, at: Location, now_ms: i64) {
        let (id, job) = to;
        self.counters.next_job = self.counters.next_job.max(job + 1);
        let Some(partition) = self.partitions.get_mut(&id) else {
            return;
        };
        let size = header.size as i64;
        if header.base_offset >= partition.next {
            partition.append(header, at, now_ms);
            self.journal.count(at.segment, size);
            self.outputs.push(Output::Advanced { partition: id });
        } else if job == partition.expected_job(header.base_offset) {
            self.journal.count(at.segment, size);
            if let Some(old) = partition.place(header, at) {
                self.journal.count(old.at.segment, -i64::from(old.length));
            }
        } else if job > partition.clean.job {
            partition.staged.push((job, BatchRef::new(header, at)));
        }
    }

    pub(super) fn apply_txn_end(&mut self, end: TxnEnd, markers: &[(u32, BatchHeader, Location)]) {
        for (id, header, at) in markers {
            let Some(partition) = self.partitions.get_mut(id) else {
                continue;
            };
            partition.append_marker(header, *at, end.commit, end.now_ms);
            self.journal.count(at.segment, header.size as i64);
            self.outputs.push(Output::Advanced { partition: *id });
        }
        for name in &end.groups {
            let Some(group) = self.groups.get_mut(name) else {
                continue;
            };
            if let Some(pending) = group.pending.remove(&end.producer_id)
                && end.commit
            {
                group.offsets.merge(pending.entries());
            }
        }
        self.txns.insert(end.id, end.txn);
    }

    fn apply_compacted(&mut self, id: u32, clean: Clean) {
        self.counters.next_job = self.counters.next_job.max(clean.job + 1);
        let Some(partition) = self.partitions.get_mut(&id) else {
            return;
        };
        let staged: Vec<BatchRef> = partition
            .staged
            .iter()
            .filter(|(job, _)| *job == clean.job)
            .map(|(_, batch)| *batch)
            .collect();
        staged
            .iter()
            .for_each(|b| self.journal.count(b.at.segment, i64::from(b.length)));
        let replaced = partition.finish_compaction(clean);
        replaced
            .iter()
            .for_each(|b| self.journal.count(b.at.segment, -i64::from(b.length)));
    }
}
