//! Producer ids and transactions.
//!
//! ```text
//!  Empty --add partitions/offsets--> Ongoing --end--> Committed | Aborted --add--> Ongoing
//!    ^                                  | time-out: aborted under the next epoch
//!    +----- init producer id -----------+ init producer id: aborted under the next epoch
//! ```
//!
//! The core is coordinator and leader of everything at once, so a transaction ends in one step: markers in every
//! partition, its offsets and its new state are one journal entry. *Invariant*: at most one producer (id and epoch) can
//! write under a transactional id; whoever comes with an older epoch is told that it is fenced.

use super::Core;
use super::batch::BatchHeader;
use super::error::{ErrorCode, Result};
use super::events::{Event, TxnEnd};
use super::groups::{GroupMember, OffsetEntry};
use super::records;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Epochs beyond this get a new producer id instead.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Where a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnState {
    /// Initialised; nothing in the transaction.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// The last transaction was committed.
    Committed,
    /// The last transaction was aborted.
    Aborted,
}

impl TxnState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            TxnState::Empty => "Empty",
            TxnState::Ongoing => "Ongoing",
            TxnState::Committed => "CompleteCommit",
            TxnState::Aborted => "CompleteAbort",
        }
    }
}

/// A transactional id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// The producer that may use it.
    pub producer_id: i64,
    /// ... and its epoch.
    pub epoch: i16,
    /// The epoch before, while a retried initialisation with it is still believed.
    pub(super) last_epoch: Option<i16>,
    /// An open transaction is aborted after this, milliseconds.
    pub timeout_ms: i64,
    /// Where it stands.
    pub state: TxnState,
    /// The core's numbers of the partitions in the open transaction.
    pub partitions: BTreeSet<u32>,
    /// Groups with offsets in the open transaction.
    pub groups: BTreeSet<String>,
    /// When the open transaction began, milliseconds.
    pub started_ms: i64,
    pub(super) last_used_ms: i64,
}

impl Txn {
    /// Whether a transaction is open.
    pub fn is_open(&self) -> bool {
        self.state == TxnState::Ongoing
    }

    /// Opens a transaction where none is.
    fn begin(&mut self, now_ms: i64) {
        if !self.is_open() {
            self.state = TxnState::Ongoing;
            self.started_ms = now_ms;
            self.last_epoch = None;
        }
        self.last_used_ms = now_ms;
    }
}

/// A producer, as it names itself in its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// `None` for a producer that is only idempotent.
    pub transactional_id: Option<String>,
    /// Sequence number of the next batch in process; `None` follows on from what the log has.
    pub sequence: Option<i32>,
}

impl Core {
    /// Gives a producer its id and epoch. With a transactional id, whoever had it before is fenced and its open
    /// transaction aborted. `current` is the id and epoch that the producer already has (KIP-360), if any.
    pub fn init_producer_id(
        &mut self,
        transactional_id: Option<&str>,
        timeout_ms: i64,
        current: Option<(i64, i16)>,
        now_ms: i64,
    ) -> Result<(i64, i16)> {
        let Some(id) = transactional_id else {
            return Ok((self.allocate_producer_id()?, 0));
        };
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if timeout_ms <= 0 || timeout_ms > self.config.max_transaction_timeout_ms {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let mut txn = match self.txns.get(id) {
            None => self.new_txn(timeout_ms, now_ms)?,
            Some(txn) => {
                let mut next = txn.clone();
                match current {
                    // The answer to this very request was lost, or a time-out has moved the epoch on.
                    Some((producer, epoch))
                        if producer == txn.producer_id && txn.last_epoch == Some(epoch) && !txn.is_open() => {}
                    Some((producer, epoch)) if producer != txn.producer_id || epoch != txn.epoch => {
                        return Err(ErrorCode::ProducerFenced);
                    }
                    Some(_) | None => {
                        next.last_epoch = current.map(|_| txn.epoch);
                        next.epoch += 1;
                    }
                }
                next
            }
        };
        if txn.is_open() {
            txn = self.finish_txn(id, txn, false, now_ms)?;
        }
        if txn.epoch >= LAST_EPOCH {
            txn.producer_id = self.allocate_producer_id()?;
            txn.epoch = 0;
            txn.last_epoch = None;
        }
        txn.state = TxnState::Empty;
        txn.timeout_ms = timeout_ms;
        txn.last_used_ms = now_ms;
        let answer = (txn.producer_id, txn.epoch);
        self.record(Event::Txn {
            id: id.to_string(),
            txn,
        })?;
        self.roll_if_full(now_ms);
        Ok(answer)
    }

    fn allocate_producer_id(&mut self) -> Result<i64> {
        let id = self.counters.next_producer;
        self.record(Event::ProducerIds { next: id + 1 })?;
        Ok(id)
    }

    fn new_txn(&mut self, timeout_ms: i64, now_ms: i64) -> Result<Txn> {
        Ok(Txn {
            producer_id: self.allocate_producer_id()?,
            epoch: 0,
            last_epoch: None,
            timeout_ms,
            state: TxnState::Empty,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            started_ms: now_ms,
            last_used_ms: now_ms,
        })
    }

    /// The transactional id's state, if this producer still owns it.
    fn owned_txn(&self, producer: &ProducerIdentity) -> Result<(&str, &Txn)> {
        let id = producer.transactional_id.as_deref().unwrap_or_default();
        let (id, txn) = self.txns.get_key_value(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if txn.producer_id != producer.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if txn.epoch != producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok((id, txn))
    }

    /// Takes partitions into the transaction (opening one where none is).
    pub fn add_partitions_to_txn(
        &mut self,
        producer: &ProducerIdentity,
        partitions: &[u32],
        now_ms: i64,
    ) -> Result<()> {
        let (id, txn) = self.owned_txn(producer)?;
        if txn.is_open() && partitions.iter().all(|p| txn.partitions.contains(p)) {
            return Ok(());
        }
        let (id, mut txn) = (id.to_string(), txn.clone());
        txn.begin(now_ms);
        txn.partitions.extend(partitions);
        self.record(Event::Txn { id, txn })?;
        self.roll_if_full(now_ms);
        Ok(())
    }

    /// Takes a group's offsets into the transaction (opening one where none is).
    pub fn add_offsets_to_txn(&mut self, producer: &ProducerIdentity, group: &str, now_ms: i64) -> Result<()> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let (id, txn) = self.owned_txn(producer)?;
        if txn.is_open() && txn.groups.contains(group) {
            return Ok(());
        }
        let (id, mut txn) = (id.to_string(), txn.clone());
        txn.begin(now_ms);
        txn.groups.insert(group.to_string());
        self.record(Event::Txn { id, txn })
    }

    /// Offsets that are committed when the transaction is; `member` is checked against the group (KIP-447).
    pub fn commit_txn_offsets(
        &mut self,
        producer: &ProducerIdentity,
        group: &str,
        member: &GroupMember,
        offsets: Vec<OffsetEntry>,
    ) -> Result<()> {
        let (_, txn) = self.owned_txn(producer)?;
        if !txn.is_open() || !txn.groups.contains(group) {
            return Err(ErrorCode::InvalidTxnState);
        }
        self.check_txn_member(group, member)?;
        self.record(Event::TxnOffsets {
            group: group.to_string(),
            producer_id: producer.id,
            offsets,
        })
    }

    /// Commits or aborts. Ending again in the same way is no error, since the first answer may have been lost.
    pub fn end_txn(&mut self, producer: &ProducerIdentity, commit: bool, now_ms: i64) -> Result<()> {
        let (id, txn) = self.owned_txn(producer)?;
        match txn.state {
            TxnState::Ongoing => {}
            TxnState::Committed if commit => return Ok(()),
            TxnState::Aborted if !commit => return Ok(()),
            TxnState::Empty | TxnState::Committed | TxnState::Aborted => return Err(ErrorCode::InvalidTxnState),
        }
        let (id, txn) = (id.to_string(), txn.clone());
        self.finish_txn(&id, txn, commit, now_ms)?;
        self.roll_if_full(now_ms);
        Ok(())
    }

    /// Writes the markers and the outcome; returns the state afterwards. The markers carry `txn`'s epoch.
    fn finish_txn(&mut self, id: &str, txn: Txn, commit: bool, now_ms: i64) -> Result<Txn> {
        let marker = |partition: &u32| {
            let offset = self.partitions.get(partition)?.next;
            Some((
                *partition,
                records::encode_marker(offset, txn.producer_id, txn.epoch, commit, now_ms),
            ))
        };
        let markers = txn.partitions.iter().filter_map(marker).collect();
        let groups = txn.groups.iter().cloned().collect();
        let state = if commit { TxnState::Committed } else { TxnState::Aborted };
        let after = Txn {
            state,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            last_used_ms: now_ms,
            ..txn
        };
        let end = TxnEnd {
            id: id.to_string(),
            txn: after.clone(),
            producer_id: after.producer_id,
            commit,
            groups,
            now_ms,
        };
        self.record_txn_end(end, markers)?;
        Ok(after)
    }

    /// Whether a transactional batch may be appended to this partition.
    pub(super) fn check_txn_batch(&self, id: Option<&str>, header: &BatchHeader, partition: u32) -> Result<()> {
        let producer = ProducerIdentity {
            id: header.producer_id,
            epoch: header.producer_epoch,
            transactional_id: Some(id.ok_or(ErrorCode::InvalidTxnState)?.to_string()),
            sequence: None,
        };
        // Producers know this error from a partition's leader under the name that does not mention fencing.
        let fenced = |e| {
            if e == ErrorCode::ProducerFenced {
                ErrorCode::InvalidProducerEpoch
            } else {
                e
            }
        };
        let (_, txn) = self.owned_txn(&producer).map_err(fenced)?;
        if txn.is_open() && txn.partitions.contains(&partition) {
            Ok(())
        } else {
            Err(ErrorCode::InvalidTxnState)
        }
    }

    /// Aborts transactions that are open for longer than they asked for, under the next epoch.
    pub(super) fn tick_transactions(&mut self, now_ms: i64) {
        let late = |txn: &Txn| txn.is_open() && now_ms - txn.started_ms >= txn.timeout_ms;
        let ids: Vec<String> = self
            .txns
            .iter()
            .filter(|(_, txn)| late(txn))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            let Some(mut txn) = self.txns.get(&id).cloned() else {
                continue;
            };
            tracing::info!(
                transactional_id = id,
                timeout_ms = txn.timeout_ms,
                "a transaction timed out and is aborted"
            );
            txn.last_epoch = Some(txn.epoch);
            txn.epoch += 1;
            if let Err(error) = self.finish_txn(&id, txn, false, now_ms) {
                tracing::error!(transactional_id = id, %error, "a transaction that timed out cannot be aborted");
                return;
            }
        }
    }

    /// Whether some producer seems to be stuck: it announced a group's offsets and nothing was heard of them for so long,
    /// or its transaction timed out (less than `forget_ms` ago) and it has not come back since.
    pub fn has_stalled_transaction(&self, now_ms: i64, stalled_ms: i64, forget_ms: i64) -> bool {
        let awaits = |txn: &Txn, group: &String| {
            self.groups
                .get(group)
                .is_none_or(|group| !group.pending.contains_key(&txn.producer_id))
        };
        self.txns.values().any(|txn| {
            let silent_ms = now_ms - txn.last_used_ms;
            match txn.state {
                TxnState::Ongoing => silent_ms >= stalled_ms && txn.groups.iter().any(|group| awaits(txn, group)),
                TxnState::Aborted => txn.last_epoch.is_some() && silent_ms < forget_ms,
                TxnState::Empty | TxnState::Committed => false,
            }
        })
    }

    /// All transactional ids.
    pub fn transactions(&self) -> impl Iterator<Item = (&str, &Txn)> {
        self.txns.iter().map(|(id, txn)| (id.as_str(), txn))
    }

    /// A transactional id.
    pub fn transaction(&self, id: &str) -> Result<&Txn> {
        self.txns.get(id).ok_or(ErrorCode::TransactionalIdNotFound)
    }
}
