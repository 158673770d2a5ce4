//! The plan for people (text) and for programs (JSON).

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{
    Aggregate, JoinKind, JoinWindow, Node, NodeId, Op, Source, SourceTopic, StreamStreamJoin, SubTopology,
    TimestampFrom, Topology,
};
use crate::expr::Expr;
use crate::types::{Column, RelationKind, RelationSchema};

/// How internal topics are called: they depend on the application and the generation, which a plan does not know.
pub trait InternalNames {
    /// The topic of a repartition.
    fn repartition(&self, name: &str) -> String;
    /// The changelog topic of a store.
    fn changelog(&self, store: &str) -> String;
}

/// The plan as text: sub-topologies with their operators, stores and topics.
pub fn explain(topology: &Topology, names: &dyn InternalNames) -> String {
    let mut out = format!("topology {}\n", topology.name);
    for sub in &topology.subs {
        sub_text(topology, sub, names, &mut out);
    }
    if !topology.globals.is_empty() {
        out.push_str("\nglobal tables: every process reads all partitions of them\n");
    }
    for global in &topology.globals {
        let source = &global.source;
        let topic = topology.relation(&source.relation).map_or("?", |r| &r.topic.name);
        let (key, value) = (source.key_format.format, source.value_format.format);
        let _infallible = writeln!(
            out,
            "  {} ({}) from topic {topic} (key {key}, value {value})\n      loaded before the first record is processed; newer rows are seen as they come, and a replay may see others",
            source.relation, global.schema
        );
    }
    if !topology.views.is_empty() {
        out.push_str("\nviews\n");
    }
    for view in &topology.views {
        let stores: Vec<&str> = view.plan.stores().iter().map(|id| store_name(topology, *id)).collect();
        let _infallible = writeln!(out, "  {} ({}) from {}", view.name, view.schema, stores.join(", "));
    }
    out
}

fn sub_text(topology: &Topology, sub: &SubTopology, names: &dyn InternalNames, out: &mut String) {
    let together = if sub.sources.len() > 1 {
        ", a task for each partition of its co-partitioned sources"
    } else {
        ", a task for each partition"
    };
    let _infallible = writeln!(out, "\nsub-topology {}{together}", sub.id);
    if let Some(like) = sub.partitioned_like.as_ref().and_then(|name| topology.relation(name)) {
        let (topic, format) = (&like.topic.name, like.key_format.format);
        let _infallible = writeln!(
            out,
            "  keys are in the partitions where topic {topic} has them (key {format})"
        );
    }
    for id in &sub.nodes {
        let node = &topology.nodes[*id];
        let inputs: Vec<&str> = node.inputs.iter().map(|i| &*topology.nodes[*i].name).collect();
        let from = if inputs.is_empty() {
            String::new()
        } else {
            format!(" <- {}", inputs.join(", "))
        };
        let _infallible = writeln!(out, "  {}{from}\n      {}", node.name, operator(topology, node, names));
        if node.op.exprs().into_iter().any(Expr::reads_clock) {
            out.push_str("      reads the wall clock: a replay gives other results\n");
        }
    }
    for id in &sub.stores {
        let store = store_name(topology, *id);
        let _infallible = writeln!(out, "  store {store}, changelog {}", names.changelog(store));
    }
}

fn store_name(topology: &Topology, id: super::StoreId) -> &str {
    topology
        .stores
        .iter()
        .find(|store| store.id == id)
        .map_or("?", |store| &store.name)
}

fn operator(topology: &Topology, node: &Node, names: &dyn InternalNames) -> String {
    let input = node.inputs.first().map(|id| &topology.nodes[*id].schema);
    let of_input = |expr: &Expr| named(expr, input);
    let list = |all: &[Expr]| all.iter().map(of_input).collect::<Vec<_>>().join(", ");
    match &node.op {
        Op::Source(source) => source_text(topology, node, source, names),
        Op::Filter(predicate) => format!("filter {}", of_input(predicate)),
        Op::Project(columns) => format!("project {}", assignments(&node.schema.value, columns, of_input)),
        Op::FlatMap(calls) => {
            let calls = calls
                .iter()
                .map(|call| format!("{}({})", call.function, of_input(&call.arg)));
            format!("a record for each of {}", calls.collect::<Vec<_>>().join(", "))
        }
        Op::Rank => "a row for each of the array's, its place behind the key".into(),
        Op::SelectKey(s) => format!(
            "re-key by {}, project {}",
            list(&s.key),
            assignments(&node.schema.value, &s.value, of_input)
        ),
        Op::Repartition(r) => format!(
            "re-key by {} through topic {}",
            list(&r.key),
            names.repartition(&r.name)
        ),
        Op::Aggregate(aggregate) => aggregate_text(topology, node, aggregate, input),
        Op::WindowAggregate(windows) => {
            let when = if windows.open.is_some() {
                "; a window is given out when it closes"
            } else {
                ""
            };
            let what = aggregate_text(topology, node, &windows.aggregate, input);
            format!("{what}, in {}{when}", windows.spec)
        }
        Op::StreamTableJoin(join) => {
            let when = join.as_of.as_ref().map_or(String::new(), |as_of| {
                format!(", as the table was at {}", of_input(&as_of.time))
            });
            format!("{} join of a stream with a table, by key{when}", kind(join.kind))
        }
        Op::GlobalJoin(join) => {
            let table = topology
                .globals
                .get(join.table())
                .map_or("?", |global| &global.source.relation);
            format!(
                "{} join with global table {table}, by {}",
                kind(join.kind),
                list(&join.key)
            )
        }
        Op::TableTableJoin(join) => format!("{} join of two tables, by key", kind(join.kind)),
        Op::StreamStreamJoin(join) => stream_stream_text(node, join),
        Op::ForeignKeySubscribe(subscribe) => {
            format!(
                "ask for the right rows of {}, a change of a left row once",
                list(&subscribe.foreign_key)
            )
        }
        Op::ForeignKeyAnswer(_) => "answer with the right row, now and whenever it changes".into(),
        Op::ForeignKeyJoin(join) => format!("{} join of two tables, by foreign key", kind(join.kind)),
        Op::Sink(sink) => {
            let what = if node.kind == RelationKind::Table {
                "table"
            } else {
                "stream"
            };
            format!(
                "write {what} {} to topic {} (key {}, value {})",
                sink.relation, sink.topic, sink.key_format.format, sink.value_format.format
            )
        }
    }
}

fn stream_stream_text(node: &Node, join: &StreamStreamJoin) -> String {
    let JoinWindow { before, after, grace } = join.window;
    let when = match grace {
        Some(grace) if join.kind != JoinKind::Inner => {
            format!(", unmatched rows {grace} ms after their window has ended")
        }
        Some(grace) => format!(", grace period {grace} ms"),
        None if join.kind != JoinKind::Inner => ", unmatched rows at once (no GRACE PERIOD)".into(),
        None => String::new(),
    };
    let residual = match &join.residual {
        Some(condition) => format!(", and {}", named(condition, Some(&node.schema))),
        None => String::new(),
    };
    format!(
        "{} join of two streams, by key and time (right from {before} ms before to {after} ms after){residual}{when}",
        kind(join.kind)
    )
}

fn assignments(columns: &[Column], exprs: &[Expr], text: impl Fn(&Expr) -> String) -> String {
    let one = |(column, expr): (&Column, &Expr)| {
        let text = text(expr);
        if text == *column.name {
            text
        } else {
            format!("{text} AS {}", column.name)
        }
    };
    columns.iter().zip(exprs).map(one).collect::<Vec<_>>().join(", ")
}

fn source_text(topology: &Topology, node: &Node, source: &Source, names: &dyn InternalNames) -> String {
    let kind = if node.kind == RelationKind::Table {
        "table"
    } else {
        "stream"
    };
    let columns: Vec<&str> = source.used.iter().map(|i| &*source.columns.value[*i].name).collect();
    let columns = if columns.is_empty() {
        "no value columns".to_string()
    } else {
        columns.join(", ")
    };
    let mut out = match &source.topic {
        SourceTopic::External(relation) => {
            let topic = topology.relation(relation).map_or(&**relation, |r| &*r.topic.name);
            let formats = format!("key {}, value {}", source.key_format.format, source.value_format.format);
            format!(
                "read {kind} {} from topic {topic} ({formats}), columns used: {columns}",
                source.relation
            )
        }
        SourceTopic::Repartition(from) => match &topology.nodes[*from].op {
            Op::Repartition(r) => format!("read topic {}", names.repartition(&r.name)),
            _ => "read a repartition".into(),
        },
    };
    match &source.timestamp {
        TimestampFrom::Record => {}
        TimestampFrom::Column(i) | TimestampFrom::Parsed(i, _) => {
            let _infallible = write!(out, ", event time from {}", source.columns.value[*i].name);
        }
        TimestampFrom::Key(i) | TimestampFrom::ParsedKey(i, _) => {
            let _infallible = write!(out, ", event time from {}", source.columns.key[*i].name);
        }
    }
    if let Some(window) = &source.window {
        let _infallible = write!(out, ", keys with {} windows", window.kind);
    }
    if let Some(store) = source.store {
        let _infallible = write!(out, ", kept in store {}", store_name(topology, store));
    }
    if let Some(history) = &source.history {
        let store = store_name(topology, history.versions);
        let _infallible = write!(out, ", replaced rows for {} ms in store {store}", history.retention_ms);
    }
    out
}

fn aggregate_text(topology: &Topology, node: &Node, aggregate: &Aggregate, input: Option<&RelationSchema>) -> String {
    let call = |(column, call): (&Column, &crate::expr::AggregateCall)| {
        format!("{} AS {}", substituted(&call.to_string(), input), column.name)
    };
    let calls: Vec<String> = node.schema.value.iter().zip(&aggregate.calls).map(call).collect();
    let what = if aggregate.of_table {
        "changes of a table (old rows are taken back)"
    } else {
        "records"
    };
    format!(
        "aggregate {what}: {}, in store {}",
        calls.join(", "),
        store_name(topology, aggregate.store)
    )
}

fn kind(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
    }
}

fn named(expr: &Expr, schema: Option<&RelationSchema>) -> String {
    substituted(&expr.to_string(), schema)
}

/// Puts names for the positions (`k0`, `v3`) in an expression's text, outside of string literals.
fn substituted(text: &str, schema: Option<&RelationSchema>) -> String {
    let Some(schema) = schema else { return text.to_string() };
    let mut out = String::new();
    let mut quoted = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word_end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        if quoted || word_end == 0 {
            quoted ^= c == '\'';
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let word = &rest[..word_end];
        out.push_str(column_at(word, schema).unwrap_or(word));
        rest = &rest[word_end..];
    }
    out
}

fn column_at<'a>(word: &str, schema: &'a RelationSchema) -> Option<&'a str> {
    let (columns, digits) = match word.as_bytes().first()? {
        b'k' => (&schema.key, &word[1..]),
        b'v' => (&schema.value, &word[1..]),
        _ => return None,
    };
    columns.get(digits.parse::<usize>().ok()?).map(|column| &*column.name)
}

/// The plan as JSON: the same facts as [`explain`].
pub fn explain_json(topology: &Topology, names: &dyn InternalNames) -> Json {
    let column = |c: &Column| json!({"name": &*c.name, "type": c.sql_type.to_string()});
    let schema = |s: &RelationSchema| json!({"key": s.key.iter().map(column).collect::<Vec<_>>(), "value": s.value.iter().map(column).collect::<Vec<_>>()});
    let node = |id: &NodeId| {
        let node = &topology.nodes[*id];
        let inputs: Vec<&str> = node.inputs.iter().map(|i| &*topology.nodes[*i].name).collect();
        json!({"name": &*node.name, "kind": node.kind.to_string(), "inputs": inputs, "operator": operator(topology, node, names), "schema": schema(&node.schema)})
    };
    let subs: Vec<Json> = topology
        .subs
        .iter()
        .map(|sub| {
            let stores = sub.stores.iter().map(|id| store_name(topology, *id));
            let stores: Vec<Json> = stores
                .map(|name| json!({"name": name, "changelog": names.changelog(name)}))
                .collect();
            json!({"id": sub.id, "nodes": sub.nodes.iter().map(node).collect::<Vec<_>>(), "stores": stores})
        })
        .collect();
    let views: Vec<Json> = topology
        .views
        .iter()
        .map(|view| json!({"name": &*view.name, "schema": schema(&view.schema)}))
        .collect();
    let globals = topology.globals.iter();
    let globals: Vec<Json> = globals
        .map(|global| json!({"name": &*global.source.relation, "schema": schema(&global.schema)}))
        .collect();
    json!({"topology": &*topology.name, "sub_topologies": subs, "views": views, "global_tables": globals})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SqlType;

    #[test]
    fn positions_become_names_outside_of_literals() {
        let schema = RelationSchema {
            key: vec![Column::new("ID", SqlType::Bigint)],
            value: vec![Column::new("NAME", SqlType::String), Column::new("v1", SqlType::String)],
        };
        let text = "((k0 > 1) AND (v0 = 'v0 it''s v1') AND (v1 = v9))";
        assert_eq!(
            substituted(text, Some(&schema)),
            "((ID > 1) AND (NAME = 'v0 it''s v1') AND (v1 = v9))"
        );
    }
}
