//! What the operators that aggregate have in common: a group's row of state, changed by rows that are put in and taken out, and the elements beside
//! it that some functions keep ([`AggregateCall::keeps_elements`]).
//!
//! A group is a key of the store: the columns of GROUP BY, and behind them whatever tells groups of one aggregation apart (the start of a window).
//! Its elements are keyed `(group, call, element)`, so that they are neighbours, in a store of their own.
//!
//! *Invariant*: an element belongs to a group that has a row; who deletes the row deletes the elements.

use crate::expr::{AggregateCall, Element, ElementScan, Elements, EvalContext, EvalError};
use crate::state::buffer::{Buffer, Slot};
use crate::state::{StoreError, StoreResult};
use crate::topology::StoreId;
use crate::types::{Row, Timestamp, Value, encode_key_prefix, prefix_end};

use super::{Context, OpError, RowReader};

/// The calls of an aggregation over the rows of its groups. Use: [`Self::read`] a row, then [`Self::put_in`] or [`Self::take_out`].
pub struct GroupStates {
    calls: Vec<AggregateCall>,
    /// The state begins with the number of rows, since rows can be taken out.
    counted: bool,
    elements: Option<StoreId>,
    /// Argument values of all calls, side by side, of the row read last.
    args: Vec<Value>,
    /// Calls whose FILTER that row does not pass; empty if no call has one.
    passed_over: Vec<bool>,
    /// The event time of that row.
    timestamp: Timestamp,
}

impl GroupStates {
    /// The states of these calls. `counted`: rows can be taken out.
    pub fn new(calls: Vec<AggregateCall>, counted: bool, elements: Option<StoreId>) -> Self {
        Self {
            calls,
            counted,
            elements,
            args: Vec::new(),
            passed_over: Vec::new(),
            timestamp: 0,
        }
    }

    fn head_len(&self) -> usize {
        usize::from(self.counted)
    }

    /// Evaluates the arguments over an input row.
    ///
    /// # Errors
    /// When the row cannot be computed.
    pub fn read(
        &mut self,
        row: &[Value],
        key: &[Value],
        timestamp: Timestamp,
        now: Timestamp,
    ) -> Result<(), EvalError> {
        let context = EvalContext {
            key,
            value: row,
            timestamp,
            now,
        };
        self.timestamp = timestamp;
        self.args.clear();
        self.passed_over.clear();
        let filtered = self.calls.iter().any(|call| call.filter.is_some());
        for call in &self.calls {
            let passes = !filtered || call.passes(&context)?;
            if filtered {
                self.passed_over.push(!passes);
            }
            for arg in &call.args {
                // what is filtered out need not be computable
                self.args.push(if passes { arg.eval(&context)? } else { Value::Null });
            }
        }
        Ok(())
    }

    /// Puts the row read last into a group, which need not exist. `timestamp` is that of the change; a group has the largest.
    ///
    /// # Errors
    /// As [`AggregateCall::add_with`].
    pub fn put_in(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let exists = ctx.buffer.row(slot).is_some();
        let timestamp = if exists {
            ctx.buffer.timestamp(slot).max(timestamp)
        } else {
            timestamp
        };
        match self.elements {
            None if exists => ctx.buffer.modify(slot, timestamp, |state| self.add(state))?,
            None => {
                self.fresh(ctx.scratch);
                self.add(ctx.scratch)?;
                let state = Row::take(ctx.scratch);
                ctx.buffer.put(slot, Some(state), timestamp);
            }
            Some(store) => {
                self.load(slot, ctx);
                let group = ctx.buffer.key(slot).clone();
                let elements = &mut BufferElements::new(ctx.buffer, store, &group, timestamp);
                self.each(ctx.scratch, 1, |number, call, state, args| {
                    call.add_with(number, state, args, self.timestamp, elements)
                })?;
                self.store(slot, timestamp, ctx);
            }
        }
        Ok(())
    }

    /// Takes the row read last out of a group that exists.
    ///
    /// # Errors
    /// As [`AggregateCall::undo_with`].
    pub fn take_out(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let timestamp = ctx.buffer.timestamp(slot).max(timestamp);
        match self.elements {
            None => ctx.buffer.modify(slot, timestamp, |state| {
                self.each(state, -1, |_, call, state, args| call.undo(state, args))
            })?,
            Some(store) => {
                self.load(slot, ctx);
                let group = ctx.buffer.key(slot).clone();
                let elements = &mut BufferElements::new(ctx.buffer, store, &group, timestamp);
                self.each(ctx.scratch, -1, |number, call, state, args| {
                    call.undo_with(number, state, args, self.timestamp, elements)
                })?;
                self.store(slot, timestamp, ctx);
            }
        }
        Ok(())
    }

    /// Deletes a group with its elements.
    ///
    /// # Errors
    /// The disk.
    pub fn delete(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> StoreResult<()> {
        if let Some(store) = self.elements {
            let group = ctx.buffer.key(slot).clone();
            let mut keys: Vec<Row> = Vec::new();
            let (from, to) = range(&group, &[]);
            ctx.buffer.scan(store, &from, to.as_deref(), &mut |key, _, _| {
                keys.push(key.clone());
                true
            })?;
            for key in keys {
                let element = ctx.buffer.load(store, &key)?;
                ctx.buffer.put(element, None, timestamp);
            }
        }
        ctx.buffer.put(slot, None, timestamp);
        Ok(())
    }

    /// Adds the rows of a later group to a group, as windows that become one do. The later group stays as it is.
    ///
    /// # Errors
    /// As [`AggregateCall::merge_with`].
    pub fn merge(&self, slot: Slot, later: Slot, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let timestamp = ctx.buffer.timestamp(slot).max(ctx.buffer.timestamp(later));
        let Some(more) = ctx.buffer.row(later).cloned() else {
            return Ok(());
        };
        let mut of_later = vec![Vec::new(); self.calls.len()];
        let (group, later_group) = (ctx.buffer.key(slot).clone(), ctx.buffer.key(later).clone());
        if let Some(store) = self.elements {
            for (number, elements) in of_later.iter_mut().enumerate() {
                let scanned: &mut Vec<Element> = elements;
                BufferElements::new(ctx.buffer, store, &later_group, timestamp).scan(
                    number,
                    &[],
                    &mut |key, row| {
                        scanned.push((key.to_vec(), row.iter().cloned().collect()));
                        true
                    },
                )?;
            }
        }
        self.load(slot, ctx);
        // without a store for them no call has any: its number is never looked at
        let store = self.elements.unwrap_or_default();
        let elements = &mut BufferElements::new(ctx.buffer, store, &group, timestamp);
        let mut at = self.head_len();
        if self.counted {
            ctx.scratch[0] = (row_count(ctx.scratch) + row_count(&more)).into();
        }
        for (number, call) in self.calls.iter().enumerate() {
            let end = at + call.state_len();
            let state = &mut ctx.scratch[at..end];
            call.merge_with(number, state, &more[at..end], &of_later[number], elements)?;
            at = end;
        }
        self.store(slot, timestamp, ctx);
        Ok(())
    }

    /// The state of no rows.
    fn fresh(&self, state: &mut Vec<Value>) {
        state.clear();
        if self.counted {
            state.push(0i64.into());
        }
        for call in &self.calls {
            let at = state.len();
            state.resize(at + call.state_len(), Value::Null);
            call.init(&mut state[at..]);
        }
    }

    /// A copy of the group's state, to change while elements are read and written.
    fn load(&self, slot: Slot, ctx: &mut Context<'_>) {
        match ctx.buffer.row(slot) {
            Some(row) => {
                ctx.scratch.clear();
                ctx.scratch.extend_from_slice(row);
            }
            None => self.fresh(ctx.scratch),
        }
    }

    fn store(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) {
        let state = Row::take(ctx.scratch);
        ctx.buffer.put(slot, Some(state), timestamp);
    }

    fn add(&self, state: &mut [Value]) -> Result<(), EvalError> {
        self.each(state, 1, |_, call, state, args| call.add(state, args))
    }

    /// Gives each call that the row passes its state and its arguments; rows are counted `by`.
    #[inline]
    fn each<E>(
        &self,
        state: &mut [Value],
        by: i64,
        mut change: impl FnMut(usize, &AggregateCall, &mut [Value], &[Value]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = self.head_len();
        if self.counted {
            state[0] = (row_count(state) + by).into();
        }
        let mut arg = 0;
        for (number, call) in self.calls.iter().enumerate() {
            let (end, arg_end) = (at + call.state_len(), arg + call.args.len());
            if !self.passed_over.get(number).copied().unwrap_or(false) {
                change(number, call, &mut state[at..end], &self.args[arg..arg_end])?;
            }
            (at, arg) = (end, arg_end);
        }
        Ok(())
    }
}

/// How many rows a group has, where that is counted.
pub(super) fn row_count(state: &[Value]) -> i64 {
    match state.first() {
        Some(Value::Bigint(n)) => *n,
        _ => 0,
    }
}

/// The results for a group's state, as a row made in `scratch`, or why the group has none ([`AggregateCall::check`]). `head` is the number of values before the first call's.
pub(super) fn results<R: RowReader>(
    calls: &[AggregateCall],
    head: usize,
    elements: Option<StoreId>,
    (group, state): (&Row, &[Value]),
    reader: &mut R,
    scratch: &mut Vec<Value>,
) -> StoreResult<Result<Row, EvalError>> {
    let mut at = head;
    scratch.clear();
    for (number, call) in calls.iter().enumerate() {
        let end = at + call.state_len();
        if let Err(e) = call.check(&state[at..end]) {
            return Ok(Err(e));
        }
        scratch.push(match elements {
            Some(store) if call.reads_elements() => {
                let elements = &mut ReaderElements { reader, store, group };
                call.result_with(number, &state[at..end], elements)?
            }
            _ => call.result(&state[at..end]),
        });
        at = end;
    }
    Ok(Ok(Row::take(scratch)))
}

/// The range of encoded keys of a group's elements that begin with `rest`.
fn range(group: &[Value], rest: &[Value]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut from = Vec::new();
    encode_key_prefix(group, &mut from);
    encode_key_prefix(rest, &mut from);
    let to = prefix_end(&from);
    (from, to)
}

/// The number of a call in an element's key.
fn number_of(call: usize) -> Value {
    // a SELECT of so many calls is refused long before by its file's size
    Value::Integer(i32::try_from(call).unwrap_or(i32::MAX))
}

fn call_prefix(call: usize, prefix: &[Value]) -> Vec<Value> {
    std::iter::once(number_of(call)).chain(prefix.iter().cloned()).collect()
}

/// A group's elements in the buffer.
struct BufferElements<'a> {
    buffer: &'a mut Buffer,
    store: StoreId,
    group: &'a Row,
    timestamp: Timestamp,
}

impl<'a> BufferElements<'a> {
    fn new(buffer: &'a mut Buffer, store: StoreId, group: &'a Row, timestamp: Timestamp) -> Self {
        Self {
            buffer,
            store,
            group,
            timestamp,
        }
    }

    fn slot(&mut self, call: usize, key: &[Value]) -> StoreResult<Slot> {
        let group = self.group.iter().cloned();
        let key: Row = group.chain([number_of(call)]).chain(key.iter().cloned()).collect();
        self.buffer.load(self.store, &key)
    }
}

impl ElementScan for BufferElements<'_> {
    type Error = OpError;

    fn scan(
        &mut self,
        call: usize,
        prefix: &[Value],
        each: &mut dyn FnMut(&[Value], &[Value]) -> bool,
    ) -> Result<(), OpError> {
        let (from, to) = range(self.group, &call_prefix(call, prefix));
        let skip = self.group.len() + 1;
        let scanned = self.buffer.scan(self.store, &from, to.as_deref(), &mut |key, row, _| {
            each(key.get(skip..).unwrap_or_default(), row)
        });
        Ok(scanned?)
    }
}

impl Elements for BufferElements<'_> {
    fn get(&mut self, call: usize, key: &[Value]) -> Result<Option<Row>, OpError> {
        let slot = self.slot(call, key)?;
        Ok(self.buffer.row(slot).cloned())
    }

    fn put(&mut self, call: usize, key: &[Value], row: Option<Row>) -> Result<(), OpError> {
        let slot = self.slot(call, key)?;
        self.buffer.put(slot, row, self.timestamp);
        Ok(())
    }
}

/// A group's elements as a reader sees them.
struct ReaderElements<'a, R> {
    reader: &'a mut R,
    store: StoreId,
    group: &'a Row,
}

impl<R: RowReader> ElementScan for ReaderElements<'_, R> {
    type Error = StoreError;

    fn scan(
        &mut self,
        call: usize,
        prefix: &[Value],
        each: &mut dyn FnMut(&[Value], &[Value]) -> bool,
    ) -> StoreResult<()> {
        let (from, to) = range(self.group, &call_prefix(call, prefix));
        let skip = self.group.len() + 1;
        self.reader.scan(self.store, &from, to.as_deref(), &mut |key, row| {
            each(key.get(skip..).unwrap_or_default(), row)
        })
    }
}
