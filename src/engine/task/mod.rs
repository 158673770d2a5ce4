//! A task: the operators of one sub-topology for one partition, as a synchronous state machine.
//!
//! ```text
//!   process(record)*  ->  prepare_commit  ->  frozen(): what to send  ->  committed(position)
//!        ^                     |   process(record)* may go on meanwhile        |
//!        '---------------------+--------------- abort ------------------------'
//! ```
//!
//! A record is decoded, its change is pushed through the operators with a stack of pending work (no recursion), rows go to the buffer and results
//! to the outbox. A savepoint a record: one that fails leaves nothing behind but its dead letter.
//!
//! It is *not* the one that reads or sends: the worker does. *Invariant*: a task is a function; same state, records and `now`, same outputs.

mod ahead;
mod decode;
mod encode;
mod error;
mod event_time;
mod flush;
mod global;
mod metrics;
mod plan;
mod reject;
mod restored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use crate::engine::outbox::{Dest, Outbox, OutboxMark, Outgoing};
use crate::expr::EvalError;
use crate::formats::FormatError;
use crate::log::HeadersRef;
use crate::operators::{Context, DropReason, Held, Operator, Side};
use crate::state::buffer::Buffer;
use crate::state::{Bulk, Store, StorePosition, StoreResult};
use crate::topology::{NodeId, Op};
use crate::types::{Change, Timestamp, Value};

pub use encode::MAX_DEAD_LETTER_BYTES;
pub use error::{Reason, Stopped, TaskError};
pub use global::GlobalRows;
pub use metrics::{Dropped, TaskMetrics};
pub use plan::{FAN_OUT, SinkSchemas, TaskOptions, TaskPlan};

use decode::SourceCodec;
use encode::{SinkCodec, encode_repartition};
use error::Failure;
use reject::check_size;

/// A record as the worker hands it over, borrowed from the client's memory.
#[derive(Clone, Copy)]
pub struct InputRecord<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, parsed when somebody sends them on.
    pub headers: HeadersRef<'a>,
}

/// A node at work, with what carries its changes on.
struct TaskNode {
    id: NodeId,
    operator: Operator,
    exit: Exit,
}

/// Where the changes of a node go.
enum Exit {
    /// To these nodes of the task.
    Users(Vec<(usize, Side)>),
    /// To a sink's topic.
    Sink(Box<SinkCodec>),
    /// To a repartition topic that takes records of this many bytes.
    Repartition(usize),
}

/// A spare outbox that has grown beyond this is given back to the system, in bytes: each task of a process may have had its burst.
const KEPT_OUTBOX_BYTES: usize = 256 << 10;

/// One sub-topology for one partition. See the module.
pub struct Task {
    plan: Arc<TaskPlan>,
    partition: i32,
    nodes: Vec<TaskNode>,
    sources: Vec<(NodeId, usize, SourceCodec)>,
    buffer: Buffer,
    /// What the filling generation sends.
    outbox: Outbox,
    /// What the frozen generation sends.
    frozen: Option<Outbox>,
    spare: Outbox,
    restored: Bulk,
    /// How many times [`Self::look_ahead`] is still passed over.
    not_ahead: u32,
    metrics: TaskMetrics,
    work: Work,
    /// Nodes that leave work when a record is done, and whether there may be any.
    leaving: Vec<usize>,
    left: bool,
}

/// What is processed of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// That the row which it replaces is gone.
    OldRow,
}

/// A change on its way: the node and side that take it next.
type Next = (usize, Side, Change);

/// Memory that is used again for each record; empty between records.
#[derive(Default)]
struct Work {
    stack: Vec<Next>,
    out: Vec<Change>,
    dropped: Vec<DropReason>,
    drops: Vec<(NodeId, DropReason)>,
    scratch: Vec<Value>,
    held: Vec<Held>,
    failed: Vec<EvalError>,
    /// See [`Context::irrevocable`]; then what fails on the way of a row, and the node where it did.
    irrevocable: bool,
    /// Until the next flush: results larger than their topic takes are dead letters, instead of the worker's trouble.
    weighs: bool,
    failures: Vec<(usize, Reason, String)>,
    /// The node at work, for errors.
    node: usize,
}

impl Task {
    /// A task over its store, which may hold rows already.
    ///
    /// # Errors
    /// As [`TaskPlan::new`].
    pub fn new(plan: Arc<TaskPlan>, partition: i32, store: Box<dyn Store>) -> Result<Self, FormatError> {
        let mut nodes = Vec::new();
        let mut sources = Vec::new();
        for (at, node) in plan.nodes.iter().enumerate() {
            if let Some(codec) = plan.source_codec(at)? {
                sources.push((node.id, at, codec));
            }
            let exit = match plan.sink_codec(at)? {
                Some(codec) => Exit::Sink(Box::new(codec)),
                None if matches!(plan.node(at).op, Op::Repartition(_)) => Exit::Repartition(plan.max_bytes(at)),
                None => Exit::Users(node.users.clone()),
            };
            nodes.push(TaskNode {
                id: node.id,
                operator: Operator::new(&plan.topology, plan.node(at), node.mode, &plan.globals),
                exit,
            });
        }
        let leaving = (0..nodes.len())
            .filter(|at| nodes[*at].operator.leaves_work())
            .collect();
        Ok(Self {
            buffer: Buffer::new(store, &plan.tables, plan.pending_sets, plan.options.cache_bytes),
            plan,
            partition,
            nodes,
            sources,
            outbox: Outbox::new(),
            frozen: None,
            spare: Outbox::new(),
            restored: Bulk::default(),
            not_ahead: 0,
            metrics: TaskMetrics::default(),
            work: Work::default(),
            leaving,
            left: true,
        })
    }

    /// Takes a record of a source node in.
    ///
    /// # Errors
    /// Nothing of the record stays: see [`TaskError`] for what to do.
    ///
    /// # Panics
    /// When `source` is no source of this sub-topology.
    pub fn process(&mut self, source: NodeId, record: &InputRecord<'_>, now: Timestamp) -> Result<(), TaskError> {
        self.attempt(source, record, Part::Whole, now)?;
        self.count_in(record);
        Ok(())
    }

    fn count_in(&mut self, record: &InputRecord<'_>) {
        self.metrics.records_in += 1;
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len) as u64;
        self.metrics.bytes_in += len(record.key) + len(record.value);
    }

    /// Processes a record behind a savepoint.
    fn attempt(
        &mut self,
        source: NodeId,
        record: &InputRecord<'_>,
        part: Part,
        now: Timestamp,
    ) -> Result<(), TaskError> {
        let mark = self.outbox.mark();
        self.buffer.begin();
        let result = self.take_in(source, record, part, now);
        let position = Some((source, record.partition, record.offset));
        match result {
            Ok(()) => {
                // branches that could compute the row have it, the others have deleted it
                for (node, reason, message) in std::mem::take(&mut self.work.failures) {
                    if let Err(stop) = self.reject(node, record, reason, &message) {
                        self.buffer.rollback();
                        self.outbox.truncate(mark);
                        self.clear_work();
                        return Err(stop);
                    }
                }
                self.count_drops(position);
            }
            Err(failure) => {
                self.buffer.rollback();
                self.outbox.truncate(mark);
                let node = self.clear_work();
                self.bad(failure, node, record)?;
            }
        }
        self.left = true;
        Ok(())
    }

    fn take_in(&mut self, source: NodeId, record: &InputRecord<'_>, part: Part, now: Timestamp) -> Result<(), Failure> {
        let found = self.sources.iter_mut().find(|(id, ..)| *id == source);
        let (_, at, codec) = found.expect("a source of this sub-topology");
        let at = *at;
        self.work.node = at;
        let mut change = codec.decode(record)?;
        if part == Part::OldRow {
            change.new = None;
            if change.old.is_none() {
                return Ok(());
            }
        }
        self.work.irrevocable = codec.is_of_table_above();
        let result = self.run((at, 0, change), now);
        self.work.irrevocable = false;
        result
    }

    /// Pushes a change through the operators until nothing is left to do, depth first, in order.
    fn run(&mut self, first: Next, now: Timestamp) -> Result<(), Failure> {
        self.run_rest(Some(first), now)
    }

    fn run_rest(&mut self, mut next: Option<Next>, now: Timestamp) -> Result<(), Failure> {
        while let Some((at, side, change)) = next.take().or_else(|| self.work.stack.pop()) {
            self.work.node = at;
            let ctx = &mut context(&mut self.buffer, &mut self.work, now);
            self.nodes[at].operator.process(side, change, ctx)?;
            next = self.carry_on(at)?;
        }
        Ok(())
    }

    /// Carries what a node gave out to its users, or encodes it. What comes next, unless it is on the stack.
    fn carry_on(&mut self, at: usize) -> Result<Option<Next>, Failure> {
        let work = &mut self.work;
        let node = &mut self.nodes[at];
        if !work.dropped.is_empty() {
            let dropped = work.dropped.drain(..);
            work.drops.extend(dropped.map(|reason| (node.id, reason)));
        }
        if !work.failed.is_empty() {
            let failed = work.failed.drain(..);
            let failures = failed.map(|e| (at, Reason::Expression, e.message));
            work.failures.extend(failures);
        }
        match &mut node.exit {
            Exit::Sink(codec) => {
                for change in work.out.drain(..) {
                    let mark = self.outbox.mark();
                    let encoded = codec.encode(node.id, &change, &mut self.outbox);
                    let checked = match work.weighs {
                        true => encoded.and_then(|()| check_size(&mut self.outbox, mark, codec.max_bytes)),
                        false => encoded,
                    };
                    match checked {
                        Err(Failure::Bad { reason, message }) if work.irrevocable => {
                            work.failures.push((at, reason, message));
                            codec.encode_delete(node.id, change, &mut self.outbox)?;
                        }
                        result => result?,
                    }
                }
            }
            Exit::Repartition(max_bytes) => {
                for change in work.out.drain(..) {
                    let mark = self.outbox.mark();
                    encode_repartition(node.id, &change, &mut self.outbox);
                    if work.weighs
                        && let Err(Failure::Bad { reason, message }) = check_size(&mut self.outbox, mark, *max_bytes)
                    {
                        work.failures.push((at, reason, message));
                        // a row that was as large has never been sent, so that it need not be taken back either
                        let mark = self.outbox.mark();
                        encode_repartition(node.id, &Change { new: None, ..change }, &mut self.outbox);
                        if check_size(&mut self.outbox, mark, *max_bytes).is_err() {
                            tracing::debug!(node = node.id, "nor can the row before it");
                        }
                    }
                }
            }
            Exit::Users(users) => {
                // nearly always: one change for one user, which needs no stack
                if let ([(user, side)], 0..=1) = (users.as_slice(), work.out.len()) {
                    return Ok(work.out.pop().map(|change| (*user, *side, change)));
                }
                let Some(((first, first_side), others)) = users.split_first() else {
                    work.out.clear();
                    return Ok(None);
                };
                // the stack gives the last one back first
                for change in work.out.drain(..).rev() {
                    for (user, side) in others.iter().rev() {
                        work.stack.push((*user, *side, change.clone()));
                    }
                    work.stack.push((*first, *first_side, change));
                }
            }
        }
        Ok(None)
    }

    /// Forgets half-done work; the node that was at it.
    fn clear_work(&mut self) -> usize {
        self.work.stack.clear();
        self.work.out.clear();
        self.work.dropped.clear();
        self.work.drops.clear();
        self.work.scratch.clear();
        self.work.failed.clear();
        self.work.failures.clear();
        self.work.node
    }

    fn count_drops(&mut self, position: Option<(NodeId, i32, i64)>) {
        for (node, reason) in self.work.drops.drain(..) {
            self.metrics.count_dropped(node, reason, position);
        }
    }

    /// Moves what has been given out so far to the end of `to`, to be sent in the open transaction before the commit. On an abort the
    /// caller drops it.
    pub fn drain(&mut self, to: &mut Outbox) {
        self.metrics.records_out += self.outbox.len() as u64;
        to.append(&mut self.outbox);
    }

    /// What the frozen generation sends: results and dead letters in order, then the last row of each key it wrote, for the changelogs.
    pub fn frozen(&self) -> Option<&Outbox> {
        self.frozen.as_ref()
    }

    /// The transaction of the frozen generation has committed: its rows go to the store, in one batch with the position.
    ///
    /// # Errors
    /// The disk; the call may be repeated.
    ///
    /// # Panics
    /// When nothing is frozen.
    pub fn committed(&mut self, position: &StorePosition) -> StoreResult<()> {
        let outbox = self.frozen.as_ref().expect("a frozen generation");
        let mut writes = Bulk::default();
        for record in outbox.iter() {
            if let Dest::Changelog(store) = record.dest {
                writes.push(store, record.key.unwrap_or_default(), record.value);
            }
        }
        self.buffer.committed(&mut writes, position)?;
        if let Some(outbox) = self.frozen.take() {
            self.keep_spare(outbox);
        }
        Ok(())
    }

    fn keep_spare(&mut self, mut outbox: Outbox) {
        if outbox.capacity_bytes() > KEPT_OUTBOX_BYTES {
            outbox = Outbox::new();
        }
        outbox.clear();
        self.spare = outbox;
    }

    /// Drops everything that is not committed.
    pub fn abort(&mut self) {
        self.left = true;
        self.buffer.abort();
        self.outbox.clear();
        if let Some(outbox) = self.frozen.take() {
            self.keep_spare(outbox);
        }
        self.clear_work();
        self.work.weighs = false;
        self.restored.clear();
    }

    /// Bytes that a commit would free.
    pub fn buffered_bytes(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, Outbox::bytes);
        self.buffer.buffered_bytes() + self.outbox.bytes() + frozen
    }

    /// Bytes of the buffer, decoded rows that are committed included.
    pub fn memory_bytes(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, Outbox::bytes);
        self.buffer.total_bytes() + self.outbox.bytes() + frozen
    }

    /// Whether nothing waits to be sent or committed (input positions aside, which are the worker's).
    pub fn is_clean(&self) -> bool {
        self.outbox.is_empty() && self.buffer.is_clean()
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        self.buffer.store()
    }

    /// The store, to flush it, or to clear it before a rebuild.
    pub fn store_mut(&mut self) -> &mut dyn Store {
        self.buffer.store_mut()
    }

    /// Ends the task, dropping what is not committed, and gives the open store back.
    pub fn into_store(self) -> Box<dyn Store> {
        self.buffer.into_store()
    }

    /// Its counters.
    pub fn metrics(&self) -> &TaskMetrics {
        &self.metrics
    }

    /// The plan it runs.
    pub fn plan(&self) -> &Arc<TaskPlan> {
        &self.plan
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}

fn context<'a>(buffer: &'a mut Buffer, work: &'a mut Work, now: Timestamp) -> Context<'a> {
    Context {
        buffer,
        now,
        out: &mut work.out,
        dropped: &mut work.dropped,
        scratch: &mut work.scratch,
        irrevocable: work.irrevocable,
        failed: &mut work.failed,
    }
}
