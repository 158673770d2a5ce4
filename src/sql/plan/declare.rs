//! CREATE without a query: a relation over an existing topic.

use std::sync::Arc;

use super::Planner;
use crate::sql::ast::{ColumnDef, ColumnRole, Create};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::properties::{self, With};
use crate::topology::{Relation, TimestampFrom, TopicSpec};
use crate::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType};

impl Planner<'_> {
    pub(super) fn declare(&mut self, create: &Create, span: Span) -> Result<(), Problem> {
        let mut problems = Vec::new();
        let with = properties::read(&create.with, false, &mut problems);
        let relation = self.declared(create, &with, span, &mut problems);
        let timestamp = relation.as_ref().map(|r| timestamp(r, &with, &mut problems));
        let fine = problems.is_empty();
        self.problems.append(&mut problems);
        if let (Some(relation), Some(timestamp), true) = (relation, timestamp, fine) {
            let relation = self.builder.relation(relation);
            if let Some(known) = self.known.get_mut(&create.name.text) {
                known.relation = Some(relation);
                known.timestamp = timestamp;
            }
            if create.kind == RelationKind::Table {
                // now rather than when a query reads it: stores are numbered in the order of statements, whatever reads them
                self.node_of(&create.name.text);
            }
        }
        Ok(())
    }

    fn declared(&self, create: &Create, with: &With, span: Span, problems: &mut Vec<Problem>) -> Option<Relation> {
        let name = &create.name;
        // a property that was misspelt or refused is not missing
        let misread = !problems.is_empty();
        let Some(topic) = &with.topic else {
            if misread {
                return None;
            }
            let problem = Problem::new(name.span, format!("{} has no topic", name.text));
            problems.push(problem.hint("add KAFKA_TOPIC='...' to the WITH clause"));
            return None;
        };
        let default_value = self.default_format("ksql.persistence.default.format.value");
        let Some(value_format) = with.value_format.as_ref().map(|f| f.value).or(default_value) else {
            if misread {
                return None;
            }
            let problem = Problem::new(name.span, format!("{} has no format for its values", name.text));
            problems
                .push(problem.hint("add VALUE_FORMAT='JSON' (or AVRO, DELIMITED, KAFKA) or FORMAT to the WITH clause"));
            return None;
        };
        let mut schema = RelationSchema::default();
        columns(create, &mut schema, problems);
        let key_format = with
            .key_format
            .as_ref()
            .map(|f| f.value)
            .or(self.default_format("ksql.persistence.default.format.key"));
        let key_default = SerdeSpec::key(key_format.unwrap_or(Format::Kafka));
        let mut key = with.key_spec(&key_default, 1);
        let value = with.value_spec(&SerdeSpec::value(value_format));
        let topic_name: Arc<str> = topic.value.as_str().into();
        if schema.key.is_empty() && key.format == Format::Avro && create.columns.as_ref().is_none_or(Vec::is_empty) {
            schema.key = self.inferred(&topic_name, true, &key, name.span, problems)?;
        }
        if schema.value.is_empty() {
            schema.value = self.inferred(&topic_name, false, &value, name.span, problems)?;
        }
        if schema.key.is_empty() {
            key = SerdeSpec::key(Format::None);
        }
        let marked = |c: &ColumnDef| c.role == ColumnRole::Key;
        let mistaken = create.columns.iter().flatten().any(marked);
        if create.kind == RelationKind::Table && schema.key.is_empty() && !mistaken {
            let problem = Problem::new(name.span, format!("the table {} has no primary key", name.text));
            problems.push(problem.hint("mark a column with PRIMARY KEY"));
        }
        check_formats(&schema, &key, &value, name.span, problems);
        Some(Relation {
            name: name.text.clone(),
            kind: create.kind,
            schema,
            topic: topic_spec(topic_name, with, create.kind),
            key_format: key,
            value_format: value,
            derived: false,
            sql: self.text(span),
        })
    }

    /// A default format from the file's `SET` properties.
    pub(super) fn default_format(&self, property: &str) -> Option<Format> {
        let (_, value) = self
            .properties
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(property))?;
        [
            Format::Avro,
            Format::Json,
            Format::Delimited,
            Format::Kafka,
            Format::None,
        ]
        .into_iter()
        .find(|f| f.to_string().eq_ignore_ascii_case(value))
    }

    /// The columns that the registry has for a topic.
    fn inferred(
        &self,
        topic: &str,
        key: bool,
        spec: &SerdeSpec,
        span: Span,
        problems: &mut Vec<Problem>,
    ) -> Option<Vec<Column>> {
        let subject = format!("{topic}-{}", if key { "key" } else { "value" });
        let problem = if spec.format == Format::Avro {
            match self.context.schemas.columns(&subject, spec) {
                Ok(Some(columns)) => {
                    let folded = columns
                        .into_iter()
                        .map(|c| Column::new(c.name.to_uppercase(), c.sql_type));
                    return Some(folded.collect());
                }
                Ok(None) => Problem::new(span, format!("the registry has no schema {subject}"))
                    .hint("register it, or list the columns"),
                Err(why) => Problem::new(span, format!("the schema {subject} cannot be read: {why}")),
            }
        } else {
            let message = format!("columns cannot be inferred for the format {}", spec.format);
            Problem::new(span, message).hint("list the columns in parentheses after the name")
        };
        problems.push(problem);
        None
    }
}

/// The topic that a WITH clause describes.
pub(super) fn topic_spec(name: Arc<str>, with: &With, kind: RelationKind) -> TopicSpec {
    TopicSpec {
        name,
        partitions: with.partitions.as_ref().map(|p| p.value),
        replicas: with.replicas,
        retention_ms: with.retention_ms,
        compacted: kind == RelationKind::Table,
    }
}

fn columns(create: &Create, schema: &mut RelationSchema, problems: &mut Vec<Problem>) {
    let all: &[ColumnDef] = create.columns.as_deref().unwrap_or_default();
    for (i, column) in all.iter().enumerate() {
        let name = &column.name;
        if all[..i].iter().any(|c| c.name == *name) {
            problems.push(Problem::new(name.span, format!("column {} occurs twice", name.text)));
        }
        if matches!(
            &*name.text,
            "ROWTIME" | "ROWPARTITION" | "ROWOFFSET" | "WINDOWSTART" | "WINDOWEND"
        ) {
            problems.push(Problem::new(
                name.span,
                format!("{} is the name of a pseudo column", name.text),
            ));
        }
        let made = Column::new(name.text.clone(), column.sql_type.clone());
        match (&column.role, create.kind) {
            (ColumnRole::Value, _) => schema.value.push(made),
            (ColumnRole::Headers(_), _) => problems.push(Problem::unsupported(column.span, "columns of headers")),
            (ColumnRole::Key, RelationKind::Stream) | (ColumnRole::PrimaryKey, RelationKind::Table) => {
                schema.key.push(made);
            }
            (ColumnRole::Key, RelationKind::Table) => {
                let message = format!("column {} is a KEY, but a table has a PRIMARY KEY", name.text);
                problems.push(Problem::new(column.span, message).hint("write PRIMARY KEY"));
            }
            (ColumnRole::PrimaryKey, RelationKind::Stream) => {
                let message = format!(
                    "column {} is a PRIMARY KEY, but a stream's keys can occur again",
                    name.text
                );
                problems.push(Problem::new(column.span, message).hint("write KEY"));
            }
        }
        if !matches!(column.role, ColumnRole::Value) && has_map(&column.sql_type) {
            problems.push(Problem::new(
                column.span,
                format!("{} cannot be a key: a MAP has no order", name.text),
            ));
        }
    }
}

/// Whether a MAP is anywhere inside.
pub(super) fn has_map(sql_type: &SqlType) -> bool {
    match sql_type {
        SqlType::Map(..) => true,
        SqlType::Array(item) => has_map(item),
        SqlType::Struct(fields) => fields.iter().any(|f| has_map(&f.sql_type)),
        _ => false,
    }
}

/// Whether the formats can hold the columns.
pub(super) fn check_formats(
    schema: &RelationSchema,
    key: &SerdeSpec,
    value: &SerdeSpec,
    span: Span,
    problems: &mut Vec<Problem>,
) {
    for (what, columns, format) in [("key", &schema.key, key.format), ("value", &schema.value, value.format)] {
        let listed: Vec<_> = columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        let cannot = |why: &str| {
            let message = format!(
                "the format {format} cannot hold the {what} ({}): {why}",
                listed.join(", ")
            );
            Problem::new(span, message).hint(format!("set {}_FORMAT to JSON or AVRO", what.to_uppercase()))
        };
        match format {
            Format::Kafka => {
                let simple = |t: &SqlType| {
                    matches!(
                        t,
                        SqlType::Integer | SqlType::Bigint | SqlType::Double | SqlType::String | SqlType::Bytes
                    )
                };
                if columns.len() > 1 {
                    problems.push(cannot("it takes a single column"));
                } else if !columns.iter().all(|c| simple(&c.sql_type)) {
                    problems.push(cannot("it takes INTEGER, BIGINT, DOUBLE, STRING or BYTES"));
                }
            }
            Format::Delimited => {
                let nested = |t: &SqlType| matches!(t, SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_));
                if columns.iter().any(|c| nested(&c.sql_type)) {
                    problems.push(cannot("it takes no ARRAY, MAP or STRUCT"));
                }
            }
            Format::None if !columns.is_empty() => problems.push(cannot("it holds no bytes at all")),
            Format::None | Format::Avro | Format::Json | Format::JsonSr => {}
            Format::Protobuf | Format::ProtobufNosr | Format::Internal => {}
        }
    }
}

/// Where the event time of a declared relation comes from.
fn timestamp(relation: &Relation, with: &With, problems: &mut Vec<Problem>) -> TimestampFrom {
    let Some(column) = &with.timestamp else {
        if let Some(format) = &with.timestamp_format {
            problems.push(Problem::new(
                format.span,
                "TIMESTAMP_FORMAT needs TIMESTAMP, which names the column",
            ));
        }
        return TimestampFrom::Record;
    };
    let Some(i) = relation.schema.value.iter().position(|c| *c.name == *column.value) else {
        let problem = if relation.schema.key.iter().any(|c| *c.name == *column.value) {
            Problem::unsupported(column.span, "a TIMESTAMP in the key")
        } else {
            let problem = Problem::new(
                column.span,
                format!("there is no column {} in {}", column.value, relation.name),
            );
            problem.nearest(&column.value, relation.schema.value.iter().map(|c| &*c.name))
        };
        problems.push(problem);
        return TimestampFrom::Record;
    };
    match (&relation.schema.value[i].sql_type, &with.timestamp_format) {
        (SqlType::Bigint | SqlType::Timestamp, None) => TimestampFrom::Column(i),
        (SqlType::String, Some(format)) => {
            let problem = Problem::unsupported(format.span, "TIMESTAMP_FORMAT");
            problems.push(problem.hint("TIMESTAMP takes a BIGINT or TIMESTAMP column"));
            TimestampFrom::Record
        }
        (SqlType::String, None) => {
            let problem = Problem::new(column.span, format!("the column {} is a STRING", column.value));
            problems.push(problem.hint("TIMESTAMP takes a BIGINT or TIMESTAMP column"));
            TimestampFrom::Record
        }
        (other, _) => {
            let message = format!(
                "the event time must be a BIGINT, a TIMESTAMP, or a STRING with TIMESTAMP_FORMAT: {} is {other}",
                column.value
            );
            problems.push(Problem::new(column.span, message));
            TimestampFrom::Record
        }
    }
}
