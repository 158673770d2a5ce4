//! The schemas that sinks write with: checked against the registry before anything changes, registered afterwards.

use std::sync::Arc;

use super::super::deployment::KeyLike;
use super::super::task::SinkSchemas;
use super::{DeployContext, DeployError, Problem};
use crate::formats::{Compatibility, RegisteredSchema, SchemaText, SinkSchema, sink_schema, subject_of};
use crate::topology::{Op, Sink, Topology};
use crate::types::{Column, SerdeSpec};

/// One subject's schema.
enum Planned {
    None,
    Registered(RegisteredSchema),
    Register(String, SchemaText),
}

/// Key and value schemas of the sinks, by node.
#[derive(Default)]
pub(super) struct SchemaPlan(Vec<(usize, bool, Planned)>);

impl SchemaPlan {
    /// Whether one is not there yet.
    pub(super) fn registers(&self) -> bool {
        self.0
            .iter()
            .any(|(_, _, planned)| matches!(planned, Planned::Register(..)))
    }
}

/// Plans, and adds what is incompatible to `problems`.
pub(super) fn plan(
    context: &DeployContext<'_>,
    topology: &Topology,
    problems: &mut Vec<Problem>,
) -> Result<SchemaPlan, DeployError> {
    let mut plan = SchemaPlan::default();
    for node in &topology.nodes {
        let Op::Sink(sink) = &node.op else { continue };
        let relation = topology
            .relations
            .iter()
            .find(|relation| relation.name == sink.relation);
        let schema = relation.map_or(&node.schema, |relation| &relation.schema);
        for (is_key, spec, columns) in [
            (true, &sink.key_format, &schema.key),
            (false, &sink.value_format, &schema.value),
        ] {
            let found = subject(context, &topology.name, sink, is_key, spec, columns);
            match found {
                Ok(planned) => plan.0.push((node.id, is_key, planned)),
                Err(DeployError::Problems(more)) => problems.extend(more),
                Err(away @ DeployError::Unavailable(_)) => return Err(away),
            }
        }
    }
    Ok(plan)
}

fn subject(
    context: &DeployContext<'_>,
    topology: &Arc<str>,
    sink: &Sink,
    is_key: bool,
    spec: &SerdeSpec,
    columns: &[Column],
) -> Result<Planned, DeployError> {
    let subject = subject_of(&sink.topic, is_key);
    let problem = |message: String, hint: &str| {
        DeployError::Problems(vec![Problem {
            topology: topology.clone(),
            message,
            hint: hint.into(),
        }])
    };
    let registry = |e| DeployError::registry(topology, &subject, e);
    let definition = |e: crate::formats::FormatError| {
        problem(
            format!("{}: {e}", sink.relation),
            "change the columns or the format of the statement",
        )
    };
    // Formats without schema never ask the registry.
    if matches!(
        sink_schema(columns, spec, is_key, None).map_err(definition)?,
        SinkSchema::None
    ) {
        return Ok(Planned::None);
    }
    if let Some(id) = spec.schema_id {
        return context.schemas.by_id(id).map(Planned::Registered).map_err(registry);
    }
    let latest = context.schemas.latest(&subject).map_err(registry)?;
    match sink_schema(columns, spec, is_key, latest.as_ref()).map_err(definition)? {
        SinkSchema::None => Ok(Planned::None),
        SinkSchema::Registered(schema) => Ok(Planned::Registered(schema)),
        SinkSchema::New(text) => match context.schemas.check(&subject, &text).map_err(registry)? {
            Compatibility::Compatible => Ok(Planned::Register(subject, text)),
            Compatibility::Incompatible(messages) => Err(problem(
                format!(
                    "subject {subject}: the new schema of {} is incompatible: {}",
                    sink.relation,
                    messages.join("; ")
                ),
                "keep the columns compatible, write to another topic, or change the subject's compatibility level",
            )),
        },
    }
}

/// Registers what is new; the schemas of all nodes, by node.
pub(super) fn register(
    context: &DeployContext<'_>,
    topology: &Topology,
    plan: SchemaPlan,
) -> Result<Vec<SinkSchemas>, DeployError> {
    let mut out = vec![SinkSchemas::default(); topology.nodes.len()];
    for (node, is_key, planned) in plan.0 {
        let schema = match planned {
            Planned::None => None,
            Planned::Registered(schema) => Some(schema),
            Planned::Register(subject, text) => {
                let done = context.schemas.register(&subject, &text);
                Some(done.map_err(|e| DeployError::registry(&topology.name, &subject, e))?)
            }
        };
        if is_key {
            out[node].key = schema;
        } else {
            out[node].value = schema;
        }
    }
    Ok(out)
}

/// How the records of repartition nodes find their partition, by node.
pub(super) fn keyed_like(
    context: &DeployContext<'_>,
    topology: &Topology,
) -> Result<Vec<Option<KeyLike>>, DeployError> {
    let one = |node: &crate::topology::Node| {
        let reader = match &node.op {
            Op::Repartition(_) => topology.source_of_repartition(node.id),
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
            | Op::ForeignKeyJoin(_)
            | Op::Sink(_) => None,
        };
        let like = reader.and_then(|reader| topology.subs[topology.nodes[reader].sub].partitioned_like.as_ref());
        let Some(relation) = like.and_then(|name| topology.relation(name)) else {
            return Ok(None);
        };
        let (format, columns) = (relation.key_format.clone(), relation.schema.key.clone());
        let subject = subject_of(&relation.topic.name, true);
        let registry = |e| DeployError::registry(&topology.name, &subject, e);
        let needs_none = matches!(sink_schema(&columns, &format, true, None), Ok(SinkSchema::None));
        let schema = match format.schema_id {
            Some(id) => Some(context.schemas.by_id(id).map_err(registry)?),
            None if needs_none => None,
            None => context.schemas.latest(&subject).map_err(registry)?,
        };
        Ok(Some(KeyLike {
            format,
            columns,
            schema,
        }))
    };
    topology.nodes.iter().map(one).collect()
}
