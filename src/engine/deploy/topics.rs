//! The topics that a deployment creates, with settings that say what they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::deployment::{TopicTarget, max_message_bytes, new_topic};
use super::super::{EngineSettings, Names};
use super::partitions::PartitionPlan;
use crate::log::{Admin, LogError, LogResult, NewTopic, TopicInfo};
use crate::topology::{Op, Topology};
use crate::types::RelationKind;

/// Repartition topics are purged behind the commit, a segment at a time: small segments free space soon (Kafka Streams' value).
const REPARTITION_SEGMENT_BYTES: u64 = 50 << 20;

/// What is not there yet.
pub(super) fn to_create(
    settings: &EngineSettings,
    topology: &Topology,
    names: &Names,
    plan: &PartitionPlan,
) -> Vec<NewTopic> {
    let mut out: Vec<NewTopic> = Vec::new();
    let mut add = |name: String, replicas: Option<i16>, config: Vec<(&str, String)>| {
        let Some((partitions, false)) = plan.topics.get(name.as_str()) else {
            return;
        };
        if out.iter().all(|topic| topic.name != name) {
            out.push(new_topic(
                name,
                *partitions,
                replicas.unwrap_or(settings.replication_factor),
                config,
            ));
        }
    };
    // A declared relation goes first: what its WITH clause says counts, also where a sink of this file writes to it.
    for relation in &topology.relations {
        let compacted = relation.topic.compacted || relation.kind == RelationKind::Table;
        let config = if let (true, Some(_), Some(ms)) = (compacted, relation.window, relation.topic.retention_ms) {
            // windows come without end: their keys are dropped by age where the user says after which
            vec![
                ("cleanup.policy", "compact,delete".into()),
                ("retention.ms", ms.to_string()),
            ]
        } else if compacted {
            vec![("cleanup.policy", "compact".into())]
        } else {
            // Retention goes by record time, and old event times are normal: unlimited unless the user says otherwise.
            let retention = relation.topic.retention_ms.unwrap_or(-1);
            vec![
                ("cleanup.policy", "delete".into()),
                ("retention.ms", retention.to_string()),
            ]
        };
        add(relation.topic.name.to_string(), relation.topic.replicas, config);
    }
    for node in &topology.nodes {
        match &node.op {
            Op::Sink(sink) => {
                let policy = if node.kind == RelationKind::Table {
                    "compact"
                } else {
                    "delete"
                };
                let config = vec![("cleanup.policy", policy.into()), ("retention.ms", "-1".into())];
                add(sink.topic.to_string(), None, config);
            }
            Op::Repartition(repartition) => {
                let mut config = vec![
                    ("cleanup.policy", "delete".into()),
                    ("retention.ms", "-1".into()),
                    ("segment.bytes", REPARTITION_SEGMENT_BYTES.to_string()),
                ];
                config.extend(min_isr(settings));
                add(names.repartition(&repartition.name), None, config);
            }
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
            | Op::ForeignKeyJoin(_) => {}
        }
    }
    for store in &topology.stores {
        let mut config = vec![
            ("cleanup.policy", "compact".into()),
            ("delete.retention.ms", settings.delete_retention.as_millis().to_string()),
        ];
        config.extend(min_isr(settings));
        add(names.changelog(&store.name), None, config);
    }
    add(names.tasks_topic(), None, vec![("cleanup.policy", "delete".into())]);
    out.push(dead_letters(settings, names));
    out
}

fn dead_letters(settings: &EngineSettings, names: &Names) -> NewTopic {
    let config = vec![("cleanup.policy", "delete".into()), ("retention.ms", "-1".into())];
    new_topic(names.dead_letters(), 1, settings.replication_factor, config)
}

fn min_isr(settings: &EngineSettings) -> Option<(&'static str, String)> {
    settings
        .min_insync_replicas
        .map(|n| ("min.insync.replicas", n.to_string()))
}

/// Topics that exist now, as workers need them: each that was asked for.
pub(super) fn targets(admin: &dyn Admin, names: &BTreeSet<String>) -> LogResult<BTreeMap<String, TopicTarget>> {
    let asked: Vec<&str> = names.iter().map(|name| &**name).collect();
    let infos = admin.topics(&asked)?;
    if let Some((name, _)) = names.iter().zip(&infos).find(|(_, info)| info.is_none()) {
        return Err(LogError::Retry(format!("topic {name} cannot be seen yet")));
    }
    let limits = max_message_bytes(admin, &asked)?;
    let target = |(name, (info, limit)): (&String, (TopicInfo, usize))| {
        let target = TopicTarget {
            topic: Arc::from(&**name),
            id: info.id,
            partitions: info.partitions,
            max_message_bytes: limit,
        };
        (name.clone(), target)
    };
    let found = infos.into_iter().flatten().zip(limits);
    Ok(names.iter().zip(found).map(target).collect())
}
