//! Walking a view's keys in order: over the stores of a partition, and over partitions.
//!
//! A snapshot's scan calls back, so it cannot be merged with another one; a walk reads ahead in small chunks instead, which also lets a caller
//! stop after a few rows at the price of a few rows.
//!
//! *Invariant*: keys come strictly in the order of (encoded key, partition), or strictly in the reverse of it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use super::keys::KeyRange;
use crate::state::{Snapshot, StoreResult};
use crate::topology::{JoinKind, StoreId, TablePlan};

/// Rows of the first chunk; each further one doubles.
const FIRST_CHUNK: usize = 16;
/// Rows of the largest chunk.
const LARGEST_CHUNK: usize = 1024;
/// Bytes at which a chunk ends before that.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of the store id before each key.
pub(super) const STORE_PREFIX: usize = 2;

/// The stores whose keys are the candidates for a plan's rows.
fn driving_stores(plan: &TablePlan, out: &mut Vec<StoreId>) {
    match plan {
        TablePlan::Store(id) => out.push(*id),
        TablePlan::Aggregate(aggregate) => out.push(aggregate.store),
        TablePlan::Filter(input, _) | TablePlan::Project(input, _) => driving_stores(input, out),
        TablePlan::Join(left, right, kind, ..) => match kind {
            JoinKind::Inner | JoinKind::Left => driving_stores(left, out),
            JoinKind::Right => driving_stores(right, out),
            JoinKind::Full => {
                driving_stores(left, out);
                driving_stores(right, out);
            }
        },
    }
}

/// One store of one partition.
struct StoreWalk {
    snapshot: Arc<dyn Snapshot>,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    reverse: bool,
    chunk: usize,
    ahead: VecDeque<(Vec<u8>, Vec<u8>)>,
    done: bool,
}

impl StoreWalk {
    fn new(snapshot: Arc<dyn Snapshot>, store: StoreId, range: &KeyRange, reverse: bool) -> Self {
        let prefixed = |key: &[u8]| [&store.to_be_bytes()[..], key].concat();
        let end_of_store = || (store + 1).to_be_bytes().to_vec();
        Self {
            snapshot,
            from: prefixed(&range.from),
            to: Some(range.to.as_deref().map_or_else(end_of_store, prefixed)),
            reverse,
            chunk: FIRST_CHUNK,
            ahead: VecDeque::new(),
            done: range.is_empty(),
        }
    }

    /// Full key and stored row that come next.
    fn peek(&mut self) -> StoreResult<Option<&(Vec<u8>, Vec<u8>)>> {
        if self.ahead.is_empty() && !self.done {
            self.read_ahead()?;
        }
        Ok(self.ahead.front())
    }

    fn read_ahead(&mut self) -> StoreResult<()> {
        let (ahead, chunk) = (&mut self.ahead, self.chunk);
        let mut bytes = 0;
        let mut full = false;
        self.snapshot
            .scan(&self.from, self.to.as_deref(), self.reverse, &mut |key, value| {
                bytes += key.len() + value.len();
                ahead.push_back((key.to_vec(), value.to_vec()));
                full = ahead.len() >= chunk || bytes >= CHUNK_BYTES;
                !full
            })?;
        self.done = !full;
        self.chunk = (chunk * 2).min(LARGEST_CHUNK);
        if let Some((last, _)) = self.ahead.back() {
            if self.reverse {
                self.to = Some(last.clone());
            } else {
                self.from.clone_from(last);
                self.from.push(0);
            }
        }
        Ok(())
    }
}

/// A key that may have a row.
pub(super) struct Candidate {
    /// The partition.
    pub partition: i32,
    /// Its position in the list of snapshots.
    pub part: usize,
    /// The store it was found in.
    pub store: StoreId,
    /// The encoded key, without the store's id.
    pub key: Vec<u8>,
    /// What that store holds for it.
    pub stored: Vec<u8>,
}

/// All partitions of a view.
pub(super) struct Walk {
    parts: Vec<PartWalk>,
    reverse: bool,
}

struct PartWalk {
    partition: i32,
    stores: Vec<(StoreId, StoreWalk)>,
}

/// Where a walk goes on: strictly after this key and partition, in the direction of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The encoded key.
    pub key: Vec<u8>,
    /// Its partition.
    pub partition: i32,
}

impl Walk {
    /// A walk over the keys of `range`.
    pub fn new(
        plan: &TablePlan,
        snapshots: &[(i32, Arc<dyn Snapshot>)],
        range: &KeyRange,
        reverse: bool,
        after: Option<&After>,
    ) -> Self {
        let mut stores = Vec::new();
        driving_stores(plan, &mut stores);
        stores.sort_unstable();
        stores.dedup();
        let part = |(partition, snapshot): &(i32, Arc<dyn Snapshot>)| {
            let range = resume(range, reverse, after, *partition);
            let walk = |id: &StoreId| (*id, StoreWalk::new(snapshot.clone(), *id, &range, reverse));
            PartWalk {
                partition: *partition,
                stores: stores.iter().map(walk).collect(),
            }
        };
        Self {
            parts: snapshots.iter().map(part).collect(),
            reverse,
        }
    }

    /// The next key; a key in several stores of a partition comes once.
    pub fn next(&mut self) -> StoreResult<Option<Candidate>> {
        let mut best: Option<(usize, usize, Vec<u8>)> = None;
        for (p, part) in self.parts.iter_mut().enumerate() {
            for (s, (_, walk)) in part.stores.iter_mut().enumerate() {
                let Some((full, _)) = walk.peek()? else { continue };
                let key = &full[STORE_PREFIX..];
                let better = best.as_ref().is_none_or(|(bp, _, bk)| {
                    let order = key.cmp(bk).then(p.cmp(bp));
                    order
                        == if self.reverse {
                            Ordering::Greater
                        } else {
                            Ordering::Less
                        }
                });
                if better {
                    best = Some((p, s, key.to_vec()));
                }
            }
        }
        let Some((p, s, key)) = best else { return Ok(None) };
        let part = &mut self.parts[p];
        let mut stored = Vec::new();
        for (i, (_, walk)) in part.stores.iter_mut().enumerate() {
            let here = walk.peek()?.is_some_and(|(full, _)| full[STORE_PREFIX..] == key[..]);
            let taken = if here { walk.ahead.pop_front() } else { None };
            if let (Some((_, value)), true) = (taken, i == s) {
                stored = value;
            }
        }
        Ok(Some(Candidate {
            partition: part.partition,
            part: p,
            store: part.stores[s].0,
            key,
            stored,
        }))
    }
}

/// The part of `range` that is left in a partition. Partitions break ties between equal keys.
fn resume(range: &KeyRange, reverse: bool, after: Option<&After>, partition: i32) -> KeyRange {
    let Some(after) = after else { return range.clone() };
    let mut just_above = after.key.clone();
    just_above.push(0);
    let rest = if reverse {
        // keys below, and the key itself in lower partitions
        let to = if partition < after.partition {
            just_above
        } else {
            after.key.clone()
        };
        KeyRange {
            from: Vec::new(),
            to: Some(to),
        }
    } else {
        let from = if partition > after.partition {
            after.key.clone()
        } else {
            just_above
        };
        KeyRange { from, to: None }
    };
    range.clone().and(rest)
}
