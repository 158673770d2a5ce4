//! CREATE ... AS SELECT and INSERT INTO ... SELECT: from FROM to the sink.

use std::sync::Arc;

use super::columns::{PSEUDO, check_formats};
use super::declare::{check_ids, check_wrapping, timestamp, topic_spec};
use super::insert_values::declaration;
use super::output::Output;
use super::window::window_scope;
use super::{Planner, script};
use crate::expr::Expr;
use crate::sql::ast::{Create, Name, Query, Statement, TableRef};
use crate::sql::check::Checker;
use crate::sql::coerce::convert;
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::properties::{self, With};
use crate::sql::scope::{Scope, ScopeColumn, ScopeRelation};
use crate::topology::{NodeRef, Relation};
use crate::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType, Value, WindowInfo};

/// How far a query has been planned: a node, and what can be named there.
#[derive(Clone)]
pub(super) struct Pipe {
    pub node: NodeRef,
    pub scope: Scope,
    /// Columns that equal a key column wherever their side of an outer join is there.
    pub joined_keys: Vec<JoinedKey>,
    /// Expressions that were made the key, and which column of it: joining by them again finds the record where it is.
    pub key_exprs: Vec<(Expr, usize)>,
}

/// See [`Pipe::joined_keys`].
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinedKey {
    /// Index in the scope's columns.
    pub column: usize,
    /// The key column.
    pub key: usize,
    /// The result's key can be called after it.
    pub viable: bool,
}

/// Problems that were reported already: the statement is given up, its name stays known.
type Planned<T> = Result<Option<T>, Problem>;

impl Planner<'_> {
    pub(super) fn create_as(
        &mut self,
        create: &Create,
        query: &Query,
        span: Span,
        all: &[Statement],
    ) -> Result<(), Problem> {
        let name = &create.name;
        let mut problems = Vec::new();
        let with = properties::read(&create.with, true, &mut problems);
        self.problems.append(&mut problems);
        let before = self.problems.len();
        let Some(output) = self.query(&name.text, query, with.partitions.as_ref().map(|p| p.value), all)? else {
            return Ok(());
        };
        if output.kind != create.kind {
            return Err(wrong_kind(create.kind, output.kind, query, name.span));
        }
        let (key, value) = self.formats(&with, query, output.schema.key.len());
        let key = key.for_key_of(&name.text, &output.schema.key);
        let mut problems = Vec::new();
        let place = with.key_format.as_ref().map_or(name.span, |f| f.span);
        check_formats(&create.with, &output.schema, &key, &value, place, &mut problems);
        check_wrapping(&with, &output.schema, value.format, &mut problems);
        check_ids(&key, &value, name.span, &mut problems);
        self.problems.append(&mut problems);
        if self.problems.len() > before {
            return Ok(());
        }
        let topic: Arc<str> = with
            .topic
            .as_ref()
            .map_or(name.text.clone(), |t| t.value.as_str().into());
        let place = with.topic.as_ref().map_or(name.span, |t| t.span);
        self.refuse_loop((&topic, place), query)?;
        let window = self.builder.window(output.node);
        let relation = Relation {
            name: name.text.clone(),
            kind: create.kind,
            schema: output.schema,
            topic: topic_spec(topic, &with, create.kind),
            key_format: key,
            value_format: value,
            window,
            derived: true,
            sql: self.text(span),
            headers: Vec::new(),
        };
        let mut problems = Vec::new();
        let timestamp = timestamp(&relation, &with, &mut problems);
        if !problems.is_empty() {
            self.problems.append(&mut problems);
            return Ok(());
        }
        let relation = self.builder.relation(relation);
        // PARTITIONS without a repartition of our own takes effect in the topic only
        let elsewhere = with.partitions.is_some() && !output.repartitioned;
        let through_topic = self.apart || elsewhere || self.inserts.contains_key(&name.text);
        match &with.write_topic {
            Some(write) if !write.value && !self.apart => self.check_unwritten(&with, write.span, through_topic),
            Some(_) | None => {
                self.builder.sink_at(&name.text, output.node, relation, timestamp);
            }
        }
        let of_source = self.known.get(&query.from.name.text).and_then(|k| k.keyless_format);
        let of_with = with.key_format.as_ref().map(|f| f.value);
        if let Some(known) = self.known.get_mut(&name.text) {
            known.relation = Some(relation);
            known.keyless_format = of_with.or(of_source);
            known.through_topic = through_topic;
            known.node = (!through_topic).then_some(output.node);
        }
        Ok(())
    }

    /// How a derived relation of so many key columns is written: as its leftmost source, unless WITH says otherwise.
    fn formats(&self, with: &With, query: &Query, keys: usize) -> (SerdeSpec, SerdeSpec) {
        let known = self.known.get(&query.from.name.text);
        let source = known.and_then(|k| k.relation);
        let (key, value) = match source.map(|r| self.builder.relation_of(r)) {
            Some(relation) => (relation.key_format.clone(), relation.value_format.clone()),
            None => (SerdeSpec::key(Format::Kafka), SerdeSpec::value(Format::Json)),
        };
        // schema ids and names belong to the source's topic
        let inherited = |spec: SerdeSpec| SerdeSpec {
            schema_id: None,
            full_name: None,
            ..spec
        };
        let default_key = match key.format {
            Format::None => {
                let default = self.default_format("ksql.persistence.default.format.key");
                let of_source = known.and_then(|k| k.keyless_format);
                SerdeSpec::key(of_source.or(default).unwrap_or(Format::Kafka))
            }
            _ => inherited(key),
        };
        // nor is wrapping inherited: a derived relation's values are wrapped as the file's default says
        let default_value = SerdeSpec {
            wrap_single: self.value_default(value.format).wrap_single,
            ..inherited(value)
        };
        (with.key_spec(&default_key, keys), with.value_spec(&default_value))
    }

    pub(super) fn insert(&mut self, into: &Name, query: &Query, all: &[Statement]) -> Result<(), Problem> {
        let Some(target) = self.find(into, all)? else {
            return Ok(());
        };
        let Some(relation) = target.relation else {
            return Ok(());
        };
        if target.kind == RelationKind::Table {
            return Err(Problem::new(
                into.span,
                format!("{} is a table: INSERT INTO needs a stream", into.text),
            ));
        }
        if let Some(header) = self.builder.relation_of(relation).headers.first() {
            let message = format!(
                "{} has the column {} of headers: nothing can be inserted",
                into.text, header.name
            );
            return Err(Problem::new(into.span, message).hint("declare another stream over the topic, without it"));
        }
        if declaration(all, &into.text).is_some_and(|create| create.source) {
            let message = format!("{} is a SOURCE STREAM: nothing can be inserted", into.text);
            return Err(Problem::new(into.span, message).hint("declare it without SOURCE"));
        }
        let topic = self.builder.relation_of(relation).topic.name.clone();
        self.refuse_loop((&topic, into.span), query)?;
        let number = self.inserts.get_mut(&into.text).map_or(1, |n| {
            *n += 1;
            *n
        });
        let name = format!("{}-insert{number}", into.text);
        let before = self.problems.len();
        let Some(output) = self.query(&name, query, None, all)? else {
            return Ok(());
        };
        if self.problems.len() > before {
            return Ok(());
        }
        if output.kind == RelationKind::Table {
            return Err(Problem::new(
                query.span,
                format!("the query gives a table, but {} is a stream", into.text),
            ));
        }
        let (from, to) = (
            self.builder.window(output.node),
            self.builder.relation_of(relation).window,
        );
        if from != to {
            let named =
                |window: Option<WindowInfo>| window.map_or("no windows".to_string(), |w| format!("{} windows", w.kind));
            let message = format!(
                "the keys of the query have {}, those of {} have {}",
                named(from),
                into.text,
                named(to)
            );
            return Err(Problem::new(query.span, message));
        }
        let mut target = self.builder.relation_of(relation).schema.clone();
        let late = declaration(all, &into.text).map_or(0, |create| added_below(create, query.span));
        let Some(values) = fitting(&output.schema, &target, late) else {
            let message = format!("the query gives ({}), but {} has ({target})", output.schema, into.text);
            return Err(Problem::new(query.span, message).hint("select the same columns in the same order"));
        };
        target.key = self.builder.schema(output.node).key.clone();
        let node = self.builder.project(&name, "fit", output.node, target, values);
        self.builder.sink(&name, node, relation);
        Ok(())
    }

    /// A query that reads the topic that it writes would never come to an end.
    fn refuse_loop(&self, (topic, place): (&str, Span), query: &Query) -> Result<(), Problem> {
        let read = std::iter::once(&query.from).chain(query.joins.iter().map(|join| &join.right));
        for source in read {
            let relation = self.known.get(&source.name.text).and_then(|known| known.relation);
            if relation.is_some_and(|relation| &*self.builder.relation_of(relation).topic.name == topic) {
                let message = format!(
                    "the query writes topic {topic}, which it reads as {}: it would read its own results, over and over",
                    source.name.text
                );
                return Err(Problem::new(place, message).hint("write to a stream or table with another KAFKA_TOPIC"));
            }
        }
        Ok(())
    }

    /// WRITE_TOPIC = FALSE goes with nothing that needs the topic.
    fn check_unwritten(&mut self, with: &With, span: Span, through_topic: bool) {
        let named = with.topic.is_some() || with.replicas.is_some() || with.retention_ms.is_some();
        if named || through_topic {
            let message =
                "WRITE_TOPIC is FALSE, but the statement says how the topic is to be, or another one inserts into it";
            self.problems
                .push(Problem::new(span, message).hint("leave WRITE_TOPIC out, or the topic's properties"));
        }
    }

    /// Plans a query up to its projection. `name` is that of the relation being made, the root of all internal names.
    fn query(&mut self, name: &str, query: &Query, partitions: Option<i32>, all: &[Statement]) -> Planned<Output> {
        self.refuse(query)?;
        // behind a join each side's own time is a column like others
        let times = !query.joins.is_empty() && script::names_column(query, "ROWTIME");
        self.times_for = times.then(|| name.to_string());
        let Some(mut pipe) = self.read(&query.from, all)? else {
            return Ok(None);
        };
        self.refuse_global(&pipe, &query.from)?;
        for (i, join) in query.joins.iter().enumerate() {
            // the first join's names have no number, so that adding a second join leaves them
            let step = if i == 0 {
                "join".to_string()
            } else {
                format!("join{}", i + 1)
            };
            let Some(joined) = self.join(name, &step, pipe, join, all)? else {
                return Ok(None);
            };
            pipe = joined;
        }
        pipe = self.choose_keys(query, pipe);
        if let Some(filter) = &query.filter {
            match Checker::new(&pipe.scope, "in WHERE").condition(filter, "the condition of WHERE") {
                Ok(condition) => pipe.node = self.builder.filter(name, pipe.node, condition),
                // the projection may have errors of its own
                Err(problem) => self.problems.push(problem),
            }
        }
        self.project(name, query, pipe, partitions)
    }

    fn refuse(&self, query: &Query) -> Result<(), Problem> {
        if let Some((_, span)) = query.limit {
            return Err(Problem::unsupported(span, "LIMIT in a continuous query"));
        }
        if let Some((key, _)) = query.order_by.first() {
            return Err(Problem::new(key.span, "a continuous query has no order")
                .hint("ORDER BY belongs to the query that reads the view"));
        }
        Ok(())
    }

    /// The node and names of a relation in FROM or JOIN.
    pub(super) fn read(&mut self, table: &TableRef, all: &[Statement]) -> Planned<Pipe> {
        if let Some(topology) = &table.topology {
            let problem = Problem::new(topology.span, "a file reads topics, not another file's relations");
            return Err(problem.hint(format!(
                "declare {}'s topic here with CREATE STREAM or CREATE TABLE",
                table.name
            )));
        }
        if self.find(&table.name, all)?.is_none() {
            return Ok(None);
        }
        let Some(node) = self.node_of(&table.name.text) else {
            return Ok(None);
        };
        let Some(relation) = self.known.get(&table.name.text).and_then(|k| k.relation) else {
            return Ok(None);
        };
        let windowed = self.builder.relation_of(relation).window.is_some();
        let relation = &self.builder.relation_of(relation).schema;
        let first = relation.key.len();
        let made = self.builder.schema(node);
        let keys = relation.key.iter().enumerate().map(|(i, c)| (c, Expr::Key(i), false));
        let own = relation
            .value
            .iter()
            .enumerate()
            .map(|(i, c)| (c, Expr::Value(i), false));
        // columns of headers and the pseudo columns of a source stand behind its own
        let own_width = relation.value.len();
        let pseudo = (own_width..made.value.len()).map(|i| {
            let hidden = PSEUDO.contains(&&*made.value[i].name);
            (&made.value[i], Expr::Value(i), hidden)
        });
        let mut columns: Vec<ScopeColumn> = keys
            .chain(own)
            .chain(pseudo)
            .map(|(column, expr, hidden)| ScopeColumn {
                relation: Some(0),
                name: column.name.clone(),
                expr,
                sql_type: column.sql_type.clone(),
                hidden,
                lost: None,
            })
            .collect();
        let mut time = ScopeColumn {
            relation: Some(0),
            name: "ROWTIME".into(),
            expr: Expr::Rowtime,
            sql_type: SqlType::Bigint,
            hidden: true,
            lost: None,
        };
        let mut node = node;
        if let Some(name) = self.times_for.clone() {
            let mut schema = self.builder.schema(node).clone();
            let width = schema.value.len();
            schema.value.push(Column::new("ROWTIME", SqlType::Bigint));
            let values = (0..width).map(Expr::Value).chain([Expr::Rowtime]).collect();
            let step = format!("time-of-{}", table.known_as());
            node = self.builder.project(&name, &step, node, schema, values);
            time.expr = Expr::Value(width);
        }
        columns.push(time);
        if windowed {
            columns.extend(window_scope([Expr::Key(first), Expr::Key(first + 1)]));
        }
        let scope = Scope {
            relations: vec![ScopeRelation {
                alias: table.known_as().text.clone(),
                name: table.name.text.clone(),
            }],
            columns,
        };
        Ok(Some(Pipe {
            node,
            scope,
            joined_keys: Vec::new(),
            key_exprs: Vec::new(),
        }))
    }
}

fn wrong_kind(wanted: RelationKind, made: RelationKind, query: &Query, span: Span) -> Problem {
    let (wanted_name, made_name) = (wanted.to_string().to_lowercase(), made.to_string().to_lowercase());
    let problem = Problem::new(span, format!("the query gives a {made_name}, not a {wanted_name}"));
    match wanted {
        RelationKind::Stream => problem.hint("write CREATE TABLE"),
        RelationKind::Table if query.group_by.is_empty() && query.qualify.is_none() => {
            problem.hint("write CREATE STREAM, or GROUP BY a key")
        }
        RelationKind::Table => problem.hint("write CREATE STREAM"),
    }
}

/// How many of a relation's columns the statements below a place may have added: ALTER, and CREATE OR REPLACE.
fn added_below(create: &Create, place: Span) -> usize {
    match &create.columns {
        Some(columns) => columns.iter().filter(|c| c.span.start > place.start).count(),
        None if create.name.span.start > place.start => usize::MAX,
        None => 0,
    }
}

/// What turns rows of one schema into another with the same names; `None` if they differ in more than the width of numbers, and in the last
/// `late` columns, which are NULL where they are missing.
fn fitting(from: &RelationSchema, to: &RelationSchema, late: usize) -> Option<Vec<Expr>> {
    let missing = to.value.len().checked_sub(from.value.len())?;
    let names = |schema: &RelationSchema| schema.columns().map(|c| c.name.clone()).collect::<Vec<_>>();
    if missing > late || !names(to).starts_with(&names(from)) || from.key_types() != to.key_types() {
        return None;
    }
    let value = |(i, to): (usize, &Column)| match from.value.get(i) {
        Some(given) => {
            crate::expr::widens(&given.sql_type, &to.sql_type)?;
            Some(convert(Expr::Value(i), &to.sql_type, Some(&given.sql_type)))
        }
        None => Some(convert(Expr::Literal(Value::Null), &to.sql_type, None)),
    };
    to.value.iter().enumerate().map(value).collect()
}
