//! Runs a case of ksqlDB's JSON shape: the statements in order, then each query in a driver of its own, then the comparison.
//!
//! A driver reads the case's inputs, where a topic of its query is among them, in the order of the case; a topic that is not among them gives it
//! what queries and INSERT ... VALUES before it wrote there. After each record everything is processed and committed, so that what one record
//! causes comes before the next. Every change is emitted, the wall clock stands at 0, there is one partition.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Emit;
use crate::engine::golden::{LocalRun, sink_schemas};
use crate::engine::task::TaskOptions;
use crate::formats::{MemoryRegistry, SchemaSource, columns_of};
use crate::sql::ast::StatementKind;
use crate::sql::{self, CompileContext, Diagnostic, SchemaLookup, SourceFile};
use crate::topology::{Assert, Asserted, Topology};
use crate::types::{Column, SerdeSpec};

use super::case::{CaseRecord, JsonCase};
use super::partitions::Partitions;
use super::topics::{Topics, brief, register};
use super::{CaseReport, Stage, Stopped, compare, post};

/// The registry as the compiler sees it.
pub struct Lookup(pub Arc<dyn SchemaSource>);

impl SchemaLookup for Lookup {
    fn columns(&self, subject: &str, spec: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        let schema = match spec.schema_id {
            Some(id) => Some(self.0.by_id(id).map_err(|e| e.to_string())?),
            None => self.0.latest(subject).map_err(|e| e.to_string())?,
        };
        let Some(schema) = schema else { return Ok(None) };
        let columns = columns_of(&schema, spec, subject.ends_with("-key"));
        columns.map(Some).map_err(|e| e.to_string())
    }
}

/// What the statements make.
pub struct Script {
    /// The queries in order, each alone.
    pub queries: Vec<Arc<Topology>>,
    /// Everything that is declared at the end; nothing runs in it.
    pub end: Topology,
    /// The streams and tables that are declared as SOURCE.
    pub sources: BTreeSet<Arc<str>>,
}

/// Runs a case.
pub fn run(case: &JsonCase) -> CaseReport {
    let mut report = CaseReport::passed(&case.name);
    let outcome = attempt(case);
    match (&case.expected, outcome) {
        (None, Ok(())) => {}
        (None, Err((stage, error))) => {
            report = CaseReport::failed(&case.name, stage, error);
            report.refused = matches!(stage, Stage::Parse | Stage::Plan);
        }
        (Some(_), Ok(())) => {
            report = CaseReport::failed(&case.name, Stage::Plan, "it was to be refused, and was not");
        }
        (Some(expected), Err((stage, error))) => {
            report.ok = matches!(stage, Stage::Parse | Stage::Plan | Stage::Run);
            report.refused = report.ok;
            report.stage = Some(stage);
            report.message_matches = expected.message.as_ref().map(|part| error.contains(part.as_str()));
            report.error = Some(error);
        }
    }
    let names = case.properties.iter().map(|(name, _)| name.as_str());
    let notes = names.filter_map(|name| Some(format!("SET '{name}': {}", sql::settings::without_effect(name)?)));
    report.notes = notes.collect();
    report
}

fn attempt(case: &JsonCase) -> Result<(), Stopped> {
    let registry = Arc::new(MemoryRegistry::new());
    register(&case.topics, &registry).map_err(|e| (Stage::Parse, e))?;
    let schemas: Arc<dyn SchemaSource> = registry;
    let file = source_file(case);
    let (script, mut topics) = execute(case, &file, &schemas)?;
    for query in &script.queries {
        drive(query, case, &mut topics, &schemas).map_err(|e| (Stage::Run, e))?;
    }
    if case.expected.is_some() {
        return Ok(());
    }
    compare_outputs(case, &mut topics)?;
    post::check(case, &script, &schemas).map_err(|e| (Stage::Post, e))
}

/// The statements as one text. The settings stand before them on a line of their own.
fn source_file(case: &JsonCase) -> SourceFile {
    let quoted = |text: &str| text.replace('\'', "''");
    let mut text = String::new();
    for (name, value) in sql::AS_KSQLDB {
        text.push_str(&format!("SET '{name}' = '{value}'; "));
    }
    for (name, value) in &case.properties {
        text.push_str(&format!("SET '{}' = '{}'; ", quoted(name), quoted(value)));
    }
    text.push('\n');
    for statement in &case.statements {
        text.push_str(statement.trim_end());
        if !statement.trim_end().ends_with(';') {
            text.push(';');
        }
        text.push('\n');
    }
    SourceFile {
        name: "case.sql".into(),
        text,
    }
}

fn told(diagnostics: &[Diagnostic]) -> String {
    let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    all.join("\n\n")
}

/// Executes the statements.
fn execute(case: &JsonCase, file: &SourceFile, schemas: &Arc<dyn SchemaSource>) -> Result<(Script, Topics), Stopped> {
    let parsed = sql::Script::parse(file).map_err(|e| (Stage::Parse, told(&e)))?;
    let lookup = Lookup(schemas.clone());
    let context = CompileContext { schemas: &lookup };
    let script = parsed.resolve(&context).map_err(|e| (Stage::Plan, told(&e)))?;
    let planned = |at: usize| script.plan(at, &context).map_err(|e| (Stage::Plan, told(&e)));
    let mut queries = Vec::new();
    let mut partitions = Partitions::new(&case.topics);
    for (at, statement) in script.statements().iter().enumerate() {
        if statement.is_query() {
            let topology = Arc::new(planned(at)?);
            partitions.check(&topology).map_err(|e| (Stage::Plan, e))?;
            // the schemas of its sink are there for the statements that follow
            sink_schemas(&topology, schemas).map_err(|e| (Stage::Plan, e))?;
            queries.push(topology);
        } else if let StatementKind::Assert(_) = &statement.kind {
            let before = planned(at)?;
            if let Some(assert) = before.asserts.last() {
                check_assert(assert, case, &before, schemas).map_err(|e| (Stage::Plan, e))?;
            }
        }
    }
    let end = script.end(&context).map_err(|e| (Stage::Plan, told(&e)))?;
    partitions.check(&end).map_err(|e| (Stage::Plan, e))?;
    let mut topics = Topics::new(schemas.clone(), end.relations.clone(), case.topics.clone());
    for insert in &end.inserts {
        topics.insert(insert).map_err(|e| (Stage::Plan, e))?;
    }
    let sources = script
        .statements()
        .iter()
        .filter_map(|statement| match &statement.kind {
            StatementKind::Create(create) if create.source => Some(create.name.text.clone()),
            _ => None,
        });
    let sources = sources.collect();
    Ok((Script { queries, end, sources }, topics))
}

/// Whether what an ASSERT wants is so.
fn check_assert(
    assert: &Assert,
    case: &JsonCase,
    before: &Topology,
    schemas: &Arc<dyn SchemaSource>,
) -> Result<(), String> {
    let found = match &assert.what {
        Asserted::Topic {
            name,
            partitions,
            replicas,
        } => {
            let declared = case.topics.iter().find(|topic| *topic.name == **name);
            let made = before.relations.iter().find(|relation| relation.topic.name == *name);
            let is = |wanted: Option<i32>, is: Option<i32>| match (wanted, is) {
                (Some(wanted), Some(is)) => wanted == is,
                _ => true,
            };
            let parts = declared
                .map(|d| d.partitions.unwrap_or(post::LISTED_PARTITIONS))
                .or(made.and_then(|m| m.topic.partitions));
            let copies = declared
                .and_then(|d| d.replicas)
                .or(made.and_then(|m| m.topic.replicas));
            (declared.is_some() || made.is_some())
                && is(*partitions, parts)
                && is(replicas.map(i32::from), copies.map(i32::from))
        }
        Asserted::Schema { subject, id } => match (subject, id) {
            (Some(subject), None) => schemas.latest(subject).map_err(|e| e.to_string())?.is_some(),
            (Some(subject), Some(id)) => {
                let latest = schemas.latest(subject).map_err(|e| e.to_string())?;
                latest.is_some_and(|latest| latest.id == *id)
            }
            (None, Some(id)) => schemas.by_id(*id).is_ok(),
            (None, None) => true,
        },
    };
    if found != assert.absent {
        return Ok(());
    }
    let not = if assert.absent { "it is there" } else { "it is not so" };
    Err(format!("the assertion does not hold, {not}: {}", assert.sql))
}

/// Runs one query over the case's inputs and what stands in the topics.
fn drive(
    query: &Arc<Topology>,
    case: &JsonCase,
    topics: &mut Topics,
    schemas: &Arc<dyn SchemaSource>,
) -> Result<(), String> {
    let sinks = sink_schemas(query, schemas)?;
    let options = TaskOptions {
        emit: Emit::EveryChange,
        ..TaskOptions::default()
    };
    let run = LocalRun::new(query.clone(), options, schemas, &sinks, 1).map_err(|e| e.to_string())?;
    let given: BTreeSet<&str> = case.inputs.iter().map(|record| record.topic.as_str()).collect();
    let sources = run.source_topics();
    let mut driver = Driver {
        sinks: run.sink_topics().into_iter().map(|topic| (topic, 0)).collect(),
        run,
    };
    for record in &case.inputs {
        if let Some(topic) = sources.iter().find(|topic| ***topic == *record.topic) {
            let bytes = topics
                .encode(record)
                .map_err(|e| format!("{}: {}: {e}", record.topic, brief(record)))?;
            driver.step(topic, bytes, topics)?;
        }
    }
    for topic in sources.iter().filter(|topic| !given.contains(&***topic)) {
        for record in topics.records(topic).to_vec() {
            driver.step(topic, record, topics)?;
        }
    }
    Ok(())
}

struct Driver {
    run: LocalRun,
    /// The topics that the query writes, and how many of their records were taken.
    sinks: Vec<(Arc<str>, usize)>,
}

impl Driver {
    fn step(
        &mut self,
        topic: &Arc<str>,
        record: crate::engine::golden::LocalRecord,
        topics: &mut Topics,
    ) -> Result<(), String> {
        self.run.send(topic, None, record);
        self.run.settle().map_err(|e| e.to_string())?;
        for (sink, taken) in &mut self.sinks {
            let new = self.run.records_from(sink, *taken);
            topics.append(sink, new);
            *taken += new.len();
        }
        Ok(())
    }
}

fn compare_outputs(case: &JsonCase, topics: &mut Topics) -> Result<(), Stopped> {
    let mut names: Vec<&str> = Vec::new();
    for record in &case.outputs {
        if !names.contains(&record.topic.as_str()) {
            names.push(&record.topic);
        }
    }
    let mut differences = Vec::new();
    for name in names {
        let expected: Vec<&CaseRecord> = case.outputs.iter().filter(|record| record.topic == name).collect();
        let (seen, types) = topics.seen(name).map_err(|e| (Stage::Compare, e))?;
        differences.extend(compare::topic(name, &expected, &seen, &types));
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err((Stage::Compare, differences.join("\n")))
    }
}
