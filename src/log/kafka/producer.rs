//! Sending: one core over librdkafka's producer, and the two producers of the traits on it.
//!
//! *Invariant*: a transaction is over only when the broker has said so; every error tells the worker what to do next ([`super::errors`]).

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rustc_hash::FxHashMap;

use super::client::Client;
use super::deadline::{Closing, Deadline};
use super::deliveries::{Failure, on_delivery};
use super::errors::{self, Phase, classify, classify_text};
use super::raw::{self, Code, NativeError, Partitions, Topic, c_string, millis};
use super::settings::{KafkaSettings, Role};
use crate::log::{
    Delivered, GroupMetadata, LogError, LogResult, OutRecord, Producer, TopicHandle, TransactionalProducer,
};
use crate::types::TopicPartition;

/// Between looks at the delivery reports: librdkafka's own waiting has steps of 10 ms and more, a commit takes 3.
const NAP: Duration = Duration::from_micros(200);
/// How long a full queue may refuse a record: longer than any message's time-out, so that the failure of those in front is seen instead.
const QUEUE_FULL_WAIT: Duration = Duration::from_secs(15);
/// Records between two looks at the delivery reports while sending.
const SERVE_EVERY: u32 = 1024;

struct TopicSlots {
    name: Arc<str>,
    topic: Topic,
    /// By partition: the slot of its delivery reports.
    slots: Vec<Option<usize>>,
}

/// What both producers do alike.
struct Core {
    topics: Vec<TopicSlots>,
    by_name: FxHashMap<Arc<str>, TopicHandle>,
    unserved: u32,
    closing: Closing,
    client: Client,
}

impl Core {
    fn new(settings: &KafkaSettings, fixed: &[(&str, String)], closing: Closing) -> LogResult<Self> {
        let client = Client::new(settings, Role::Producer, fixed, |conf| {
            // SAFETY: the callback's opaque is the client's context
            unsafe { sys::rd_kafka_conf_set_dr_msg_cb(conf.ptr(), Some(on_delivery)) };
        })?;
        Ok(Self {
            topics: Vec::new(),
            by_name: FxHashMap::default(),
            unserved: 0,
            closing,
            client,
        })
    }

    fn topic(&mut self, name: &str) -> LogResult<TopicHandle> {
        if let Some(handle) = self.by_name.get(name) {
            return Ok(*handle);
        }
        let too_many = |_| LogError::Fatal("more than 4 billion topics".into());
        let handle = TopicHandle(u32::try_from(self.topics.len()).map_err(too_many)?);
        let name: Arc<str> = name.into();
        self.topics.push(TopicSlots {
            topic: Topic::new(&self.client, &name)?,
            name: name.clone(),
            slots: Vec::new(),
        });
        self.by_name.insert(name, handle);
        Ok(handle)
    }

    fn known(&self, handle: TopicHandle) -> LogResult<&TopicSlots> {
        let unknown = || LogError::Fatal(format!("topic handle {} is of another producer", handle.0));
        self.topics.get(handle.0 as usize).ok_or_else(unknown)
    }

    /// Hands a record over, waiting while the queue is full.
    fn send(&mut self, record: &OutRecord<'_>, slot: usize) -> LogResult<()> {
        let topic = self.known(record.topic)?;
        let mut deadline = None;
        loop {
            let code = produce(&self.client, &topic.topic, record, slot)?;
            match code {
                raw::OK => break,
                Code::RD_KAFKA_RESP_ERR__QUEUE_FULL => {
                    self.client.serve();
                    let deadline = *deadline.get_or_insert_with(|| Deadline::after(QUEUE_FULL_WAIT));
                    if deadline.passed() {
                        return Err(LogError::Retry(
                            "the producer's queue stays full: the brokers take nothing".into(),
                        ));
                    }
                    self.closing.check("sending")?;
                    deadline.nap(NAP);
                }
                code => return Err(self.refused(record, code)),
            }
        }
        self.client.deliveries().borrow_mut().sent(slot);
        self.unserved += 1;
        if self.unserved >= SERVE_EVERY {
            self.unserved = 0;
            self.client.serve();
        }
        Ok(())
    }

    fn refused(&self, record: &OutRecord<'_>, code: Code) -> LogError {
        let name = self
            .known(record.topic)
            .map_or_else(|_| "?".into(), |topic| topic.name.clone());
        match code {
            Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE => LogError::TooLarge {
                topic: name,
                bytes: record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len),
            },
            // the transaction has failed in the background, or the producer is fenced
            Code::RD_KAFKA_RESP_ERR__STATE => LogError::Abort(format!("sending to {name}: the transaction has failed")),
            code => {
                let words = self.client.fatal_error().map(|(_, words)| words).unwrap_or_default();
                classify_text(code, &format!("sending to {name}"), &words)
            }
        }
    }

    /// Waits until everything is reported.
    fn flush(&mut self, timeout: Duration) -> LogResult<()> {
        let deadline = Deadline::after(timeout);
        loop {
            self.client.serve();
            if self.client.deliveries().borrow().in_flight == 0 {
                break;
            }
            if deadline.passed() {
                let left = self.client.deliveries().borrow().in_flight;
                return Err(LogError::Retry(format!(
                    "{left} records are not acknowledged after {timeout:?}"
                )));
            }
            self.closing.check("awaiting acknowledgements")?;
            deadline.nap(NAP);
        }
        self.unserved = 0;
        Ok(())
    }

    /// Takes the first failure since the last look.
    fn failure(&mut self) -> Option<Failure> {
        self.client.deliveries().borrow_mut().failure.take()
    }
}

/// One call of librdkafka; the record's bytes are copied.
fn produce(client: &Client, topic: &Topic, record: &OutRecord<'_>, slot: usize) -> LogResult<Code> {
    let parts = |bytes: Option<&[u8]>| bytes.map_or((std::ptr::null(), 0), |b| (b.as_ptr().cast::<c_void>(), b.len()));
    let (value, value_length) = parts(record.value);
    let (key, key_length) = parts(record.key);
    let headers = native_headers(record)?;
    // SAFETY: the tags name the types of what follows them, as `rd_kafka_producev` wants; pointers live during the call and are
    // copied (MSG_F_COPY), but for the headers, which librdkafka owns when it took the record
    let code = unsafe {
        use sys::rd_kafka_vtype_t::{
            RD_KAFKA_VTYPE_END, RD_KAFKA_VTYPE_HEADERS, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS,
            RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_PARTITION, RD_KAFKA_VTYPE_RKT, RD_KAFKA_VTYPE_TIMESTAMP,
            RD_KAFKA_VTYPE_VALUE,
        };
        sys::rd_kafka_producev(
            client.ptr(),
            RD_KAFKA_VTYPE_RKT,
            topic.ptr(),
            RD_KAFKA_VTYPE_PARTITION,
            record.partition,
            RD_KAFKA_VTYPE_MSGFLAGS,
            sys::RD_KAFKA_MSG_F_COPY,
            RD_KAFKA_VTYPE_VALUE,
            value,
            value_length,
            RD_KAFKA_VTYPE_KEY,
            key,
            key_length,
            RD_KAFKA_VTYPE_OPAQUE,
            slot as *mut c_void,
            RD_KAFKA_VTYPE_TIMESTAMP,
            record.timestamp,
            RD_KAFKA_VTYPE_HEADERS,
            headers,
            RD_KAFKA_VTYPE_END,
        )
    };
    if code != raw::OK && !headers.is_null() {
        // SAFETY: not taken, so still ours
        unsafe { sys::rd_kafka_headers_destroy(headers) };
    }
    Ok(code)
}

fn native_headers(record: &OutRecord<'_>) -> LogResult<*mut sys::rd_kafka_headers_t> {
    let Some(headers) = record.headers.as_ref().filter(|headers| !headers.is_empty()) else {
        return Ok(std::ptr::null_mut());
    };
    // SAFETY: never null
    let list = unsafe { sys::rd_kafka_headers_new(headers.len()) };
    for (name, value) in headers.iter() {
        let name = c_string(name).inspect_err(|_| {
            // SAFETY: ours, and not used any more
            unsafe { sys::rd_kafka_headers_destroy(list) };
        })?;
        let (start, length) = value.as_ref().map_or((std::ptr::null(), 0), |bytes| {
            (bytes.as_ptr().cast::<c_void>(), bytes.len() as isize)
        });
        // SAFETY: name and value are copied; -1 lets librdkafka measure the name
        unsafe { sys::rd_kafka_header_add(list, name.as_ptr(), -1, start, length) };
    }
    Ok(list)
}

/// The transactional producer.
pub(super) struct KafkaTransactions {
    core: Core,
    /// Topic and partition of each slot.
    slots: Vec<(TopicHandle, i32)>,
    /// A commit has timed out: until its fate is known, librdkafka refuses every other call of a transaction.
    commit_pending: bool,
}

impl KafkaTransactions {
    pub(super) fn new(settings: &KafkaSettings, transactional_id: &str, closing: Closing) -> LogResult<Self> {
        let fixed = [("transactional.id", transactional_id.to_owned())];
        Ok(Self {
            core: Core::new(settings, &fixed, closing)?,
            slots: Vec::new(),
            commit_pending: false,
        })
    }

    fn call(&self, what: &str, phase: Phase, error: *mut sys::rd_kafka_error_t) -> LogResult<()> {
        match NativeError::take(error) {
            Ok(()) => {
                self.core.client.complaints().forget();
                Ok(())
            }
            Err(error) => {
                let retriable = error.retriable;
                let error = self.core.client.explain(errors::transactional(error, what, phase));
                tracing::debug!(target: "millstream::kafka", retriable, %error, "transaction");
                Err(error)
            }
        }
    }

    fn slot(&mut self, handle: TopicHandle, partition: i32) -> LogResult<usize> {
        self.core.known(handle)?;
        let topic = &mut self.core.topics[handle.0 as usize];
        let wrong = |_| LogError::Fatal(format!("topic {}: {partition} is no partition", topic.name));
        let index = usize::try_from(partition).map_err(wrong)?;
        if topic.slots.len() <= index {
            topic.slots.resize(index + 1, None);
        }
        let next = self.slots.len();
        let slot = *topic.slots[index].get_or_insert(next);
        if slot == next {
            self.slots.push((handle, partition));
        }
        Ok(slot)
    }

    fn failed(&self, failure: &Failure) -> LogError {
        let (topic, partition) = match self.slots.get(failure.slot) {
            Some((handle, partition)) => (self.core.topics[handle.0 as usize].name.clone(), *partition),
            None => ("?".into(), -1),
        };
        if failure.code == Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE {
            let bytes = failure.bytes;
            return LogError::TooLarge { topic, bytes };
        }
        let what = format!("a record for {topic}-{partition} was not delivered");
        errors::undelivered(failure.code, &what, self.core.client.fatal_error().is_some())
    }
}

impl TransactionalProducer for KafkaTransactions {
    fn init(&mut self, timeout: Duration) -> LogResult<()> {
        self.core.client.connect(timeout);
        // SAFETY: a live client
        let error = unsafe { sys::rd_kafka_init_transactions(self.core.client.ptr(), millis(timeout)) };
        self.call("opening transactions", Phase::Before, error)
    }

    fn topic(&mut self, name: &str) -> LogResult<TopicHandle> {
        self.core.topic(name)
    }

    fn begin(&mut self) -> LogResult<()> {
        self.core.client.serve();
        self.core.client.deliveries().borrow_mut().begin(self.slots.len());
        // SAFETY: a live client
        let error = unsafe { sys::rd_kafka_begin_transaction(self.core.client.ptr()) };
        self.call("beginning a transaction", Phase::Before, error)
    }

    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()> {
        let slot = self.slot(record.topic, record.partition)?;
        self.core.send(&record, slot)
    }

    fn flush(&mut self, timeout: Duration) -> LogResult<Delivered> {
        self.core.flush(timeout)?;
        if let Some(failure) = self.core.failure() {
            return Err(self.failed(&failure));
        }
        let deliveries = self.core.client.deliveries().borrow();
        let delivered = self
            .slots
            .iter()
            .zip(&deliveries.offsets)
            .filter(|(_, offset)| **offset >= 0);
        Ok(delivered
            .map(|((topic, partition), offset)| (*topic, *partition, *offset))
            .collect())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, i64)],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> LogResult<()> {
        let entries: Vec<(&TopicPartition, i64)> = offsets.iter().map(|(tp, offset)| (tp, *offset)).collect();
        let list = Partitions::new(&entries)?;
        let Some(metadata) = group.inner.downcast_ref::<raw::Metadata>() else {
            return Err(LogError::Fatal(format!(
                "the metadata of group {} is not Kafka's",
                group.group
            )));
        };
        // SAFETY: list and metadata live during the call
        let error = unsafe {
            sys::rd_kafka_send_offsets_to_transaction(
                self.core.client.ptr(),
                list.ptr(),
                metadata.ptr(),
                millis(timeout),
            )
        };
        self.call("adding input offsets to the transaction", Phase::Before, error)
    }

    fn commit(&mut self, timeout: Duration) -> LogResult<()> {
        // SAFETY: a live client
        let error = unsafe { sys::rd_kafka_commit_transaction(self.core.client.ptr(), millis(timeout)) };
        let fate = self.call("committing", Phase::End, error);
        self.commit_pending = matches!(fate, Err(LogError::Unknown(_)));
        fate
    }

    /// Where a commit was given up, its fate comes first. Found to be committed, there is nothing to abort: recovery begins from what is committed in any case.
    fn abort(&mut self, timeout: Duration) -> LogResult<()> {
        if self.commit_pending {
            match self.commit(timeout) {
                Err(LogError::Abort(_)) => {}
                fate => return fate,
            }
        }
        // SAFETY: a live client
        let error = unsafe { sys::rd_kafka_abort_transaction(self.core.client.ptr(), millis(timeout)) };
        self.call("aborting", Phase::End, error)
    }
}

/// The idempotent producer without transactions: a slot a record.
pub(super) struct KafkaProducer {
    core: Core,
    /// Topic and partition of the records since the last flush, in order.
    sent: Vec<(TopicHandle, i32)>,
}

impl KafkaProducer {
    /// `idempotent`: a record is never written twice, at the price of waiting for the producer's identity first (librdkafka asks for it at once,
    /// finds no connection yet, and comes back after half a second).
    pub(super) fn new(settings: &KafkaSettings, closing: Closing, idempotent: bool) -> LogResult<Self> {
        let fixed = [
            ("enable.idempotence", idempotent.to_string()),
            ("acks", "all".to_owned()),
        ];
        Ok(Self {
            core: Core::new(settings, &fixed, closing)?,
            sent: Vec::new(),
        })
    }

    fn failed(&self, failure: &Failure) -> LogError {
        let topic = match self.sent.get(failure.slot) {
            Some((handle, _)) => self.core.topics[handle.0 as usize].name.clone(),
            None => "?".into(),
        };
        if failure.code == Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE {
            let bytes = failure.bytes;
            return LogError::TooLarge { topic, bytes };
        }
        match classify(failure.code, &format!("a record for {topic} was not delivered")) {
            // the client has tried for as long as it may: waiting once more does not help, sending again may
            LogError::Retry(message) => LogError::Abort(message),
            other => other,
        }
    }
}

impl Producer for KafkaProducer {
    fn topic(&mut self, name: &str) -> LogResult<TopicHandle> {
        self.core.topic(name)
    }

    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()> {
        self.core.send(&record, self.sent.len())?;
        self.sent.push((record.topic, record.partition));
        Ok(())
    }

    fn flush(&mut self, timeout: Duration) -> LogResult<Vec<(TopicHandle, i32, i64)>> {
        self.core.flush(timeout)?;
        let failure = self.core.failure();
        let offsets = {
            let mut deliveries = self.core.client.deliveries().borrow_mut();
            let offsets = std::mem::take(&mut deliveries.offsets);
            deliveries.begin(0);
            offsets
        };
        let failed = failure.map(|failure| self.failed(&failure));
        let sent = std::mem::take(&mut self.sent);
        match failed {
            Some(error) => Err(error),
            None => {
                let places = sent.into_iter().zip(offsets);
                Ok(places
                    .map(|((topic, partition), offset)| (topic, partition, offset))
                    .collect())
            }
        }
    }
}
