//! A commit, in steps that can each be repeated: prepare, send, flush, offsets, commit, apply.
//!
//! ```text
//!   Preparing -> Sending -> Flushing -> Offsets -> Committing -> Applying -> done
//!       |           |          |           |           |            |
//!       +-----------+----------+-----------+-----------+------------+--> recover: one path for every failure
//! ```
//! The tasks of a worker commit together, in one transaction. While it is under way, records go on into the next generation, which sends nothing.
//! *Invariant*: `Task::committed` is called only after the log has said that the transaction is committed.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::failpoint::{Failpoint, failpoint};
use super::super::task::{Dest, Reason};
use super::life::Life;
use super::restore::set_inputs;
use super::slots::TaskSlot;
use super::trouble::Trouble;
use super::{Condemned, Worker};
use crate::log::{Delivered, LogError};
use crate::state::ChangelogPosition;
use crate::types::{Timestamp, TopicPartition};

/// Longest wait in one call for a broker's answer: a worker that is told to stop must hear it.
const CALL_WAIT: Duration = Duration::from_millis(500);
/// Positions that moved over markers only are committed after this, in milliseconds: nobody waits for them.
const MARKERS_COMMIT_MS: i64 = 1_000;
/// Full queues and answers that take their time are no trouble yet; from here on a commit that waits is told, in milliseconds.
const TELL_COMMIT_MS: i64 = 2_000;

/// Refusals in a row after which a record is suspected.
const SUSPECT_AFTER: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Sending,
    Flushing,
    Offsets,
    Committing,
    Applying,
}

/// A commit under way.
pub(super) struct Commit {
    phase: Phase,
    /// Tasks that take part, by their place.
    tasks: Vec<usize>,
    /// How many of them are prepared, or sent.
    done: usize,
    /// Records of the next one that are sent.
    sent: usize,
    offsets: Vec<(TopicPartition, i64)>,
    /// Next offsets of each task's inputs, as prepared.
    inputs: Vec<Vec<i64>>,
    delivered: Delivered,
    /// All inputs are committed again, moved or not.
    everything: bool,
    since: Timestamp,
    started: Duration,
    /// It has been said that it is waited for.
    told: bool,
}

impl Commit {
    /// Whether the topology is said to wait for it.
    pub(super) fn is_waited_for(&self) -> bool {
        self.told
    }
}

impl Commit {
    /// Whether it has taken so long that it is told.
    fn is_late(&self, now: Timestamp) -> bool {
        now - self.since >= TELL_COMMIT_MS
    }
}

impl Worker {
    /// Begins a commit where one is due.
    pub(super) fn begin_commit(&mut self, now: Timestamp) {
        // rows that were held back may look the global tables up
        if self.commit.is_some() || self.router.is_none() || !self.shared.globals.is_loaded() {
            return;
        }
        let everything = now >= self.next_idle_commit;
        let settings = &self.shared.settings;
        let buffered: usize = self
            .tasks
            .iter()
            .flatten()
            .filter_map(|s| s.task.as_ref())
            .map(|t| t.buffered_bytes())
            .sum();
        let waited = |since: Option<Timestamp>, ms: i64| since.is_some_and(|since| now - since >= ms);
        let interval_ms = settings.commit_interval.as_millis() as i64;
        let asked = self.life == Life::Stopping || self.is_isolating() || self.is_closing();
        let due = (self.dirty_since.is_some() && (asked || buffered >= self.buffer_bytes))
            || waited(self.dirty_since, interval_ms)
            || waited(self.moved_since, interval_ms.max(MARKERS_COMMIT_MS))
            || (asked && self.is_dirty());
        if !due && !everything {
            return;
        }
        let takes_part = |slot: &TaskSlot| slot.ready && slot.task.is_some() && (slot.is_dirty() || everything);
        let tasks: Vec<usize> = (0..self.tasks.len())
            .filter(|at| self.tasks[*at].as_ref().is_some_and(takes_part))
            .collect();
        if everything {
            self.next_idle_commit = now + settings.idle_commit_interval.as_millis() as i64;
        }
        self.dirty_since = None;
        self.moved_since = None;
        if tasks.is_empty() {
            return;
        }
        self.commit = Some(Commit {
            phase: Phase::Preparing,
            tasks,
            done: 0,
            sent: 0,
            offsets: Vec::new(),
            inputs: Vec::new(),
            delivered: Delivered::new(),
            everything,
            since: now,
            started: (self.shared.stopwatch)(),
            told: false,
        });
    }

    /// Takes the commit as far as it goes without waiting long; true when it made progress.
    pub(super) fn advance_commit(&mut self, now: Timestamp, wait: Duration) -> Result<bool, Trouble> {
        let Some(mut commit) = self.commit.take() else {
            return Ok(false);
        };
        let mut progress = false;
        loop {
            let result = match commit.phase {
                Phase::Preparing => self.prepare(&mut commit, now),
                Phase::Sending => self.send(&mut commit),
                Phase::Flushing => self.flush(&mut commit, wait),
                Phase::Offsets => self.send_offsets(&mut commit),
                Phase::Committing => self.end_transaction(&mut commit),
                Phase::Applying => {
                    self.apply(commit, now)?;
                    return Ok(true);
                }
            };
            match result {
                Ok(next) => commit.phase = next,
                Err(Trouble::Wait(text)) => {
                    if commit.is_late(now) {
                        self.tell_waiting(&text);
                        commit.told = true;
                    }
                    self.commit = Some(commit);
                    return Ok(progress);
                }
                Err(trouble) => {
                    let sending = matches!(commit.phase, Phase::Sending | Phase::Flushing);
                    self.commit = Some(commit);
                    return Err(if sending { self.suspect(trouble) } else { trouble });
                }
            }
            progress = true;
        }
    }

    /// What a broker refuses again and again is taken for the fault of a record. Whatever else keeps records away (no leader, too few replicas, a full
    /// disk) is waited for, however long it takes: no record is put aside for it.
    fn suspect(&mut self, trouble: Trouble) -> Trouble {
        let Trouble::Refused(text) = trouble else {
            return trouble;
        };
        self.send_failures += 1;
        if self.send_failures < SUSPECT_AFTER {
            return Trouble::Refused(text);
        }
        self.send_failures = 0;
        Trouble::Poison(Reason::Unwritable, text)
    }

    fn prepare(&mut self, commit: &mut Commit, now: Timestamp) -> Result<Phase, Trouble> {
        while let Some(at) = commit.tasks.get(commit.done) {
            let Some(slot) = &mut self.tasks[*at] else {
                return Err(Trouble::Recover("a task is gone".into()));
            };
            let Some(task) = &mut slot.task else {
                return Err(Trouble::Recover("a task is gone".into()));
            };
            task.prepare_commit(self.clock.wall(now))?;
            slot.prepared = task.metrics().clone();
            slot.committing = true;
            slot.taken = 0;
            // The first commit names all inputs: an offset that is missing later on was lost.
            let all = commit.everything || slot.inputs.iter().any(|input| input.committed < 0);
            let named = commit.offsets.len();
            let moved = slot.inputs.iter().filter(|input| all || input.next != input.committed);
            commit.offsets.extend(moved.map(|input| (input.tp.clone(), input.next)));
            // What records have left to do moves no input. Only with an offset does the coordinator check that the task is still this member's, and
            // does whoever takes it over wait for the transaction.
            if commit.offsets.len() == named {
                let first = slot.inputs.first();
                commit.offsets.extend(first.map(|input| (input.tp.clone(), input.next)));
            }
            commit.inputs.push(slot.inputs.iter().map(|input| input.next).collect());
            commit.done += 1;
        }
        self.transaction(|producer| producer.begin())?;
        self.in_transaction = true;
        commit.done = 0;
        Ok(Phase::Sending)
    }

    fn transaction<R>(
        &mut self,
        run: impl FnOnce(&mut dyn crate::log::TransactionalProducer) -> Result<R, LogError>,
    ) -> Result<R, Trouble> {
        match &mut self.clients {
            Some(clients) => Ok(run(&mut *clients.producer)?),
            None => Err(Trouble::Reopen("the producer is not open".into())),
        }
    }

    fn send(&mut self, commit: &mut Commit) -> Result<Phase, Trouble> {
        let (Some(clients), Some(router)) = (&mut self.clients, &mut self.router) else {
            return Err(Trouble::Reopen("the producer is not open".into()));
        };
        while let Some(at) = commit.tasks.get(commit.done) {
            let slot = self.tasks[*at].as_ref();
            let Some(outbox) = slot.and_then(|slot| slot.task.as_ref()).and_then(|task| task.frozen()) else {
                return Err(Trouble::Recover("a task is gone".into()));
            };
            let partition = slot.map_or(0, |slot| slot.id.partition);
            let half = outbox.len() / 2;
            for record in outbox.iter().skip(commit.sent) {
                router.send(&record, partition, &self.shared.outputs, &mut *clients.producer)?;
                commit.sent += 1;
                if commit.sent == half {
                    failpoint(Failpoint::MidFlush);
                }
            }
            commit.sent = 0;
            commit.done += 1;
        }
        Ok(Phase::Flushing)
    }

    fn flush(&mut self, commit: &mut Commit, wait: Duration) -> Result<Phase, Trouble> {
        commit.delivered = self.transaction(|producer| producer.flush(wait))?;
        failpoint(Failpoint::OutputsSent);
        Ok(Phase::Offsets)
    }

    fn send_offsets(&mut self, commit: &mut Commit) -> Result<Phase, Trouble> {
        let Some(clients) = &mut self.clients else {
            return Err(Trouble::Reopen("the group was left".into()));
        };
        if !commit.offsets.is_empty() {
            let metadata = clients.membership.metadata()?;
            clients.producer.send_offsets(&commit.offsets, &metadata, CALL_WAIT)?;
        }
        failpoint(Failpoint::OffsetsSent);
        Ok(Phase::Committing)
    }

    fn end_transaction(&mut self, _commit: &mut Commit) -> Result<Phase, Trouble> {
        self.transaction(|producer| producer.commit(CALL_WAIT))?;
        self.in_transaction = false;
        failpoint(Failpoint::CommittedNotApplied);
        Ok(Phase::Applying)
    }

    /// The transaction is committed: stores, positions and readers follow.
    fn apply(&mut self, commit: Commit, now: Timestamp) -> Result<(), Trouble> {
        let shared = self.shared.clone();
        let watched = shared.published.watchers.wanted();
        for (at, next) in commit.tasks.iter().zip(&commit.inputs) {
            let Some(slot) = &mut self.tasks[*at] else { continue };
            let Some(task) = &mut slot.task else { continue };
            for (input, next) in slot.inputs.iter_mut().zip(next) {
                input.committed = *next;
                if input.internal {
                    self.purge.insert(input.tp.clone(), *next);
                }
            }
            let positions = slot.inputs.iter().map(|input| (&input.tp, input.committed));
            set_inputs(&mut slot.position, positions);
            for (store, target) in &shared.deployment.subs[slot.id.sub].changelogs {
                let handle = self.router.as_ref().and_then(|router| router.changelog(*store));
                let here =
                    |(topic, partition, _): &&(_, i32, i64)| Some(*topic) == handle && *partition == slot.id.partition;
                let highest = commit.delivered.iter().find(here).map(|(.., offset)| offset + 1);
                note_changelog(&mut slot.position.changelogs, target, highest);
            }
            slot.position.applied_at = self.clock.wall(now);
            slot.committing = false;
            let keys = watched.then(|| changed_keys(task));
            task.committed(&slot.position)?;
            slot.unflushed = true;
            if shared.published.watchers.wanted() {
                shared
                    .published
                    .watchers
                    .committed(slot.id, keys, &*task.store().reader());
            }
            count(slot, &shared.published);
            slot.publish_positions();
        }
        self.send_failures = 0;
        self.end_isolation();
        let took = (shared.stopwatch)().saturating_sub(commit.started);
        shared.published.note_commit(took);
        self.backoff.reset();
        self.tell_running();
        Ok(())
    }

    /// A record's results cannot be sent (mostly: they are larger than a topic takes). Alone in its transaction it is known to be the culprit and goes to the dead-letter
    /// topic; among others, the records of this transaction are processed again one at a time.
    pub(super) fn isolate_poison(&mut self, kind: Reason, reason: String) -> Result<(), Trouble> {
        let taken: Vec<&TaskSlot> = self.tasks.iter().flatten().filter(|slot| slot.committing).collect();
        let moved = taken.iter().flat_map(|slot| &slot.inputs);
        let moved = moved.filter(|input| input.next > input.committed.max(0));
        let until: Vec<(TopicPartition, i64)> = moved.map(|input| (input.tp.clone(), input.next)).collect();
        let single = self.is_isolating().then(|| {
            let last = taken
                .iter()
                .find_map(|slot| slot.last.map(|(part, offset)| (&slot.inputs[part].tp, offset)));
            last.map(|(tp, offset)| (tp.clone(), offset))
        });
        let known = |tp: &TopicPartition, offset: i64| {
            let mut condemned = self.condemned.iter();
            condemned.find(|condemned| condemned.tp == *tp && condemned.offset == offset)
        };
        match single.flatten() {
            Some((tp, offset)) if known(&tp, offset).is_some_and(|condemned| condemned.again) => {
                return Err(Trouble::Stop(format!(
                    "not even the dead letter of {tp}@{offset} can be written, nor what is left without it: {reason}; check the settings of the dead-letter topic, max.message.bytes above all"
                )));
            }
            Some((tp, offset)) => {
                tracing::warn!(%tp, offset, reason, "the results of a record cannot be sent: they go to the dead-letter topic");
                let again = known(&tp, offset).is_some();
                // those of other partitions are not committed yet, and stay condemned: else two of them would take turns for ever
                self.condemned.retain(|other| other.tp != tp);
                self.condemned.push(Condemned {
                    tp,
                    offset,
                    kind,
                    reason,
                    again,
                });
            }
            None => tracing::warn!(
                reason,
                "looking for the record whose results cannot be sent, one a transaction"
            ),
        }
        for (tp, until) in until {
            let known = self.isolated.entry(tp).or_insert(until);
            *known = until.max(*known);
        }
        Ok(())
    }

    /// Records come together again once those of the transaction that failed are committed; what became of partitions that others have now is theirs to
    /// find out.
    pub(super) fn end_isolation(&mut self) {
        if self.isolated.is_empty() {
            return;
        }
        let inputs = || self.tasks.iter().flatten().flat_map(|slot| &slot.inputs);
        self.isolated
            .retain(|tp, until| inputs().any(|input| input.tp == *tp && input.committed < *until));
        if self.isolated.is_empty() {
            self.condemned.clear();
        }
    }

    /// Purges repartition topics behind the commit, now and then.
    pub(super) fn purge_repartitions(&mut self, now: Timestamp) {
        if self.purge.is_empty() || now < self.next_purge || self.commit.is_some() {
            return;
        }
        self.next_purge = now + self.shared.settings.purge_interval.as_millis() as i64;
        let before: Vec<_> = std::mem::take(&mut self.purge)
            .into_iter()
            .filter(|(_, offset)| *offset > 0)
            .collect();
        if let Err(error) = self.shared.log.admin().delete_records(&before) {
            // They are asked for again after the next commit; until then the topic is a little longer.
            tracing::debug!(%error, "repartition topics were not purged");
        }
    }
}

fn note_changelog(
    changelogs: &mut Vec<ChangelogPosition>,
    target: &super::super::deployment::TopicTarget,
    highest: Option<i64>,
) {
    match changelogs.iter_mut().find(|changelog| changelog.topic == target.topic) {
        // A report without offset leaves the old position; replaying a little more changes nothing.
        Some(changelog) => changelog.offset = highest.unwrap_or(changelog.offset).max(changelog.offset),
        None => changelogs.push(ChangelogPosition {
            topic: target.topic.clone(),
            topic_id: target.id.clone(),
            offset: highest.unwrap_or(0),
        }),
    }
}

fn changed_keys(task: &super::super::task::Task) -> Vec<Vec<u8>> {
    let records = task.frozen().into_iter().flat_map(|outbox| outbox.iter());
    records
        .filter_map(|record| match record.dest {
            Dest::Changelog(store) => Some([&store.to_be_bytes()[..], record.key.unwrap_or_default()].concat()),
            Dest::Sink(_) | Dest::Repartition(_) | Dest::DeadLetter => None,
        })
        .collect()
}

/// Adds what a task had counted when its commit was prepared, since the commit before, to the topology's counters.
fn count(slot: &mut TaskSlot, published: &super::super::PublishedTopology) {
    let Some(task) = &slot.task else { return };
    let (now, before, to) = (&slot.prepared, &slot.counted, &published.metrics);
    to.records.fetch_add(now.records_in - before.records_in, Relaxed);
    to.bytes.fetch_add(now.bytes_in - before.bytes_in, Relaxed);
    to.sent.fetch_add(now.records_out - before.records_out, Relaxed);
    to.changelog
        .fetch_add(now.changelog_out - before.changelog_out, Relaxed);
    to.dead_letters
        .fetch_add(now.all_dead_letters() - before.all_dead_letters(), Relaxed);
    for reason in Reason::ALL {
        let new = now.dead_letters(reason) - before.dead_letters(reason);
        if new > 0 {
            *to.dead_letter_reasons.write().entry(reason.word()).or_default() += new;
        }
    }
    for (node, reason, dropped) in now.dropped() {
        let known = before
            .dropped()
            .find(|(n, r, _)| *n == node && *r == reason)
            .map_or(0, |(.., d)| d.count);
        if dropped.count > known {
            let name = task.plan().topology().nodes[node].name.clone();
            *to.dropped.write().entry((name, reason.word())).or_default() += dropped.count - known;
        }
    }
    slot.counted = now.clone();
}
