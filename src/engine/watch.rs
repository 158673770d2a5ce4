//! Who wants to know what was committed: push queries.
//!
//! After its stores hold a commit, a worker asks [`Watchers::wanted`] (an atomic load when nobody listens) and hands over the changed
//! keys with a snapshot of exactly that commit. *Invariant*: a watcher never waits; one that cannot take more notes that and is told later.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::TaskId;
use crate::state::Snapshot;

/// One commit of one task.
pub struct CommittedKeys {
    /// The task.
    pub task: TaskId,
    /// Full keys (store id and encoded key) that the commit wrote or deleted.
    pub keys: Vec<Vec<u8>>,
    /// The stores as this commit left them; its position is the commit's.
    pub snapshot: Arc<dyn Snapshot>,
}

/// Told of commits on the worker's thread: it must return at once.
pub trait Watcher: Send + Sync {
    /// A commit whose stores can be read now. Commits of a task come in their order.
    fn committed(&self, commit: &Arc<CommittedKeys>);
}

/// The watchers of a topology. They leave by being dropped.
#[derive(Default)]
pub struct Watchers {
    count: AtomicUsize,
    list: Mutex<Vec<Weak<dyn Watcher>>>,
}

impl Watchers {
    /// Whether anybody listens; else a worker need not collect keys.
    pub fn wanted(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    /// Adds a watcher; it hears of commits whose stores are applied from now on.
    pub fn add(&self, watcher: &Arc<dyn Watcher>) {
        let mut list = self.list.lock();
        list.push(Arc::downgrade(watcher));
        self.count.store(list.len(), Relaxed);
    }

    /// Said by a worker after the stores hold the commit.
    pub fn committed(&self, commit: CommittedKeys) {
        let commit = Arc::new(commit);
        let mut list = self.list.lock();
        list.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                watcher.committed(&commit);
                true
            }
            None => false,
        });
        self.count.store(list.len(), Relaxed);
    }
}
