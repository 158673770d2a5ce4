//! Who wants to know what was committed: push queries.
//!
//! Before a commit a worker asks [`Watchers::wanted`] (an atomic load when nobody listens) whether to collect the keys that it writes; after its
//! stores hold the commit it calls [`Watchers::committed`]. Where keys are not known (a watcher came in between, or a restore wrote
//! them) it says so, and watchers compare snapshots instead. *Invariant*: a watcher never waits; one that cannot take more notes that.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::TaskId;
use crate::state::{Snapshot, StoreReader};

/// One commit of one task.
pub struct CommittedKeys {
    /// The task.
    pub task: TaskId,
    /// Full keys (store id and encoded key) that the commit wrote or deleted; `None`: not known.
    pub keys: Option<Vec<Vec<u8>>>,
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
        self.count.load(SeqCst) > 0
    }

    /// Adds a watcher; it hears of commits whose stores are applied from now on.
    pub fn add(&self, watcher: &Arc<dyn Watcher>) {
        let mut list = self.list.lock();
        list.push(Arc::downgrade(watcher));
        self.count.store(list.len(), SeqCst);
    }

    /// Said by a task's owner each time its stores have changed: by a commit, with the keys if they were collected, or by a restore (`None`).
    pub fn committed(&self, task: TaskId, keys: Option<Vec<Vec<u8>>>, stores: &dyn StoreReader) {
        if !self.wanted() {
            return;
        }
        // a store that is closed already has nothing to tell; whoever opens it next says `None`
        let Ok(snapshot) = stores.snapshot() else { return };
        let commit = Arc::new(CommittedKeys { task, keys, snapshot });
        let mut list = self.list.lock();
        list.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                watcher.committed(&commit);
                true
            }
            None => false,
        });
        self.count.store(list.len(), SeqCst);
    }
}
