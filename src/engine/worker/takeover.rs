//! Taking tasks over, in the order that loses nothing (KAFKA-10167): the producer is initialised; the group's *stable* committed offsets are
//! read; only then the changelogs' ends; they are replayed read_committed until the fetch position reaches those ends; only then inputs are read.

use std::sync::atomic::Ordering::Relaxed;

use super::super::failpoint::{Failpoint, failpoint};
use super::super::task::{Task, TaskMetrics};
use super::super::{StartFrom, TaskStatus};
use super::life::TaskLife;
use super::restore::{self, Begin, Changelog, Restore, RestoreStore, SnapshotUse, Start};
use super::slots::{Route, TaskSlot};
use super::snapshot;
use super::trouble::Trouble;
use super::{Clients, Worker, WorkerShared};
use crate::log::Fetched;
use crate::state::memory::MemoryStore;
use crate::state::{META_PREFIX, Store, StoreError, StorePosition, StoreResult};
use crate::types::{Timestamp, TopicPartition};

/// Changelog records taken from the fetcher at a time.
const RESTORE_RECORDS: usize = 4_000;
/// Restored rows are written to the store in batches of about this many bytes, over all tasks of a worker that are restored at the same time:
/// large enough for speed, small in memory. The store's own write buffers are empty meanwhile.
const RESTORE_BATCH_BYTES: usize = 24 << 20;
/// However many tasks are restored, a batch of one is at least so large.
const LEAST_BATCH_BYTES: usize = 64 << 10;
/// A store that another worker of this process has not put back yet is asked for again after this, in milliseconds.
const STORE_RETRY_MS: i64 = 20;

impl Worker {
    /// Moves tasks from opening to running; true when something was done.
    pub(super) fn advance_takeovers(&mut self, now: Timestamp, wait: std::time::Duration) -> Result<bool, Trouble> {
        let mut busy = self.open_tasks(now)?;
        if self.tasks.iter().flatten().any(|slot| slot.life == TaskLife::Restoring) {
            busy |= self.restore_tasks(now, wait)?;
        }
        Ok(busy)
    }

    /// Opens stores and begins restores of tasks that are new or were reset.
    fn open_tasks(&mut self, now: Timestamp) -> Result<bool, Trouble> {
        if !open_stores(&self.shared, &mut self.tasks)? {
            self.wake_at(now + STORE_RETRY_MS);
        }
        let is_ready = |slot: &TaskSlot| slot.life == TaskLife::Opening && slot.task.is_some();
        let ready = |(at, slot): (usize, &Option<TaskSlot>)| slot.as_ref().is_some_and(is_ready).then_some(at);
        let ready: Vec<usize> = self.tasks.iter().enumerate().filter_map(ready).collect();
        if ready.is_empty() {
            return Ok(false);
        }
        let inputs: Vec<TopicPartition> = ready
            .iter()
            .flat_map(|at| {
                self.tasks[*at]
                    .iter()
                    .flat_map(|s| s.inputs.iter().map(|i| i.tp.clone()))
            })
            .collect();
        let admin = self.shared.log.admin();
        let mut committed = admin
            .committed(&self.shared.deployment.names.group(), &inputs)?
            .into_iter();
        let shared = self.shared.clone();
        for at in ready {
            let Some(slot) = &mut self.tasks[at] else { continue };
            let committed: Vec<Option<i64>> = committed.by_ref().take(slot.inputs.len()).collect();
            let mut restore = begin_restore(&shared, slot, committed, now)?;
            restore.snapshot = snapshot::ask(&shared, slot, &restore, now);
            let comes = restore.snapshot.is_some();
            slot.restore = Some(restore);
            slot.life.become_(TaskLife::Restoring);
            slot.published.set_status(TaskStatus::Restoring);
            if !comes {
                self.assign_restore(at)?;
            }
        }
        Ok(true)
    }

    pub(super) fn assign_restore(&mut self, at: usize) -> Result<(), Trouble> {
        let clients = self.clients.as_mut().ok_or_else(no_clients)?;
        let Some(restore) = self.tasks[at].as_mut().and_then(|slot| slot.restore.as_mut()) else {
            return Ok(());
        };
        for (part, store) in restore
            .stores
            .iter_mut()
            .enumerate()
            .filter(|(_, store)| !store.is_done())
        {
            let slot = self.restore_routes.add(Route { task: at, part });
            store.slot = Some(slot);
            clients.restore.assign(slot, &store.tp, store.position)?;
        }
        Ok(())
    }

    /// Reads changelogs on, and starts the tasks that have reached their end.
    fn restore_tasks(&mut self, now: Timestamp, wait: std::time::Duration) -> Result<bool, Trouble> {
        let mut busy = self.advance_snapshots(now)?;
        let clients = self.clients.as_mut().ok_or_else(no_clients)?;
        let (tasks, routes) = (&mut self.tasks, &self.restore_routes);
        let reading = tasks.iter().flatten().any(|slot| {
            slot.restore
                .as_ref()
                .is_some_and(|r| r.stores.iter().any(|s| s.slot.is_some()))
        });
        let mut given = 0;
        if reading {
            given = clients.restore.poll(RESTORE_RECORDS, wait, &mut |fetched| {
                let Fetched::Record(record) = fetched else { return };
                let Some(Route { task, part }) = routes.get(record.slot) else {
                    return;
                };
                let Some(slot) = tasks.get_mut(task).and_then(Option::as_mut) else {
                    return;
                };
                let (Some(task), Some(restore)) = (&mut slot.task, &mut slot.restore) else {
                    return;
                };
                // Our changelogs have keys; a record without one was put there by somebody else.
                if let Some(key) = record.key {
                    task.restore(restore.stores[part].store, key, record.value);
                }
                restore.records += 1;
            })?;
        }
        busy |= given > 0;
        let restoring = self
            .tasks
            .iter()
            .flatten()
            .filter(|slot| slot.restore.is_some())
            .count();
        let batch_bytes = (RESTORE_BATCH_BYTES / restoring.max(1)).max(LEAST_BATCH_BYTES);
        for at in 0..self.tasks.len() {
            let done = match (&mut self.tasks[at], &mut self.clients) {
                (Some(slot), Some(clients)) if slot.is_replaying() => advance_restore(
                    slot,
                    clients,
                    &mut self.restore_routes,
                    (now, batch_bytes),
                    &self.shared,
                )?,
                _ => continue,
            };
            if done {
                self.start_task(at)?;
                busy = true;
            }
        }
        Ok(busy)
    }

    /// The state is whole: inputs are read from the committed offsets.
    fn start_task(&mut self, at: usize) -> Result<(), Trouble> {
        let shared = self.shared.clone();
        let clients = self.clients.as_mut().ok_or_else(no_clients)?;
        let Some(slot) = &mut self.tasks[at] else { return Ok(()) };
        let Some(restore) = &slot.restore else { return Ok(()) };
        let names = &shared.deployment.names;
        let inputs: Vec<TopicPartition> = slot.inputs.iter().map(|input| input.tp.clone()).collect();
        let has_state = !slot.position.inputs.is_empty() || has_rows(slot.task.as_ref())?;
        let starts = restore::starts(
            (&names.group(), &shared.deployment.topology.name),
            &inputs,
            &restore.committed,
            &slot.position,
            has_state,
        );
        let starts = starts.map_err(Trouble::Stop)?;
        let mut offsets = Vec::with_capacity(inputs.len());
        for ((tp, start), input) in inputs.iter().zip(&starts).zip(&slot.inputs) {
            offsets.push(match start {
                Start::Committed(offset) => *offset,
                Start::New => first_offset(&shared, tp, input.internal)?,
            });
        }
        let records = restore.records;
        if let Some(task) = &mut slot.task
            && !restore.stores.is_empty()
        {
            reflect_committed(task, &mut slot.position, &inputs, &starts, restore.began)?;
            if records > 0 {
                // What was replayed is not replayed again, however soon the next crash comes.
                task.store_mut().flush_soon()?;
            }
            task.end_restore();
        }
        for (part, (offset, start)) in offsets.into_iter().zip(&starts).enumerate() {
            let input = &mut slot.inputs[part];
            input.next = offset;
            input.committed = if matches!(start, Start::New) { -1 } else { offset };
            input.stalled_until = None;
            let number = self.data_routes.add(Route { task: at, part });
            input.slot = Some(number);
            clients.data.assign(number, &input.tp, offset)?;
        }
        slot.restore = None;
        slot.reset_at = None;
        slot.life.become_(TaskLife::Running);
        slot.ready = true;
        slot.taken = 0;
        if let Some(task) = &slot.task {
            let reader = task.store().reader();
            shared.published.watchers.committed(slot.id, None, &*reader);
            slot.published.set_reader(Some(reader));
        }
        slot.publish_positions();
        slot.published.set_status(TaskStatus::Running);
        shared.published.metrics.restored.fetch_add(records, Relaxed);
        tracing::info!(
            topology = &*shared.deployment.topology.name,
            task = %slot.id,
            restored = records,
            "task runs"
        );
        Ok(())
    }
}

fn no_clients() -> Trouble {
    Trouble::Reopen("the clients are not open".into())
}

impl WorkerShared {
    /// A damaged store is deleted: everything that it held is in its changelogs.
    pub(super) fn rebuild_damaged(&self, path: &str, error: &StoreError) -> Result<(), Trouble> {
        tracing::warn!(path, %error, "the store is damaged; it is deleted and built anew from its changelogs");
        Ok(self.stores.delete(path)?)
    }

    /// Opens a store, an empty one in the place of a damaged one; `None` while another worker of this process has it.
    pub(super) fn take_store(&self, path: &str) -> Result<Option<Box<dyn Store>>, Trouble> {
        self.sound(path, self.stores.take(path))
    }

    /// A store as it was taken, or an empty one if that is damaged.
    fn sound(&self, path: &str, taken: StoreResult<Option<Box<dyn Store>>>) -> Result<Option<Box<dyn Store>>, Trouble> {
        match taken {
            Err(error) if error.is_corrupt() => {
                self.rebuild_damaged(path, &error)?;
                Ok(self.stores.take(path)?)
            }
            taken => Ok(taken?),
        }
    }
}

/// Opens the stores of tasks that have none yet; false while another worker of this process has one of them. An error of one keeps no other closed.
fn open_stores(shared: &WorkerShared, tasks: &mut [Option<TaskSlot>]) -> Result<bool, Trouble> {
    let opening = |slot: &&mut TaskSlot| slot.life == TaskLife::Opening && slot.task.is_none();
    let (stateless, stateful): (Vec<_>, Vec<_>) = (tasks.iter_mut().flatten().filter(opening))
        .partition(|slot| shared.deployment.subs[slot.id.sub].changelogs.is_empty());
    let path = |slot: &&mut TaskSlot| shared.deployment.store_path(slot.id);
    let paths: Vec<String> = stateful.iter().map(path).collect();
    let taken = shared.stores.take_all(&paths);
    let mut all = Ok(true);
    for ((slot, path), taken) in stateful.into_iter().zip(&paths).zip(taken) {
        let made = shared.sound(path, taken).and_then(|store| match store {
            // it goes with the task that is not made
            Some(store) => make_task(shared, slot, store)
                .map(|()| true)
                .inspect_err(|_| shared.stores.forget(path)),
            None => Ok(false),
        });
        all = all.and_then(|all| made.map(|made| all && made));
    }
    for slot in stateless {
        // A database that holds nothing but a position is not worth its files.
        make_task(shared, slot, Box::new(MemoryStore::detached()))?;
    }
    all
}

fn make_task(shared: &WorkerShared, slot: &mut TaskSlot, store: Box<dyn Store>) -> Result<(), Trouble> {
    let task = Task::new(shared.plans[slot.id.sub].clone(), slot.id.partition, store)?;
    slot.task = Some(task);
    // a new task counts from the beginning
    slot.counted = TaskMetrics::default();
    Ok(())
}

/// Compares the store with its changelogs and decides what is replayed.
fn begin_restore(
    shared: &WorkerShared,
    slot: &mut TaskSlot,
    committed: Vec<Option<i64>>,
    now: Timestamp,
) -> Result<Restore, Trouble> {
    let Some(task) = &mut slot.task else {
        return Err(Trouble::Recover("the store is not open".into()));
    };
    let sub = &shared.deployment.subs[slot.id.sub];
    let stored = task.store().position()?;
    if let Some(stored) = &stored
        && !sub.changelogs.is_empty()
        && stored.fingerprint != sub.fingerprint
        && slot.snapshot != SnapshotUse::Imported
    {
        let name = &shared.deployment.topology.name;
        return Err(Trouble::Stop(format!(
            "the state of task {} was built by another plan; rebuild it with `millstream replay {name}`",
            slot.id
        )));
    }
    let mut logs = Vec::with_capacity(sub.changelogs.len());
    for (store, target) in &sub.changelogs {
        let tp = TopicPartition::new(target.topic.clone(), slot.id.partition);
        let (low, end) = restore::watermarks(shared.log.admin(), &tp)?;
        logs.push((*store, tp, target.id.as_str(), low, end));
    }
    let retention_ms = shared.settings.delete_retention.as_millis() as i64;
    let mut begins = Vec::with_capacity(logs.len());
    if let Some(position) = &stored
        && !sub.changelogs.is_empty()
        && position.fingerprint != sub.fingerprint
    {
        let reason = "the snapshot was built by another plan";
        tracing::warn!(task = %slot.id, reason, "the store is built anew from its changelogs");
        // before it is empty: readers do not take that for its rows
        slot.published.set_status(TaskStatus::Restoring);
        task.store_mut().clear()?;
    } else if let Some(position) = &stored {
        for (_, tp, id, low, end) in &logs {
            let (id, low, end) = (*id, *low, *end);
            match restore::begin(position, &Changelog { tp, id, low, end }, now, retention_ms) {
                Begin::At(offset) => begins.push(offset),
                Begin::Rebuild(reason) => {
                    tracing::warn!(task = %slot.id, reason, "the store is built anew from its changelogs");
                    slot.published.set_status(TaskStatus::Restoring);
                    task.store_mut().clear()?;
                    begins.clear();
                    break;
                }
            }
        }
    }
    let keep = begins.len() == logs.len();
    // from nothing, the replay takes in whatever is deleted from now on
    slot.position = stored.filter(|_| keep).unwrap_or(StorePosition {
        applied_at: now,
        ..StorePosition::default()
    });
    slot.position.fingerprint.clone_from(&sub.fingerprint);
    let stores = logs.into_iter().enumerate().map(|(i, (store, tp, id, low, end))| {
        let from = if keep {
            begins.get(i).copied().unwrap_or(low)
        } else {
            low
        };
        RestoreStore {
            store,
            tp,
            topic_id: id.to_string(),
            slot: None,
            low,
            from,
            position: from,
            target: end,
        }
    });
    let stores: Vec<RestoreStore> = stores.collect();
    let shown = &slot.published.restore;
    shown
        .total
        .store(stores.iter().map(|s| (s.target - s.from).max(0) as u64).sum(), Relaxed);
    shown.done.store(0, Relaxed);
    shown.records.store(0, Relaxed);
    Ok(Restore {
        stores,
        snapshot: None,
        committed,
        began: now,
        records: 0,
        counted: (now, 0),
    })
}

/// Notes how far the replay has come and writes what is restored; true when it is complete.
fn advance_restore(
    slot: &mut TaskSlot,
    clients: &mut Clients,
    routes: &mut super::slots::Routes,
    (now, batch_bytes): (Timestamp, usize),
    shared: &WorkerShared,
) -> Result<bool, Trouble> {
    let (Some(task), Some(restore)) = (&mut slot.task, &mut slot.restore) else {
        return Ok(false);
    };
    for store in &mut restore.stores {
        let Some(number) = store.slot else { continue };
        store.position = clients
            .restore
            .position(number)?
            .unwrap_or(store.position)
            .max(store.position);
        if store.is_done() {
            clients.restore.unassign(number)?;
            routes.remove(number);
            store.slot = None;
        }
    }
    let done = restore.stores.iter().all(RestoreStore::is_done);
    let shown = &slot.published.restore;
    shown.records.store(restore.records, Relaxed);
    shown.done.store(
        restore.stores.iter().map(|s| (s.position - s.from).max(0) as u64).sum(),
        Relaxed,
    );
    let (since, before) = restore.counted;
    if now - since >= 1_000 {
        shown
            .records_per_second
            .store((restore.records - before) * 1_000 / (now - since) as u64, Relaxed);
        restore.counted = (now, restore.records);
    }
    let moved = restore.stores.iter().any(|store| store.position > store.from);
    if done || task.restored_bytes() >= batch_bytes {
        let fingerprint = &shared.deployment.subs[slot.id.sub].fingerprint;
        restore::note_restored(&mut slot.position, restore, fingerprint);
    }
    if task.restored_bytes() >= batch_bytes || (done && moved) {
        task.apply_restored(&slot.position)?;
        slot.unflushed = true;
        failpoint(Failpoint::MidRestore);
    }
    Ok(done)
}

/// Whether a store holds any row.
fn has_rows(task: Option<&Task>) -> Result<bool, Trouble> {
    let Some(task) = task else { return Ok(false) };
    let mut found = false;
    task.store().scan(&[], Some(&META_PREFIX.to_be_bytes()), &mut |_, _| {
        found = true;
        false
    })?;
    Ok(found)
}

/// The restored rows are those of the group's committed offsets: the store says so, for readers.
fn reflect_committed(
    task: &mut Task,
    position: &mut StorePosition,
    inputs: &[TopicPartition],
    starts: &[Start],
    began: Timestamp,
) -> Result<(), Trouble> {
    let before = position.inputs.clone();
    let committed = inputs.iter().zip(starts).filter_map(|(tp, start)| match start {
        Start::Committed(offset) => Some((tp, *offset)),
        Start::New => None,
    });
    restore::set_inputs(position, committed);
    if position.inputs != before {
        position.applied_at = began;
        task.apply_restored(position)?;
    }
    Ok(())
}

/// Where an input that was never read begins.
fn first_offset(shared: &WorkerShared, tp: &TopicPartition, internal: bool) -> Result<i64, Trouble> {
    let admin = shared.log.admin();
    match shared.start_from {
        StartFrom::Time(time) if !internal => Ok(admin.offset_for_time(tp, time)?),
        StartFrom::Time(_) | StartFrom::Earliest => Ok(admin.watermarks(tp)?.0),
    }
}
