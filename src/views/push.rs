//! Push queries: a snapshot of a view, then its committed changes.
//!
//! A [`Feed`] holds a snapshot a partition: what its reader has been told. Each commit brings the keys that it wrote and a snapshot of exactly
//! that commit; the row of each key is computed in both, and what differs is the change. So a feed shows what a reader who asked after
//! each commit would see, and no operator computes anything for it.
//!
//! *Invariant*: a feed never makes a commit wait. Its queue is bounded; a reader who is slower than the commits is told so and must start again.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::position::covered;
use super::row::RowReader;
use super::walk::{STORE_PREFIX, Walk};
use super::{Budget, KeyRange, Page, PageRequest, Positions, ViewError, ViewParts, ViewRef, ViewRow, page};
use crate::engine::{CommittedKeys, Published, Watcher};
use crate::state::Snapshot;
use crate::topology::{StoreId, SubId};
use crate::types::Row;

/// Commits that may wait for a reader; at the default commit interval some 100 seconds of one task.
pub const MOST_WAITING_COMMITS: usize = 1_024;
/// Changed keys that may wait for a reader; they are shared between readers.
pub const MOST_WAITING_KEYS: usize = 200_000;

/// A changed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row of its key is now this one.
    Upsert(ViewRow),
    /// The row of this key is gone.
    Delete(Row),
}

/// What one commit changed, in key order.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The changes; at least one.
    pub changes: Vec<RowChange>,
    /// The input offsets that they reflect, of the partition that changed.
    pub positions: Positions,
}

/// Why a feed ended.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FeedError {
    /// The reader was slower than the commits.
    #[error(
        "the reader is slower than the changes: more than {MOST_WAITING_COMMITS} commits or {MOST_WAITING_KEYS} keys are waiting"
    )]
    Slow,
    /// The rows are elsewhere now: another instance or generation holds them.
    #[error("the view's rows have moved: {0}")]
    Moved(String),
    /// A row could not be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

#[derive(Default)]
struct Waiting {
    commits: VecDeque<Arc<CommittedKeys>>,
    keys: usize,
    overflown: bool,
}

/// What the worker's thread writes to.
struct Queue {
    sub: SubId,
    waiting: Mutex<Waiting>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Watcher for Queue {
    fn committed(&self, commit: &Arc<CommittedKeys>) {
        if commit.task.sub != self.sub {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.overflown {
            return;
        }
        waiting.keys += commit.keys.as_ref().map_or(0, Vec::len);
        if waiting.commits.len() >= MOST_WAITING_COMMITS || waiting.keys > MOST_WAITING_KEYS {
            *waiting = Waiting {
                overflown: true,
                ..Waiting::default()
            };
        } else {
            waiting.commits.push_back(commit.clone());
        }
        drop(waiting);
        (self.wake)();
    }
}

/// A reader of a view's snapshot and changes.
pub struct Feed {
    view: ViewRef,
    stores: Vec<StoreId>,
    parts: ViewParts,
    queue: Arc<Queue>,
}

impl Feed {
    /// Starts with the view's rows as they are committed now. `wake` is called, on a worker's thread, when [`Self::next_batch`] may have something.
    ///
    /// # Errors
    /// [`ViewError::NotReady`] when a partition is restoring or not here.
    pub fn start(view: ViewRef, wake: Box<dyn Fn() + Send + Sync>) -> Result<Self, ViewError> {
        let queue = Arc::new(Queue {
            sub: view.view().sub,
            waiting: Mutex::default(),
            wake,
        });
        // first listen, then look: a commit in between is seen twice, which does no harm
        let watcher: Arc<dyn Watcher> = queue.clone();
        view.published.watchers.add(&watcher);
        let parts = view.open()?;
        let mut stores = view.view().plan.stores();
        stores.sort_unstable();
        stores.dedup();
        Ok(Self {
            view,
            stores,
            parts,
            queue,
        })
    }

    /// Whether commits are waiting; [`Self::next_batch`] then says whether they changed anything here.
    pub fn has_waiting(&self) -> bool {
        let waiting = self.queue.waiting.lock();
        waiting.overflown || !waiting.commits.is_empty()
    }

    /// The view.
    pub fn view(&self) -> &ViewRef {
        &self.view
    }

    /// A page of the rows that the feed begins with; to be asked for before the first [`Self::next_batch`].
    ///
    /// # Errors
    /// As [`page`].
    pub fn snapshot_page(&self, request: &PageRequest, budget: &mut Budget<'_>) -> Result<Page, ViewError> {
        page(&self.view, &self.parts, request, budget)
    }

    /// The changes of the next commit that changed rows of this view; `None` when there is none waiting.
    ///
    /// # Errors
    /// When the feed has ended; it cannot be used any more.
    pub fn next_batch(&mut self) -> Result<Option<ChangeBatch>, FeedError> {
        loop {
            let commit = {
                let mut waiting = self.queue.waiting.lock();
                if waiting.overflown {
                    return Err(FeedError::Slow);
                }
                let Some(commit) = waiting.commits.pop_front() else {
                    return Ok(None);
                };
                waiting.keys -= commit.keys.as_ref().map_or(0, Vec::len);
                commit
            };
            let changes = self.apply(&commit)?;
            if !changes.is_empty() {
                let mut positions = Positions::default();
                positions.add(commit.snapshot.position());
                return Ok(Some(ChangeBatch { changes, positions }));
            }
        }
    }

    /// Whether this process still answers for the view; asked now and then, since a task that leaves does not say good-bye.
    ///
    /// # Errors
    /// [`FeedError::Moved`] when it does not.
    pub fn check(&self, published: &Published) -> Result<(), FeedError> {
        let ours = &self.view.published;
        let now = published.topology(&ours.topology.name);
        if !now.is_some_and(|now| Arc::ptr_eq(&now, ours)) {
            return Err(FeedError::Moved(
                "another generation of the topology answers, or it was removed".into(),
            ));
        }
        let here = ours.tasks_of(self.view.view().sub);
        for (partition, _) in &self.parts.snapshots {
            if !here.iter().any(|task| task.id.partition == *partition) {
                return Err(FeedError::Moved(format!(
                    "partition {partition} is not on this instance"
                )));
            }
        }
        Ok(())
    }

    fn apply(&mut self, commit: &CommittedKeys) -> Result<Vec<RowChange>, FeedError> {
        let partition = commit.task.partition;
        let Some(part) = self.parts.snapshots.iter_mut().find(|(p, _)| *p == partition) else {
            return Err(FeedError::Moved(format!("partition {partition} is new")));
        };
        // it was applied before the feed's own snapshot was taken
        if covered(commit.snapshot.position(), part.1.position()) {
            return Ok(Vec::new());
        }
        let old = std::mem::replace(&mut part.1, commit.snapshot.clone());
        let view = self.view.view();
        let mut reader = RowReader::new(view);
        let keys = match &commit.keys {
            Some(keys) => {
                let ours = |full: &&Vec<u8>| {
                    let store = full.first_chunk::<STORE_PREFIX>().map(|id| StoreId::from_be_bytes(*id));
                    store.is_some_and(|store| self.stores.contains(&store))
                };
                keys.iter()
                    .filter(ours)
                    .map(|full| full[STORE_PREFIX..].to_vec())
                    .collect()
            }
            None => all_keys(&self.view, partition, [&old, &commit.snapshot])?,
        };
        changes(&mut reader, &*old, &*commit.snapshot, keys)
    }
}

/// Every key that either snapshot has: for a commit whose keys are not known.
fn all_keys(view: &ViewRef, partition: i32, snapshots: [&Arc<dyn Snapshot>; 2]) -> Result<Vec<Vec<u8>>, FeedError> {
    let mut keys = Vec::new();
    for snapshot in snapshots {
        let parts = [(partition, snapshot.clone())];
        let mut walk = Walk::new(&view.view().plan, &parts, &KeyRange::all(), false, None);
        while let Some(candidate) = walk.next().map_err(ViewError::from)? {
            keys.push(candidate.key);
        }
    }
    Ok(keys)
}

fn changes(
    reader: &mut RowReader<'_>,
    old: &dyn Snapshot,
    new: &dyn Snapshot,
    mut keys: Vec<Vec<u8>>,
) -> Result<Vec<RowChange>, FeedError> {
    keys.sort_unstable();
    keys.dedup();
    let mut changes = Vec::new();
    for key in keys {
        match (reader.of_key(old, &key)?, reader.of_key(new, &key)?) {
            (Some(before), Some(after)) if before == after => {}
            (_, Some(after)) => changes.push(RowChange::Upsert(after)),
            (Some(before), None) => changes.push(RowChange::Delete(before.key)),
            (None, None) => {}
        }
    }
    Ok(changes)
}
