//! Fetched messages: owned pointers to librdkafka's memory, taken from a queue in batches and freed after use.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::raw::{self, Code, Queue, bytes, headers_of, millis};
use crate::log::{HeadersRef, LazyHeaders, RecordRef};
use crate::types::Headers;

/// The most messages taken from the queue at once; bounds the memory that a batch pins.
pub(super) const BATCH: usize = 4096;

/// A message or an error that a partition's fetching gave.
#[repr(transparent)]
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a fetched message belongs to whom it was given; the rest is reference counts that lock themselves
unsafe impl Send for Message {}

impl Message {
    fn native(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: live until dropped
        unsafe { self.0.as_ref() }
    }

    /// [`raw::OK`] for a record.
    pub(super) fn code(&self) -> Code {
        self.native().err
    }

    /// The topic's identity in this client, and the partition.
    pub(super) fn place(&self) -> (usize, i32) {
        (self.native().rkt as usize, self.native().partition)
    }

    pub(super) fn topic_name(&self) -> String {
        let topic = self.native().rkt;
        if topic.is_null() {
            return String::new();
        }
        // SAFETY: the message keeps its topic alive; the name is copied
        unsafe { raw::text(sys::rd_kafka_topic_name(topic)) }
    }

    /// A record's offset; for the end of a partition, the next offset to be written.
    pub(super) fn offset(&self) -> i64 {
        self.native().offset
    }

    /// A record's key, borrowed from librdkafka's memory.
    pub(super) fn key(&self) -> Option<&[u8]> {
        let native = self.native();
        // SAFETY: the key lives as long as the message
        unsafe { bytes(native.key, native.key_len) }
    }

    /// What an error says.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: a live message; the text is copied
        unsafe { raw::text(sys::rd_kafka_message_errstr(self.0.as_ptr())) }
    }

    /// The record, borrowed from librdkafka's memory.
    pub(super) fn record(&self, slot: u32) -> RecordRef<'_> {
        let native = self.native();
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: a live message, whose key and value live as long as it
        unsafe {
            RecordRef {
                slot,
                offset: native.offset,
                timestamp: sys::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind),
                key: bytes(native.key, native.key_len),
                value: bytes(native.payload, native.len),
                headers: HeadersRef::Lazy(self),
            }
        }
    }
}

impl LazyHeaders for Message {
    fn parse(&self) -> Headers {
        // SAFETY: a live message
        unsafe { headers_of(self.0.as_ptr()) }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing borrows from it any more
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// Takes messages from a queue, reusing one array of pointers.
pub(super) struct Batch {
    pointers: Vec<*mut sys::rd_kafka_message_t>,
    /// The next pointer to hand out, and the end of those that are ours.
    next: usize,
    end: usize,
}

// SAFETY: the pointers between `next` and `end` are owned messages
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            pointers: vec![std::ptr::null_mut(); BATCH],
            next: 0,
            end: 0,
        }
    }

    /// One without room: stands in for a batch that is being used.
    pub(super) fn empty() -> Self {
        Self {
            pointers: Vec::new(),
            next: 0,
            end: 0,
        }
    }

    /// Fills itself with what is there, at most `max`; waits up to `timeout` for the first.
    pub(super) fn fill(&mut self, queue: &Queue, max: usize, timeout: Duration) {
        debug_assert_eq!(self.next, self.end, "the last batch is used up before the next");
        let max = max.min(self.pointers.len());
        (self.next, self.end) = (0, self.take(queue, 0, max, Duration::ZERO));
        if self.end == 0 && !timeout.is_zero() && max > 0 {
            // a batch with a time-out waits until it is full: so wait for one, then take what has come with it
            self.end = self.take(queue, 0, 1, timeout);
            if self.end == 1 {
                self.end += self.take(queue, 1, max - 1, Duration::ZERO);
            }
        }
    }

    /// The messages that will be handed out.
    pub(super) fn waiting(&self) -> &[Message] {
        let waiting = &self.pointers[self.next..self.end];
        debug_assert!(waiting.iter().all(|pointer| !pointer.is_null()));
        // SAFETY: librdkafka fills in messages, no null pointers, and a `Message` is its pointer
        unsafe { std::slice::from_raw_parts(waiting.as_ptr().cast(), waiting.len()) }
    }

    fn take(&mut self, queue: &Queue, start: usize, max: usize, timeout: Duration) -> usize {
        if max == 0 {
            return 0;
        }
        let room = &mut self.pointers[start..start + max];
        // SAFETY: a live queue, and room for `max` pointers
        let taken =
            unsafe { sys::rd_kafka_consume_batch_queue(queue.ptr(), millis(timeout), room.as_mut_ptr(), room.len()) };
        usize::try_from(taken).unwrap_or(0).min(max)
    }
}

impl Iterator for Batch {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        while self.next < self.end {
            let pointer = self.pointers[self.next];
            self.next += 1;
            if let Some(message) = NonNull::new(pointer) {
                return Some(Message(message));
            }
        }
        None
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
