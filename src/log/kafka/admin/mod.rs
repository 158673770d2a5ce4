//! Topics, offsets and groups through librdkafka's admin calls: a request, its own queue, one event as the answer.
//!
//! *Invariant*: a call takes no longer than [`CALL`], and gives up at once when the process is closing.

mod groups;
mod offsets;
mod requests;
mod topics;

use std::ffi::c_char;
use std::time::Duration;

use rdkafka::bindings as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::client::Client;
use super::deadline::{Closing, Deadline};
use super::errors::classify_text;
use super::raw::{self, Code, ERROR_TEXT_BYTES, Event, NativeError, Queue, millis};
use super::settings::{KafkaSettings, Role};
use crate::log::{Admin, LogError, LogResult, NewTopic, TopicInfo};
use crate::types::{Timestamp, TopicPartition};

/// How long one call may take, retries of the client included.
const CALL: Duration = Duration::from_secs(10);
/// librdkafka 2.12 uses memory after freeing it where a request of a group's coordinator times out before the coordinator is found
/// (`rd_kafka_admin_coord_request`): its own time-out is its longest, and we give the answer up before.
const COORDINATOR: Duration = Duration::from_secs(3_600);
/// How long a call waits for somebody's transaction to be decided; the caller asks again.
const UNDECIDED: Duration = Duration::from_millis(100);
/// How long brokers may take to know of a topic that one of them knows.
const PROPAGATION: Duration = Duration::from_secs(5);
/// Between looks at something that needs a moment: a topic being made, a transaction being decided.
const PAUSE: Duration = Duration::from_millis(20);

/// The admin of [`super::KafkaLog`].
pub(super) struct KafkaAdmin {
    closing: Closing,
    client: Client,
}

/// Options of one call.
pub(super) struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    pub(super) fn new(client: &Client, op: Op, timeout: Duration) -> Self {
        let timeout = match op {
            Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS
            | Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS
            | Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS
            | Op::RD_KAFKA_ADMIN_OP_DELETEGROUPS => COORDINATOR,
            _ => timeout,
        };
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: a live client; the buffer's length is its own. A refused time-out leaves the default of 60 s
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.ptr(), op);
            let limit = millis(timeout.max(Duration::from_millis(1)));
            sys::rd_kafka_AdminOptions_set_request_timeout(options, limit, message.as_mut_ptr(), message.len());
            Self(options)
        }
    }

    pub(super) fn ptr(&self) -> *const sys::rd_kafka_AdminOptions_t {
        self.0
    }

    fn read_committed(self) -> Self {
        let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        // SAFETY: live options of a call that has a level; the error is freed
        drop(NativeError::take(unsafe {
            sys::rd_kafka_AdminOptions_set_isolation_level(self.0, level)
        }));
        self
    }

    fn stable(self) -> Self {
        // SAFETY: live options of a call that has the choice; the error is freed
        drop(NativeError::take(unsafe {
            sys::rd_kafka_AdminOptions_set_require_stable_offsets(self.0, 1)
        }));
        self
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// The array behind one of librdkafka's result accessors.
macro_rules! results {
    ($accessor:ident, $from:expr) => {{
        let mut count = 0usize;
        // SAFETY: the object is alive, and the array lives as long as it
        let first = unsafe { sys::$accessor($from, &mut count) };
        if first.is_null() || count == 0 {
            &[][..]
        } else {
            unsafe { std::slice::from_raw_parts(first, count) }
        }
    }};
}

pub(super) use results;

impl KafkaAdmin {
    pub(super) fn new(settings: &KafkaSettings, closing: Closing) -> LogResult<Self> {
        // a consumer with a group, though it joins none: without one librdkafka 2.12 reads through a null pointer where another broker has become the coordinator
        // of a group whose offsets are asked for (`rd_kafka_handle_OffsetFetch`)
        let fixed = [
            ("group.id", format!("{}.admin", settings.client_id)),
            ("enable.auto.commit", "false".to_owned()),
        ];
        let client = Client::new(settings, Role::Admin, &fixed, |_| ())?;
        Ok(Self { closing, client })
    }

    fn options(&self, op: Op, deadline: Deadline) -> Options {
        Options::new(&self.client, op, deadline.remaining())
    }

    /// Submits a request and waits for its answer.
    fn call(
        &self,
        what: &str,
        options: &Options,
        deadline: Deadline,
        submit: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> LogResult<Event> {
        self.closing.check(what)?;
        // errors of connections and logs gather on the main queue, which nobody else reads
        self.client.serve();
        let queue = Queue::new(&self.client);
        submit(self.client.ptr(), options.0, queue.ptr());
        loop {
            if let Some(event) = queue.poll(deadline.slice()) {
                let (code, words, _) = event.error();
                if code == raw::OK {
                    self.client.complaints().forget();
                    return Ok(event);
                }
                return Err(self.client.explain(classify_text(code, what, &words)));
            }
            if deadline.passed() {
                let silent = LogError::Retry(format!("{what}: no answer from the brokers within {CALL:?}"));
                return Err(self.client.explain(silent));
            }
            self.closing.check(what)?;
        }
    }

    /// Repeats a call while its failure may pass: leaders and coordinators move, and are not known at once everywhere.
    fn patiently<T>(&self, deadline: Deadline, mut call: impl FnMut() -> LogResult<T>) -> LogResult<T> {
        loop {
            match call() {
                Err(LogError::Retry(_)) if !deadline.passed() && !self.closing.is_closing() => deadline.nap(PAUSE),
                result => return result,
            }
        }
    }

    /// The same for a call about a topic: one that another instance has made a moment ago is not known to all brokers at once.
    fn of_known_topic<T>(
        &self,
        what: &str,
        deadline: Deadline,
        mut call: impl FnMut() -> LogResult<Result<T, (Code, String)>>,
    ) -> LogResult<T> {
        let propagated = Deadline::after(PROPAGATION);
        self.patiently(deadline, || {
            call()?.map_err(|(code, words)| match classify_text(code, what, &words) {
                LogError::Fatal(text)
                    if code == Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART && !propagated.passed() =>
                {
                    LogError::Retry(text)
                }
                error => error,
            })
        })
    }
}

impl Admin for KafkaAdmin {
    fn topics(&self, names: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        let deadline = Deadline::after(CALL);
        let described = self.patiently(deadline, || self.describe(names, deadline))?;
        Ok(described
            .into_iter()
            .map(|topic| topic.map(|topic| topic.info))
            .collect())
    }

    fn list_topics(&self) -> LogResult<Vec<String>> {
        self.all_topics()
    }

    fn topic_setting(&self, topics: &[&str], key: &str) -> LogResult<Vec<Option<String>>> {
        self.setting_of(topics, key)
    }

    fn create_topics(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.create(topics)
    }

    fn add_partitions(&self, topic: &str, total: i32) -> LogResult<()> {
        self.grow(topic, total)
    }

    fn delete_topics(&self, names: &[&str]) -> LogResult<()> {
        self.delete(names)
    }

    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.delete_before(before)
    }

    fn watermarks(&self, tp: &TopicPartition) -> LogResult<(i64, i64)> {
        let low = self.list_offset(
            tp,
            sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            false,
        )?;
        let high = self.list_offset(
            tp,
            sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            false,
        )?;
        Ok((low, high))
    }

    fn ends(&self, tps: &[TopicPartition]) -> LogResult<Vec<i64>> {
        let latest = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        self.list_offsets(tps, latest, false)
    }

    fn stable_end(&self, tp: &TopicPartition) -> LogResult<i64> {
        self.list_offset(tp, sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64, true)
    }

    fn offset_for_time(&self, tp: &TopicPartition, timestamp: Timestamp) -> LogResult<i64> {
        match self.list_offset(tp, timestamp.max(0), false)? {
            none if none < 0 => Ok(self.watermarks(tp)?.1),
            offset => Ok(offset),
        }
    }

    fn committed(&self, group: &str, tps: &[TopicPartition]) -> LogResult<Vec<Option<i64>>> {
        if tps.is_empty() {
            return Ok(Vec::new());
        }
        let (deadline, undecided) = (Deadline::after(CALL), Deadline::after(UNDECIDED));
        loop {
            if let Some(offsets) = self.patiently(deadline, || self.stable_offsets(group, tps, deadline))? {
                return Ok(offsets);
            }
            let what = format!("the offsets of group {group} wait for a transaction");
            // a worker has other tasks to look after meanwhile
            if undecided.passed() {
                return Err(LogError::Retry(what));
            }
            self.closing.check(&what)?;
            undecided.nap(PAUSE);
        }
    }

    fn set_committed(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.set_offsets(group, offsets)
    }

    fn delete_group(&self, group: &str) -> LogResult<()> {
        self.remove_group(group)
    }

    fn group_members(&self, group: &str) -> LogResult<usize> {
        let deadline = Deadline::after(CALL);
        self.patiently(deadline, || self.count_members(group, deadline))
    }
}
