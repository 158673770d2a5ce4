//! Dead letters of global tables.
//!
//! No task reads these tables, so there is no transaction that could hold letter and position: letters are written by a producer of their own, before the
//! position moves past their records. They are *at least once*: a process that crashes in between, one whose store is built anew (a replay, a new
//! instance), and each further process of the application write them again; the headers say which record is meant.
//! *Invariant*: no position reaches the disk before the letters below it are written.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::task::GlobalRows;
use super::WorkerShared;
use super::trouble::Trouble;
use crate::log::{LogError, OutRecord, Producer, TopicHandle};

/// Longest wait in one call for a broker's answer; the worker has other things to do.
const CALL_WAIT: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Default)]
pub(super) struct Letters {
    /// Made for the first letter: mostly there is none.
    producer: Option<(Box<dyn Producer>, TopicHandle)>,
    /// They were handed over to the producer and are not acknowledged yet.
    under_way: bool,
}

impl Letters {
    /// Whether the broker's answer is waited for: no record may be taken in meanwhile.
    pub fn are_under_way(&self) -> bool {
        self.under_way
    }

    /// Writes the dead letters of `rows`; false while the broker has not answered. On an error they are forgotten, and their records are to be read again.
    pub fn write(&mut self, rows: &mut GlobalRows, shared: &WorkerShared) -> Result<bool, Trouble> {
        let target = &shared.deployment.dead_letters;
        if rows.dead_letters().len() == 0 {
            return Ok(true);
        }
        match self.try_write(rows, shared) {
            Ok(()) => {}
            Err(LogError::Retry(_)) if self.under_way => return Ok(false),
            Err(error) => {
                (self.producer, self.under_way) = (None, false);
                return Err(match error {
                    LogError::TooLarge { .. } => Trouble::Stop(format!(
                        "not even a dead letter of a global table can be written: {error}; check the settings of {}, max.message.bytes above all",
                        target.topic
                    )),
                    other => other.into(),
                });
            }
        }
        self.under_way = false;
        let metrics = &shared.published.metrics;
        metrics
            .dead_letters
            .fetch_add(rows.dead_letters().len() as u64, Relaxed);
        let mut reasons = metrics.dead_letter_reasons.write();
        for (_, reason) in rows.dead_letters() {
            *reasons.entry(reason.word()).or_default() += 1;
        }
        drop(reasons);
        rows.dead_letters_written();
        Ok(true)
    }

    fn try_write(&mut self, rows: &GlobalRows, shared: &WorkerShared) -> Result<(), LogError> {
        let target = &shared.deployment.dead_letters;
        let (producer, topic) = match &mut self.producer {
            Some((producer, topic)) => (producer, *topic),
            free => {
                let mut producer = shared.log.quick_producer()?;
                let topic = producer.topic(&target.topic)?;
                (&mut free.insert((producer, topic)).0, topic)
            }
        };
        if !self.under_way {
            for (number, (letter, _)) in rows.dead_letters().enumerate() {
                producer.send(OutRecord {
                    topic,
                    partition: (number % target.partitions.max(1) as usize) as i32,
                    key: letter.key,
                    value: letter.value,
                    timestamp: letter.timestamp,
                    headers: letter.headers,
                })?;
            }
            self.under_way = true;
        }
        producer.flush(CALL_WAIT).map(drop)
    }

    /// Forgets what is under way.
    pub fn reset(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.producer = None;
        }
    }
}
