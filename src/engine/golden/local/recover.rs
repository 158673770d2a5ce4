//! The endings of a local run: aborts and crashes, after which tasks go on from what is in stores and changelogs.

use super::{LocalError, LocalRun};
use crate::engine::outbox::Dest;
use crate::engine::task::Task;
use crate::state::{StoreFactory, StoreResult};
use crate::topology::SubId;

impl LocalRun {
    /// The transactions abort; tasks go on from the last commit. Not between [`Self::publish`] and [`Self::apply`].
    pub fn abort(&mut self) {
        for local in &mut self.tasks {
            assert!(!local.published, "a committed transaction cannot abort");
        }
        for at in 0..self.tasks.len() {
            if let Some(task) = &mut self.tasks[at].task {
                task.abort();
            }
            self.rewind(at);
        }
    }

    /// Input positions of the last commit: those in the store, which holds it.
    fn rewind(&mut self, at: usize) {
        let local = &mut self.tasks[at];
        let stored = local
            .task
            .as_ref()
            .and_then(|task| task.store().position().ok().flatten());
        for input in &mut local.inputs {
            let found = stored
                .as_ref()
                .and_then(|p| p.inputs.iter().find(|(topic, ..)| *topic == input.topic));
            input.committed = found.map_or(0, |(_, _, offset)| *offset as usize);
            input.next = input.committed;
        }
    }

    /// The process dies and comes back: tasks reopen their stores and restore the tail of their changelogs.
    ///
    /// # Errors
    /// The store, or a format.
    pub fn crash(&mut self) -> Result<(), LocalError> {
        for local in &mut self.tasks {
            local.task = None;
        }
        self.globals.close();
        self.stores.crash(|_, batches| batches);
        self.open_all()
    }

    pub(super) fn open_all(&mut self) -> Result<(), LocalError> {
        self.globals.open(&self.stores, &self.names)?;
        for at in 0..self.tasks.len() {
            let local = &self.tasks[at];
            let (sub, partition, published) = (local.sub, local.partition, local.published);
            let store = self.stores.open(&self.names.store(sub, partition))?;
            let mut task = Task::new(self.plans[sub].clone(), partition, store)?;
            self.restore(&mut task, sub, partition)?;
            if published {
                let position = self.position(&self.tasks[at]);
                task.apply_restored(&position)?;
            }
            let local = &mut self.tasks[at];
            local.task = Some(task);
            local.published = false;
            self.rewind(at);
        }
        Ok(())
    }

    fn restore(&self, task: &mut Task, sub: SubId, partition: i32) -> StoreResult<()> {
        let stored = task.store().position()?.unwrap_or_default();
        for &store in &self.topology.subs[sub].stores {
            let topic = self.output_topic(Dest::Changelog(store));
            let from = stored.changelogs.iter().find(|position| position.topic == topic);
            let from = from.map_or(0, |position| position.offset as usize);
            for record in &self.records(&topic, partition)[from..] {
                task.restore(
                    store,
                    record.key.as_deref().unwrap_or_default(),
                    record.value.as_deref(),
                );
            }
        }
        Ok(())
    }
}
