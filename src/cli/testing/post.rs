//! What a case says of streams, tables and topics after its statements.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::engine::Names;
use crate::formats::{SchemaSource, schemas_equal, subject_of};
use crate::sql::ast::{ColumnRole, StatementKind};
use crate::sql::parse;
use crate::topology::{Op, Relation, SourceTopic, Topology};
use crate::types::{RelationSchema, SerdeSpec, WindowInfo};

use super::case::{JsonCase, TopicDecl, plain};
use super::drive::Script;
use super::topics::format_of;

type Result<T> = std::result::Result<T, String>;

/// Partitions of a topic that the case lists without a number.
pub const LISTED_PARTITIONS: i32 = 1;
/// Partitions of a topic that the case does not list, as ksqlDB's tests have it.
const UNLISTED_PARTITIONS: i32 = 4;

/// Checks the `post` part of a case.
///
/// # Errors
/// Everything that does not hold.
pub fn check(case: &JsonCase, script: &Script, schemas: &Arc<dyn SchemaSource>) -> Result<()> {
    let Some(post) = &case.post else { return Ok(()) };
    let mut wrong = Vec::new();
    for source in post["sources"].as_array().into_iter().flatten() {
        if let Err(e) = check_source(source, script) {
            wrong.push(e);
        }
    }
    let topics = &post["topics"];
    let partitions = partitions(&case.topics, script);
    for topic in topics["topics"].as_array().into_iter().flatten() {
        if let Err(e) = check_topic(topic, script, &partitions, schemas) {
            wrong.push(e);
        }
    }
    if let Some(pattern) = topics["blacklist"].as_str()
        && let Err(e) = check_blacklist(pattern, script)
    {
        wrong.push(e);
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

fn differs(of: &str, what: &str, expected: impl std::fmt::Display, is: impl std::fmt::Display) -> Result<()> {
    Err(format!("{of}: the {what} was to be {expected}, and is {is}"))
}

fn check_source(source: &Json, script: &Script) -> Result<()> {
    let name = source["name"].as_str().ok_or("post.sources: a source needs a name")?;
    let relation = script.end.relations.iter().rev().find(|r| &*r.name == name);
    let relation = relation.ok_or_else(|| format!("{name}: there is no such stream or table"))?;
    if let Some(kind) = source["type"].as_str()
        && !relation.kind.to_string().eq_ignore_ascii_case(kind)
    {
        return differs(name, "kind", kind, relation.kind);
    }
    if let Some(wanted) = source["isSource"].as_bool()
        && wanted != script.sources.contains(name)
    {
        return differs(name, "property isSource", wanted, !wanted);
    }
    if let Some(text) = source["schema"].as_str() {
        let expected = schema(text).map_err(|e| format!("{name}: the schema {text} of the case: {e}"))?;
        if expected != relation.schema {
            return differs(name, "schema", expected, &relation.schema);
        }
    }
    check_format(name, "key format", &source["keyFormat"], &relation.key_format)?;
    check_window(name, &source["keyFormat"], relation.window)?;
    check_format(name, "value format", &source["valueFormat"], &relation.value_format)
}

/// The windows of the keys: `windowType` and `windowSize` (none for sessions) beside the format; neither where there are none.
fn check_window(of: &str, expected: &Json, window: Option<WindowInfo>) -> Result<()> {
    if !expected.is_object() {
        return Ok(());
    }
    let kind = window.map_or("none".to_string(), |window| window.kind.to_string());
    let wanted = expected["windowType"].as_str().unwrap_or("none");
    if !kind.eq_ignore_ascii_case(wanted) {
        return differs(of, "kind of windows in the key", wanted, kind);
    }
    let size = window.and_then(|window| window.size_ms);
    match expected["windowSize"].as_i64() {
        Some(wanted) if size != Some(wanted) => {
            let size = size.map_or("none".to_string(), |ms| ms.to_string());
            differs(of, "size of the windows", wanted, size)
        }
        _ => Ok(()),
    }
}

/// `ID INT KEY, NAME STRING` as columns.
fn schema(text: &str) -> Result<RelationSchema> {
    let statement = format!("CREATE STREAM X ({text}) WITH (KAFKA_TOPIC='x');");
    let (statements, problems) = parse::statements(&statement);
    if let Some(problem) = problems.first() {
        return Err(problem.message.clone());
    }
    let Some(StatementKind::Create(create)) = statements.first().map(|s| &s.kind) else {
        return Err("it is no list of columns".into());
    };
    let mut schema = RelationSchema::default();
    for column in create.columns.iter().flatten() {
        let made = crate::types::Column::new(column.name.text.clone(), column.sql_type.clone());
        match &column.role {
            ColumnRole::Key | ColumnRole::PrimaryKey => schema.key.push(made),
            ColumnRole::Value | ColumnRole::Headers(_) => schema.value.push(made),
        }
    }
    Ok(schema)
}

fn check_format(of: &str, what: &str, expected: &Json, spec: &SerdeSpec) -> Result<()> {
    let name = match expected {
        Json::Object(fields) => fields.get("format").and_then(Json::as_str),
        other => other.as_str(),
    };
    let Some(name) = name else { return Ok(()) };
    match format_of(name) {
        Some(format) if format == spec.format => Ok(()),
        _ => differs(of, what, name, spec.format),
    }
}

fn check_topic(
    topic: &Json,
    script: &Script,
    partitions: &BTreeMap<Arc<str>, i32>,
    schemas: &Arc<dyn SchemaSource>,
) -> Result<()> {
    let name = topic["name"].as_str().ok_or("post.topics: a topic needs a name")?;
    let on = |r: &&Relation| &*r.topic.name == name;
    let relation = script.end.relations.iter().rev().find(on);
    let known = partitions.get(name);
    if relation.is_none() && known.is_none() {
        return Err(format!("there is no topic {name}"));
    }
    if let Some(relation) = relation {
        check_format(name, "key format", &topic["keyFormat"], &relation.key_format)?;
        check_format(name, "value format", &topic["valueFormat"], &relation.value_format)?;
        for (field, side, spec, is_key) in [
            ("keySchema", "key", &relation.key_format, true),
            ("valueSchema", "value", &relation.value_format, false),
        ] {
            let under = &topic["schemas"];
            let expected = [
                &topic[field],
                &under[field],
                &under[side],
                &under[subject_of(name, is_key)],
            ];
            let expected = expected.into_iter().find(|json| !json.is_null()).unwrap_or(&Json::Null);
            if expected.is_null() {
                continue;
            }
            let subject = subject_of(name, is_key);
            let latest = schemas.latest(&subject).map_err(|e| e.to_string())?;
            let text = latest.map_or_else(String::new, |registered| registered.schema.text);
            if !schemas_equal(spec.format, expected, &text) {
                return differs(name, field, plain(expected), text);
            }
        }
    }
    match (topic["partitions"].as_i64(), known) {
        (Some(expected), Some(is)) if expected != i64::from(*is) => differs(name, "number of partitions", expected, is),
        _ => Ok(()),
    }
}

/// How many partitions each topic has: what the case lists, what WITH says, what a query's first source has.
fn partitions(declared: &[TopicDecl], script: &Script) -> BTreeMap<Arc<str>, i32> {
    let mut all: BTreeMap<Arc<str>, i32> = BTreeMap::new();
    for topic in declared {
        all.insert(
            topic.name.as_str().into(),
            topic.partitions.unwrap_or(LISTED_PARTITIONS),
        );
    }
    for relation in script.end.relations.iter().filter(|r| !r.derived) {
        let given = relation.topic.partitions.unwrap_or(UNLISTED_PARTITIONS);
        all.entry(relation.topic.name.clone()).or_insert(given);
    }
    for query in &script.queries {
        let first = query.nodes.iter().find_map(|node| match &node.op {
            Op::Source(source) => match &source.topic {
                SourceTopic::External(name) => query.relation(name).map(|r| r.topic.name.clone()),
                SourceTopic::Repartition(_) => None,
            },
            _ => None,
        });
        let of_source = first
            .and_then(|topic| all.get(&topic).copied())
            .unwrap_or(UNLISTED_PARTITIONS);
        for relation in query.relations.iter().filter(|r| r.derived) {
            let given = relation.topic.partitions.unwrap_or(of_source);
            all.entry(relation.topic.name.clone()).or_insert(given);
        }
    }
    all
}

/// The internal topics of a query, named as Kafka Streams would: purposes behind a hyphen.
pub fn internal_topics(query: &Topology) -> Vec<String> {
    let names = Names::new("millstream", &query.name, 0);
    let streams_style = |name: String| match name.rsplit_once('.') {
        Some((rest, purpose)) => format!("{rest}-{purpose}"),
        None => name,
    };
    let repartitions = query.nodes.iter().filter_map(|node| match &node.op {
        Op::Repartition(repartition) => Some(names.repartition(&repartition.name)),
        _ => None,
    });
    let changelogs = query.stores.iter().map(|store| names.changelog(&store.name));
    repartitions.chain(changelogs).map(streams_style).collect()
}

fn check_blacklist(pattern: &str, script: &Script) -> Result<()> {
    let pattern = Pattern::new(pattern);
    let internal = script.queries.iter().flat_map(|query| internal_topics(query));
    let external = script
        .end
        .relations
        .iter()
        .map(|relation| relation.topic.name.to_string());
    match internal.chain(external).find(|topic| pattern.matches(topic)) {
        Some(topic) => Err(format!("there is the topic {topic}, which {} forbids", pattern.text)),
        None => Ok(()),
    }
}

/// A regular expression of the shapes that name topics: literal text, `.*`, `.`, `\.`, and alternatives at the top.
struct Pattern {
    text: String,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    fn matches(&self, name: &str) -> bool {
        self.text
            .split('|')
            .any(|one| Self::one(one.trim_matches(['(', ')', '^', '$']), name))
    }

    fn one(pattern: &str, name: &str) -> bool {
        if let Some(rest) = pattern.strip_prefix(".*") {
            let ends = name.char_indices().map(|(i, _)| i).chain([name.len()]);
            return ends.into_iter().any(|i| Self::one(rest, &name[i..]));
        }
        let mut letters = pattern.chars();
        let Some(first) = letters.next() else {
            return name.is_empty();
        };
        let (wanted, any) = match first {
            '\\' => (letters.next().unwrap_or('\\'), false),
            '.' => ('.', true),
            other => (other, false),
        };
        let mut rest = name.chars();
        rest.next().is_some_and(|c| any || c == wanted) && Self::one(letters.as_str(), rest.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_topics() {
        for (pattern, name, is) in [
            (".*-repartition", "app.t.X-repartition", true),
            (".*-repartition", "app.t.X-changelog", false),
            (".*", "anything", true),
            ("a|.*b\\.c", "xb.c", true),
            ("a|.*b\\.c", "xbdc", false),
            ("a.c", "abc", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn a_schema_is_read_as_columns() {
        let read = schema("ID INT KEY, `name` STRUCT<A BIGINT>, B ARRAY<STRING>").expect("columns");
        assert_eq!(
            read.to_string(),
            "ID INTEGER KEY, name STRUCT<A BIGINT>, B ARRAY<STRING>"
        );
        assert!(schema("ID").is_err());
    }
}
