//! The tasks of a worker and their inputs, addressed by the small numbers that fetchers carry.

use std::sync::Arc;

use super::super::queue::{Queue, QueueLimits};
use super::super::task::{InputRecord, Task, TaskError, TaskMetrics};
use super::super::{PublishedTask, TaskId, TaskStatus};
use super::life::TaskLife;
use super::restore::{Restore, SnapshotUse};
use crate::state::StorePosition;
use crate::topology::NodeId;
use crate::types::{Timestamp, TopicPartition};

/// After this the group has given up a member that it does not hear of, in milliseconds: what production asks for.
const SESSION_MS: i64 = 10_000;

/// One input partition of a task.
pub(super) struct Input {
    pub tp: TopicPartition,
    pub sources: Vec<NodeId>,
    /// A repartition topic: purged behind the commit.
    pub internal: bool,
    pub is_stream: bool,
    /// The fetcher's number while it is assigned.
    pub slot: Option<u32>,
    /// The next offset to process.
    pub next: i64,
    /// The next offset as committed; -1: none yet.
    pub committed: i64,
    /// The end was reached and nothing was handed over since: once all is processed, the position is past the markers at the end.
    pub at_end: bool,
    /// A record could not be taken for now (the registry is away): it is read again from `next` at this time.
    pub stalled_until: Option<Timestamp>,
}

/// A task at its worker.
pub(super) struct TaskSlot {
    pub id: TaskId,
    /// The partition of the tasks topic.
    pub index: i32,
    pub life: TaskLife,
    /// `None` while its store is not open.
    pub task: Option<Task>,
    pub restore: Option<Restore>,
    pub snapshot: SnapshotUse,
    /// It has run since it was last taken over: its positions mean something.
    pub ready: bool,
    pub inputs: Vec<Input>,
    /// Where a task chooses between several inputs.
    pub queue: Option<Queue>,
    /// The position in the store, with what the next batch will say.
    pub position: StorePosition,
    pub published: Arc<PublishedTask>,
    /// Records taken in since the last prepared commit.
    pub taken: u64,
    /// The last of them: input and offset.
    pub last: Option<(usize, i64)>,
    /// A part of the commit in flight.
    pub committing: bool,
    /// What the task had counted when its last commit was prepared: what is aborted after that does not count.
    pub prepared: TaskMetrics,
    /// The part of it that the topology's counters have.
    pub counted: TaskMetrics,
    /// The store was written since it was last flushed.
    pub unflushed: bool,
    /// When it was reset, until it runs again: its rows are shown meanwhile, for as long as nobody else can have it.
    pub reset_at: Option<Timestamp>,
}

impl TaskSlot {
    pub fn new(id: TaskId, index: i32, inputs: Vec<Input>, limits: QueueLimits) -> Self {
        let shown = inputs
            .iter()
            .map(|input| (input.tp.topic.clone(), input.tp.partition))
            .collect();
        let queue = (inputs.len() > 1).then(|| Queue::new(inputs.iter().map(|input| input.is_stream), limits));
        Self {
            id,
            index,
            life: TaskLife::Opening,
            task: None,
            restore: None,
            snapshot: SnapshotUse::default(),
            ready: false,
            inputs,
            queue,
            position: StorePosition::default(),
            published: Arc::new(PublishedTask::new(id, shown)),
            taken: 0,
            last: None,
            committing: false,
            prepared: TaskMetrics::default(),
            counted: TaskMetrics::default(),
            unflushed: false,
            reset_at: None,
        }
    }

    /// Gives a record to the sources that read its topic.
    ///
    /// # Errors
    /// [`TakeError::Again`]: nothing of the record stays, it can be given again.
    pub fn take(&mut self, input: usize, record: &InputRecord<'_>, now: Timestamp) -> Result<(), TakeError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let at = &mut self.inputs[input];
        for (done, source) in at.sources.iter().enumerate() {
            match task.process(*source, record, now) {
                Ok(()) => {}
                Err(TaskError::Retry(text)) if done == 0 => return Err(TakeError::Again(text)),
                // The source before has taken it already: only an abort takes that back.
                Err(TaskError::Retry(text)) => return Err(TakeError::Recover(text)),
                Err(error @ (TaskError::Stop(_) | TaskError::Store(_))) => return Err(TakeError::Task(error)),
            }
        }
        at.next = record.offset + 1;
        self.taken += 1;
        self.last = Some((input, record.offset));
        Ok(())
    }

    /// Whether a commit would change anything (never before it has run): records taken in, or positions that moved over markers.
    pub fn is_dirty(&self) -> bool {
        self.ready && (self.taken > 0 || self.inputs.iter().any(|input| input.next != input.committed))
    }

    /// A task that was reset is not shown any more once the group may have given it away: nobody says so to who is cut off.
    pub fn hide_stale(&mut self, now: Timestamp) {
        if self.reset_at.is_some_and(|since| now - since >= SESSION_MS)
            && self.published.status() == TaskStatus::Running
        {
            self.published.set_status(TaskStatus::Opening);
        }
    }

    /// Shows positions to readers of the catalog.
    pub fn publish_positions(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        for (input, shown) in self.inputs.iter().zip(&self.published.inputs) {
            shown.position.store(input.next, Relaxed);
            shown.committed.store(input.committed, Relaxed);
            shown.end.fetch_max(input.next, Relaxed);
        }
    }
}

/// Why a record was not taken.
pub(super) enum TakeError {
    /// Give it again later.
    Again(String),
    /// Give everything since the last commit again later.
    Recover(String),
    /// The task's own trouble.
    Task(TaskError),
}

/// Where records of a fetcher's slot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Position in the worker's tasks.
    pub task: usize,
    /// Position in the task's inputs, or in its restore's stores.
    pub part: usize,
}

/// Fetcher slots in use; numbers are used again, so that they stay small.
#[derive(Default)]
pub(super) struct Routes(Vec<Option<Route>>);

impl Routes {
    /// A free number for a route.
    pub fn add(&mut self, route: Route) -> u32 {
        let free = self.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[free] = Some(route);
        free as u32
    }

    /// The route of a number.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<Route> {
        self.0.get(slot as usize).copied().flatten()
    }

    /// Frees a number.
    pub fn remove(&mut self, slot: u32) {
        if let Some(route) = self.0.get_mut(slot as usize) {
            *route = None;
        }
    }

    /// Frees all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
