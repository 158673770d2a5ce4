//! Statements to a plan: the relations of a file, their sources, queries and sinks, put into a [`Builder`].
//!
//! Each statement is planned by itself; what it defines is known to the ones after it, also when its query was wrong, so that one mistake
//! is not reported again by each of its users.

mod columns;
mod declare;
mod group;
mod insert_values;
mod items;
mod join;
mod join_as_of;
mod join_global;
mod join_keys;
mod join_on;
mod join_window;
mod output;
mod partition;
mod qualify;
mod query;
mod replace;
mod script;
mod window;

pub(super) use group::of_groups;
pub(super) use items::{Item, select_items};
pub(super) use replace::check as check_replaced;
pub(super) use script::{Script, effective};

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Create, Name, Query, SelectItem, Statement, StatementKind};
use super::diagnostic::{Problem, Span};
use super::print;
use super::properties::is_topic_name;
use super::settings;
use super::{CompileContext, SourceFile};
use crate::topology::{Builder, EMPTY_GROUPS, NodeRef, RelationRef, Semantics, TimestampFrom, Topology};
use crate::types::{Format, RelationKind};

/// What becomes of a record whose expression fails: `null`, as in ksqlDB, or `dead-letter`, the default.
pub const EXPRESSION_ERRORS: &str = "millstream.expression.errors";

/// What a comparison with NULL gives: `null`, the default, or `false`, as in ksqlDB.
pub const NULL_COMPARISONS: &str = "millstream.null.comparisons";

/// What becomes of a join of a relation with itself: `allow`, the default, or `refuse`, as in ksqlDB.
pub const SELF_JOINS: &str = "millstream.self.joins";

/// What becomes of an INTEGER or BIGINT that is too large: `error`, the default, or `wrap`, as in Java and ksqlDB.
pub const INTEGER_OVERFLOW: &str = "millstream.integer.overflow";

/// The settings under which a file gives what it gives in ksqlDB.
pub const AS_KSQLDB: [(&str, &str); 5] = [
    (INTEGER_OVERFLOW, "wrap"),
    (EXPRESSION_ERRORS, "null"),
    (NULL_COMPARISONS, "false"),
    (EMPTY_GROUPS, "keep"),
    (SELF_JOINS, "refuse"),
];

/// What a name of the file stands for.
#[derive(Clone, Debug)]
struct Known {
    kind: RelationKind,
    span: Span,
    /// `None` if its statement was wrong: using it is no further error.
    relation: Option<RelationRef>,
    /// The node that gives its rows, once somebody asked.
    node: Option<NodeRef>,
    timestamp: TimestampFrom,
    /// The KEY_FORMAT (or FORMAT) of a relation without key columns: what is made of it has keys in this format.
    keyless_format: Option<Format>,
    /// A derived relation that is read back from its topic: others write to it, too, or it is partitioned anew there.
    through_topic: bool,
    /// HISTORY_RETENTION_MS of a declared table.
    history_ms: Option<i64>,
    /// GLOBAL of a declared table.
    global: bool,
}

/// Plans a file.
pub(super) struct Planner<'a> {
    file: &'a SourceFile,
    context: &'a CompileContext<'a>,
    builder: Builder,
    known: BTreeMap<Arc<str>, Known>,
    /// Targets of INSERT INTO anywhere in the file, and how many were planned.
    inserts: BTreeMap<Arc<str>, usize>,
    /// Properties that hold before the first statement.
    given: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    /// The query being planned joins and names ROWTIME: its relations offer theirs as a column.
    times_for: Option<String>,
    problems: Vec<Problem>,
    /// Each query stands alone: derived relations are read from their topics.
    apart: bool,
}

impl<'a> Planner<'a> {
    pub fn new(name: &str, file: &'a SourceFile, context: &'a CompileContext<'a>) -> Self {
        Self {
            file,
            context,
            builder: Builder::new(name),
            known: BTreeMap::new(),
            inserts: BTreeMap::new(),
            given: Vec::new(),
            properties: Vec::new(),
            times_for: None,
            problems: Vec::new(),
            apart: false,
        }
    }

    /// Plans one statement alone: the others only tell what the names mean.
    pub fn plan_only(mut self, statements: &[Statement], only: usize) -> Result<Topology, Vec<Problem>> {
        self.apart = true;
        for (i, statement) in statements.iter().enumerate() {
            if let StatementKind::InsertSelect { into, .. } = &statement.kind {
                self.inserts.entry(into.text.clone()).or_insert(0);
            }
            let nodes = self.builder.len();
            self.statement(statement, statements);
            if i != only || !statement.is_query() {
                self.builder.truncate(nodes);
                self.known.values_mut().for_each(|known| known.node = None);
            }
        }
        self.end(statements)
    }

    /// Properties that the file finds set.
    pub fn with_properties(mut self, properties: &[(String, String)]) -> Self {
        self.given.extend_from_slice(properties);
        self.properties.extend_from_slice(properties);
        self
    }

    /// What is set where a statement is written. CREATE OR REPLACE may be planned further up than that: see [`script`].
    fn properties_at(&self, span: Span, all: &[Statement]) -> Vec<(String, String)> {
        let mut properties = self.given.clone();
        for statement in all.iter().filter(|s| s.span.start < span.start) {
            match &statement.kind {
                StatementKind::Set(name, value) => put(&mut properties, name, value),
                StatementKind::Unset(name) => properties.retain(|(known, _)| !known.eq_ignore_ascii_case(name)),
                _ => {}
            }
        }
        properties
    }

    /// Plans all statements.
    pub fn plan(mut self, statements: &[Statement]) -> Result<Topology, Vec<Problem>> {
        let script = script::effective(statements);
        let statements = &script.live[..];
        self.problems.extend(script.problems);
        let replaced = script.replaced.iter();
        let problems = replaced.filter_map(|r| replace::check(r, self.file, self.context, &self.properties));
        self.problems.extend(problems.collect::<Vec<_>>());
        for statement in statements {
            if let StatementKind::InsertSelect { into, .. } = &statement.kind {
                self.inserts.insert(into.text.clone(), 0);
            }
        }
        for statement in statements {
            self.statement(statement, statements);
        }
        self.add_views();
        self.end(statements)
    }

    fn end(mut self, statements: &[Statement]) -> Result<Topology, Vec<Problem>> {
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|p| p.span.start);
            return Err(self.problems);
        }
        let whole = statements.first().map_or(Span::default(), |s| s.span);
        self.builder.properties(self.properties);
        self.builder
            .build()
            .map_err(|message| vec![Problem::new(whole, message)])
    }

    fn statement(&mut self, statement: &Statement, all: &[Statement]) {
        match &statement.kind {
            StatementKind::Create(create) if create.or_replace => {
                let its_own = self.properties_at(statement.span, all);
                let here = std::mem::replace(&mut self.properties, its_own);
                self.planned(statement, all);
                self.properties = here;
            }
            _ => self.planned(statement, all),
        }
    }

    /// Plans a statement with the properties that are set.
    fn planned(&mut self, statement: &Statement, all: &[Statement]) {
        let is = |name: &str, wanted: &str| self.property(name).is_some_and(|v| v.eq_ignore_ascii_case(wanted));
        let semantics = Semantics {
            null_on_error: is(EXPRESSION_ERRORS, "null"),
            false_for_null: is(NULL_COMPARISONS, "false"),
            wrapping: is(INTEGER_OVERFLOW, "wrap"),
        };
        self.builder.semantics(semantics);
        let before = self.problems.len();
        let result = match &statement.kind {
            StatementKind::Create(create) => self.create(create, statement, all),
            StatementKind::InsertSelect { into, query } => self.insert(into, query, all),
            StatementKind::InsertValues { into, columns, values } => {
                self.insert_values(into, columns, values, statement.span, all)
            }
            StatementKind::Assert(assert) => self.assert(assert, statement.span),
            // carried out before: see `script` for relations, the parser for types and variables
            StatementKind::Drop { .. } | StatementKind::Alter { .. } => Ok(()),
            StatementKind::CreateType { .. } | StatementKind::DropType { .. } => Ok(()),
            StatementKind::Define(..) | StatementKind::Undefine(_) => Ok(()),
            StatementKind::Set(name, value) => self.set(name, value, statement.span),
            StatementKind::Unset(name) => self.unset(name, statement.span),
            StatementKind::Query(_) => Err(Problem::new(
                statement.span,
                "a query in a file needs a place for its result",
            )
            .hint("write CREATE STREAM or CREATE TABLE ... AS SELECT; `millstream query` runs single queries")),
        };
        if let Err(problem) = result {
            self.problems.push(problem);
        }
        for problem in &mut self.problems[before..] {
            quoted_text(&self.file.text, problem);
            if let Some(query) = statement.query() {
                name_of_result(query, problem);
            }
        }
    }

    fn set(&mut self, name: &str, value: &str, span: Span) -> Result<(), Problem> {
        settings::check(name, value, span)?;
        put(&mut self.properties, name, value);
        Ok(())
    }

    fn unset(&mut self, name: &str, span: Span) -> Result<(), Problem> {
        settings::check_name(name, span)?;
        self.properties.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        Ok(())
    }

    fn create(&mut self, create: &Create, statement: &Statement, all: &[Statement]) -> Result<(), Problem> {
        let name = &create.name;
        if let Some(known) = self.known.get(&name.text) {
            let line = self.line(known.span);
            return Err(Problem::new(
                name.span,
                format!("{} exists already: line {line} makes it", name.text),
            ));
        }
        let known = Known {
            kind: create.kind,
            span: name.span,
            relation: None,
            node: None,
            timestamp: TimestampFrom::Record,
            keyless_format: None,
            through_topic: false,
            history_ms: None,
            global: false,
        };
        self.known.insert(name.text.clone(), known);
        let internal = create.query.is_some() || create.kind == RelationKind::Table;
        if internal && !is_topic_name(&name.text) {
            return Err(Problem::new(
                name.span,
                format!("{} cannot be part of a topic's name", print::name(&name.text)),
            )
            .hint("internal topics are named after it: use letters, digits, '_', '-' and '.'"));
        }
        match &create.query {
            Some(query) => self.create_as(create, query, statement.span, all),
            None => self.declare(create, statement.span),
        }
    }

    /// The statement as written.
    fn text(&self, span: Span) -> Arc<str> {
        self.file.text.get(span.start..span.end).unwrap_or_default().into()
    }

    fn line(&self, span: Span) -> usize {
        self.file
            .text
            .get(..span.start)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1
    }

    /// The relation that a query names. `Ok(None)` if its own statement was wrong.
    fn find(&self, name: &Name, all: &[Statement]) -> Result<Option<Known>, Problem> {
        if let Some(known) = self.known.get(&name.text) {
            return Ok(known.relation.map(|_| known.clone()));
        }
        let problem = Problem::new(name.span, format!("there is no stream or table {}", name.text));
        let later = all.iter().find_map(|s| match &s.kind {
            StatementKind::Create(c) if c.name.text == name.text => Some(c.name.span),
            _ => None,
        });
        Err(match later {
            Some(span) => problem.hint(format!("line {} makes it: move that statement up", self.line(span))),
            None => problem
                .nearest(&name.text, self.known.keys().map(|k| &**k))
                .or_hint("a file declares every topic that it reads with CREATE STREAM or CREATE TABLE"),
        })
    }

    /// The node that gives a relation's rows; a declared one gets its source when it is first read.
    fn node_of(&mut self, name: &Arc<str>) -> Option<NodeRef> {
        let known = self.known.get(name)?;
        if let Some(node) = known.node {
            return Some(node);
        }
        let (relation, timestamp) = (known.relation?, known.timestamp.clone());
        let (history_ms, global) = (known.history_ms, known.global);
        // a derived table that is read back has its rows twice: as they are made and as they are read
        let store = known.through_topic.then(|| format!("{name}-topic").into());
        let node = self.builder.source(relation, timestamp, store);
        if let Some(retention_ms) = history_ms {
            self.builder.keep_history(node, retention_ms);
        }
        if global {
            self.builder.make_global(node);
        }
        if let Some(known) = self.known.get_mut(name) {
            known.node = Some(node);
        }
        Some(node)
    }

    /// Every table can be queried, also one that is only declared.
    fn add_views(&mut self) {
        let mut tables: Vec<(usize, Arc<str>)> = self
            .known
            .iter()
            .filter(|(_, known)| known.kind == RelationKind::Table)
            .map(|(name, known)| (known.span.start, name.clone()))
            .collect();
        tables.sort();
        for (_, name) in tables {
            let relation = self.known.get(&name).and_then(|k| k.relation);
            // a global table's rows belong to no task, which are what is asked
            let node = self.node_of(&name).filter(|node| !self.builder.is_global(*node));
            if let (Some(relation), Some(node)) = (relation, node) {
                self.builder.view(relation, node);
            }
        }
    }
}

fn put(properties: &mut Vec<(String, String)>, name: &str, value: &str) {
    properties.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    properties.push((name.into(), value.into()));
}

/// A column that is missing may be a text in the quotes of names.
fn quoted_text(file: &str, problem: &mut Problem) {
    let written = file.get(problem.span.start..problem.span.end).unwrap_or_default();
    let inner = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(inner) = inner
        && problem.message.starts_with("there is no column ")
    {
        let text = inner.replace("\"\"", "\"").replace('\'', "''");
        problem.hint = Some(format!("double quotes make a name, single quotes a text: '{text}'"));
    }
}

/// A column that is missing may be one that the projection makes: other clauses do not know it.
fn name_of_result(query: &Query, problem: &mut Problem) {
    let named = |item: &&SelectItem| match item {
        SelectItem::One { alias: Some(alias), .. } => {
            let message = format!("there is no column {}", alias.text);
            problem.message == message || problem.message.starts_with(&format!("{message} in "))
        }
        _ => false,
    };
    if problem.hint.is_none()
        && let Some(SelectItem::One { expression, .. }) = query.select.iter().find(named)
    {
        problem.hint = Some(format!(
            "the projection makes it, other clauses do not know it: repeat its expression, {expression}"
        ));
    }
}

impl Problem {
    /// A hint where there is none yet.
    fn or_hint(self, hint: &str) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }
}
