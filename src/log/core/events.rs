//! What the journal says happened, beside record batches: the state of the core is the sum of these.
//!
//! The forms are serialised, so a field that is added needs a default and none may change its meaning.

use super::groups::OffsetEntry;
use super::transactions::Txn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Event {
    /// The log was opened for the n-th time; makes member ids unique over restarts.
    Opened { incarnation: u64 },
    /// A topic with partitions numbered (for the journal) from `first_partition`.
    TopicCreated {
        name: String,
        number: u64,
        first_partition: u32,
        partitions: u32,
        config: BTreeMap<String, String>,
    },
    /// More partitions for a topic.
    PartitionsAdded {
        topic: String,
        first_partition: u32,
        count: u32,
    },
    /// The topic is gone, with its data and its committed offsets.
    TopicDeleted { topic: String },
    /// All settings of a topic.
    ConfigSet {
        topic: String,
        config: BTreeMap<String, String>,
    },
    /// Records below the offset are gone.
    LogStart { partition: u32, offset: i64 },
    /// The batches staged by this job replace everything below the offset.
    Compacted { partition: u32, upto: i64, job: u32 },
    /// Producer ids below this have been given away.
    ProducerIds { next: i64 },
    /// A transactional id's new state.
    Txn { id: String, txn: Txn },
    /// Offsets that become committed when the producer's transaction commits.
    TxnOffsets {
        group: String,
        producer_id: i64,
        offsets: Vec<OffsetEntry>,
    },
    /// Committed offsets.
    Offsets { group: String, offsets: Vec<OffsetEntry> },
    /// Committed offsets that are forgotten.
    OffsetsDeleted {
        group: String,
        partitions: Vec<(String, i32)>,
    },
    /// The group's generation or epoch.
    GroupEpoch { group: String, epoch: i32 },
    /// The group is gone, with its committed offsets.
    GroupDeleted { group: String },
}

/// The end of a transaction; its markers are in the same journal entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TxnEnd {
    /// The transactional id.
    pub(super) id: String,
    /// Its state afterwards.
    pub(super) txn: Txn,
    /// The producer id whose transaction ends.
    pub(super) producer_id: i64,
    pub(super) commit: bool,
    /// Groups with offsets in the transaction.
    pub(super) groups: Vec<String>,
    pub(super) now_ms: i64,
}
