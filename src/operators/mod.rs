//! What a node does with a change, one file an operator.
//!
//! The task calls an operator with a change; the operator reads and writes the buffer and appends what it gives out to [`Context::out`]; the
//! task carries that to the users of the node. Operators that hold their changes back forward them at the flush, a key once ([`Operator::flush`]).
//!
//! It is *not* the place of topics and formats: sources get decoded records, and what sinks and repartitions give out is encoded by the task.
//!
//! *Invariant*: no I/O, no clock, no state outside the buffer. An error leaves undoing to the caller's savepoint.

mod aggregate;
mod filter;
mod flat_map;
mod foreign_key_join;
mod global_join;
mod group_state;
mod history;
mod project;
mod rank;
mod repartition;
mod select_key;
mod session;
mod sink;
mod source;
mod stream_stream_join;
mod stream_table_join;
mod table_plan;
mod table_table_join;
mod window_aggregate;
mod window_clock;

use std::sync::Arc;

use crate::expr::{EvalContext, EvalError, Expr};
use crate::state::buffer::{Buffer, PendingId, Slot};
use crate::state::{SharedRows, StoreError, StoreResult};
use crate::topology::{Node, Op, Topology};
use crate::types::{Change, RelationKind, Row, Timestamp, Value};

pub use group_state::GroupStates;
pub use table_plan::{
    AtStart, Committed, EachKeyRow, EachRow, KeyRange, Looked, Newest, RowReader, join_rows, lookup, scan,
    scan_snapshot,
};

/// Why a record is passed over by one operator without being bad: counted with its last position, never silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// A record without key, or with a NULL in it, cannot be grouped or joined.
    NullKey,
    /// A stream's record without value cannot be aggregated or joined.
    NullValue,
    /// A row was to be taken out of a group that does not exist.
    MissingGroup,
    /// An expression could not be computed and is NULL (a condition: not TRUE), as `millstream.expression.errors` says.
    FailedExpression,
    /// A record came after a window that it belongs to was closed, or from before a table's history.
    Late,
    /// A record's time is before 1970, where there are no windows.
    NegativeTime,
    /// The time at which a record wants a table looked up is NULL.
    NullTime,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NullKey,
        Self::NullValue,
        Self::MissingGroup,
        Self::FailedExpression,
        Self::Late,
        Self::NegativeTime,
        Self::NullTime,
    ];

    /// The word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NullKey => "null-key",
            Self::NullValue => "null-value",
            Self::MissingGroup => "missing-group",
            Self::FailedExpression => "failed-expression",
            Self::Late => "late",
            Self::NegativeTime => "negative-time",
            Self::NullTime => "null-time",
        }
    }
}

/// Why an operator cannot go on with a record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpError {
    /// The disk: the task stops and reopens.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An expression cannot be computed: the record is bad.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A table's record without key: the record is bad.
    #[error("a record of a table has no key")]
    NullKey,
}

/// What an operator works with.
pub struct Context<'a> {
    /// The task's rows.
    pub buffer: &'a mut Buffer,
    /// The wall clock as the task was given it.
    pub now: Timestamp,
    /// What the operator gives out, in order.
    pub out: &'a mut Vec<Change>,
    /// Why it passed a record over.
    pub dropped: &'a mut Vec<DropReason>,
    /// Values under construction; empty between calls.
    pub scratch: &'a mut Vec<Value>,
    /// The row is part of the tables above already (it was held back, or came through a table's repartition): it cannot be rejected as a whole
    /// any more, only be absent from here on. See `or_absent`.
    pub irrevocable: bool,
    /// Why such rows cannot be computed.
    pub failed: &'a mut Vec<EvalError>,
}

impl Context<'_> {
    /// Evaluates expressions over a row into a new one.
    fn eval(&mut self, exprs: &[Expr], key: &[Value], value: &[Value], timestamp: Timestamp) -> Result<Row, EvalError> {
        let context = EvalContext {
            key,
            value,
            timestamp,
            now: self.now,
        };
        self.scratch.clear();
        for expr in exprs {
            // one that is allowed to fail is counted where it does
            let computed = match expr {
                Expr::Try(inner) => inner.eval(&context).unwrap_or_else(|_| {
                    self.dropped.push(DropReason::FailedExpression);
                    Value::Null
                }),
                expr => expr.eval(&context)?,
            };
            self.scratch.push(computed);
        }
        Ok(Row::take(self.scratch))
    }

    /// A new row that cannot be computed makes its record bad. One that is irrevocable is noted as failed and is absent from here on, which deletes it
    /// downstream: it must not stay there as it was before. An old row that cannot be computed was absent already.
    fn or_absent<T>(&mut self, computed: Result<T, EvalError>) -> Result<Option<T>, EvalError> {
        match computed {
            Ok(value) => Ok(Some(value)),
            Err(e) if self.irrevocable => Ok(self.absent_unless(Err::<T, _>(e))),
            Err(e) => Err(e),
        }
    }

    /// As `or_absent`, of a row that is irrevocable.
    fn absent_unless<T>(&mut self, computed: Result<T, EvalError>) -> Option<T> {
        computed.map_err(|e| self.failed.push(e)).ok()
    }
}

/// Which input of a node a change comes from: 0, or 1 for the right side of a join.
pub type Side = u8;

/// One key that an operator forwards at the flush.
pub enum Held {
    /// A row of its store.
    Slot(Slot),
    /// A change that is ready.
    Change(Change),
}

/// How a task runs a node, decided once from the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Forward at the flush, a key once, rather than at once.
    pub hold: bool,
    /// The set of keys that a join forwards at the flush.
    pub pending: PendingId,
    /// Somebody downstream reads the old rows of its changes. Else only whether there is one counts, and any row may stand for it.
    pub wants_old: bool,
    /// The right input of a join forwards at the flush.
    pub right_holds: bool,
    /// Answers of a foreign-key join given at once, at most: the others come in chunks of this size.
    pub fan_out: usize,
}

/// A node at work.
pub enum Operator {
    /// A topic's records, decoded.
    Source(source::Source),
    /// WHERE, HAVING.
    Filter(filter::Filter),
    /// SELECT.
    Project(project::Project),
    /// Table functions.
    FlatMap(flat_map::FlatMap),
    /// Rows of arrays.
    Rank(rank::Rank),
    /// PARTITION BY on the way to a sink.
    SelectKey(select_key::SelectKey),
    /// PARTITION BY, GROUP BY.
    Repartition(repartition::Repartition),
    /// Aggregates.
    Aggregate(aggregate::Aggregate),
    /// Aggregates in windows of time.
    WindowAggregate(window_aggregate::WindowAggregate),
    /// A stream enriched by a table.
    StreamTableJoin(stream_table_join::StreamTableJoin),
    /// A stream or table enriched by a global table.
    GlobalJoin(global_join::GlobalJoin),
    /// Two tables.
    TableTableJoin(table_table_join::TableTableJoin),
    /// Two streams.
    StreamStreamJoin(stream_stream_join::StreamStreamJoin),
    /// The left side of a foreign-key join.
    ForeignKeySubscribe(foreign_key_join::subscribe::Subscribe),
    /// Its right side.
    ForeignKeyAnswer(foreign_key_join::answer::Answer),
    /// Its results.
    ForeignKeyJoin(foreign_key_join::join::Join),
    /// A relation's topic.
    Sink(sink::Sink),
}

impl Operator {
    /// The operator of a node; `globals` are the rows of the topology's global tables.
    pub fn new(topology: &Topology, node: &Node, mode: Mode, globals: &Arc<SharedRows>) -> Self {
        let input_kind = node
            .inputs
            .first()
            .map_or(node.kind, |&input| topology.nodes[input].kind);
        let of_table = input_kind == RelationKind::Table;
        let width = |side: usize| topology.nodes[node.inputs[side]].schema.value.len();
        match &node.op {
            Op::Source(source) => {
                let is_table = node.kind == RelationKind::Table;
                Self::Source(source::Source::new(source.store, source.history.as_ref(), is_table))
            }
            Op::Filter(predicate) => Self::Filter(filter::Filter::new(predicate.clone(), of_table)),
            Op::Project(exprs) => Self::Project(project::Project::new(exprs.clone(), mode.wants_old)),
            Op::Rank => Self::Rank(rank::Rank),
            Op::FlatMap(calls) => Self::FlatMap(flat_map::FlatMap::new(calls.clone())),
            Op::SelectKey(select) => Self::SelectKey(select_key::SelectKey::new(select, width(0))),
            Op::Repartition(repartition) => {
                Self::Repartition(repartition::Repartition::new(repartition, of_table, width(0)))
            }
            Op::Aggregate(aggregate) => Self::Aggregate(aggregate::Aggregate::new(aggregate.clone(), mode)),
            Op::WindowAggregate(windows) => {
                Self::WindowAggregate(window_aggregate::WindowAggregate::new(windows.clone(), mode))
            }
            Op::StreamTableJoin(join) => Self::StreamTableJoin(stream_table_join::StreamTableJoin::new(
                join.clone(),
                width(0),
                width(1),
            )),
            Op::GlobalJoin(join) => {
                Self::GlobalJoin(global_join::GlobalJoin::new(join.clone(), width(0), globals.clone()))
            }
            Op::TableTableJoin(join) => Self::TableTableJoin(table_table_join::TableTableJoin::new(
                join.clone(),
                width(0),
                width(1),
                mode,
            )),
            Op::StreamStreamJoin(join) => Self::StreamStreamJoin(stream_stream_join::StreamStreamJoin::new(
                join.clone(),
                width(0),
                width(1),
            )),
            Op::ForeignKeySubscribe(plan) => {
                Self::ForeignKeySubscribe(foreign_key_join::subscribe::Subscribe::new(plan.clone()))
            }
            Op::ForeignKeyAnswer(plan) => {
                Self::ForeignKeyAnswer(foreign_key_join::answer::Answer::new(plan.clone(), width(1), mode))
            }
            Op::ForeignKeyJoin(join) => {
                // what comes with an answer stands before the right columns
                let right = width(1).saturating_sub(2);
                Self::ForeignKeyJoin(foreign_key_join::join::Join::new(join.clone(), width(0), right))
            }
            Op::Sink(_) => Self::Sink(sink::Sink),
        }
    }

    /// Takes one change in.
    ///
    /// # Errors
    /// When the record cannot be processed; the caller takes back what was written.
    #[inline]
    pub fn process(&mut self, side: Side, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        match self {
            Self::Source(op) => op.process(change, ctx),
            Self::Filter(op) => op.process(change, ctx),
            Self::Project(op) => op.process(change, ctx),
            Self::FlatMap(op) => op.process(change, ctx),
            Self::Rank(op) => {
                op.process(change, ctx);
                Ok(())
            }
            Self::SelectKey(op) => op.process(change, ctx),
            Self::Repartition(op) => op.process(change, ctx),
            Self::Aggregate(op) => op.process(change, ctx),
            Self::WindowAggregate(op) => op.process(change, ctx),
            Self::StreamTableJoin(op) => op.process(side, change, ctx),
            Self::GlobalJoin(op) => op.process(change, ctx),
            Self::TableTableJoin(op) => op.process(side, change, ctx),
            Self::StreamStreamJoin(op) => op.process(side, change, ctx),
            Self::ForeignKeySubscribe(op) => op.process(change, ctx),
            Self::ForeignKeyAnswer(op) => op.process(side, change, ctx),
            Self::ForeignKeyJoin(op) => op.process(side, change, ctx),
            Self::Sink(op) => {
                op.process(change, ctx);
                Ok(())
            }
        }
    }

    /// Lists what it held back, in the order (timestamp, first written). Its inputs have been flushed.
    ///
    /// # Errors
    /// The disk.
    pub fn flush(&mut self, ctx: &mut Context<'_>, held: &mut Vec<Held>) -> StoreResult<()> {
        match self {
            Self::Aggregate(op) => {
                op.flush(ctx, held);
                Ok(())
            }
            Self::WindowAggregate(op) => op.flush(ctx, held),
            Self::TableTableJoin(op) => op.flush(ctx, held),
            Self::Source(_)
            | Self::Filter(_)
            | Self::Project(_)
            | Self::FlatMap(_)
            | Self::Rank(_)
            | Self::SelectKey(_)
            | Self::Repartition(_)
            | Self::StreamTableJoin(_)
            | Self::GlobalJoin(_)
            | Self::StreamStreamJoin(_)
            | Self::ForeignKeySubscribe(_)
            | Self::ForeignKeyAnswer(_)
            | Self::ForeignKeyJoin(_)
            | Self::Sink(_) => Ok(()),
        }
    }

    /// Whether it may have work left when a record is done: see [`Self::go_on`].
    pub fn leaves_work(&self) -> bool {
        matches!(self, Self::ForeignKeyAnswer(_))
    }

    /// Does a bounded piece of the work that records have left; whether there was any.
    ///
    /// # Errors
    /// The disk.
    pub fn go_on(&mut self, ctx: &mut Context<'_>) -> StoreResult<bool> {
        match self {
            Self::ForeignKeyAnswer(op) => op.go_on(ctx),
            _ => Ok(false),
        }
    }

    /// Gives out one of the keys that [`Self::flush`] listed.
    ///
    /// # Errors
    /// The disk.
    pub fn forward(&mut self, held: Held, ctx: &mut Context<'_>) -> StoreResult<()> {
        match (self, held) {
            (Self::Aggregate(op), Held::Slot(slot)) => return op.forward(slot, ctx),
            (Self::WindowAggregate(op), Held::Slot(slot)) => return op.forward(slot, ctx),
            (_, Held::Change(change)) => ctx.out.push(change),
            (_, Held::Slot(_)) => unreachable!("only aggregates hold slots"),
        }
        Ok(())
    }
}

/// Whether a predicate is TRUE (not FALSE, not NULL).
fn passes(predicate: &Expr, key: &Row, value: &Row, timestamp: Timestamp, now: Timestamp) -> Result<bool, EvalError> {
    let context = EvalContext {
        key,
        value,
        timestamp,
        now,
    };
    Ok(matches!(predicate.eval(&context)?, Value::Boolean(true)))
}
