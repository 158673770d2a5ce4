//! Deployment: a topology's topics and schemas are checked, all problems at once, before anything is created; then they are made.
//!
//! Every step can be repeated: a crash half-way is followed by the same deployment again. What is deployed in which generation is in the
//! control topic (see [`control`]); starting and stopping workers is `engine::threads`' business.

pub mod asserts;
pub mod control;
pub mod inserts;
pub mod operations;
mod partitions;
mod schemas;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::deployment::{Deployment, SubDeployment};
use super::fingerprint::{StatePlan, sub_fingerprint};
use super::{EngineSettings, Names};
use crate::formats::{RegistryError, SchemaSource};
use crate::log::{Log, LogError};
use crate::topology::{Node, Op, StoreSpec, SubTopology, Topology};

/// Something that the user has to change before a topology can run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The topology.
    pub topology: Arc<str>,
    /// What is wrong, with topics and counts.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "topology {}: {}\n  {}", self.topology, self.message, self.hint)
    }
}

/// Why a deployment did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeployError {
    /// The user has to act; all problems that were found. Nothing was changed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
    /// Kafka or the registry is away: try again.
    #[error("{0}")]
    Unavailable(String),
}

impl DeployError {
    /// Classifies an error of the log.
    pub(super) fn log(topology: &Arc<str>, error: LogError) -> Self {
        match error {
            LogError::Retry(text) | LogError::Unknown(text) | LogError::Abort(text) => Self::Unavailable(text),
            LogError::Fenced(_)
            | LogError::Refused(_)
            | LogError::OutOfRange { .. }
            | LogError::TooLarge { .. }
            | LogError::Fatal(_) => Self::Problems(vec![Problem {
                topology: topology.clone(),
                message: error.to_string(),
                hint: "check the settings and permissions of the Kafka client".into(),
            }]),
        }
    }

    /// Classifies an error of the registry.
    pub(super) fn registry(topology: &Arc<str>, subject: &str, error: RegistryError) -> Self {
        if error.is_retryable() {
            return Self::Unavailable(error.to_string());
        }
        Self::Problems(vec![Problem {
            topology: topology.clone(),
            message: format!("subject {subject}: {error}"),
            hint: "check the schema registry and its settings".into(),
        }])
    }
}

/// What a deployment works with.
pub struct DeployContext<'a> {
    /// The log.
    pub log: &'a dyn Log,
    /// The schema registry.
    pub schemas: &'a Arc<dyn SchemaSource>,
    /// Settings.
    pub settings: &'a EngineSettings,
}

/// A deployment that has been checked and changes nothing before [`Checked::apply`].
pub struct Checked {
    topology: Arc<Topology>,
    names: Names,
    partitions: partitions::PartitionPlan,
    schemas: schemas::SchemaPlan,
}

/// A generation of a topology.
#[derive(Clone, Debug)]
pub struct GenerationPlan {
    /// The plan, with the generation's [numbers](super::Numbering).
    pub topology: Arc<Topology>,
    /// The generation.
    pub generation: u32,
    /// Tasks of the sub-topologies that the generation has already; there may be more now.
    pub before: Vec<i32>,
}

impl GenerationPlan {
    /// A generation that is new, or as it was.
    pub fn new(topology: &Arc<Topology>, generation: u32) -> Self {
        Self {
            topology: topology.clone(),
            generation,
            before: Vec::new(),
        }
    }
}

/// Checks a generation of a topology against topics and registry.
///
/// # Errors
/// All problems at once, or that Kafka or the registry is away.
pub fn check(context: &DeployContext<'_>, wanted: &GenerationPlan) -> Result<Checked, DeployError> {
    let GenerationPlan {
        topology, generation, ..
    } = wanted;
    let generation = *generation;
    let names = Names::new(&context.settings.app_id, &topology.name, generation);
    let mut problems = Vec::new();
    let partitions = partitions::plan(context, wanted, &names, &mut problems)?;
    let schemas = schemas::plan(context, topology, &mut problems)?;
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(DeployError::Problems(problems));
    }
    Ok(Checked {
        topology: topology.clone(),
        names,
        partitions,
        schemas,
    })
}

/// Checks several topologies and collects the problems of all.
///
/// # Errors
/// All problems of all topologies, or that Kafka or the registry is away.
pub fn check_all(context: &DeployContext<'_>, topologies: &[GenerationPlan]) -> Result<Vec<Checked>, DeployError> {
    let (mut checked, mut problems) = (Vec::new(), Vec::new());
    for wanted in topologies {
        match check(context, wanted) {
            Ok(one) => checked.push(one),
            Err(DeployError::Problems(more)) => problems.extend(more),
            Err(away @ DeployError::Unavailable(_)) => return Err(away),
        }
    }
    if problems.is_empty() {
        Ok(checked)
    } else {
        Err(DeployError::Problems(problems))
    }
}

impl Checked {
    /// The plan of the topology's state, to compare with what exists.
    pub fn state_plan(&self) -> StatePlan {
        StatePlan::of(&self.topology)
    }

    /// Whether a topic or a schema is not there yet.
    pub fn makes_something(&self) -> bool {
        let topics = &self.partitions.topics;
        topics.values().any(|(_, exists)| !exists) || self.partitions.more_tasks.is_some() || self.schemas.registers()
    }

    /// Creates topics, registers schemas, and resolves everything that workers need. Can be repeated.
    ///
    /// # Errors
    /// Mostly that Kafka or the registry is away.
    pub fn apply(self, context: &DeployContext<'_>) -> Result<Deployment, DeployError> {
        let topology = &self.topology;
        let new = topics::to_create(context.settings, topology, &self.names, &self.partitions);
        let log_error = |e| DeployError::log(&topology.name, e);
        context.log.admin().create_topics(&new).map_err(log_error)?;
        if let Some(tasks) = self.partitions.more_tasks {
            let admin = context.log.admin();
            admin
                .add_partitions(&self.names.tasks_topic(), tasks)
                .map_err(log_error)?;
        }
        let schemas = schemas::register(context, topology, self.schemas)?;
        let keyed_like = schemas::keyed_like(context, topology)?;
        let written = topology.nodes.iter().map(|node| written_by(node, &self.names));
        let written: Vec<Option<String>> = written.collect();
        let changelog = |store: &StoreSpec| self.names.changelog(&store.name);
        let dead_letters = self.names.dead_letters();
        let mut names: BTreeSet<String> = written.iter().flatten().cloned().collect();
        names.extend(topology.stores.iter().map(changelog));
        names.insert(dead_letters.clone());
        let targets = topics::targets(context.log.admin(), &names).map_err(log_error)?;
        let sub = |sub: &SubTopology| SubDeployment {
            partitions: self.partitions.subs[sub.id],
            inputs: partitions::inputs(topology, &self.names, sub),
            changelogs: (topology.stores.iter())
                .filter(|store| store.sub == sub.id)
                .map(|store| (store.id, targets[&changelog(store)].clone()))
                .collect(),
            fingerprint: sub_fingerprint(topology, sub.id),
        };
        Ok(Deployment {
            subs: topology.subs.iter().map(sub).collect(),
            outputs: (written.into_iter())
                .map(|topic| Some(targets[&topic?].clone()))
                .collect(),
            schemas,
            keyed_like,
            dead_letters: targets[&dead_letters].clone(),
            topology: self.topology,
            names: self.names,
        })
    }
}

/// The topic that a node writes to.
fn written_by(node: &Node, names: &Names) -> Option<String> {
    match &node.op {
        Op::Sink(sink) => Some(sink.topic.to_string()),
        Op::Repartition(repartition) => Some(names.repartition(&repartition.name)),
        Op::Source(_)
        | Op::Filter(_)
        | Op::Project(_)
        | Op::FlatMap(_)
        | Op::Rank
        | Op::SelectKey(_)
        | Op::Aggregate(_)
        | Op::WindowAggregate(_)
        | Op::StreamTableJoin(_)
        | Op::GlobalJoin(_)
        | Op::TableTableJoin(_)
        | Op::StreamStreamJoin(_)
        | Op::ForeignKeySubscribe(_)
        | Op::ForeignKeyAnswer(_)
        | Op::ForeignKeyJoin(_) => None,
    }
}

/// Checks and applies in one go.
///
/// # Errors
/// As [`check`] and [`Checked::apply`].
pub fn deploy(context: &DeployContext<'_>, wanted: &GenerationPlan) -> Result<Deployment, DeployError> {
    check(context, wanted)?.apply(context)
}

#[cfg(test)]
mod tests;
