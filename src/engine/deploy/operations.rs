//! What is asked of a topology that is deployed: pause, resume, undeploy, replay. Each writes the control topic, which running instances follow;
//! all work when nothing runs, too.

use std::sync::Arc;
use std::time::Duration;

use super::super::fingerprint::StatePlan;
use super::super::threads::now;
use super::super::{Names, Numbering};
use super::control::{self, ControlReader, ControlRecord, OutputTopic, Replay, ReplayPhase, StreamOutputs, Wanted};
use super::{DeployContext, DeployError, Problem};
use crate::log::Admin;
use crate::topology::{Op, Topology};
use crate::types::{RelationKind, Timestamp, TopicPartition};

/// How long running instances are waited for when a topology is undeployed. They leave the group when they hear of it; a dead one's session ends
/// after 10 s, with `group.protocol=consumer` after the broker's `group.consumer.session.timeout.ms`, 45 s.
const LEAVE_ROUNDS: usize = 600;
const LEAVE_ROUND: Duration = Duration::from_millis(100);

/// Writes a record, with the time; `None` forgets the topology. The offset of the record.
///
/// # Errors
/// When Kafka is away.
pub fn write(context: &DeployContext<'_>, name: &str, record: Option<ControlRecord>) -> Result<i64, DeployError> {
    let record = record.map(|record| ControlRecord {
        written_at: now(),
        ..record
    });
    let topology: Arc<str> = name.into();
    control::write(context.log, context.settings, name, record.as_ref()).map_err(|e| DeployError::log(&topology, e))
}

/// What the control topic says about a topology.
///
/// # Errors
/// When it is not deployed, or Kafka is away.
pub fn record(context: &DeployContext<'_>, name: &str) -> Result<ControlRecord, DeployError> {
    let topology: Arc<str> = name.into();
    let reader = ControlReader::open(context.log, context.settings).map_err(|e| DeployError::log(&topology, e))?;
    let known: Vec<&String> = reader.state.keys().collect();
    reader.state.get(name).cloned().ok_or_else(|| {
        let list = known.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let deployed = if list.is_empty() {
            "none is".to_string()
        } else {
            format!("deployed are: {list}")
        };
        problem(
            name,
            "it is not deployed".into(),
            &format!("{deployed}; start it with `millstream run`"),
        )
    })
}

fn problem(name: &str, message: String, hint: &str) -> DeployError {
    DeployError::Problems(vec![Problem {
        topology: name.into(),
        message,
        hint: hint.into(),
    }])
}

/// A topology with the numbers that a generation's state has.
///
/// # Errors
/// When it does not have all that the state was built by.
pub fn numbered(numbering: &Numbering, topology: &Arc<Topology>) -> Result<Arc<Topology>, DeployError> {
    let name = &topology.name;
    numbering.apply(topology).map_err(|difference| {
        let hint = format!("take the change back, or rebuild state and outputs with `millstream replay {name}`");
        problem(name, format!("its SQL has changed: {difference}"), &hint)
    })
}

/// Stops processing; state is kept and goes on answering.
///
/// # Errors
/// When it is not deployed, or Kafka is away.
pub fn pause(context: &DeployContext<'_>, name: &str) -> Result<(), DeployError> {
    set_wanted(context, name, Wanted::Paused)
}

/// Goes on after a pause, or after a stop whose cause is removed.
///
/// # Errors
/// When it is not deployed, or Kafka is away.
pub fn resume(context: &DeployContext<'_>, name: &str) -> Result<(), DeployError> {
    set_wanted(context, name, Wanted::Running)
}

fn set_wanted(context: &DeployContext<'_>, name: &str, wanted: Wanted) -> Result<(), DeployError> {
    let record = record(context, name)?;
    if record.wanted == Wanted::Undeploying {
        return Err(problem(
            name,
            "it is being undeployed".into(),
            "bring that to its end with `millstream undeploy`",
        ));
    }
    write(context, name, Some(ControlRecord { wanted, ..record }))?;
    Ok(())
}

/// The topics that a topology writes for others.
pub fn outputs_of(topology: &Topology) -> Vec<OutputTopic> {
    let mut out: Vec<OutputTopic> = Vec::new();
    for node in &topology.nodes {
        let Op::Sink(sink) = &node.op else { continue };
        if out.iter().all(|output| *output.topic != *sink.topic) {
            out.push(OutputTopic {
                topic: sink.topic.to_string(),
                is_table: node.kind == RelationKind::Table,
            });
        }
    }
    out
}

/// Removes a topology: internal topics, group and state; with `delete_outputs` the topics that it wrote, too. Running instances stop it first.
///
/// # Errors
/// When it is not deployed, when instances do not let go of it in time (the command can be repeated), or Kafka is away.
pub fn undeploy(context: &DeployContext<'_>, name: &str, delete_outputs: bool) -> Result<(), DeployError> {
    let record = record(context, name)?;
    let record = ControlRecord {
        wanted: Wanted::Undeploying,
        delete_outputs: record.delete_outputs || delete_outputs,
        ..record
    };
    write(context, name, Some(record.clone()))?;
    let topology: Arc<str> = name.into();
    for generation in generations(&record) {
        let group = Names::new(&context.settings.app_id, name, generation).group();
        wait_for_empty(context.log.admin(), &topology, &group)?;
    }
    finish_undeploy(context, name)
}

fn wait_for_empty(admin: &dyn Admin, topology: &Arc<str>, group: &str) -> Result<(), DeployError> {
    for _ in 0..LEAVE_ROUNDS {
        match admin.group_members(group).map_err(|e| DeployError::log(topology, e))? {
            0 => return Ok(()),
            _ => std::thread::sleep(LEAVE_ROUND),
        }
    }
    Err(DeployError::Unavailable(format!(
        "group {group} still has members: stop the instances that do not follow, and repeat"
    )))
}

/// All generations that may have left something behind.
fn generations(record: &ControlRecord) -> Vec<u32> {
    let mut all = vec![record.generation];
    all.extend(&record.leftovers);
    all.extend(record.replay.as_ref().map(|replay| replay.generation));
    all.sort_unstable();
    all.dedup();
    all
}

/// Removes what an undeployment leaves; can be repeated.
///
/// # Errors
/// When a group still has members, or Kafka is away.
pub fn finish_undeploy(context: &DeployContext<'_>, name: &str) -> Result<(), DeployError> {
    let record = record(context, name)?;
    let topology: Arc<str> = name.into();
    for generation in generations(&record) {
        remove_generation(context, name, generation)?;
    }
    let mut topics = vec![Names::new(&context.settings.app_id, name, 0).dead_letters()];
    if record.delete_outputs {
        topics.extend(record.outputs.iter().map(|output| output.topic.clone()));
    }
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    context
        .log
        .admin()
        .delete_topics(&topics)
        .map_err(|e| DeployError::log(&topology, e))?;
    write(context, name, None)?;
    Ok(())
}

/// Removes the internal topics and the group of a generation; can be repeated.
///
/// # Errors
/// When its group still has members, or Kafka is away.
pub fn remove_generation(context: &DeployContext<'_>, name: &str, generation: u32) -> Result<(), DeployError> {
    let topology: Arc<str> = name.into();
    let log = |e| DeployError::log(&topology, e);
    let names = Names::new(&context.settings.app_id, name, generation);
    let admin = context.log.admin();
    if admin.group_members(&names.group()).map_err(log)? > 0 {
        return Err(DeployError::Unavailable(format!(
            "group {} still has members",
            names.group()
        )));
    }
    admin.delete_group(&names.group()).map_err(log)?;
    let topics = admin.list_topics().map_err(log)?;
    let owned: Vec<&str> = topics
        .iter()
        .map(String::as_str)
        .filter(|topic| names.owns_topic(topic))
        .collect();
    admin.delete_topics(&owned).map_err(log)
}

/// What a replay would come upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayPlan {
    /// Stream outputs: their readers would see everything twice.
    pub stream_outputs: Vec<String>,
    /// Inputs whose beginning is gone already, in words.
    pub cut: Vec<String>,
}

/// Looks at what a replay would come upon; changes nothing.
///
/// # Errors
/// When it is not deployed, or Kafka is away.
pub fn plan_replay(
    context: &DeployContext<'_>,
    topology: &Arc<Topology>,
    from: Option<Timestamp>,
) -> Result<ReplayPlan, DeployError> {
    record(context, &topology.name)?;
    let log = |e| DeployError::log(&topology.name, e);
    let streams = outputs_of(topology).into_iter().filter(|output| !output.is_table);
    let mut plan = ReplayPlan {
        stream_outputs: streams.map(|output| output.topic).collect(),
        cut: Vec::new(),
    };
    if from.is_some() {
        return Ok(plan);
    }
    let admin = context.log.admin();
    for node in &topology.nodes {
        let Op::Source(source) = &node.op else { continue };
        let crate::topology::SourceTopic::External(name) = &source.topic else {
            continue;
        };
        let Some(relation) = topology.relation(name) else {
            continue;
        };
        let Some(info) = admin.topics(&[&relation.topic.name]).map_err(log)?.pop().flatten() else {
            continue;
        };
        for partition in 0..info.partitions {
            let tp = TopicPartition::new(relation.topic.name.clone(), partition);
            let (low, end) = admin.watermarks(&tp).map_err(log)?;
            if low > 0 {
                plan.cut.push(format!(
                    "{tp} begins at offset {low} (of {end}): older records were deleted"
                ));
            }
        }
    }
    Ok(plan)
}

/// Begins a replay: a new generation is built, by the running instances or by the next one that starts. Returns its number.
///
/// # Errors
/// When it is not deployed, when stream outputs would double and it is not said what to do with them, or Kafka is away.
pub fn begin_replay(
    context: &DeployContext<'_>,
    topology: &Arc<Topology>,
    from: Option<Timestamp>,
    outputs: Option<StreamOutputs>,
) -> Result<u32, DeployError> {
    let name = &topology.name;
    let record = record(context, name)?;
    if record.wanted == Wanted::Undeploying {
        return Err(problem(
            name,
            "it is being undeployed".into(),
            "bring that to its end with `millstream undeploy`",
        ));
    }
    let plan = StatePlan::of(topology);
    if let Some(replay) = &record.replay
        && replay.fingerprint == plan.fingerprint()
        && replay.from == from
    {
        return Ok(replay.generation);
    }
    let streams: Vec<String> = outputs_of(topology)
        .into_iter()
        .filter(|o| !o.is_table)
        .map(|o| o.topic)
        .collect();
    let outputs = match (streams.is_empty(), outputs) {
        (true, _) => StreamOutputs::Absent,
        (false, Some(outputs @ (StreamOutputs::Append | StreamOutputs::None))) => outputs,
        (false, Some(StreamOutputs::Absent) | None) => {
            return Err(problem(
                name,
                format!(
                    "its stream outputs ({}) would hold everything twice",
                    streams.join(", ")
                ),
                "say `--outputs append` to write them again, or `--outputs none` to leave them alone",
            ));
        }
    };
    let generation = generations(&record).last().copied().unwrap_or(0) + 1;
    let mut leftovers = record.leftovers.clone();
    leftovers.extend(record.replay.as_ref().map(|abandoned| abandoned.generation));
    let replay = Replay {
        generation,
        from,
        outputs,
        phase: ReplayPhase::Building,
        fingerprint: plan.fingerprint(),
        numbering: Numbering::of(topology),
    };
    let record = ControlRecord {
        wanted: Wanted::Running,
        replay: Some(replay),
        leftovers,
        ..record
    };
    write(context, name, Some(record))?;
    Ok(generation)
}
