//! Taking record batches from producers: checks, offsets, duplicates, one write for all batches of a request.

use super::Core;
use super::batch::{self, BatchHeader, HEADER_LEN};
use super::error::{ErrorCode, Result};
use super::journal::{Draft, Location};
use super::records;
use bytes::Bytes;

/// A batch for one partition.
#[derive(Debug, Clone)]
pub struct ProduceBatch {
    /// The core's number of the partition, see [`Core::partition_id`].
    pub partition: u32,
    /// Exactly one record batch, as a producer encodes it.
    pub data: Bytes,
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// The log's time where the topic's timestamps are the log's, else -1.
    pub append_time_ms: i64,
    /// First offset of the partition.
    pub log_start: i64,
}

/// A batch that has passed all checks and has its place in the draft.
struct Accepted {
    slot: usize,
    partition: u32,
    header: BatchHeader,
    position: u32,
}

impl Core {
    /// Appends batches, each for itself: one answer a batch, in order. All that pass are written at once.
    pub fn produce(&mut self, batches: &[ProduceBatch], txn: Option<&str>, now_ms: i64) -> Vec<Result<Appended>> {
        let mut draft = Draft::default();
        let mut answers = Vec::with_capacity(batches.len());
        let mut accepted: Vec<Accepted> = Vec::new();
        for (slot, produced) in batches.iter().enumerate() {
            // A second batch for the same partition is checked against what the first one changes.
            if accepted.iter().any(|a| a.partition == produced.partition) {
                self.write_accepted(&mut draft, &mut accepted, &mut answers, now_ms);
            }
            let answer = self.accept(produced, txn, now_ms, &mut draft).map(|(answer, placed)| {
                if let Some((header, position)) = placed {
                    accepted.push(Accepted {
                        slot,
                        partition: produced.partition,
                        header,
                        position,
                    });
                }
                answer
            });
            answers.push(answer);
        }
        self.write_accepted(&mut draft, &mut accepted, &mut answers, now_ms);
        self.roll_if_full(now_ms);
        answers
    }

    fn write_accepted(
        &mut self,
        draft: &mut Draft,
        accepted: &mut Vec<Accepted>,
        answers: &mut [Result<Appended>],
        now_ms: i64,
    ) {
        if accepted.is_empty() {
            return;
        }
        let written = self.journal.write(draft);
        for batch in accepted.drain(..) {
            match written {
                Ok(at) => {
                    let at = Location {
                        segment: at.segment,
                        position: at.position + batch.position,
                    };
                    self.apply_batch((batch.partition, 0), &batch.header, at, now_ms);
                }
                Err(error) => answers[batch.slot] = Err(error),
            }
        }
        *draft = Draft::default();
    }

    /// Checks one batch and drafts it; a repeated one is answered without being drafted.
    fn accept(
        &self,
        produced: &ProduceBatch,
        txn: Option<&str>,
        now_ms: i64,
        draft: &mut Draft,
    ) -> Result<(Appended, Option<(BatchHeader, u32)>)> {
        let partition = self.partition(produced.partition)?;
        let settings = self.settings_of(produced.partition)?;
        if produced.data.len() > settings.max_message_bytes {
            return Err(ErrorCode::MessageTooLarge);
        }
        let header = batch::check_produced(&produced.data)?;
        let append_time_ms = if settings.append_time { now_ms } else { -1 };
        let answer = |base_offset| Appended {
            base_offset,
            append_time_ms,
            log_start: partition.start,
        };
        if header.producer_id >= 0
            && let Some(base_offset) = partition.check_sequence(&header)?
        {
            return Ok((answer(base_offset), None));
        }
        if header.is_transactional() {
            self.check_txn_batch(txn, &header, produced.partition)?;
        }
        if settings.compact && !records::all_have_keys(&produced.data)? {
            return Err(ErrorCode::InvalidRecord);
        }
        let base_offset = partition.next;
        let mut stored = batch::with_base_offset(&produced.data[..HEADER_LEN], base_offset);
        let records = produced.data.slice(HEADER_LEN..);
        if settings.append_time {
            batch::stamp_append_time(&mut stored, &records, now_ms);
        }
        let position = draft.batch((produced.partition, 0), now_ms, &stored, records);
        Ok((answer(base_offset), Some((BatchHeader::parse(&stored)?, position))))
    }
}
