//! The end of a replay: output tables are put right.
//!
//! The old and the new generation have written to the same topics. Afterwards a key must have the new generation's last row; a key that the new
//! generation did not make again is deleted. Records of the new generation carry its number in a header (see
//! [`GENERATION_HEADER`](super::worker::GENERATION_HEADER)), all others are older. The new generation goes on writing meanwhile, so the topic is read
//! again from where the reading ended until nothing is left to put right.
//!
//! *Bounds*: memory for the keys of one partition at a time (their rows are read again where they are needed).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::deploy::operations::outputs_of;
use super::deployment::Deployment;
use super::worker::GENERATION_HEADER;
use crate::log::{Fetched, FetcherConfig, Log, LogError, LogResult, OutRecord};
use crate::types::{Headers, Timestamp, TopicPartition};

const BUFFER_BYTES: usize = 4 << 20;
const POLL: Duration = Duration::from_millis(200);
/// Rounds without anything new after which reading is given up for now.
const QUIET_ROUNDS: usize = 100;
/// Rounds of reading and repairing a partition; in each, only keys that were written meanwhile are left.
const ROUNDS: usize = 20;

/// What was put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Keys that were not made again.
    pub deleted: u64,
    /// Keys that the old generation had overwritten.
    pub rewritten: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, Default)]
struct Key {
    /// Offset of the new generation's last record.
    made: Option<i64>,
    /// The last record of all is right as it is.
    right: bool,
}

/// Puts all table outputs right; `None` when it was told to stop. Can be repeated.
///
/// # Errors
/// Those of the log.
pub(super) fn put_outputs_right(
    log: &dyn Log,
    deployment: &Deployment,
    stop: &AtomicBool,
) -> LogResult<Option<Repaired>> {
    let mut repaired = Repaired::default();
    for output in outputs_of(&deployment.topology)
        .into_iter()
        .filter(|output| output.is_table)
    {
        let Some(info) = log.admin().topics(&[&output.topic])?.pop().flatten() else {
            continue;
        };
        for partition in 0..info.partitions {
            let tp = TopicPartition::new(output.topic.as_str(), partition);
            if !repair_partition(log, &tp, deployment.names.generation(), stop, &mut repaired)? {
                return Ok(None);
            }
        }
    }
    Ok(Some(repaired))
}

fn repair_partition(
    log: &dyn Log,
    tp: &TopicPartition,
    generation: u32,
    stop: &AtomicBool,
    repaired: &mut Repaired,
) -> LogResult<bool> {
    let mut keys: BTreeMap<Vec<u8>, Key> = BTreeMap::new();
    let mut from = log.admin().watermarks(tp)?.0;
    for _ in 0..ROUNDS {
        let end = log.admin().stable_end(tp)?;
        let number = generation.to_string();
        let read = read(log, tp, (from, end), stop, &mut |record| {
            let Some(key) = record.key else { return };
            let known = keys.entry(key.to_vec()).or_default();
            let mark = mark_of(&record.headers);
            // A repair of ours says which record it repeats.
            let repeats = mark
                .as_deref()
                .and_then(|mark| mark.strip_prefix(&format!("{number}@")));
            match repeats {
                Some(offset) => known.right = known.made.is_some_and(|made| offset == made.to_string()),
                None if mark.as_deref() == Some(&number) => {
                    known.made = Some(record.offset);
                    known.right = true;
                }
                None => known.right = record.value.is_none() && known.made.is_none(),
            }
        })?;
        if !read {
            return Ok(false);
        }
        from = end;
        let wrong: BTreeMap<Vec<u8>, Option<i64>> = keys
            .iter()
            .filter(|(_, key)| !key.right)
            .map(|(name, key)| (name.clone(), key.made))
            .collect();
        if wrong.is_empty() {
            return Ok(true);
        }
        if !rewrite(log, tp, &wrong, &number, stop)? {
            return Ok(false);
        }
        repaired.deleted += wrong.values().filter(|made| made.is_none()).count() as u64;
        repaired.rewritten += wrong.values().filter(|made| made.is_some()).count() as u64;
    }
    Err(LogError::Retry(format!(
        "{tp} is written by somebody else all the time"
    )))
}

fn mark_of(headers: &Headers) -> Option<String> {
    let mut headers = headers.iter().flat_map(|headers| headers.iter());
    let (_, value) = headers.find(|(name, _)| &**name == GENERATION_HEADER)?;
    Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
}

/// A record, copied.
struct Copied<'a> {
    offset: i64,
    timestamp: Timestamp,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers,
}

/// Reads committed records of a range of offsets; false when told to stop.
fn read(
    log: &dyn Log,
    tp: &TopicPartition,
    (from, end): (i64, i64),
    stop: &AtomicBool,
    each: &mut dyn FnMut(Copied<'_>),
) -> LogResult<bool> {
    if from >= end {
        return Ok(true);
    }
    let mut fetcher = log.fetcher(&FetcherConfig {
        committed_only: true,
        buffer_bytes: BUFFER_BYTES,
    })?;
    fetcher.assign(0, tp, from)?;
    let mut quiet = 0;
    while fetcher.position(0)?.unwrap_or(from) < end {
        if stop.load(SeqCst) {
            return Ok(false);
        }
        let given = fetcher.poll(5_000, POLL, &mut |fetched| {
            if let Fetched::Record(record) = fetched
                && record.offset < end
            {
                each(Copied {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers.to_headers(),
                });
            }
        })?;
        quiet = if given == 0 { quiet + 1 } else { 0 };
        if quiet > QUIET_ROUNDS {
            return Err(LogError::Retry(format!("{tp} cannot be read to offset {end}")));
        }
    }
    Ok(true)
}

/// Writes the right last record of these keys: a tombstone, or the new generation's record again.
fn rewrite(
    log: &dyn Log,
    tp: &TopicPartition,
    wrong: &BTreeMap<Vec<u8>, Option<i64>>,
    number: &str,
    stop: &AtomicBool,
) -> LogResult<bool> {
    let mut producer = log.producer()?;
    let topic = producer.topic(&tp.topic)?;
    let headers = |offset: i64| -> Headers {
        let mark = std::sync::Arc::from(format!("{number}@{offset}").into_bytes());
        Some(std::sync::Arc::new(vec![(GENERATION_HEADER.into(), Some(mark))]))
    };
    let offsets: BTreeSet<i64> = wrong.values().flatten().copied().collect();
    let (first, last) = (offsets.first().copied(), offsets.last().copied());
    let mut failed = None;
    if let (Some(first), Some(last)) = (first, last) {
        let done = read(log, tp, (first, last + 1), stop, &mut |record| {
            if !offsets.contains(&record.offset) || failed.is_some() {
                return;
            }
            let headers = headers(record.offset);
            let out = OutRecord {
                topic,
                partition: tp.partition,
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                headers: &headers,
            };
            failed = producer.send(out).err();
        })?;
        if !done {
            return Ok(false);
        }
    }
    for (key, _) in wrong.iter().filter(|(_, made)| made.is_none()) {
        let out = OutRecord {
            topic,
            partition: tp.partition,
            key: Some(key),
            value: None,
            timestamp: super::threads::now(),
            headers: &None,
        };
        failed = failed.or(producer.send(out).err());
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let mut rounds = 0;
    loop {
        match producer.flush(POLL) {
            Ok(_) => return Ok(true),
            Err(LogError::Retry(_)) if rounds < QUIET_ROUNDS && !stop.load(SeqCst) => rounds += 1,
            Err(error) => return Err(error),
        }
    }
}
