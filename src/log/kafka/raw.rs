//! The thin layer over librdkafka's C interface: owned handles whose `Drop` frees them, and nothing that decides.
//!
//! *Why not the rdkafka crate's own clients*: its `flush` polls in steps of 100 ms, its end-of-partition event names no topic, its consumer
//! answers a rebalance inside the callback, and its batches allocate a record. The crate gives us the build, the bindings and the types.
//!
//! *Invariant*: pointers handed out by a handle are not kept longer than the handle; a client outlives its queues and topics, since they are
//! declared before it in every struct.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::client::Client;
use super::errors;
use crate::log::{LogError, LogResult};
use crate::types::TopicPartition;

/// librdkafka's error codes.
pub(super) use sys::rd_kafka_resp_err_t as Code;

/// No error.
pub(super) const OK: Code = Code::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Room for librdkafka's messages.
pub(super) const ERROR_TEXT_BYTES: usize = 512;

/// A name without NUL bytes, as C wants it.
pub(super) fn c_string(text: &str) -> LogResult<CString> {
    CString::new(text).map_err(|_| LogError::Fatal(format!("{text:?} holds a NUL byte, which no Kafka name can")))
}

/// Text that librdkafka owns; empty for null.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives during the call.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What a code means, in words.
pub(super) fn describe(code: Code) -> String {
    // SAFETY: returns a static string for every code
    unsafe { text(sys::rd_kafka_err2str(code)) }
}

/// A `rd_kafka_error_t`, read and freed.
#[derive(Debug)]
pub(super) struct NativeError {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) fatal: bool,
    pub(super) retriable: bool,
    pub(super) requires_abort: bool,
}

impl NativeError {
    /// `Ok` for null; else the error, freed.
    pub(super) fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        let found = Self::read(error);
        // SAFETY: we own it, and it is not used any more
        unsafe { sys::rd_kafka_error_destroy(error) };
        Err(found)
    }

    /// Reads an error that somebody else owns; one that is null has the code "no error".
    pub(super) fn read(error: *const sys::rd_kafka_error_t) -> Self {
        // SAFETY: the accessors take null, and copy what they return into our memory
        unsafe {
            Self {
                code: sys::rd_kafka_error_code(error),
                message: text(sys::rd_kafka_error_string(error)),
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            }
        }
    }
}

/// A configuration that has not become a client yet.
pub(super) struct Conf(NonNull<sys::rd_kafka_conf_t>);

impl Conf {
    /// Checks every property and reports all that are wrong, values left out since some are secret.
    pub(super) fn new(properties: &[(String, String)]) -> Result<Self, Vec<String>> {
        // SAFETY: never null: it aborts when memory is out
        let conf = Self(unsafe { NonNull::new_unchecked(sys::rd_kafka_conf_new()) });
        let problems: Vec<String> = properties
            .iter()
            .filter_map(|(key, value)| conf.set(key, value).err())
            .collect();
        if problems.is_empty() { Ok(conf) } else { Err(problems) }
    }

    fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let (Ok(name), Ok(setting)) = (CString::new(key), CString::new(value)) else {
            return Err(format!("{key}: a NUL byte in the name or value"));
        };
        let mut message = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the strings live during the call, and the buffer's length is its own
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.0.as_ptr(),
                name.as_ptr(),
                setting.as_ptr(),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if result == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return Ok(());
        }
        // SAFETY: librdkafka ends its message with NUL
        Err(format!("{key}: {}", unsafe { text(message.as_ptr()) }))
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_conf_t {
        self.0.as_ptr()
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: still ours: becoming a client forgets `self`
        unsafe { sys::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}

/// A queue of messages or events.
pub(super) struct Queue(NonNull<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues lock themselves
unsafe impl Send for Queue {}
// SAFETY: as above
unsafe impl Sync for Queue {}

impl Queue {
    /// A new one.
    pub(super) fn new(client: &Client) -> Self {
        // SAFETY: never null for a live client
        Self(unsafe { NonNull::new_unchecked(sys::rd_kafka_queue_new(client.ptr())) })
    }

    /// The one on which a group's consumer gets its events.
    pub(super) fn of_consumer(client: &Client) -> LogResult<Self> {
        // SAFETY: a live client; null when it is not in a group
        NonNull::new(unsafe { sys::rd_kafka_queue_get_consumer(client.ptr()) })
            .map(Self)
            .ok_or_else(|| LogError::Fatal("Kafka client: a consumer without group.id has no queue".into()))
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.as_ptr()
    }

    /// The next event, waiting up to `timeout`.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: a live queue; the event is ours
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.ptr(), millis(timeout)) }).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: gives up our reference
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// Something that happened: a rebalance, an error, the answer to an admin call.
pub(super) struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0.as_ptr()
    }

    /// `RD_KAFKA_EVENT_...`.
    pub(super) fn kind(&self) -> i32 {
        // SAFETY: a live event
        unsafe { sys::rd_kafka_event_type(self.ptr()) }
    }

    /// The event's code, its text, and whether the client is of no use after it.
    pub(super) fn error(&self) -> (Code, String, bool) {
        // Events are as large as their kind needs, and librdkafka reads the flag without asking: of a rebalance it lies beyond the allocation.
        let has_flag = self.kind() == sys::RD_KAFKA_EVENT_ERROR;
        // SAFETY: a live event, of the kind that has the flag where it is read; the text is copied
        unsafe {
            (
                sys::rd_kafka_event_error(self.ptr()),
                text(sys::rd_kafka_event_error_string(self.ptr())),
                has_flag && sys::rd_kafka_event_error_is_fatal(self.ptr()) != 0,
            )
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, and what it lent out is not used any more
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// A topic's handle, for producing and for reading without a group.
pub(super) struct Topic(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's topics lock themselves
unsafe impl Send for Topic {}

impl Topic {
    pub(super) fn new(client: &Client, name: &str) -> LogResult<Self> {
        let c_name = c_string(name)?;
        // SAFETY: the name lives during the call; the client's default topic settings are used
        let topic = unsafe { sys::rd_kafka_topic_new(client.ptr(), c_name.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(topic)
            .map(Self)
            .ok_or_else(|| errors::classify(last_error(), &format!("topic {name}")))
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.0.as_ptr()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: gives up our reference; the client is still alive
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

/// The calling thread's last error of the old consumer calls.
pub(super) fn last_error() -> Code {
    // SAFETY: reads a thread-local
    unsafe { sys::rd_kafka_last_error() }
}

/// A list of partitions with offsets.
pub(super) struct Partitions(NonNull<sys::rd_kafka_topic_partition_list_t>);

// SAFETY: plain memory with one owner
unsafe impl Send for Partitions {}

impl Partitions {
    pub(super) fn new(entries: &[(&TopicPartition, i64)]) -> LogResult<Self> {
        let capacity = c_int::try_from(entries.len()).unwrap_or(c_int::MAX);
        // SAFETY: never null
        let list = Self(unsafe { NonNull::new_unchecked(sys::rd_kafka_topic_partition_list_new(capacity)) });
        for (tp, offset) in entries {
            let name = c_string(&tp.topic)?;
            // SAFETY: the list copies the name; the entry is valid until the next change of the list
            unsafe {
                (*sys::rd_kafka_topic_partition_list_add(list.ptr(), name.as_ptr(), tp.partition)).offset = *offset
            };
        }
        Ok(list)
    }

    /// A copy of a list that somebody else owns.
    ///
    /// # Safety
    /// `list` is a live list.
    pub(super) unsafe fn copy(list: *const sys::rd_kafka_topic_partition_list_t) -> Self {
        // SAFETY: never null for a live list
        Self(unsafe { NonNull::new_unchecked(sys::rd_kafka_topic_partition_list_copy(list)) })
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }

    pub(super) fn set_offsets(&mut self, offset: i64) {
        // SAFETY: the elements are ours and initialised, and nobody else holds the list
        let elements = unsafe {
            let list = self.0.as_mut();
            raw_slice_mut(list.elems, list.cnt)
        };
        for element in elements {
            element.offset = offset;
        }
    }

    pub(super) fn numbers(&self) -> Vec<i32> {
        // SAFETY: a live list
        unsafe { elements(self.ptr()) }.iter().map(|e| e.partition).collect()
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: ours
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) };
    }
}

unsafe fn raw_slice_mut<'a, T>(start: *mut T, count: c_int) -> &'a mut [T] {
    match usize::try_from(count) {
        // SAFETY: the caller vouches for `count` elements
        Ok(n) if n > 0 && !start.is_null() => unsafe { std::slice::from_raw_parts_mut(start, n) },
        _ => &mut [],
    }
}

/// The entries of a list.
///
/// # Safety
/// `list` is null or a live list that is not changed while the entries are used.
pub(super) unsafe fn elements<'a>(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> &'a [sys::rd_kafka_topic_partition_t] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: a live list, whose entries are initialised up to its count
    unsafe { raw_slice_mut((*list).elems, (*list).cnt) }
}

/// Milliseconds for librdkafka, never its "wait for ever".
pub(super) fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

/// A member's identity at one moment.
pub(super) struct Metadata(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: an immutable value
unsafe impl Send for Metadata {}
// SAFETY: as above
unsafe impl Sync for Metadata {}

impl Metadata {
    pub(super) fn of(client: &Client) -> Option<Self> {
        // SAFETY: a live client; null when it is in no group
        NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata(client.ptr()) }).map(Self)
    }

    pub(super) fn ptr(&self) -> *const sys::rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: ours
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// Bytes that librdkafka owns; `None` for null.
///
/// # Safety
/// `start` is null or points to `length` bytes that live as long as `'a`.
pub(super) unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for it
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// Parses the headers of a message.
///
/// # Safety
/// `message` is live.
pub(super) unsafe fn headers_of(message: *const sys::rd_kafka_message_t) -> crate::types::Headers {
    let mut list = std::ptr::null_mut();
    // SAFETY: a live message; the list belongs to it
    if unsafe { sys::rd_kafka_message_headers(message, &mut list) } != OK || list.is_null() {
        return None;
    }
    let mut headers = Vec::new();
    let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0usize);
    // SAFETY: a live list; index past the end ends the loop; the outputs live as long as the message and are copied
    unsafe {
        while sys::rd_kafka_header_get_all(list, headers.len(), &mut name, &mut value, &mut length) == OK {
            headers.push((Arc::from(text(name)), bytes(value, length).map(Arc::from)));
        }
    }
    Some(Arc::new(headers))
}
