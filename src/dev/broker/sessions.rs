//! Which connections are open, and which of them a stuck producer may be waiting behind.
//!
//! librdkafka (seen in 2.16) can wait for ever in `send_offsets_to_transaction` after its only broker was restarted: the
//! group coordinator that it remembers is a broker handle that it has given up, and it asks anew only when one of its
//! connections goes down. So when a transaction has announced offsets that do not arrive, or has timed out, the connections that did
//! nothing but say hello and talk about transactions, and are silent now, are closed. Clients reconnect at once; the
//! stuck one also looks its coordinator up again and goes on.

use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::Notify;

/// How long announced offsets may take to arrive, milliseconds; clients send them at once.
pub(super) const STALLED_MS: i64 = 3_000;
/// A producer whose transaction timed out is expected back within this time, milliseconds.
pub(super) const FORGET_MS: i64 = 30_000;
/// A connection is silent when nothing came for this long, milliseconds.
const SILENT_MS: i64 = 1_500;

/// One open connection.
pub(super) struct Session {
    /// It did more than say hello and talk about transactions.
    worked: AtomicBool,
    last_request_ms: AtomicI64,
    close: Notify,
}

impl Session {
    /// Notes a request.
    pub(super) fn note(&self, key: ApiKey, now_ms: i64) {
        let hello = matches!(
            key,
            ApiKey::ApiVersions
                | ApiKey::Metadata
                | ApiKey::InitProducerId
                | ApiKey::AddPartitionsToTxn
                | ApiKey::AddOffsetsToTxn
                | ApiKey::EndTxn
        );
        if !hello {
            self.worked.store(true, Ordering::Relaxed);
        }
        self.last_request_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }
}

/// All open connections.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<(u64, BTreeMap<u64, Arc<Session>>)>,
}

impl Sessions {
    /// Registers a connection; returns its number, for [`Sessions::remove`].
    pub(super) fn add(&self, now_ms: i64) -> (u64, Arc<Session>) {
        let session = Arc::new(Session {
            worked: AtomicBool::new(false),
            last_request_ms: AtomicI64::new(now_ms),
            close: Notify::new(),
        });
        let mut open = self.open.lock();
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, Arc::clone(&session));
        (number, session)
    }

    /// Forgets a connection.
    pub(super) fn remove(&self, number: u64) {
        self.open.lock().1.remove(&number);
    }

    /// Closes the silent connections that a stuck producer may be waiting behind; returns how many.
    pub(super) fn nudge(&self, now_ms: i64) -> usize {
        let silent = |s: &Session| now_ms - s.last_request_ms.load(Ordering::Relaxed) >= SILENT_MS;
        let open = self.open.lock();
        let stuck = open
            .1
            .values()
            .filter(|s| !s.worked.load(Ordering::Relaxed) && silent(s));
        stuck.map(|session| session.close.notify_one()).count()
    }
}
