//! The core, shared between connections, background tasks and callers in this process.
//!
//! Everything goes through [`SharedLog::with`]: one short step under the lock, then the core's outputs are handed to
//! those who wait for them. *Invariant*: who waits registers before it looks, so no wake-up is missed.

use crate::log::core::groups::{JoinAnswer, SyncAnswer};
use crate::log::core::maintenance::{self, CoreAccess};
use crate::log::core::{Core, ErrorCode, Isolation, Output, ReadRecords, Record, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, oneshot};

/// Milliseconds since 1970; the core itself has no clock.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

enum Waiter {
    Join(oneshot::Sender<Result<JoinAnswer>>),
    Sync(oneshot::Sender<Result<SyncAnswer>>),
}

#[derive(Default)]
struct Waiting {
    answers: FxHashMap<u64, Waiter>,
    readers: FxHashMap<u32, Vec<Arc<Notify>>>,
}

/// A log that many can use at once.
pub struct SharedLog {
    core: Mutex<Core>,
    waiting: Mutex<Waiting>,
    /// Held during a round of maintenance.
    maintaining: Mutex<()>,
    next_token: AtomicU64,
}

impl CoreAccess for SharedLog {
    fn with<R>(&self, step: impl FnOnce(&mut Core) -> R) -> R {
        SharedLog::with(self, step)
    }
}

impl SharedLog {
    /// Shares a core.
    pub fn new(core: Core) -> SharedLog {
        SharedLog {
            core: Mutex::new(core),
            waiting: Mutex::default(),
            maintaining: Mutex::new(()),
            next_token: AtomicU64::new(1),
        }
    }

    /// One step with the core; wakes up whom it concerns.
    pub fn with<R>(&self, step: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.lock();
        let result = step(&mut core);
        let outputs = core.take_outputs();
        drop(core);
        if !outputs.is_empty() {
            self.deliver(outputs);
        }
        result
    }

    fn deliver(&self, outputs: Vec<Output>) {
        let mut waiting = self.waiting.lock();
        for output in outputs {
            // A receiver that is gone has closed its connection; nobody is left to be told.
            match output {
                Output::Advanced { partition } => {
                    waiting
                        .readers
                        .get(&partition)
                        .into_iter()
                        .flatten()
                        .for_each(|reader| reader.notify_one());
                }
                Output::Joined { token, answer } => {
                    if let Some(Waiter::Join(sender)) = waiting.answers.remove(&token) {
                        drop(sender.send(answer));
                    }
                }
                Output::Synced { token, answer } => {
                    if let Some(Waiter::Sync(sender)) = waiting.answers.remove(&token) {
                        drop(sender.send(answer));
                    }
                }
            }
        }
    }

    /// Starts a `join` or `sync` and waits for its answer.
    async fn ask<T>(
        &self,
        waiter: impl FnOnce(oneshot::Sender<Result<T>>) -> Waiter,
        start: impl FnOnce(&mut Core, u64) -> Result<()>,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().answers.insert(token, waiter(sender));
        let _forget = Forget { log: self, token };
        self.with(|core| start(core, token))?;
        receiver.await.unwrap_or(Err(ErrorCode::RebalanceInProgress))
    }

    pub(super) async fn join(&self, start: impl FnOnce(&mut Core, u64) -> Result<()>) -> Result<JoinAnswer> {
        self.ask(Waiter::Join, start).await
    }

    pub(super) async fn sync(&self, start: impl FnOnce(&mut Core, u64) -> Result<()>) -> Result<SyncAnswer> {
        self.ask(Waiter::Sync, start).await
    }

    /// Registers for news of partitions until the subscription is dropped.
    pub(super) fn subscribe(&self, partitions: Vec<u32>) -> Subscription<'_> {
        let news = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock();
        for partition in &partitions {
            waiting.readers.entry(*partition).or_default().push(Arc::clone(&news));
        }
        Subscription {
            log: self,
            partitions,
            news,
        }
    }

    /// One round of retention, compaction and giving back disk space.
    pub fn maintain(&self) {
        if let Some(_alone) = self.maintaining.try_lock() {
            maintenance::run(self, now_ms());
        }
    }

    /// Appends one record; returns its offset. `value: None` is a tombstone.
    pub fn append(&self, topic: &str, partition: i32, key: Option<Bytes>, value: Option<Bytes>) -> Result<i64> {
        let now_ms = now_ms();
        self.with(|core| core.append(topic, partition, vec![Record::new(now_ms, key, value)], now_ms))
    }

    /// Reads committed records from an offset on, at least one batch where there is one, else up to `max_bytes`.
    pub fn read(&self, topic: &str, partition: i32, offset: i64, max_bytes: usize) -> Result<ReadRecords> {
        self.with(|core| core.view(topic, partition, offset, max_bytes, Isolation::ReadCommitted))?
            .open()
    }
}

/// Takes a question back when nobody waits for its answer any more.
struct Forget<'a> {
    log: &'a SharedLog,
    token: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.log.waiting.lock().answers.remove(&self.token);
    }
}

/// News of some partitions.
pub(super) struct Subscription<'a> {
    log: &'a SharedLog,
    partitions: Vec<u32>,
    news: Arc<Notify>,
}

impl Subscription<'_> {
    /// Waits for news since the last wait (or since the registration).
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let mut waiting = self.log.waiting.lock();
        for partition in &self.partitions {
            if let Some(readers) = waiting.readers.get_mut(partition) {
                readers.retain(|reader| !Arc::ptr_eq(reader, &self.news));
                if readers.is_empty() {
                    waiting.readers.remove(partition);
                }
            }
        }
    }
}
