//! Delivery reports, kept as little as possible: the highest offset a slot, how many are still out, and the first failure.
//!
//! A slot is a number that the producer gives with each record: one a topic partition for transactions, one a record for plain producers.

use std::ffi::c_void;

use rdkafka::bindings as sys;

use super::client::Context;
use super::raw::{self, Code};

/// What the reports have said since the last [`Deliveries::begin`].
#[derive(Default)]
pub(super) struct Deliveries {
    /// Records handed over and not yet reported.
    pub(super) in_flight: usize,
    /// The highest offset a slot; -1 for none.
    pub(super) offsets: Vec<i64>,
    /// The first record that was not delivered.
    pub(super) failure: Option<Failure>,
}

/// A record that was not delivered.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) slot: usize,
    pub(super) code: Code,
    /// Key and value together.
    pub(super) bytes: usize,
}

impl Deliveries {
    /// Forgets offsets and failure of the last transaction, not what is still out.
    pub(super) fn begin(&mut self, slots: usize) {
        self.offsets.clear();
        self.offsets.resize(slots, -1);
        self.failure = None;
    }

    /// One more is out.
    pub(super) fn sent(&mut self, slot: usize) {
        self.in_flight += 1;
        if self.offsets.len() <= slot {
            self.offsets.resize(slot + 1, -1);
        }
    }
}

/// librdkafka's delivery callback: runs inside the owner's calls of poll, flush, commit and abort.
pub(super) unsafe extern "C" fn on_delivery(
    _rk: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque of every client is its context, and the message lives during the callback
    let (context, record) = unsafe { (&*opaque.cast::<Context>(), &*message) };
    let mut deliveries = context.deliveries.borrow_mut();
    deliveries.in_flight = deliveries.in_flight.saturating_sub(1);
    let slot = record._private as usize;
    if record.err != raw::OK {
        if deliveries.failure.is_none() {
            deliveries.failure = Some(Failure {
                slot,
                code: record.err,
                bytes: record.len + record.key_len,
            });
        }
    } else if let Some(offset) = deliveries.offsets.get_mut(slot) {
        // a report without offset (-1001) leaves the old one
        *offset = record.offset.max(*offset);
    }
}
