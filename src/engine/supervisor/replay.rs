//! Replay: a new generation is built beside the one that answers; when it has caught up, views switch and the old one is removed.
//!
//! ```text
//!   begin_replay -> Building ------------------> Switching ----------------------------> generation N+1, leftovers [N]
//!                   N answers and processes,      N stands still and answers,             views switch,
//!                   N+1 catches up                output tables are put right             N is removed
//! ```
//! Every step is a record in the control topic, so that an interrupted replay goes on. What only one instance should do is done by the owner of the
//! first task; two that believe to be it do no harm, since all of it can be repeated.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::super::deploy::control::{ControlRecord, ReplayPhase};
use super::super::deploy::{self, DeployError, Problem, operations};
use super::super::repair;
use super::super::threads::{Generation, Stop};
use super::super::worker::OutputMode;
use super::super::{Names, Numbering, ReplayProgress, TopologyStatus};
use super::{Managed, Supervisor, start, stop_generation};
use crate::log::{Admin, LogError};

/// How often the progress of a replay is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// A replay has caught up when no more offsets than this are left, or than it does in [`CAUGHT_UP_SECONDS`]: inputs may never stand still.
const CAUGHT_UP_OFFSETS: u64 = 1_000;
const CAUGHT_UP_SECONDS: u64 = 2;

/// Offsets of a generation's inputs.
struct Measure {
    /// External inputs gone through.
    done: u64,
    /// External inputs in all.
    total: u64,
    /// Left on all inputs, repartition topics included.
    left: u64,
}

impl Supervisor {
    /// Brings generations in line with the record of a topology that is to run.
    pub(super) fn follow_generations(&mut self, name: &str, record: &ControlRecord) -> Result<(), DeployError> {
        let Some(mut managed) = self.topologies.remove(name) else {
            return Ok(());
        };
        let result = self.align(name, &mut managed, record);
        self.topologies.insert(name.to_string(), managed);
        result
    }

    fn align(&mut self, name: &str, managed: &mut Managed, record: &ControlRecord) -> Result<(), DeployError> {
        let number = |generation: &Generation| generation.shared.deployment.names.generation();
        if managed
            .building
            .as_ref()
            .is_some_and(|building| number(building) == record.generation)
        {
            self.switch(name, managed, record.generation);
        }
        let is_current = managed
            .current
            .as_ref()
            .is_some_and(|current| number(current) == record.generation);
        let own = managed.plan.fingerprint();
        let switching = record
            .replay
            .as_ref()
            .is_some_and(|replay| replay.phase == ReplayPhase::Switching);
        if own == record.fingerprint {
            let processes = |current: &Generation| current.is_running() && !current.shared.paused;
            let runs = is_current && managed.current.as_ref().is_some_and(processes);
            // Where only the replay was started, the old generation cannot run any more.
            let given_up = managed.current.is_none() && managed.building.is_some();
            if !runs && !switching && !given_up {
                self.restart(managed, record)?;
            }
        } else if is_current || record.replay.as_ref().is_none_or(|replay| replay.fingerprint != own) {
            let reason = "another version of its SQL is deployed; restart this instance with the same files";
            if let Some(current) = &mut managed.current {
                current.tell_to_stop(Stop::Pause);
                current.join();
                current
                    .shared
                    .published
                    .set_status(TopologyStatus::Stopped(reason.into()));
            }
        }
        match &record.replay {
            Some(replay) if replay.fingerprint == own => {
                let wrong = managed
                    .building
                    .as_ref()
                    .is_some_and(|building| number(building) != replay.generation);
                if wrong {
                    stop_generation(&mut managed.building, Stop::Remove);
                }
                if managed.building.is_none() {
                    managed.building = Some(self.build_generation(&managed.topology, replay)?);
                }
                if switching {
                    self.stand_still(managed);
                }
            }
            Some(_) | None => {
                stop_generation(&mut managed.building, Stop::Remove);
                if let Some(current) = &managed.current {
                    *current.shared.published.replay.write() = None;
                }
            }
        }
        self.delete_local(name, managed, record);
        Ok(())
    }

    /// Starts the answering generation (again).
    fn restart(&mut self, managed: &mut Managed, record: &ControlRecord) -> Result<(), DeployError> {
        stop_generation(&mut managed.current, Stop::Restart);
        let deployed = operations::numbered(&record.numbering, &managed.topology).and_then(|topology| {
            let wanted = deploy::GenerationPlan {
                topology,
                generation: record.generation,
                before: record.partitions.clone(),
            };
            deploy::deploy(&self.parts.context(), &wanted)
        });
        let deployment = match deployed {
            Ok(deployment) => std::sync::Arc::new(deployment),
            Err(DeployError::Problems(problems)) => {
                self.cannot_start(managed, &problems);
                return Ok(());
            }
            Err(away) => return Err(away),
        };
        let from = record
            .from
            .map_or(super::super::StartFrom::Earliest, super::super::StartFrom::Time);
        let shared = self.worker_shared(&deployment, from, OutputMode::default(), false)?;
        self.shared.published.insert(shared.published.clone());
        managed.current = Some(start::start_threads(shared)?);
        Ok(())
    }

    fn cannot_start(&self, managed: &Managed, problems: &[Problem]) {
        let reason = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        tracing::error!(topology = &*managed.topology.name, reason, "cannot be started");
        if let Some(published) = self.shared.published.topology(&managed.topology.name) {
            published.set_status(TopologyStatus::Stopped(reason));
        }
    }

    /// The new generation answers from now on.
    fn switch(&self, name: &str, managed: &mut Managed, generation: u32) {
        let Some(building) = managed.building.take() else {
            return;
        };
        building.shared.outputs.mute_streams.store(false, Relaxed);
        building.shared.outputs.mark_generation.store(false, Relaxed);
        self.shared.published.insert(building.shared.published.clone());
        stop_generation(&mut managed.current, Stop::Remove);
        managed.current = Some(building);
        tracing::info!(topology = name, generation, "the rebuilt state answers now");
    }

    /// The old generation stops processing; what it has goes on answering.
    fn stand_still(&self, managed: &mut Managed) {
        if let Some(current) = managed.current.as_mut().filter(|current| current.is_running()) {
            current.tell_to_stop(Stop::HandOver);
            current.join();
        }
        if let Some(building) = &managed.building {
            building.shared.outputs.mute_streams.store(false, Relaxed);
        }
    }

    /// Local state of generations that are no more.
    fn delete_local(&self, name: &str, managed: &Managed, record: &ControlRecord) {
        for leftover in &record.leftovers {
            let path = Names::new(&self.parts.settings.app_id, name, *leftover).stores();
            let in_use = managed
                .current
                .iter()
                .chain(&managed.building)
                .any(|g| g.shared.deployment.names.generation() == *leftover);
            if !in_use && let Err(error) = self.stores.delete(&path) {
                tracing::debug!(path, %error, "old state was not deleted yet");
            }
        }
    }

    /// Takes replays and the removal of old generations further.
    pub(super) fn advance_replays(&mut self) {
        let due = |managed: &Managed| managed.measured.is_none_or(|(at, _)| at.elapsed() >= MEASURE_EVERY);
        let names: Vec<String> = self
            .topologies
            .iter()
            .filter(|(_, managed)| due(managed))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(record) = self.control.state.get(&name).cloned() else {
                continue;
            };
            let done_before = self
                .topologies
                .get(&name)
                .and_then(|managed| managed.measured)
                .map_or(0, |(_, done)| done);
            if let Some(managed) = self.topologies.get_mut(&name) {
                managed.measured = Some((Instant::now(), done_before));
            }
            if let Err(error) = self.advance_replay(&name, &record) {
                tracing::debug!(topology = name, %error, "the replay waits");
            }
        }
    }

    fn advance_replay(&mut self, name: &str, record: &ControlRecord) -> Result<(), DeployError> {
        if !record.leftovers.is_empty() && record.replay.is_none() {
            return self.remove_leftovers(name, record);
        }
        let (Some(replay), Some(managed)) = (&record.replay, self.topologies.get(name)) else {
            return Ok(());
        };
        let Some(building) = &managed.building else {
            return Ok(());
        };
        match replay.phase {
            ReplayPhase::Building => {
                let caught_up = self.measure_replay(name)?;
                if caught_up && self.leads(name) {
                    let mut next = record.clone();
                    if let Some(replay) = &mut next.replay {
                        replay.phase = ReplayPhase::Switching;
                    }
                    tracing::info!(
                        topology = name,
                        generation = replay.generation,
                        "the replay has caught up"
                    );
                    self.write_record(name, next)?;
                }
                Ok(())
            }
            ReplayPhase::Switching => {
                let old = Names::new(&self.parts.settings.app_id, name, record.generation).group();
                let log_error = |e| DeployError::log(&managed.topology.name, e);
                let admin = self.parts.log.admin();
                if !self.leads(name) || admin.group_members(&old).map_err(log_error)? > 0 {
                    return Ok(());
                }
                let repaired =
                    repair::put_outputs_right(&*self.parts.log, &building.shared.deployment, &self.shared.stop);
                let Some(repaired) = repaired.map_err(log_error)? else {
                    return Ok(());
                };
                // an instance that has started meanwhile may have written to them once more
                if admin.group_members(&old).map_err(log_error)? > 0 {
                    return Ok(());
                }
                tracing::info!(
                    topology = name,
                    deleted = repaired.deleted,
                    rewritten = repaired.rewritten,
                    "output tables are right"
                );
                let deployment = &building.shared.deployment;
                let mut leftovers = record.leftovers.clone();
                leftovers.push(record.generation);
                let next = ControlRecord {
                    generation: replay.generation,
                    state: managed.plan.clone(),
                    fingerprint: managed.plan.fingerprint(),
                    explain: crate::topology::explain(&managed.topology, &deployment.names),
                    partitions: deployment.partitions(),
                    numbering: Numbering::of(&deployment.topology),
                    outputs: operations::outputs_of(&managed.topology),
                    from: replay.from,
                    replay: None,
                    leftovers,
                    ..record.clone()
                };
                self.write_record(name, next)
            }
        }
    }

    /// Whether this instance does what one is enough for: it owns the first task of the generation in question.
    fn leads(&self, name: &str) -> bool {
        let Some(managed) = self.topologies.get(name) else {
            return false;
        };
        let generation = managed.building.as_ref().or(managed.current.as_ref());
        generation.is_some_and(|generation| {
            let first = generation.shared.deployment.task(0);
            first.is_some_and(|first| generation.shared.published.task(first).is_some())
        })
    }

    fn remove_leftovers(&mut self, name: &str, record: &ControlRecord) -> Result<(), DeployError> {
        if !self.leads(name) {
            return Ok(());
        }
        for leftover in &record.leftovers {
            operations::remove_generation(&self.parts.context(), name, *leftover)?;
        }
        let leftovers = Vec::new();
        self.write_record(
            name,
            ControlRecord {
                leftovers,
                ..record.clone()
            },
        )
    }

    /// Measures how far the new generation has come and shows it; true when it has caught up.
    fn measure_replay(&mut self, name: &str) -> Result<bool, DeployError> {
        let Some(managed) = self.topologies.get_mut(name) else {
            return Ok(false);
        };
        let Some(building) = &managed.building else {
            return Ok(false);
        };
        let measure =
            measure(self.parts.log.admin(), building).map_err(|e| DeployError::log(&managed.topology.name, e))?;
        let shown = managed.current.as_ref().unwrap_or(building);
        let before = shown.shared.published.replay.read().clone();
        let rate = match (&before, managed.measured) {
            (Some(before), Some(_)) => {
                let now = measure.done.saturating_sub(before.done) * 1_000 / MEASURE_EVERY.as_millis() as u64;
                // Smoothed, so that the time left does not jump.
                if before.per_second == 0 {
                    now
                } else {
                    (before.per_second * 3 + now) / 4
                }
            }
            _ => 0,
        };
        *shown.shared.published.replay.write() = Some(ReplayProgress {
            generation: building.shared.deployment.names.generation(),
            done: measure.done,
            total: measure.total,
            per_second: rate,
        });
        Ok(measure.left <= CAUGHT_UP_OFFSETS.max(rate * CAUGHT_UP_SECONDS) && building.failure().is_none())
    }
}

fn measure(admin: &dyn Admin, generation: &Generation) -> Result<Measure, LogError> {
    let deployment = &generation.shared.deployment;
    let group = deployment.names.group();
    let mut measure = Measure {
        done: 0,
        total: 0,
        left: 0,
    };
    for sub in 0..deployment.subs.len() {
        let inputs = deployment.sub_inputs(sub);
        let committed = admin.committed(&group, &inputs)?;
        for (tp, committed) in inputs.iter().zip(committed) {
            let (low, _) = admin.watermarks(tp)?;
            let end = admin.stable_end(tp)?;
            // An input that was not begun with counts as a whole, and may be longer than what will be read of it.
            let at = committed.unwrap_or(low);
            measure.left += (end - at).max(0) as u64;
            let internal = deployment.subs[sub]
                .inputs
                .iter()
                .any(|input| input.internal && input.topic == tp.topic);
            if !internal {
                measure.total += (end - low).max(0) as u64;
                measure.done += (at - low).max(0) as u64;
            }
        }
    }
    Ok(measure)
}
