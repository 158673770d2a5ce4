//! The row of a table computed from stores, for tables that have no store of their own: joins look up through the buffer, views
//! over a committed snapshot. One evaluation serves all, so that a view shows what a join sees.
//!
//! *Invariant*: it reads only; the rows of the stores are [`crate::state::encode_stored`]'s.

use std::collections::VecDeque;
use std::iter::repeat_n;

use crate::expr::EvalContext;
use crate::state::buffer::Buffer;
use crate::state::{Snapshot, StoreError, StoreResult, decode_stored};
use crate::topology::{JoinKind, StoreId, TablePlan};
use crate::types::{Row, Timestamp, Value, decode_key, encode_key};

use super::aggregate::result_row;
use super::table_table_join::{keeps_alone, larger};
use super::{OpError, passes};

/// The row of a key, if there is one, and its timestamp. Of a deletion that is not committed yet the timestamp is known too;
/// else it is [`Timestamp::MIN`].
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The row.
    pub row: Option<Row>,
    /// Its timestamp.
    pub timestamp: Timestamp,
}

/// Gives rows of stores.
pub trait RowReader {
    /// The row of a key in a store.
    fn read(&mut self, store: StoreId, key: &Row) -> StoreResult<Looked>;

    /// Walks the rows of a store in the order of their encoded keys, from `from` (inclusive) to `to` (exclusive), until `each` returns false.
    fn scan(&mut self, store: StoreId, from: &[u8], to: Option<&[u8]>, each: EachKeyRow<'_>) -> StoreResult<()>;
}

/// What a reader's scan hands each row to: key and row. False ends it.
pub type EachKeyRow<'a> = &'a mut dyn FnMut(&Row, &Row) -> bool;

/// Walks the rows of a store in a snapshot, as [`RowReader::scan`].
///
/// # Errors
/// When the store cannot be read.
pub fn scan_snapshot(
    snapshot: &dyn Snapshot,
    store: StoreId,
    from: &[u8],
    to: Option<&[u8]>,
    each: EachKeyRow<'_>,
) -> StoreResult<()> {
    let full = |key: &[u8]| [&store.to_be_bytes()[..], key].concat();
    let end = match to {
        Some(to) => Some(full(to)),
        None => store.checked_add(1).map(|next| next.to_be_bytes().to_vec()),
    };
    let mut failed = None;
    snapshot.scan(&full(from), end.as_deref(), false, &mut |key, value| match (
        decode_key(&key[STORE_BYTES..]),
        decode_stored(value),
    ) {
        (Ok(key), Ok((row, _))) => each(&key, &row),
        (Err(e), _) | (_, Err(e)) => {
            failed = Some(StoreError::undecodable(&e));
            false
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// Newest rows through the buffer.
pub struct Newest<'a>(pub &'a mut Buffer);

impl RowReader for Newest<'_> {
    fn read(&mut self, store: StoreId, key: &Row) -> StoreResult<Looked> {
        let slot = self.0.load(store, key)?;
        let row = self.0.row(slot).cloned();
        let known = row.is_some() || self.0.is_dirty(slot);
        let timestamp = if known { self.0.timestamp(slot) } else { Timestamp::MIN };
        Ok(Looked { row, timestamp })
    }

    fn scan(&mut self, store: StoreId, from: &[u8], to: Option<&[u8]>, each: EachKeyRow<'_>) -> StoreResult<()> {
        self.0.scan(store, from, to, &mut |key, row, _| each(key, row))
    }
}

/// Rows at the start of the generation, through the buffer: what held-back operators have forwarded last.
pub struct AtStart<'a>(pub &'a mut Buffer);

impl RowReader for AtStart<'_> {
    fn read(&mut self, store: StoreId, key: &Row) -> StoreResult<Looked> {
        let slot = self.0.load(store, key)?;
        Ok(match self.0.start_row(slot) {
            Some((row, timestamp)) => Looked {
                row: Some(row.clone()),
                timestamp,
            },
            None => Looked {
                row: None,
                timestamp: Timestamp::MIN,
            },
        })
    }

    fn scan(&mut self, store: StoreId, from: &[u8], to: Option<&[u8]>, each: EachKeyRow<'_>) -> StoreResult<()> {
        self.0.scan_start(store, from, to, &mut |key, row, _| each(key, row))
    }
}

/// Committed rows of a snapshot.
pub struct Committed<'a> {
    snapshot: &'a dyn Snapshot,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The full key and value that a scan has just passed, which its lookup asks for first.
    passed: (Vec<u8>, Vec<u8>),
}

impl<'a> Committed<'a> {
    /// Reads from a snapshot.
    pub fn new(snapshot: &'a dyn Snapshot) -> Self {
        Self {
            snapshot,
            key: Vec::new(),
            value: Vec::new(),
            passed: Default::default(),
        }
    }
}

impl RowReader for Committed<'_> {
    fn read(&mut self, store: StoreId, key: &Row) -> StoreResult<Looked> {
        self.key.clear();
        self.key.extend_from_slice(&store.to_be_bytes());
        encode_key(key, &mut self.key);
        let bytes = if self.key == self.passed.0 {
            &self.passed.1
        } else {
            self.value.clear();
            if !self.snapshot.get(&self.key, &mut self.value)? {
                return Ok(Looked {
                    row: None,
                    timestamp: Timestamp::MIN,
                });
            }
            &self.value
        };
        let (row, timestamp) = decode_stored(bytes).map_err(|e| StoreError::undecodable(&e))?;
        Ok(Looked {
            row: Some(row),
            timestamp,
        })
    }

    fn scan(&mut self, store: StoreId, from: &[u8], to: Option<&[u8]>, each: EachKeyRow<'_>) -> StoreResult<()> {
        scan_snapshot(self.snapshot, store, from, to, each)
    }
}

/// A table's row of a key.
///
/// # Errors
/// When a store cannot be read.
pub fn lookup<R: RowReader>(plan: &TablePlan, reader: &mut R, key: &Row, now: Timestamp) -> Result<Looked, OpError> {
    Ok(row_of(plan, reader, key, now)?)
}

/// As [`lookup`]. A row that cannot be computed is not in the table: it went to the dead letters when it was made.
pub(super) fn row_of<R: RowReader>(plan: &TablePlan, reader: &mut R, key: &Row, now: Timestamp) -> StoreResult<Looked> {
    match plan {
        TablePlan::Store(store) => reader.read(*store, key),
        TablePlan::Aggregate(aggregate) => {
            let mut looked = reader.read(aggregate.store, key)?;
            looked.row = match looked.row {
                Some(state) => {
                    let scratch = &mut Vec::with_capacity(aggregate.calls.len());
                    result_row(aggregate, key, &state, reader, scratch)?.ok()
                }
                None => None,
            };
            Ok(looked)
        }
        TablePlan::Filter(input, predicate) => {
            let mut looked = row_of(input, reader, key, now)?;
            let timestamp = looked.timestamp;
            looked.row = looked
                .row
                .filter(|row| passes(predicate, key, row, timestamp, now).unwrap_or(false));
            Ok(looked)
        }
        TablePlan::Project(input, exprs) => {
            let mut looked = row_of(input, reader, key, now)?;
            looked.row = looked.row.and_then(|row| {
                let context = EvalContext {
                    key,
                    value: &row,
                    timestamp: looked.timestamp,
                    now,
                };
                exprs.iter().map(|e| e.eval(&context)).collect::<Result<_, _>>().ok()
            });
            Ok(looked)
        }
        TablePlan::Join(left, right, kind, left_width, right_width) => {
            let left = row_of(left, reader, key, now)?;
            let right = row_of(right, reader, key, now)?;
            let widths = (*left_width, *right_width);
            let row = join_rows(*kind, left.row.as_ref(), right.row.as_ref(), widths);
            Ok(Looked {
                row,
                timestamp: larger(&left, &right),
            })
        }
    }
}

/// The joined row: left values, then right values, NULLs for a side that is not there; `None` where the kind of join asks for that side.
pub fn join_rows(kind: JoinKind, left: Option<&Row>, right: Option<&Row>, widths: (usize, usize)) -> Option<Row> {
    let (left_alone, right_alone) = keeps_alone(kind);
    let kept = match (left, right) {
        (Some(_), Some(_)) => true,
        (Some(_), None) => left_alone,
        (None, Some(_)) => right_alone,
        (None, None) => false,
    };
    kept.then(|| or_nulls(left, widths.0).chain(or_nulls(right, widths.1)).collect())
}

fn or_nulls(row: Option<&Row>, width: usize) -> impl Iterator<Item = Value> {
    let (values, missing) = row.map_or((&[][..], width), |row| (&row[..], 0));
    values.iter().cloned().chain(repeat_n(Value::Null, missing))
}

/// A range of encoded keys (`types::encode_key`, without a store's id).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key, inclusive; empty for the first of all.
    pub from: Vec<u8>,
    /// The end, exclusive; `None` for no end.
    pub to: Option<Vec<u8>>,
    /// From the end to the start.
    pub reverse: bool,
}

/// What a scan hands each row to: encoded key, key, row, timestamp. False ends the scan.
pub type EachRow<'a> = &'a mut dyn FnMut(&[u8], &Row, &Row, Timestamp) -> bool;

/// Walks a table's rows in the order of their encoded keys (bytes, key, row, timestamp) until `each` returns false.
///
/// # Errors
/// As [`lookup`].
pub fn scan(
    plan: &TablePlan,
    snapshot: &dyn Snapshot,
    range: &KeyRange,
    now: Timestamp,
    each: EachRow<'_>,
) -> Result<(), OpError> {
    let mut walk = Walk::new(plan, range);
    let mut reader = Committed::new(snapshot);
    while walk.advance(snapshot)? {
        let (full_key, value) = walk.current();
        reader.passed.0.clear();
        reader.passed.0.extend_from_slice(full_key);
        reader.passed.1.clear();
        reader.passed.1.extend_from_slice(value);
        let bytes = &full_key[STORE_BYTES..];
        let key = decode_key(bytes).map_err(|e| StoreError::undecodable(&e))?;
        let looked = lookup(plan, &mut reader, &key, now)?;
        if let Some(row) = &looked.row
            && !each(bytes, &key, row, looked.timestamp)
        {
            break;
        }
    }
    Ok(())
}

const STORE_BYTES: usize = size_of::<StoreId>();
/// Rows read at a time: few at first, since many scans want one page, then more, since each read seeks.
const CHUNK_ROWS: (usize, usize) = (16, 1024);

/// A cursor over the keys that a table may have.
enum Walk {
    Store(StoreWalk),
    /// The keys of both, in order.
    Merge {
        left: Box<Walk>,
        right: Box<Walk>,
        reverse: bool,
        /// Which side stands at the current key; `None` before the first.
        at: Option<(bool, bool)>,
        alive: (bool, bool),
    },
}

impl Walk {
    fn new(plan: &TablePlan, range: &KeyRange) -> Self {
        match plan {
            TablePlan::Store(store) => Self::Store(StoreWalk::new(*store, range)),
            TablePlan::Aggregate(aggregate) => Self::Store(StoreWalk::new(aggregate.store, range)),
            TablePlan::Filter(input, _) | TablePlan::Project(input, _) => Self::new(input, range),
            TablePlan::Join(left, right, kind, ..) => match kind {
                JoinKind::Inner | JoinKind::Left => Self::new(left, range),
                JoinKind::Right => Self::new(right, range),
                JoinKind::Full => Self::Merge {
                    left: Box::new(Self::new(left, range)),
                    right: Box::new(Self::new(right, range)),
                    reverse: range.reverse,
                    at: None,
                    alive: (true, true),
                },
            },
        }
    }

    /// Goes to the next key; false at the end.
    fn advance(&mut self, snapshot: &dyn Snapshot) -> StoreResult<bool> {
        match self {
            Self::Store(walk) => walk.advance(snapshot),
            Self::Merge {
                left,
                right,
                reverse,
                at,
                alive,
            } => {
                let (move_left, move_right) = at.unwrap_or((true, true));
                alive.0 = alive.0 && (!move_left || left.advance(snapshot)?);
                alive.1 = alive.1 && (!move_right || right.advance(snapshot)?);
                *at = Some(match *alive {
                    (true, true) => {
                        let order = left.key().cmp(right.key());
                        let order = if *reverse { order.reverse() } else { order };
                        (order.is_le(), order.is_ge())
                    }
                    one => one,
                });
                Ok(alive.0 || alive.1)
            }
        }
    }

    /// The full key and value at the cursor.
    fn current(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Store(walk) => walk.current.as_ref().map_or((&[], &[]), |(k, v)| (k, v)),
            Self::Merge { left, right, at, .. } => match at {
                Some((true, _)) => left.current(),
                Some((false, _)) | None => right.current(),
            },
        }
    }

    fn key(&self) -> &[u8] {
        self.current().0.get(STORE_BYTES..).unwrap_or_default()
    }
}

struct StoreWalk {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    reverse: bool,
    chunk: VecDeque<(Vec<u8>, Vec<u8>)>,
    current: Option<(Vec<u8>, Vec<u8>)>,
    rows: usize,
    ended: bool,
}

impl StoreWalk {
    fn new(store: StoreId, range: &KeyRange) -> Self {
        let full = |key: &[u8]| [&store.to_be_bytes()[..], key].concat();
        let to = match &range.to {
            Some(to) => Some(full(to)),
            None => store.checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        };
        Self {
            from: full(&range.from),
            to,
            reverse: range.reverse,
            chunk: VecDeque::new(),
            current: None,
            rows: CHUNK_ROWS.0,
            ended: false,
        }
    }

    fn advance(&mut self, snapshot: &dyn Snapshot) -> StoreResult<bool> {
        if self.chunk.is_empty() && !self.ended {
            self.read(snapshot)?;
        }
        self.current = self.chunk.pop_front();
        Ok(self.current.is_some())
    }

    fn read(&mut self, snapshot: &dyn Snapshot) -> StoreResult<()> {
        let (chunk, rows) = (&mut self.chunk, self.rows);
        snapshot.scan(&self.from, self.to.as_deref(), self.reverse, &mut |key, value| {
            chunk.push_back((key.to_vec(), value.to_vec()));
            chunk.len() < rows
        })?;
        self.ended = self.chunk.len() < rows;
        self.rows = (rows * 4).min(CHUNK_ROWS.1);
        if let Some((last, _)) = self.chunk.back() {
            if self.reverse {
                self.to = Some(last.clone());
            } else {
                self.from = [last, &[0][..]].concat();
            }
        }
        Ok(())
    }
}
