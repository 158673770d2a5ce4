//! Reading partitions that the caller names, without a group: librdkafka's consumer by partition, all of them into one queue.
//!
//! One queue makes the bound on what waits a bound for all partitions together, however many they are. A paused slot's messages are put
//! aside as they come; only when that grows too long is its fetching stopped, to be begun again at the same offset.
//!
//! *Invariant*: a slot's `next` is the offset after what was handed out or put aside, ends of partition included; fetching is always begun
//! again from there, never from librdkafka's own position, which counts an end of partition as a record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rustc_hash::FxHashMap;

use super::admin::KafkaAdmin;
use super::client::Client;
use super::deadline::Closing;
use super::errors::classify_text;
use super::messages::{BATCH, Batch, Message};
use super::raw::{self, Code, Queue, Topic, last_error};
use super::settings::{KafkaSettings, Role};
use crate::log::{Admin, Fetched, Fetcher, FetcherConfig, LogError, LogResult};
use crate::types::TopicPartition;

/// What a fetched message costs beside its bytes, measured: librdkafka counts only the bytes.
const MESSAGE_BYTES: usize = 400;
/// Records of one partition in a row for which it is worth telling their keys ahead.
const WORTH_TELLING: usize = 32;
/// The longest wait in one piece, so that closing is noticed.
const WAIT: Duration = Duration::from_millis(100);

struct Slot {
    tp: TopicPartition,
    /// The topic's pointer in the client, the first half of what messages are matched by.
    topic: usize,
    next: i64,
    paused: bool,
    /// Whether librdkafka fetches it.
    fetching: bool,
    /// Fetched while paused, in order.
    aside: VecDeque<Message>,
}

/// The fetcher of [`super::KafkaLog`].
pub(super) struct KafkaFetcher {
    slots: FxHashMap<u32, Slot>,
    by_place: FxHashMap<(usize, i32), u32>,
    /// The place and slot of the last message: messages come in runs.
    last: Option<((usize, i32), u32)>,
    /// Slots that were resumed while they had something aside.
    resumed: VecDeque<u32>,
    /// How much one paused slot may put aside.
    aside_limit: usize,
    batch: Batch,
    topics: FxHashMap<Arc<str>, Topic>,
    queue: Queue,
    closing: Closing,
    admin: Arc<KafkaAdmin>,
    client: Client,
}

impl KafkaFetcher {
    pub(super) fn new(
        settings: &KafkaSettings,
        config: &FetcherConfig,
        admin: Arc<KafkaAdmin>,
        closing: Closing,
    ) -> LogResult<Self> {
        let client = Client::new(settings, Role::Fetcher, &properties(config), |_| ())?;
        let queue = Queue::new(&client);
        Ok(Self {
            slots: FxHashMap::default(),
            by_place: FxHashMap::default(),
            last: None,
            resumed: VecDeque::new(),
            aside_limit: (messages_within(config.buffer_bytes) / 2).max(BATCH),
            batch: Batch::new(),
            topics: FxHashMap::default(),
            queue,
            closing,
            admin,
            client,
        })
    }

    fn start(&mut self, slot: u32) -> LogResult<()> {
        let Some(state) = self.slots.get_mut(&slot) else {
            return Ok(());
        };
        let Some(topic) = self.topics.get(&state.tp.topic) else {
            return Ok(());
        };
        // SAFETY: live topic and queue
        let result =
            unsafe { sys::rd_kafka_consume_start_queue(topic.ptr(), state.tp.partition, state.next, self.queue.ptr()) };
        if result != 0 {
            let what = format!("reading {} from offset {}", state.tp, state.next);
            return Err(super::errors::classify(last_error(), &what));
        }
        state.fetching = true;
        Ok(())
    }

    /// Stops fetching; what is in the queue of it is dropped by librdkafka.
    fn stop(topics: &FxHashMap<Arc<str>, Topic>, state: &mut Slot) {
        if let Some(topic) = topics.get(&state.tp.topic)
            && std::mem::take(&mut state.fetching)
        {
            // SAFETY: a live topic; waits for librdkafka's main thread, which no broker can hold up
            unsafe { sys::rd_kafka_consume_stop(topic.ptr(), state.tp.partition) };
        }
    }

    fn slot_of(&mut self, message: &Message) -> Option<u32> {
        let place = message.place();
        if let Some((last, slot)) = self.last
            && last == place
        {
            return Some(slot);
        }
        let slot = self.by_place.get(&place).copied().or_else(|| {
            // another pointer for the same topic: match by name once
            let name = message.topic_name();
            let found = self
                .slots
                .iter()
                .find(|(_, s)| *s.tp.topic == *name && s.tp.partition == place.1);
            found.map(|(slot, _)| *slot)
        })?;
        self.last = Some((place, slot));
        Some(slot)
    }

    /// Tells the keys of the records of one partition that are about to be handed out.
    fn tell_ahead(&mut self, run: &[Message], sink: &mut dyn FnMut(Fetched<'_>)) {
        if run.len() < WORTH_TELLING {
            return;
        }
        let Some(slot) = self.slot_of(&run[0]) else { return };
        let given = |state: &Slot| !state.paused && state.aside.is_empty();
        if self.slots.get(&slot).is_some_and(given) {
            let records = run.iter().filter(|message| message.code() == raw::OK);
            let keys: Vec<&[u8]> = records.filter_map(Message::key).collect();
            sink(Fetched::Ahead { slot, keys: &keys });
        }
    }

    /// Hands one message out or puts it aside. Returns how many records it was.
    fn give(&mut self, message: Message, sink: &mut dyn FnMut(Fetched<'_>)) -> LogResult<usize> {
        let Some(slot) = self.slot_of(&message) else {
            return Ok(0);
        };
        let Some(state) = self.slots.get_mut(&slot) else {
            return Ok(0);
        };
        match message.code() {
            raw::OK => state.next = message.offset() + 1,
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => state.next = state.next.max(message.offset()),
            _ => return Err(self.failed(slot, &message)),
        }
        if state.paused || !state.aside.is_empty() {
            state.aside.push_back(message);
            if state.aside.len() >= self.aside_limit {
                Self::stop(&self.topics, state);
            }
            return Ok(0);
        }
        Ok(hand_out(slot, &message, sink))
    }

    /// What was put aside of slots that were resumed.
    fn give_aside(&mut self, max: usize, sink: &mut dyn FnMut(Fetched<'_>)) -> LogResult<usize> {
        let mut given = 0;
        while let Some(slot) = self.resumed.front().copied() {
            let Some(state) = self.slots.get_mut(&slot).filter(|state| !state.paused) else {
                self.resumed.pop_front();
                continue;
            };
            while given < max
                && let Some(message) = state.aside.pop_front()
            {
                given += hand_out(slot, &message, sink);
            }
            if !state.aside.is_empty() {
                break;
            }
            let stopped = !state.fetching;
            self.resumed.pop_front();
            if stopped {
                self.start(slot)?;
            }
        }
        Ok(given)
    }

    fn failed(&mut self, slot: u32, message: &Message) -> LogError {
        let Some(state) = self.slots.get_mut(&slot) else {
            return LogError::Retry(message.error_text());
        };
        let (tp, offset) = (state.tp.clone(), state.next);
        match message.code() {
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
                Self::stop(&self.topics, state);
                match self.admin.watermarks(&tp) {
                    Ok((low, high)) if offset < low || offset > high => LogError::OutOfRange { tp, offset, low, high },
                    // the reset had another reason, such as a truncated log seen by an old leader
                    Ok((low, high)) => LogError::Fatal(format!(
                        "{tp}: reading from offset {offset} failed though the topic holds {low} to {high}: {}",
                        message.error_text()
                    )),
                    Err(error) => error,
                }
            }
            code => classify_text(code, &format!("reading {tp} at offset {offset}"), &message.error_text()),
        }
    }

    fn known(&mut self, slot: u32) -> LogResult<&mut Slot> {
        self.slots
            .get_mut(&slot)
            .ok_or_else(|| LogError::Fatal(format!("slot {slot} of the fetcher is not assigned")))
    }
}

fn hand_out(slot: u32, message: &Message, sink: &mut dyn FnMut(Fetched<'_>)) -> usize {
    if message.code() == raw::OK {
        sink(Fetched::Record(message.record(slot)));
        return 1;
    }
    sink(Fetched::End { slot });
    0
}

fn messages_within(buffer_bytes: usize) -> usize {
    (buffer_bytes / MESSAGE_BYTES).clamp(1_000, 1_000_000)
}

/// The properties that follow from the configuration: isolation, and the memory budget in librdkafka's words.
fn properties(config: &FetcherConfig) -> Vec<(&'static str, String)> {
    let isolation = if config.committed_only {
        "read_committed"
    } else {
        "read_uncommitted"
    };
    let kbytes = (config.buffer_bytes / 1024).clamp(1024, 1 << 20);
    // a response is taken whole, beyond the bounds: so it must be small beside them
    let response = (config.buffer_bytes / 8).clamp(256 << 10, 16 << 20);
    vec![
        ("isolation.level", isolation.into()),
        ("auto.offset.reset", "error".into()),
        ("enable.partition.eof", "true".into()),
        ("enable.auto.commit", "false".into()),
        ("enable.auto.offset.store", "false".into()),
        ("queued.min.messages", messages_within(config.buffer_bytes).to_string()),
        ("queued.max.messages.kbytes", kbytes.to_string()),
        ("fetch.message.max.bytes", (response / 4).to_string()),
        ("fetch.max.bytes", response.to_string()),
        // librdkafka wants it below fetch.max.bytes; a consumer sends nothing of that size
        ("message.max.bytes", (256 << 10).to_string()),
        ("receive.message.max.bytes", "100000000".into()),
    ]
}

impl Fetcher for KafkaFetcher {
    fn assign(&mut self, slot: u32, tp: &TopicPartition, offset: i64) -> LogResult<()> {
        if self.slots.contains_key(&slot) {
            return Err(LogError::Fatal(format!(
                "slot {slot} of the fetcher is assigned already, to read {tp} too"
            )));
        }
        if !self.topics.contains_key(&tp.topic) {
            self.topics
                .insert(tp.topic.clone(), Topic::new(&self.client, &tp.topic)?);
        }
        let topic = self.topics[&tp.topic].ptr() as usize;
        if self.by_place.insert((topic, tp.partition), slot).is_some() {
            return Err(LogError::Fatal(format!(
                "{tp} is read by another slot of this fetcher already"
            )));
        }
        self.last = None;
        let state = Slot {
            tp: tp.clone(),
            topic,
            next: offset.max(0),
            paused: false,
            fetching: false,
            aside: VecDeque::new(),
        };
        self.slots.insert(slot, state);
        self.start(slot)
    }

    fn unassign(&mut self, slot: u32) -> LogResult<()> {
        if let Some(mut state) = self.slots.remove(&slot) {
            Self::stop(&self.topics, &mut state);
            self.by_place.remove(&(state.topic, state.tp.partition));
            self.last = None;
        }
        Ok(())
    }

    fn pause(&mut self, slot: u32) -> LogResult<()> {
        self.known(slot)?.paused = true;
        Ok(())
    }

    fn resume(&mut self, slot: u32) -> LogResult<()> {
        let state = self.known(slot)?;
        if std::mem::take(&mut state.paused) && (!state.aside.is_empty() || !state.fetching) {
            self.resumed.push_back(slot);
        }
        Ok(())
    }

    fn poll(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Fetched<'_>)) -> LogResult<usize> {
        self.client.serve();
        let mut given = self.give_aside(max, sink)?;
        let wait = if given > 0 || self.closing.is_closing() {
            Duration::ZERO
        } else {
            timeout.min(WAIT)
        };
        let mut batch = std::mem::replace(&mut self.batch, Batch::empty());
        batch.fill(&self.queue, max.saturating_sub(given), wait);
        let mut failed = None;
        while let Some(run) = batch.waiting().chunk_by(|a, b| a.place() == b.place()).next() {
            let len = run.len();
            self.tell_ahead(run, sink);
            for message in batch.by_ref().take(len) {
                match self.give(message, sink) {
                    Ok(records) => given += records,
                    // the records behind it are of other partitions, and are not fetched again
                    Err(error) => drop(failed.get_or_insert(error)),
                }
            }
        }
        self.batch = batch;
        failed.map_or(Ok(given), Err)
    }

    fn position(&mut self, slot: u32) -> LogResult<Option<i64>> {
        Ok(self.slots.get(&slot).map(|state| state.next))
    }
}

impl Drop for KafkaFetcher {
    fn drop(&mut self) {
        for state in self.slots.values_mut() {
            Self::stop(&self.topics, state);
        }
    }
}
