//! Rows of their own for the elements of an aggregate: what COLLECT_LIST collects, the values that MAX over a table may fall back to.
//!
//! A group with a million elements would otherwise rewrite a huge row for each record. An element belongs to a call (by its number in the
//! aggregation) of a group (which the implementor knows) and has a key whose order means something to the call: scans are in the order of
//! [`crate::types::encode_key`].
//!
//! ```text
//!   group ... | call | element key ...   ->   element row
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;

use super::super::EvalError;
use crate::types::{Row, Value, encode_key};

/// What a scan hands each element to: its key and its row. False ends the scan.
pub type EachElement<'a> = &'a mut dyn FnMut(&[Value], &[Value]) -> bool;

/// The elements of one group, to look at.
pub trait ElementScan {
    /// Why they cannot be read.
    type Error;

    /// Walks the elements of a call whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// When they cannot be read.
    fn scan(&mut self, call: usize, prefix: &[Value], each: EachElement<'_>) -> Result<(), Self::Error>;
}

/// The elements of one group, to change. Its error can be one of the row as well.
pub trait Elements: ElementScan<Error: From<EvalError>> {
    /// The row of an element.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get(&mut self, call: usize, key: &[Value]) -> Result<Option<Row>, Self::Error>;

    /// Writes or (`None`) deletes an element.
    ///
    /// # Errors
    /// When it cannot be read or written.
    fn put(&mut self, call: usize, key: &[Value], row: Option<Row>) -> Result<(), Self::Error>;
}

/// The elements of calls that have none.
pub struct NoElements;

impl ElementScan for NoElements {
    type Error = EvalError;

    fn scan(&mut self, _: usize, _: &[Value], _: EachElement<'_>) -> Result<(), EvalError> {
        Ok(())
    }
}

impl Elements for NoElements {
    fn get(&mut self, _: usize, _: &[Value]) -> Result<Option<Row>, EvalError> {
        Ok(None)
    }

    fn put(&mut self, _: usize, _: &[Value], _: Option<Row>) -> Result<(), EvalError> {
        Err(EvalError::new("this aggregate function needs a store for its elements"))
    }
}

/// Elements in memory, for answers that are computed at once.
#[derive(Debug, Default)]
pub struct MemoryElements {
    rows: BTreeMap<(usize, Row), Row>,
    bytes: usize,
}

impl MemoryElements {
    /// Bytes that they take (an estimate).
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn element_bytes(key: &[Value], row: &Row) -> usize {
    let key: usize = key.iter().map(|v| size_of::<Value>() + v.heap_bytes()).sum();
    key + row.heap_bytes() + 2 * size_of::<Row>()
}

impl ElementScan for MemoryElements {
    type Error = EvalError;

    fn scan(&mut self, call: usize, prefix: &[Value], each: EachElement<'_>) -> Result<(), EvalError> {
        let from = Bound::Included((call, prefix.iter().cloned().collect::<Row>()));
        for ((of, key), row) in self.rows.range((from, Bound::Unbounded)) {
            if *of != call || !key.starts_with(prefix) || !each(key, row) {
                break;
            }
        }
        Ok(())
    }
}

impl Elements for MemoryElements {
    fn get(&mut self, call: usize, key: &[Value]) -> Result<Option<Row>, EvalError> {
        Ok(self.rows.get(&(call, key.iter().cloned().collect())).cloned())
    }

    fn put(&mut self, call: usize, key: &[Value], row: Option<Row>) -> Result<(), EvalError> {
        let at = (call, key.iter().cloned().collect());
        self.bytes += row.as_ref().map_or(0, |row| element_bytes(key, row));
        let old = match row {
            Some(row) => self.rows.insert(at, row),
            None => self.rows.remove(&at),
        };
        self.bytes -= old.map_or(0, |old| element_bytes(key, &old));
        Ok(())
    }
}

/// The elements of one call.
pub(super) struct Own<'a, E> {
    pub all: &'a mut E,
    pub call: usize,
}

impl<E: Elements> Own<'_, E> {
    pub fn get(&mut self, key: &[Value]) -> Result<Option<Row>, E::Error> {
        self.all.get(self.call, key)
    }

    pub fn put(&mut self, key: &[Value], row: Option<Row>) -> Result<(), E::Error> {
        self.all.put(self.call, key, row)
    }

    /// Counts an element up or down and tells how many there were; `values` are kept behind the count. One that is not there is not counted down.
    pub fn count(&mut self, key: &[Value], values: &[Value], by: i64) -> Result<i64, E::Error> {
        let before = self.get(key)?.map_or(0, |row| integer(&row, 0));
        let after = before.saturating_add(by);
        if before == 0 && by < 0 {
            return Ok(0);
        }
        let row = (after > 0).then(|| std::iter::once(after.into()).chain(values.iter().cloned()).collect());
        self.put(key, row)?;
        Ok(before)
    }
}

/// Walks the elements of a call until `each` has enough.
pub(super) fn walk<E: ElementScan>(
    all: &mut E,
    call: usize,
    prefix: &[Value],
    mut each: impl FnMut(&[Value], &[Value]) -> bool,
) -> Result<(), E::Error> {
    all.scan(call, prefix, &mut each)
}

/// A BIGINT of a row; 0 where there is none.
pub(super) fn integer(row: &[Value], at: usize) -> i64 {
    match row.get(at) {
        Some(Value::Bigint(n)) => *n,
        _ => 0,
    }
}

/// Stands for a value in a key so that greater values come first.
pub(super) fn descending(value: &Value) -> Value {
    let mut bytes = Vec::new();
    // an encoding is no prefix of another one, so its complement orders in reverse
    encode_key(std::slice::from_ref(value), &mut bytes);
    bytes.iter_mut().for_each(|b| *b = !*b);
    Value::Bytes(bytes.into())
}
