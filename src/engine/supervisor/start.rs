//! Bringing topologies up: everything is checked before anything changes, edited SQL is compared with the state that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::super::cluster::agent::Agent;
use super::super::deploy::control::{ControlReader, ControlRecord, Replay, ReplayPhase, StreamOutputs, Wanted};
use super::super::deploy::{self, Checked, DeployContext, DeployError, Problem, operations};
use super::super::fingerprint::StatePlan;
use super::super::threads::{Generation, Heartbeat, stopwatch};
use super::super::worker::{Gate, Globals, OutputMode, WorkerShared};
use super::super::{Deployment, Numbering, OpenStores, PublishedTopology, StartFrom, TopologyStatus};
use super::{EngineParts, Managed, Shared, Supervisor};
use crate::formats::FormatError;
use crate::topology::Topology;

/// What a topology is to be started as.
struct Intent {
    /// As the SQL says.
    topology: Arc<Topology>,
    /// With the numbers of the state that exists.
    numbered: Arc<Topology>,
    plan: StatePlan,
    record: Option<ControlRecord>,
    /// The generation that answers; `None` where only a replay of edited SQL is built.
    current: Option<u32>,
    replay: Option<Replay>,
}

/// Deploys and starts all topologies.
///
/// # Errors
/// All problems at once, nothing changed; or that Kafka or the registry is away.
pub(super) fn bring_up(
    parts: &EngineParts,
    topologies: &[Arc<Topology>],
    shared: &Arc<Shared>,
) -> Result<Supervisor, DeployError> {
    let name = topologies
        .first()
        .map_or_else(|| Arc::from("-"), |topology| topology.name.clone());
    let control = ControlReader::open(&*parts.log, &parts.settings).map_err(|e| DeployError::log(&name, e))?;
    let context = parts.context();
    let mut problems = Vec::new();
    let mut intents = Vec::new();
    for topology in topologies {
        let record = control.state.get(&*topology.name).cloned();
        match intend(topology, record) {
            Ok(intent) => intents.push(intent),
            Err(problem) => problems.push(problem),
        }
    }
    // An undeployment that was cut short is brought to its end before its topology is deployed again.
    for intent in &mut intents {
        if intent
            .record
            .as_ref()
            .is_some_and(|record| record.wanted == Wanted::Undeploying)
            && problems.is_empty()
        {
            operations::finish_undeploy(&context, &intent.topology.name)?;
            intent.record = None;
        }
    }
    for intent in &mut intents {
        give_up_unbuildable(&context, intent)?;
    }
    let wanted: Vec<deploy::GenerationPlan> = (intents.iter())
        .filter_map(|intent| Some(intent.wanted(intent.current?)))
        .collect();
    tracing::debug!("the control topic is read");
    for intent in intents.iter().filter(|intent| intent.record.is_none()) {
        deploy::asserts::check(&context, &intent.topology, &mut problems)?;
    }
    let checked = match deploy::check_all(&context, &wanted) {
        Ok(checked) => checked,
        Err(DeployError::Problems(more)) => {
            problems.extend(more);
            Vec::new()
        }
        Err(away) => return Err(away),
    };
    tracing::debug!("all topologies are checked");
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(DeployError::Problems(problems));
    }
    let stores = OpenStores::new(parts.stores.clone()).with_snapshots(parts.snapshots.from.clone());
    let stores = Arc::new(stores);
    if let Some(offers) = &parts.snapshots.offers {
        offers.serve(&stores);
    }
    let mut supervisor = Supervisor {
        parts: parts.clone(),
        shared: shared.clone(),
        stores,
        control,
        topologies: BTreeMap::new(),
        follow: BTreeSet::new(),
        last_asked: Instant::now(),
        last_lag: Instant::now(),
        last_partitions: Instant::now(),
        heartbeat: Heartbeat::start(Agent::new(
            parts.log.clone(),
            shared.published.cluster().clone(),
            &parts.settings,
        ))
        .map_err(|e| DeployError::Unavailable(format!("no thread for the topic of instances: {e}")))?,
    };
    if let Err(error) = supervisor.start_topologies(intents, checked) {
        supervisor.stop_all();
        return Err(error);
    }
    Ok(supervisor)
}

/// A generation that cannot run any more (its inputs have other partitions now) does not keep the one from being built that takes its place.
fn give_up_unbuildable(context: &DeployContext<'_>, intent: &mut Intent) -> Result<(), DeployError> {
    let (Some(current), Some(_)) = (intent.current, &intent.replay) else {
        return Ok(());
    };
    match deploy::check(context, &intent.wanted(current)) {
        Ok(_) => Ok(()),
        Err(DeployError::Problems(problems)) => {
            let reason = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            tracing::warn!(
                topology = &*intent.topology.name,
                reason,
                "the old state cannot answer; it is being rebuilt"
            );
            intent.current = None;
            Ok(())
        }
        Err(away) => Err(away),
    }
}

/// Decides what a topology is started as, by comparing its SQL with the state that exists.
fn intend(topology: &Arc<Topology>, record: Option<ControlRecord>) -> Result<Intent, Problem> {
    let plan = StatePlan::of(topology);
    let known = record.as_ref().filter(|record| record.wanted != Wanted::Undeploying);
    let replay = known
        .and_then(|record| record.replay.clone())
        .filter(|replay| replay.fingerprint == plan.fingerprint());
    let mut numbered = topology.clone();
    let mut differences = Vec::new();
    if let Some(record) = known {
        let untouched = |store: &str| record.numbering.is_untouched(topology, store);
        differences = plan.differences(&record.state, untouched);
        match record.numbering.apply(topology) {
            Ok(found) => numbered = found,
            Err(difference) if !differences.contains(&difference) => differences.push(difference),
            Err(_) => {}
        }
    }
    let current = match (known, differences.is_empty()) {
        (None, _) => Some(0),
        (Some(record), true) => Some(record.generation),
        (Some(_), false) if replay.is_some() => None,
        (Some(_), false) => {
            let name = &topology.name;
            return Err(Problem {
                topology: name.clone(),
                message: format!(
                    "its SQL has changed, and its state was built by the old one:\n    {}",
                    differences.join("\n    ")
                ),
                hint: format!("take the change back, or rebuild state and outputs with `millstream replay {name}`"),
            });
        }
    };
    Ok(Intent {
        topology: topology.clone(),
        numbered,
        plan,
        record,
        current,
        replay,
    })
}

impl Intent {
    fn wanted(&self, generation: u32) -> deploy::GenerationPlan {
        let known = self.record.as_ref();
        deploy::GenerationPlan {
            topology: self.numbered.clone(),
            generation,
            before: known.map_or_else(Vec::new, |record| record.partitions.clone()),
        }
    }
}

impl Supervisor {
    /// `checked`: the current generations, as they were before any of them was started.
    fn start_topologies(&mut self, intents: Vec<Intent>, checked: Vec<Checked>) -> Result<(), DeployError> {
        let mut checked = checked.into_iter();
        let mut made = false;
        for intent in intents {
            // what an earlier one has made may differ from what this one would have
            let current = intent.current.and_then(|_| checked.next()).filter(|_| !made);
            made |= intent.replay.is_some() || current.as_ref().is_some_and(Checked::makes_something);
            self.start_topology(intent, current)?;
        }
        Ok(())
    }

    /// `checked`: its current generation, unless that has to be checked now.
    fn start_topology(&mut self, intent: Intent, checked: Option<Checked>) -> Result<(), DeployError> {
        let name = intent.topology.name.to_string();
        let mut managed = Managed {
            topology: intent.topology.clone(),
            plan: intent.plan.clone(),
            current: None,
            building: None,
            measured: None,
        };
        if let Some(generation) = intent.current {
            let context = self.parts.context();
            let checked = match checked {
                Some(checked) => checked,
                None => deploy::check(&context, &intent.wanted(generation))?,
            };
            let deployment = Arc::new(checked.apply(&context)?);
            tracing::debug!(topology = name, "topics and schemas are there");
            let from = intent.record.as_ref().and_then(|record| record.from);
            let mut record = ControlRecord {
                generation,
                state: intent.plan.clone(),
                fingerprint: intent.plan.fingerprint(),
                explain: crate::topology::explain(&intent.topology, &deployment.names),
                partitions: deployment.partitions(),
                numbering: Numbering::of(&deployment.topology),
                outputs: operations::outputs_of(&intent.topology),
                ..intent.record.clone().unwrap_or_default()
            };
            deploy::inserts::write_once(&self.parts.context(), &intent.topology, &mut record)?;
            // Said before any state exists that the record would have to answer for.
            if intent.record.as_ref() != Some(&record) {
                self.write_record(&name, record.clone())?;
            }
            tracing::debug!(topology = name, "the control record is there");
            let paused = stands_still(&record);
            let shared = self.worker_shared(&deployment, start_from(from), OutputMode::default(), paused)?;
            if record.wanted == Wanted::Paused {
                shared.published.set_status(TopologyStatus::Paused);
            }
            self.shared.published.insert(shared.published.clone());
            managed.current = Some(start_threads(shared)?);
        }
        if let (Some(replay), false) = (
            &intent.replay,
            intent.record.as_ref().is_some_and(|r| r.wanted == Wanted::Paused),
        ) {
            let building = self.build_generation(&managed.topology, replay)?;
            if intent.current.is_none() {
                // Nothing else answers: the old SQL is not here any more.
                self.shared.published.insert(building.shared.published.clone());
            }
            managed.building = Some(building);
        }
        self.topologies.insert(name.clone(), managed);
        self.follow.insert(name);
        Ok(())
    }

    /// Starts the generation that a replay builds.
    pub(super) fn build_generation(
        &self,
        topology: &Arc<Topology>,
        replay: &Replay,
    ) -> Result<Generation, DeployError> {
        let topology = operations::numbered(&replay.numbering, topology)?;
        let wanted = deploy::GenerationPlan::new(&topology, replay.generation);
        let deployment = Arc::new(deploy::deploy(&self.parts.context(), &wanted)?);
        let outputs = OutputMode {
            mute_streams: replay.outputs == StreamOutputs::None && replay.phase == ReplayPhase::Building,
            mark_generation: true,
        };
        let shared = self.worker_shared(&deployment, start_from(replay.from), outputs, false)?;
        start_threads(shared)
    }

    pub(super) fn worker_shared(
        &self,
        deployment: &Arc<Deployment>,
        start_from: StartFrom,
        outputs: OutputMode,
        paused: bool,
    ) -> Result<Arc<WorkerShared>, DeployError> {
        let parts = &self.parts;
        let topology = &deployment.topology;
        let unusable = |error: FormatError| {
            if error.is_retryable() {
                return DeployError::Unavailable(error.to_string());
            }
            DeployError::Problems(vec![Problem {
                topology: topology.name.clone(),
                message: error.to_string(),
                hint: "change the columns or the format of the statement".into(),
            }])
        };
        let plans = deployment.plans(&parts.settings, &parts.schemas).map_err(unusable)?;
        let globals = Globals::new(topology, &plans, parts.settings.bad_record, &parts.schemas);
        let globals = globals.map_err(unusable)?;
        let generation = deployment.names.generation();
        let published = Arc::new(PublishedTopology::new(
            topology.clone(),
            generation,
            deployment.partitions(),
        ));
        let cluster = self.shared.published.cluster().clone();
        cluster.show(&published);
        Ok(Arc::new(WorkerShared {
            globals,
            cluster,
            gate: Gate::default(),
            deployment: deployment.clone(),
            plans,
            log: parts.log.clone(),
            stores: self.stores.clone(),
            settings: parts.settings.clone(),
            published,
            instance: parts.instance.clone(),
            start_from,
            outputs: outputs.into(),
            paused,
            stopwatch,
        }))
    }
}

/// Whether the generation that answers processes nothing: its topology is paused, or the next one takes over and output tables are put right.
fn stands_still(record: &ControlRecord) -> bool {
    let is_replaced = |replay: &Replay| replay.phase == ReplayPhase::Switching;
    record.wanted == Wanted::Paused || record.replay.as_ref().is_some_and(is_replaced)
}

/// A generation begins where its replay was told to, else at the beginning.
fn start_from(from: Option<i64>) -> StartFrom {
    from.map_or(StartFrom::Earliest, StartFrom::Time)
}

pub(super) fn start_threads(shared: Arc<WorkerShared>) -> Result<Generation, DeployError> {
    Generation::start(shared).map_err(|e| DeployError::Unavailable(format!("no thread for a worker: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_generation_writes_nothing_while_outputs_are_put_right() {
        let replayed = |phase| ControlRecord {
            replay: Some(Replay {
                phase,
                ..Replay::default()
            }),
            ..ControlRecord::default()
        };
        assert!(stands_still(&replayed(ReplayPhase::Switching)));
        assert!(!stands_still(&replayed(ReplayPhase::Building)));
        assert!(!stands_still(&ControlRecord::default()));
    }
}
