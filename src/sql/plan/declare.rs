//! CREATE without a query: a relation over an existing topic.

use std::sync::Arc;

use super::Planner;
use super::columns::{check_formats, columns};
use super::window::declared_window;
use crate::expr::{EvalContext, Expr};
use crate::sql::ast::{ColumnDef, ColumnRole, Create, Expression, ExpressionKind, Literal, Name};
use crate::sql::check::Checker;
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::properties::{self, Placed, With};
use crate::sql::scope::{Scope, ScopeColumn};
use crate::topology::{Relation, TimestampFrom, TopicSpec};
use crate::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType, StructField};

impl Planner<'_> {
    pub(super) fn declare(&mut self, create: &Create, span: Span) -> Result<(), Problem> {
        let mut problems = Vec::new();
        let with = properties::read(&create.with, false, &mut problems);
        let relation = self.declared(create, &with, span, &mut problems);
        let timestamp = relation.as_ref().map(|r| timestamp(r, &with, &mut problems));
        if let (Some(history), RelationKind::Stream) = (&with.history_retention_ms, create.kind) {
            let message = "HISTORY_RETENTION_MS is for tables: a stream's records are all there";
            problems.push(Problem::new(history.span, message));
        }
        check_global(&with, create.kind, &mut problems);
        let fine = problems.is_empty();
        self.problems.append(&mut problems);
        if let (Some(relation), Some(timestamp), true) = (relation, timestamp, fine) {
            let relation = self.builder.relation(relation);
            if let Some(known) = self.known.get_mut(&create.name.text) {
                known.relation = Some(relation);
                known.timestamp = timestamp;
                known.global = with.global.as_ref().is_some_and(|global| global.value);
                known.history_ms = with.history_retention_ms.as_ref().map(|history| history.value);
                known.keyless_format = with.key_format.as_ref().map(|f| f.value);
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
        let (mut schema, headers) = columns(create, problems);
        let Some(topic) = &with.topic else {
            if !misread {
                let problem = Problem::new(name.span, format!("{} has no topic", name.text));
                problems.push(problem.hint("add KAFKA_TOPIC='...' to the WITH clause"));
            }
            return None;
        };
        let default_value = self.default_format("ksql.persistence.default.format.value");
        let Some(value_format) = with.value_format.as_ref().map(|f| f.value).or(default_value) else {
            if !misread {
                let problem = Problem::new(name.span, format!("{} has no format for its values", name.text));
                problems.push(
                    problem.hint("add VALUE_FORMAT='JSON' (or AVRO, DELIMITED, KAFKA) or FORMAT to the WITH clause"),
                );
            }
            return None;
        };
        let key_format = with.key_format.as_ref().map(|f| f.value);
        let key_format = key_format.or(self.default_format("ksql.persistence.default.format.key"));
        let mut key = with.key_spec(&SerdeSpec::key(key_format.unwrap_or(Format::Kafka)), 1);
        let value = with.value_spec(&self.value_default(value_format));
        let topic_name: Arc<str> = topic.value.as_str().into();
        let listed = create.columns.as_ref().is_some_and(|columns| !columns.is_empty());
        if has_schemas(key.format) && (schema.key.is_empty() || key.schema_id.is_some()) {
            // with columns of a value listed, a topic without a schema for its keys has no keys
            let optional = !schema.value.is_empty() && key.schema_id.is_none();
            let found = self.inferred(&topic_name, true, &key, optional, name.span, problems)?;
            agree(&mut schema.key, found, &key, name.span, problems);
        }
        if has_schemas(value.format) && (schema.value.is_empty() || value.schema_id.is_some()) {
            let found = self.inferred(&topic_name, false, &value, false, name.span, problems)?;
            agree(&mut schema.value, found, &value, name.span, problems);
        } else if !listed {
            let message = format!("columns cannot be inferred for the format {}", value.format);
            problems.push(Problem::new(name.span, message).hint("list the columns in parentheses after the name"));
            return None;
        }
        check_ids(&key, &value, name.span, problems);
        if schema.key.is_empty() {
            key = SerdeSpec::key(Format::None);
        }
        let key = key.for_key_of(&name.text, &schema.key);
        let marked = |c: &ColumnDef| c.role == ColumnRole::Key;
        let mistaken = create.columns.iter().flatten().any(marked);
        if create.kind == RelationKind::Table && schema.key.is_empty() && !mistaken {
            let problem = Problem::new(name.span, format!("the table {} has no primary key", name.text));
            problems.push(problem.hint("mark a column with PRIMARY KEY"));
        }
        check_wrapping(with, &schema, value.format, problems);
        check_formats(&create.with, &schema, &key, &value, name.span, problems);
        let window = declared_window(with, schema.key.len(), name.span).unwrap_or_else(|problem| {
            if !misread {
                problems.push(problem);
            }
            None
        });
        Some(Relation {
            name: name.text.clone(),
            kind: create.kind,
            schema,
            topic: topic_spec(topic_name, with, create.kind),
            key_format: key,
            value_format: value,
            window,
            derived: false,
            sql: self.text(span),
            headers,
        })
    }

    /// A value's serialization without the WITH clause: `ksql.persistence.wrap.single.values` is a default of the file.
    pub(super) fn value_default(&self, format: Format) -> SerdeSpec {
        let spec = SerdeSpec::value(format);
        let wraps = self.property("ksql.persistence.wrap.single.values");
        let unwrapped = wraps.is_some_and(|value| value.eq_ignore_ascii_case("false"));
        SerdeSpec {
            wrap_single: spec.wrap_single && !(unwrapped && can_unwrap(format)),
            ..spec
        }
    }

    /// A property that the file has SET.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .properties
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// A default format from the file's `SET` properties.
    pub(super) fn default_format(&self, property: &str) -> Option<Format> {
        let value = self.property(property)?;
        Format::named(value)
    }

    /// The columns that the registry has for a topic; none if it has no schema and that is allowed.
    fn inferred(
        &self,
        topic: &str,
        key: bool,
        spec: &SerdeSpec,
        optional: bool,
        span: Span,
        problems: &mut Vec<Problem>,
    ) -> Option<Vec<Column>> {
        let subject = format!("{topic}-{}", if key { "key" } else { "value" });
        let problem = match self.context.schemas.columns(&subject, spec) {
            // a schema that is named by its id is taken as it is; others fold like names in SQL
            Ok(Some(columns)) if spec.schema_id.is_some() => return Some(columns),
            Ok(Some(columns)) => {
                let folded = columns
                    .into_iter()
                    .map(|c| Column::new(c.name.to_uppercase(), fold_names(&c.sql_type)));
                return Some(folded.collect());
            }
            Ok(None) if optional => return Some(Vec::new()),
            Ok(None) => {
                let what = spec
                    .schema_id
                    .map_or(format!("schema {subject}"), |id| format!("schema with id {id}"));
                Problem::new(span, format!("the registry has no {what}")).hint("register it, or list the columns")
            }
            Err(why) => Problem::new(span, format!("the schema {subject} cannot be read: {why}")),
        };
        problems.push(problem);
        None
    }
}

/// A global table is looked up by its key as it is now, and that is all.
fn check_global(with: &With, kind: RelationKind, problems: &mut Vec<Problem>) {
    let Some(global) = with.global.as_ref().filter(|global| global.value) else {
        return;
    };
    if kind == RelationKind::Stream {
        problems.push(Problem::new(
            global.span,
            "GLOBAL is for tables: a stream is not looked up",
        ));
    }
    if let Some(history) = &with.history_retention_ms {
        let message = "a global table keeps no history: what a process has loaded is not synchronised in time";
        problems.push(Problem::new(history.span, message).hint("leave GLOBAL or HISTORY_RETENTION_MS out"));
    }
    if let Some(window) = &with.window_type {
        problems.push(Problem::new(window.span, "a global table has no windows in its keys"));
    }
}

/// Schema ids go with formats that have schemas.
pub(super) fn check_ids(key: &SerdeSpec, value: &SerdeSpec, span: Span, problems: &mut Vec<Problem>) {
    for (what, spec) in [("KEY", key), ("VALUE", value)] {
        if spec.schema_id.is_some() && !has_schemas(spec.format) {
            let message = format!("{what}_SCHEMA_ID needs a format with schemas, {} has none", spec.format);
            problems.push(Problem::new(span, message).hint("use AVRO, PROTOBUF or JSON_SR"));
        }
    }
}

/// Whether a format keeps its schemas in the registry.
pub(super) fn has_schemas(format: Format) -> bool {
    format.features().schemas
}

/// Whether a format can write a single column without a record around it.
pub(super) fn can_unwrap(format: Format) -> bool {
    format.features().unwraps
}

/// Field names of records fold like columns.
fn fold_names(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Array(item) => SqlType::Array(fold_names(item).into()),
        SqlType::Map(key, value) => SqlType::Map(key.clone(), fold_names(value).into()),
        SqlType::Struct(fields) => {
            let fields = fields.iter().map(|field| StructField {
                name: field.name.to_uppercase().into(),
                sql_type: fold_names(&field.sql_type),
            });
            SqlType::Struct(fields.collect())
        }
        other => other.clone(),
    }
}

/// Takes the columns of the registry; ones that are listed beside a schema id must be among them.
fn agree(listed: &mut Vec<Column>, found: Vec<Column>, spec: &SerdeSpec, span: Span, problems: &mut Vec<Problem>) {
    if listed.is_empty() {
        *listed = found;
        return;
    }
    for column in listed.iter() {
        let known = found.iter().find(|f| f.name == column.name);
        let message = match known {
            Some(known) if known.sql_type == column.sql_type => continue,
            Some(known) => format!(
                "column {} is {}, in the schema it is {}",
                column.name, column.sql_type, known.sql_type
            ),
            None => format!(
                "column {} is not in the schema with id {}",
                column.name,
                spec.schema_id.unwrap_or_default()
            ),
        };
        problems.push(Problem::new(span, message));
    }
}

/// WRAP_SINGLE_VALUE goes with one column, and a format that knows both ways.
pub(super) fn check_wrapping(with: &With, schema: &RelationSchema, format: Format, problems: &mut Vec<Problem>) {
    let Some(wrap) = &with.wrap_single_value else { return };
    if schema.value.len() != 1 {
        let message = format!(
            "WRAP_SINGLE_VALUE is for a single value column, here are {}",
            schema.value.len()
        );
        problems.push(Problem::new(wrap.span, message));
    } else if !(if wrap.value {
        format.features().wraps
    } else {
        can_unwrap(format)
    }) {
        let message = format!("the format {format} does not take WRAP_SINGLE_VALUE");
        problems.push(Problem::new(wrap.span, message).hint("leave it out"));
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

/// Where the event time of a relation's records comes from.
pub(super) fn timestamp(relation: &Relation, with: &With, problems: &mut Vec<Problem>) -> TimestampFrom {
    let Some(column) = &with.timestamp else {
        if let Some(format) = &with.timestamp_format {
            problems.push(Problem::new(
                format.span,
                "TIMESTAMP_FORMAT needs TIMESTAMP, which names the column",
            ));
        }
        return TimestampFrom::Record;
    };
    let at = |columns: &[Column]| columns.iter().position(|c| *c.name == *column.value);
    let (i, of_key) = match (at(&relation.schema.value), at(&relation.schema.key)) {
        (Some(i), _) => (i, false),
        (None, Some(i)) => (i, true),
        (None, None) => {
            let problem = Problem::new(
                column.span,
                format!("there is no column {} in {}", column.value, relation.name),
            );
            problems.push(problem.nearest(&column.value, relation.schema.columns().map(|c| &*c.name)));
            return TimestampFrom::Record;
        }
    };
    let columns = if of_key {
        &relation.schema.key
    } else {
        &relation.schema.value
    };
    let problem = match (&columns[i].sql_type, &with.timestamp_format) {
        (SqlType::Bigint | SqlType::Timestamp, None) if of_key => return TimestampFrom::Key(i),
        (SqlType::Bigint | SqlType::Timestamp, None) => return TimestampFrom::Column(i),
        (SqlType::String, Some(format)) => match parser(format) {
            Ok(parse) if of_key => return TimestampFrom::ParsedKey(i, parse.into()),
            Ok(parse) => return TimestampFrom::Parsed(i, parse.into()),
            Err(problem) => problem,
        },
        (SqlType::String, None) => {
            let problem = Problem::new(column.span, format!("the column {} is a STRING", column.value));
            problem.hint("TIMESTAMP_FORMAT='yyyy-MM-dd HH:mm:ss' says how it is written")
        }
        (SqlType::Bigint | SqlType::Timestamp, Some(format)) => Problem::new(
            format.span,
            format!("{} is no STRING: TIMESTAMP_FORMAT is for texts", column.value),
        ),
        (other, _) => {
            let message = format!(
                "the event time must be a BIGINT, a TIMESTAMP, or a STRING with TIMESTAMP_FORMAT: {} is {other}",
                column.value
            );
            Problem::new(column.span, message)
        }
    };
    problems.push(problem);
    TimestampFrom::Record
}

/// What reads a time by a pattern, from a text in value column 0.
fn parser(format: &Placed<String>) -> Result<Expr, Problem> {
    let name = |text: &str| Name {
        text: text.into(),
        span: format.span,
    };
    let at = |kind| Expression {
        kind,
        span: format.span,
    };
    let text = ScopeColumn {
        relation: None,
        name: "TEXT".into(),
        expr: Expr::Value(0),
        sql_type: SqlType::String,
        hidden: false,
        lost: None,
    };
    let scope = Scope {
        columns: vec![text],
        ..Scope::default()
    };
    let args = vec![
        at(ExpressionKind::Column(None, name("TEXT"))),
        at(ExpressionKind::Literal(Literal::String(format.value.clone()))),
    ];
    let call = at(ExpressionKind::Call(name("STRINGTOTIMESTAMP"), args));
    let parse = Checker::new(&scope, "in TIMESTAMP_FORMAT").check(&call)?.expr;
    let row = EvalContext {
        key: &[],
        value: &["".into()],
        timestamp: 0,
        now: 0,
    };
    match parse.eval(&row) {
        // an empty text has no time: only what is wrong with the pattern itself is told here
        Err(e) if e.message.starts_with("the pattern '") => Err(Problem::new(format.span, e.message)),
        _ => Ok(parse),
    }
}
