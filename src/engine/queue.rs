//! Chooses the next record of a task that has several inputs: by lowest timestamp, and only when every input has something to compare.
//!
//! KIP-695's rule: an input whose queue is empty is waited for until the end of its partition is known to be reached. Of equal
//! timestamps a table's record comes first, so that a stream's record sees the row of its own moment; then the earlier input.
//!
//! *Is not* used by tasks with one input: their records go from the fetcher straight to the task, uncopied.
//! *Invariant*: records of one input leave in the order they came. Bounds: records and bytes a partition; the fetcher is paused above
//! them and resumed below half.

use std::collections::VecDeque;

use crate::log::RecordRef;
use crate::types::{Headers, Timestamp};

/// A record that waits: copied out of the fetcher's memory.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
    bytes: Box<[u8]>,
    key_len: Option<usize>,
    has_value: bool,
}

impl Queued {
    /// Copies a fetched record.
    pub fn copy(record: &RecordRef<'_>) -> Self {
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let mut bytes = Vec::with_capacity(key.len() + value.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            headers: record.headers.to_headers(),
            bytes: bytes.into(),
            key_len: record.key.map(<[u8]>::len),
            has_value: record.value.is_some(),
        }
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key_len.map(|len| &self.bytes[..len])
    }

    /// The value.
    pub fn value(&self) -> Option<&[u8]> {
        self.has_value.then(|| &self.bytes[self.key_len.unwrap_or(0)..])
    }

    /// Bytes it takes here.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

/// What to do with the fetcher after a change of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Nothing.
    Keep,
    /// The queue is full: pause the input.
    Pause,
    /// There is room again: resume it.
    Resume,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first record of this input.
    Take(usize),
    /// This input is empty and its end is not known to be reached: records wait for it.
    WaitFor(usize),
    /// Nothing waits.
    Empty,
}

/// Bounds of one input's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Records.
    pub records: usize,
    /// Bytes.
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Input {
    records: VecDeque<Queued>,
    bytes: usize,
    /// How many of the first records [`Queue::ahead`] has handed out.
    seen: usize,
    at_end: bool,
    paused: bool,
    is_stream: bool,
}

/// The queues of one task's inputs.
#[derive(Debug)]
pub struct Queue {
    inputs: Vec<Input>,
    limits: QueueLimits,
    waiting: usize,
}

impl Queue {
    /// Empty queues; for each input whether its records are a stream's.
    pub fn new(streams: impl IntoIterator<Item = bool>, limits: QueueLimits) -> Self {
        let input = |is_stream| Input {
            is_stream,
            ..Input::default()
        };
        Self {
            inputs: streams.into_iter().map(input).collect(),
            limits,
            waiting: 0,
        }
    }

    /// Adds a fetched record.
    pub fn push(&mut self, input: usize, record: Queued) -> Flow {
        let queue = &mut self.inputs[input];
        queue.bytes += record.size();
        queue.records.push_back(record);
        queue.at_end = false;
        self.waiting += 1;
        let full = queue.records.len() >= self.limits.records || queue.bytes >= self.limits.bytes;
        if full && !queue.paused {
            queue.paused = true;
            return Flow::Pause;
        }
        Flow::Keep
    }

    /// The fetcher has reached the end of this input's partition.
    pub fn reached_end(&mut self, input: usize) {
        self.inputs[input].at_end = true;
    }

    /// Decides which record comes next.
    pub fn choose(&self) -> Choice {
        if self.waiting == 0 {
            return Choice::Empty;
        }
        let mut best: Option<(Timestamp, bool, usize)> = None;
        for (i, input) in self.inputs.iter().enumerate() {
            match input.records.front() {
                Some(first) => {
                    let rank = (first.timestamp, input.is_stream, i);
                    best = Some(best.map_or(rank, |b| b.min(rank)));
                }
                None if !input.at_end => return Choice::WaitFor(i),
                None => {}
            }
        }
        best.map_or(Choice::Empty, |(_, _, input)| Choice::Take(input))
    }

    /// Takes the first record of an input.
    pub fn pop(&mut self, input: usize) -> Option<(Queued, Flow)> {
        let queue = &mut self.inputs[input];
        let record = queue.records.pop_front()?;
        queue.bytes -= record.size();
        queue.seen = queue.seen.saturating_sub(1);
        self.waiting -= 1;
        let room = queue.records.len() * 2 <= self.limits.records && queue.bytes * 2 <= self.limits.bytes;
        if queue.paused && room {
            queue.paused = false;
            return Some((record, Flow::Resume));
        }
        Some((record, Flow::Keep))
    }

    /// The next records of an input, `most` of them, to look at before they are taken; empty until those of the last time are taken.
    pub fn ahead(&mut self, input: usize, most: usize) -> impl Iterator<Item = &Queued> {
        let queue = &mut self.inputs[input];
        let new = if queue.seen == 0 {
            most.min(queue.records.len())
        } else {
            0
        };
        queue.seen += new;
        queue.records.iter().take(new)
    }

    /// Records waiting of one input.
    pub fn waiting(&self, input: usize) -> usize {
        self.inputs[input].records.len()
    }

    /// Forgets an input's records: it is read again.
    pub fn clear(&mut self, input: usize) {
        let queue = &mut self.inputs[input];
        self.waiting -= queue.records.len();
        *queue = Input {
            is_stream: queue.is_stream,
            ..Input::default()
        };
    }

    /// Records waiting, over all inputs.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::HeadersRef;

    fn record(offset: i64, timestamp: i64) -> Queued {
        Queued::copy(&RecordRef {
            slot: 0,
            offset,
            timestamp,
            key: Some(b"key"),
            value: (offset % 2 == 0).then_some(b"value".as_slice()),
            headers: HeadersRef::None,
        })
    }

    fn queue() -> Queue {
        Queue::new(
            [true, false],
            QueueLimits {
                records: 4,
                bytes: 1 << 20,
            },
        )
    }

    #[test]
    fn an_empty_input_is_waited_for_until_its_end_is_reached() {
        let mut queue = queue();
        assert_eq!(queue.choose(), Choice::Empty);
        queue.push(0, record(0, 5));
        assert_eq!(queue.choose(), Choice::WaitFor(1));
        queue.reached_end(1);
        assert_eq!(queue.choose(), Choice::Take(0));
        queue.push(1, record(0, 3));
        assert_eq!(queue.choose(), Choice::Take(1));
        queue.pop(1);
        // The end was reached before that record: there may be more behind it.
        assert_eq!(queue.choose(), Choice::WaitFor(1));
    }

    #[test]
    fn every_record_is_looked_at_ahead_once() {
        let mut queue = queue();
        for offset in 0..4 {
            queue.push(0, record(offset, 0));
        }
        let ahead = |queue: &mut Queue| queue.ahead(0, 3).map(|record| record.offset).collect::<Vec<_>>();
        assert_eq!(ahead(&mut queue), [0, 1, 2]);
        assert!(ahead(&mut queue).is_empty());
        (0..3).for_each(|_| drop(queue.pop(0)));
        assert_eq!(ahead(&mut queue), [3]);
    }

    #[test]
    fn of_equal_times_the_table_comes_first() {
        let mut queue = queue();
        queue.push(0, record(0, 5));
        queue.push(1, record(0, 5));
        assert_eq!(queue.choose(), Choice::Take(1));
    }

    #[test]
    fn a_full_queue_pauses_and_a_half_empty_one_resumes() {
        let mut queue = queue();
        let flows: Vec<_> = (0..5).map(|i| queue.push(0, record(i, i))).collect();
        assert_eq!(flows, [Flow::Keep, Flow::Keep, Flow::Keep, Flow::Pause, Flow::Keep]);
        let flows: Vec<_> = (0..4).filter_map(|_| Some(queue.pop(0)?.1)).collect();
        assert_eq!(flows, [Flow::Keep, Flow::Keep, Flow::Resume, Flow::Keep]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn key_and_value_come_back() {
        assert_eq!(
            (record(0, 0).key(), record(0, 0).value()),
            (Some(b"key".as_slice()), Some(b"value".as_slice()))
        );
        assert_eq!(record(1, 0).value(), None);
    }
}
