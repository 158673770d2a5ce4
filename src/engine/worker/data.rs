//! From the fetcher to the tasks: straight through for tasks with one input, through queues ordered by time for the others.

use std::time::Duration;

use super::super::queue::{Choice, Flow, Queued};
use super::super::task::{InputRecord, TaskError};
use super::life::TaskLife;
use super::slots::{Route, Routes, TakeError, TaskSlot};
use super::trouble::Trouble;
use super::{Condemned, Worker};
use crate::log::{Fetched, HeadersRef, LogError, RecordRef};
use crate::topology::NodeId;
use crate::types::{Timestamp, TopicPartition};

/// Records taken from the fetcher or the queues in a step: some ten milliseconds of work, so that the membership is polled in between.
const STEP_RECORDS: usize = 5_000;
/// Records of an input whose rows are read together before they are processed: more share a block, fewer fit into the cache until their turn.
const LOOK_AHEAD: usize = 1_000;
/// A record that met an unreachable registry is read again after this, in milliseconds.
const STALL_MS: i64 = 500;

/// What a pass over fetched records leaves to do once the fetcher is free again.
#[derive(Default)]
struct After {
    flows: Vec<(Route, Flow)>,
    stalled: Vec<Route>,
    ended: bool,
    waiting: Option<String>,
    trouble: Option<Trouble>,
}

/// What both ways to a task need to know.
#[derive(Clone, Copy)]
struct Pass<'a> {
    /// The time of day.
    now: Timestamp,
    condemned: &'a [Condemned],
}

impl Worker {
    /// Fetches and processes; true when there was something. Waits up to `wait` where nothing is there.
    pub(super) fn advance_data(&mut self, now: Timestamp, wait: Duration) -> Result<bool, Trouble> {
        self.resume_stalled(now)?;
        self.end_isolation();
        if self.is_isolating() {
            return self.advance_one(now, wait);
        }
        let mut busy = self.drain_queues(now, STEP_RECORDS)?;
        busy |= self.go_on(now)?;
        busy |= self.fetch(now, if busy { Duration::ZERO } else { wait }, STEP_RECORDS)?;
        busy |= self.drain_queues(now, STEP_RECORDS)?;
        Ok(busy)
    }

    /// While a record is looked for whose results cannot be sent: one record, or else a piece of what records have left to do. A piece has a transaction of
    /// its own, so that no record is taken for the culprit of what the piece sends.
    fn advance_one(&mut self, now: Timestamp, wait: Duration) -> Result<bool, Trouble> {
        if self.drain_queues(now, 1)? {
            return Ok(true);
        }
        let mut busy = self.fetch(now, wait, 1)?;
        if !self.is_dirty() {
            busy |= self.drain_queues(now, 1)?;
        }
        if !busy && !self.is_dirty() {
            busy = self.go_on(now)?;
        }
        Ok(busy)
    }

    /// Work that records have left to do: a bounded piece a task and step, so that records and commits come in between.
    fn go_on(&mut self, now: Timestamp) -> Result<bool, Trouble> {
        let wall = self.clock.wall(now);
        let mut busy = false;
        for slot in self.tasks.iter_mut().flatten() {
            let Some(task) = slot.task.as_mut().filter(|_| slot.life == TaskLife::Running) else {
                continue;
            };
            if task.go_on(wall)? {
                if slot.taken == 0 {
                    slot.last = None;
                }
                slot.taken += 1;
                busy = true;
            }
        }
        Ok(busy)
    }

    fn fetch(&mut self, now: Timestamp, wait: Duration, max: usize) -> Result<bool, Trouble> {
        let Some(clients) = &mut self.clients else {
            return Ok(false);
        };
        let (tasks, routes, mut after) = (&mut self.tasks, &self.data_routes, After::default());
        let pass = Pass {
            now: self.clock.wall(now),
            condemned: &self.condemned,
        };
        let polled = clients.data.poll(max, wait, &mut |fetched| {
            hand_over(fetched, routes, tasks, pass, &mut after)
        });
        self.settle(after, now)?;
        match polled {
            Ok(given) => Ok(given > 0),
            Err(LogError::OutOfRange { tp, offset, low, high }) => Err(self.out_of_range(tp, offset, (low, high))),
            Err(error) => Err(error.into()),
        }
    }

    /// Records that are gone unread stop the topology, unless the group has gone on without this worker: then its successor has read them, and those of an
    /// internal topic are purged behind its commits.
    fn out_of_range(&self, tp: TopicPartition, offset: i64, (low, high): (i64, i64)) -> Trouble {
        let group = self.shared.deployment.names.group();
        match self.shared.log.admin().committed(&group, std::slice::from_ref(&tp)) {
            Ok(committed) if committed.iter().flatten().any(|committed| *committed > offset) => Trouble::Recover(
                format!("the group has gone on with {tp} behind offset {offset}, where this worker would have read on"),
            ),
            // it is read again, and asked again
            Err(LogError::Retry(text)) => Trouble::Recover(text),
            Ok(_) | Err(_) => LogError::OutOfRange { tp, offset, low, high }.into(),
        }
    }

    /// Processes what waits in queues, as far as their order is known.
    fn drain_queues(&mut self, now: Timestamp, max: usize) -> Result<bool, Trouble> {
        let mut after = After::default();
        let pass = Pass {
            now: self.clock.wall(now),
            condemned: &self.condemned,
        };
        let mut left = max;
        for (at, slot) in self.tasks.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            if slot.life == TaskLife::Running && slot.queue.is_some() {
                left = drain_queue(at, slot, left, pass, &mut after);
            }
        }
        self.settle(after, now)?;
        Ok(left < max)
    }

    fn settle(&mut self, after: After, now: Timestamp) -> Result<(), Trouble> {
        let Some(clients) = &mut self.clients else {
            return Ok(());
        };
        for (route, flow) in after.flows {
            let Some(slot) = self.tasks[route.task]
                .as_ref()
                .and_then(|slot| slot.inputs[route.part].slot)
            else {
                continue;
            };
            match flow {
                Flow::Keep => {}
                Flow::Pause => clients.data.pause(slot)?,
                Flow::Resume => clients.data.resume(slot)?,
            }
        }
        for route in after.stalled {
            let Some(input) = self.tasks[route.task].as_mut().map(|slot| &mut slot.inputs[route.part]) else {
                continue;
            };
            if let Some(number) = input.slot.take() {
                clients.data.unassign(number)?;
                self.data_routes.remove(number);
            }
            input.stalled_until = Some(now + STALL_MS);
        }
        if after.ended || self.tasks.iter().flatten().any(|slot| slot.queue.is_some()) {
            self.pass_markers()?;
        }
        if let Some(text) = after.waiting {
            self.tell_waiting(&text);
        }
        if self.dirty_since.is_none() && self.tasks.iter().flatten().any(|slot| slot.taken > 0) {
            self.dirty_since = Some(now);
        }
        if self.moved_since.is_none() && self.is_dirty() {
            self.moved_since = Some(now);
        }
        after.trouble.map_or(Ok(()), Err)
    }

    /// Behind the last record there may be markers: nothing of ours, but the position is past them once all is processed.
    fn pass_markers(&mut self) -> Result<(), Trouble> {
        let Some(clients) = &mut self.clients else {
            return Ok(());
        };
        for slot in self.tasks.iter_mut().flatten() {
            for (part, input) in slot.inputs.iter_mut().enumerate().filter(|(_, input)| input.at_end) {
                let waits = slot.queue.as_ref().is_some_and(|queue| queue.waiting(part) > 0);
                if let (Some(number), None, false) = (input.slot, input.stalled_until, waits) {
                    input.next = clients.data.position(number)?.unwrap_or(input.next).max(input.next);
                    input.at_end = false;
                }
            }
        }
        Ok(())
    }

    /// Reads inputs on whose record could not be taken before.
    fn resume_stalled(&mut self, now: Timestamp) -> Result<(), Trouble> {
        let Some(clients) = &mut self.clients else {
            return Ok(());
        };
        for (task, slot) in self.tasks.iter_mut().enumerate() {
            let Some(slot) = slot.as_mut().filter(|slot| slot.life == TaskLife::Running) else {
                continue;
            };
            for (part, input) in slot.inputs.iter_mut().enumerate() {
                if input.slot.is_some() || input.stalled_until.is_none_or(|until| until > now) {
                    continue;
                }
                let number = self.data_routes.add(Route { task, part });
                clients.data.assign(number, &input.tp, input.next)?;
                input.slot = Some(number);
                input.stalled_until = None;
                if let Some(queue) = &mut slot.queue {
                    queue.clear(part);
                }
            }
        }
        Ok(())
    }
}

/// What the fetcher gave: straight to the task, or into its queue.
fn hand_over(fetched: Fetched<'_>, routes: &Routes, tasks: &mut [Option<TaskSlot>], pass: Pass<'_>, after: &mut After) {
    let number = match &fetched {
        Fetched::Record(record) => record.slot,
        Fetched::End { slot } | Fetched::Ahead { slot, .. } => *slot,
    };
    let Some(route) = routes.get(number) else { return };
    let Some(slot) = tasks.get_mut(route.task).and_then(Option::as_mut) else {
        return;
    };
    if let Fetched::Record(_) = fetched {
        slot.inputs[route.part].at_end = false;
    }
    if after.trouble.is_some() || slot.life != TaskLife::Running || after.stalled.contains(&route) {
        return;
    }
    match (fetched, &mut slot.queue) {
        (Fetched::End { .. }, queue) => {
            if let Some(queue) = queue {
                queue.reached_end(route.part);
            }
            slot.inputs[route.part].at_end = true;
            after.ended = true;
        }
        (Fetched::Record(record), Some(queue)) => {
            let flow = queue.push(route.part, Queued::copy(&record));
            if flow != Flow::Keep {
                after.flows.push((route, flow));
            }
        }
        (Fetched::Ahead { keys, .. }, None) => look_ahead(slot, route.part, keys, after),
        // what waits in queues is looked at when its turn comes nearer
        (Fetched::Ahead { .. }, Some(_)) => {}
        (Fetched::Record(record), None) => {
            give(route, slot, &input_parts(&record), pass, after);
        }
    }
}

/// A record without its place, which the input knows.
struct Parts<'a> {
    offset: i64,
    timestamp: Timestamp,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: HeadersRef<'a>,
}

fn input_parts<'a>(record: &RecordRef<'a>) -> Parts<'a> {
    Parts {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

fn drain_queue(at: usize, slot: &mut TaskSlot, mut left: usize, pass: Pass<'_>, after: &mut After) -> usize {
    while left > 0 && after.trouble.is_none() {
        let Some(queue) = &mut slot.queue else { return left };
        let Choice::Take(part) = queue.choose() else {
            return left;
        };
        if slot.inputs[part].stalled_until.is_some() {
            return left;
        }
        let keys: Vec<&[u8]> = queue.ahead(part, LOOK_AHEAD).filter_map(Queued::key).collect();
        if let Some(task) = &mut slot.task
            && let Err(error) = task.look_ahead(&slot.inputs[part].sources, &keys)
        {
            after.trouble = Some(TaskError::Store(error).into());
            return left;
        }
        let Some((record, flow)) = queue.pop(part) else {
            return left;
        };
        let route = Route { task: at, part };
        if flow != Flow::Keep {
            after.flows.push((route, flow));
        }
        let parts = Parts {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key(),
            value: record.value(),
            headers: if record.headers.is_some() {
                HeadersRef::Owned(&record.headers)
            } else {
                HeadersRef::None
            },
        };
        if !give(route, slot, &parts, pass, after) {
            return left;
        }
        left -= 1;
    }
    left
}

fn look_ahead(slot: &mut TaskSlot, part: usize, keys: &[&[u8]], after: &mut After) {
    if let Some(task) = &mut slot.task
        && let Err(error) = task.look_ahead(&slot.inputs[part].sources, keys)
    {
        after.trouble = Some(TaskError::Store(error).into());
    }
}

/// Gives one record to its task; false when it was not taken.
fn give(route: Route, slot: &mut TaskSlot, parts: &Parts<'_>, pass: Pass<'_>, after: &mut After) -> bool {
    let input = &slot.inputs[route.part];
    let tp = input.tp.clone();
    let record = InputRecord {
        topic: &tp.topic,
        partition: tp.partition,
        offset: parts.offset,
        timestamp: parts.timestamp,
        key: parts.key,
        value: parts.value,
        headers: parts.headers,
    };
    let condemned = pass.condemned.iter().find(|c| c.tp == tp && c.offset == parts.offset);
    let result = match condemned {
        Some(condemned) => pass_by(slot, route.part, &record, condemned, pass.now),
        None => slot.take(route.part, &record, pass.now),
    };
    match result {
        Ok(()) => return true,
        Err(TakeError::Again(text)) => {
            slot.inputs[route.part].stalled_until = Some(pass.now);
            after.stalled.push(route);
            after.waiting = Some(text);
        }
        Err(TakeError::Recover(text)) => after.trouble = Some(Trouble::Recover(text)),
        Err(TakeError::Task(error)) => after.trouble = Some(error.into()),
    }
    false
}

/// A record that made sending fail goes to the dead-letter topic instead of being processed; one that cannot be rejected is processed as far as
/// its results can be sent.
fn pass_by(
    slot: &mut TaskSlot,
    part: usize,
    record: &InputRecord<'_>,
    condemned: &Condemned,
    now: Timestamp,
) -> Result<(), TakeError> {
    let Some(task) = &mut slot.task else { return Ok(()) };
    let source: NodeId = slot.inputs[part].sources[0];
    let done = match task.must_take(source) && !condemned.again {
        true => task.process_weighing(source, record, now),
        false => task.dead_letter(source, record, (condemned.kind, &condemned.reason), now),
    };
    done.map_err(TakeError::Task)?;
    slot.inputs[part].next = record.offset + 1;
    slot.taken += 1;
    slot.last = Some((part, record.offset));
    Ok(())
}
