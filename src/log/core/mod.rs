//! The log core: topics, partitions, producers, transactions and groups as one deterministic, synchronous state machine.
//!
//! *Is*: everything that a Kafka broker decides. Time is an argument (`now_ms`), bytes go through [`Storage`], answers
//! that have to wait (joining a group) are left in [`Core::take_outputs`] under the caller's token.
//! *Is not*: sockets, clocks, threads, randomness. Two doors lead in: the Kafka wire protocol (`dev::broker`), and direct
//! calls (the simulated log, the embedded registry).
//!
//! ```text
//!   caller --> check against the state --> Draft of journal entries --> one write --> apply to the state --> outputs
//!   start  --> snapshot, index of older segments, entries of the last segment ---------^
//! ```
//!
//! *Invariant*: state changes only by applying what the journal holds, with the same code at run time and at start
//! (sessions of group members apart, which end with the process). So what was acknowledged is what a restart finds.
//!
//! Order of calls: any operation; then [`Core::take_outputs`]; [`Core::tick`] every now and then for time-outs;
//! [`maintenance::run`] for retention, compaction and disk space.

mod apply;
pub mod batch;
mod compaction;
mod error;
mod events;
mod expand;
mod fetch;
pub mod groups;
mod in_process;
mod journal;
mod list_offsets;
pub mod maintenance;
mod partition;
mod produce;
pub mod records;
mod recovery;
mod snapshot;
pub mod storage;
pub mod storage_dir;
#[cfg(test)]
mod tests;
mod topic_config;
mod topics;
mod transactions;

pub use error::{ErrorCode, Result};
pub use fetch::{BatchSlice, FetchPlan, Isolation};
pub use in_process::{ReadRecords, ReadView};
pub use journal::JournalLimits;
pub use list_offsets::{OffsetLookup, OffsetQuery};
pub use partition::{AbortedTxn, Partition, ProducerInfo};
pub use produce::{Appended, ProduceBatch};
pub use records::Record;
pub use recovery::{OpenError, OpenReport};
pub use storage::{MemoryStorage, ReadSegment, Storage};
pub use storage_dir::{DirError, DirStorage};
pub use topic_config::{ConfigChange, TOPIC_CONFIGS, TopicConfigDef, ValueKind};
pub use topics::Topic;
pub use transactions::{ProducerIdentity, Txn, TxnState};

use groups::{Group, JoinAnswer, SyncAnswer};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the core can be told about its world.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// Sizes of the journal's segments.
    pub journal: JournalLimits,
    /// How long the first member of a classic group waits for others, milliseconds.
    pub initial_rebalance_delay_ms: i64,
    /// Heartbeat interval that consumer groups (KIP-848) are told, milliseconds.
    pub consumer_heartbeat_ms: i32,
    /// Session time-out of members of consumer groups (KIP-848), milliseconds.
    pub consumer_session_ms: i64,
    /// Largest transaction time-out that a producer may ask for, milliseconds.
    pub max_transaction_timeout_ms: i64,
    /// Idle producers are forgotten after this, milliseconds.
    pub producer_expiry_ms: i64,
    /// Idle transactional ids are forgotten after this, milliseconds.
    pub transactional_id_expiry_ms: i64,
}

impl Default for CoreConfig {
    fn default() -> CoreConfig {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        CoreConfig {
            journal: JournalLimits::default(),
            initial_rebalance_delay_ms: 0,
            consumer_heartbeat_ms: 500,
            consumer_session_ms: 10_000,
            max_transaction_timeout_ms: 15 * 60 * 1000,
            producer_expiry_ms: DAY_MS,
            transactional_id_expiry_ms: 7 * DAY_MS,
        }
    }
}

/// What a caller is told later, or what it may want to wake up for.
#[derive(Debug)]
pub enum Output {
    /// Answer to the `join` with this token.
    Joined {
        /// The caller's token.
        token: u64,
        /// The answer.
        answer: Result<JoinAnswer>,
    },
    /// Answer to the `sync` with this token.
    Synced {
        /// The caller's token.
        token: u64,
        /// The answer.
        answer: Result<SyncAnswer>,
    },
    /// There is something new for those who fetch from this partition (or it is gone).
    Advanced {
        /// The core's number of the partition.
        partition: u32,
    },
}

/// Numbers that are given away once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counters {
    incarnation: u64,
    next_topic: u64,
    next_partition: u32,
    next_producer: i64,
    next_job: u32,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            incarnation: 0,
            next_topic: 1,
            next_partition: 1,
            next_producer: 1,
            next_job: 1,
        }
    }
}

/// The log. See the module's documentation.
pub struct Core {
    journal: journal::Journal,
    config: CoreConfig,
    counters: Counters,
    topics: BTreeMap<String, Topic>,
    topic_names: BTreeMap<u64, Arc<str>>,
    partitions: FxHashMap<u32, Partition>,
    groups: BTreeMap<String, Group>,
    txns: BTreeMap<String, Txn>,
    outputs: Vec<Output>,
    /// Members that were ever given an id since the log was opened.
    members_named: u64,
}

impl Core {
    /// Answers and wake-ups since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Time-outs of sessions, rebalances and transactions.
    pub fn tick(&mut self, now_ms: i64) {
        self.tick_groups(now_ms);
        self.tick_transactions(now_ms);
    }

    /// The settings it runs with.
    pub fn config(&self) -> &CoreConfig {
        &self.config
    }

    /// Forces everything written so far to stable storage; for a clean close.
    pub fn sync(&mut self) -> std::io::Result<()> {
        for segment in self.journal.segments.values_mut().filter(|s| s.unsynced) {
            segment.reader.sync()?;
            segment.unsynced = false;
        }
        Ok(())
    }
}
