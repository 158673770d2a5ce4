//! What the state of a topology was made by, as text: compared when the SQL has changed, so that state is reused or refused, never decoded by luck.
//!
//! Each store has a text: the layout of its rows, and the operators that feed it back to the topics, through repartitions. Numbers are not
//! part of it, so unrelated edits change nothing; those that rows and directories carry are kept apart, see [`super::Numbering`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::topology::{
    Aggregate, History, NodeId, Op, Source, SourceTopic, StoreId, SubId, TablePlan, TimestampFrom, Topology,
};
use crate::types::{ROW_CODEC_VERSION, SqlType};

/// The plan of all state of a topology: a text a store, by store name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePlan {
    /// By store name.
    pub stores: BTreeMap<String, String>,
}

impl StatePlan {
    /// The plan of a topology's state.
    pub fn of(topology: &Topology) -> Self {
        let text = |store: &crate::topology::StoreSpec| (store.name.to_string(), store_text(topology, store.id));
        Self {
            stores: topology.stores.iter().map(text).collect(),
        }
    }

    /// A hash of it.
    pub fn fingerprint(&self) -> String {
        hash(self.stores.iter().map(|(name, text)| format!("{name}\n{text}")))
    }

    /// What differs from the plan that made the existing state, a paragraph a store; empty when the state can be reused.
    /// A store may be new where `untouched` says that nothing which leads to it has been read.
    pub fn differences(&self, existing: &Self, untouched: impl Fn(&str) -> bool) -> Vec<String> {
        let mut out = Vec::new();
        for (name, text) in &self.stores {
            match existing.stores.get(name) {
                None if untouched(name) => {}
                None => out.push(format!("store {name} is new, and its inputs have been read already")),
                Some(old) if old != text => {
                    out.push(format!("store {name} has changed:\n{}", line_difference(old, text)))
                }
                Some(_) => {}
            }
        }
        let gone = existing.stores.keys().filter(|name| !self.stores.contains_key(*name));
        out.extend(gone.map(|name| format!("store {name} is no longer used")));
        out
    }
}

/// A fingerprint of the stores of one sub-topology, numbers included: kept in each batch that its tasks apply.
pub fn sub_fingerprint(topology: &Topology, sub: SubId) -> String {
    let stores = topology.stores.iter().filter(|store| store.sub == sub);
    hash(stores.map(|store| format!("{} {sub} {}\n{}", store.id, store.name, store_text(topology, store.id))))
}

/// A fingerprint of what a view's rows are computed from and by: two instances with the same one have the same rows for the same inputs.
pub fn view_fingerprint(topology: &Topology, view: &crate::topology::View) -> String {
    let columns = |columns: &[crate::types::Column]| {
        let column = |c: &crate::types::Column| format!("{} {}", c.name, c.sql_type);
        columns.iter().map(column).collect::<Vec<_>>().join(", ")
    };
    let shape = format!(
        "{}: ({}) -> ({})\n{}",
        view.name,
        columns(&view.schema.key),
        columns(&view.schema.value),
        table_text(topology, &view.plan)
    );
    hash([shape, sub_fingerprint(topology, view.sub)].into_iter())
}

/// A hash of a text, the same in every process.
pub(super) fn of_text(text: &str) -> String {
    hash([text.to_string()].into_iter())
}

fn hash(texts: impl Iterator<Item = String>) -> String {
    let all = texts.collect::<Vec<_>>().join("\n\n");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, all.as_bytes())
        .simple()
        .to_string()
}

/// Lines that are only in one of two texts, with `-` and `+`.
fn line_difference(old: &str, new: &str) -> String {
    let only = |a: &str, b: &str, sign: char| {
        let there: Vec<&str> = b.lines().collect();
        let gone = a.lines().filter(|line| !there.contains(line));
        gone.map(|line| format!("  {sign} {}", line.trim_start()))
            .collect::<Vec<_>>()
    };
    let mut lines = only(old, new, '-');
    lines.extend(only(new, old, '+'));
    lines.join("\n")
}

fn types(types: &[SqlType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn store_text(topology: &Topology, id: StoreId) -> String {
    let Some(store) = topology.stores.iter().find(|store| store.id == id) else {
        return String::new();
    };
    let mut out = format!(
        "rows (codec {ROW_CODEC_VERSION}): ({}) -> ({})\n",
        types(&store.key),
        types(&store.value)
    );
    let writers = topology.nodes.iter().filter(|node| owns(&node.op, id));
    writers.for_each(|node| node_text(topology, node.id, 1, &mut out));
    out
}

/// Whether an operator writes this store.
fn owns(op: &Op, store: StoreId) -> bool {
    match op {
        Op::Source(source) => {
            let history = source.history.as_ref().map(History::stores);
            source.store == Some(store) || history.is_some_and(|stores| stores.contains(&store))
        }
        Op::Aggregate(aggregate) => aggregate.store == store || aggregate.elements == Some(store),
        Op::WindowAggregate(windows) => windows.stores().contains(&store),
        Op::StreamStreamJoin(join) => {
            [join.left, join.right, join.progress].contains(&store) || join.unmatched == Some(store)
        }
        Op::ForeignKeySubscribe(subscribe) => [subscribe.rows, subscribe.versions].contains(&store),
        Op::ForeignKeyAnswer(answer) => [answer.subscribers, answer.fan_outs].contains(&store),
        Op::ForeignKeyJoin(join) => join.results == store,
        Op::GlobalJoin(join) => join.results == Some(store),
        Op::Filter(_)
        | Op::Project(_)
        | Op::FlatMap(_)
        | Op::Rank
        | Op::SelectKey(_)
        | Op::Repartition(_)
        | Op::StreamTableJoin(_)
        | Op::TableTableJoin(_)
        | Op::Sink(_) => false,
    }
}

fn node_text(topology: &Topology, id: NodeId, depth: usize, out: &mut String) {
    let node = &topology.nodes[id];
    let mut inputs = node.inputs.clone();
    let text = match &node.op {
        Op::Source(source) => {
            if let SourceTopic::Repartition(from) = source.topic {
                inputs.push(from);
            }
            source_text(topology, source)
        }
        Op::Filter(predicate) => format!("filter {predicate}"),
        Op::Project(columns) => format!("project {}", list(columns)),
        Op::Rank => "a row for each of an array's".into(),
        Op::FlatMap(calls) => format!("rows of {}", list(calls)),
        Op::SelectKey(s) => format!("select key {} value {}", list(&s.key), list(&s.value)),
        Op::Repartition(r) => format!("repartition {} key {} value {}", r.name, list(&r.key), list(&r.value)),
        Op::Aggregate(aggregate) => aggregate_text(aggregate),
        Op::WindowAggregate(windows) => {
            let when = if windows.open.is_some() {
                "when closed"
            } else {
                "at once"
            };
            format!(
                "{} in {}, given out {when}",
                aggregate_text(&windows.aggregate),
                windows.spec
            )
        }
        Op::StreamTableJoin(join) => {
            let when = join
                .as_of
                .as_ref()
                .map_or(String::new(), |as_of| format!(" as of {}", as_of.time));
            format!(
                "{:?} join with table{when}: {}",
                join.kind,
                table_text(topology, &join.right)
            )
        }
        Op::GlobalJoin(join) => {
            let by = list(&join.key);
            format!(
                "{:?} join by {by} with global {}",
                join.kind,
                global_text(topology, &join.right)
            )
        }
        Op::TableTableJoin(join) => format!(
            "{:?} join of tables: {} and {}",
            join.kind,
            table_text(topology, &join.left),
            table_text(topology, &join.right)
        ),
        Op::StreamStreamJoin(join) => format!(
            "{:?} join of streams within {:?}{}",
            join.kind,
            join.window,
            join.residual.as_ref().map_or(String::new(), |e| format!(" where {e}"))
        ),
        Op::ForeignKeySubscribe(subscribe) => format!("subscribe to {}", list(&subscribe.foreign_key)),
        Op::ForeignKeyAnswer(answer) => format!("answer from {}", table_text(topology, &answer.right)),
        Op::ForeignKeyJoin(join) => format!("{:?} join by foreign key", join.kind),
        Op::Sink(sink) => match &sink.timestamp {
            TimestampFrom::Record => format!("sink {}", sink.topic),
            from => format!("sink {}, time {}", sink.topic, time_text(from)),
        },
    };
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{:1$}{text}", "", depth * 2);
    inputs
        .into_iter()
        .for_each(|input| node_text(topology, input, depth + 1, out));
}

fn time_text(from: &TimestampFrom) -> String {
    match from {
        TimestampFrom::Parsed(column, parse) => format!("Parsed({column}, {parse})"),
        TimestampFrom::ParsedKey(column, parse) => format!("ParsedKey({column}, {parse})"),
        from => format!("{from:?}"),
    }
}

fn source_text(topology: &Topology, source: &Source) -> String {
    let topic = match &source.topic {
        SourceTopic::External(relation) => {
            let found = topology.relations.iter().find(|r| r.name == *relation);
            found.map_or_else(|| relation.to_string(), |r| format!("topic {}", r.topic.name))
        }
        SourceTopic::Repartition(_) => "repartition".into(),
    };
    let used: Vec<_> = source
        .used
        .iter()
        .filter_map(|i| source.columns.value.get(*i))
        .collect();
    let used = used
        .iter()
        .map(|c| format!("{} {}", c.name, c.sql_type))
        .collect::<Vec<_>>()
        .join(", ");
    let kind = if source.store.is_some() { "table" } else { "stream" };
    let window = source
        .window
        .map_or_else(String::new, |window| format!(", window {window:?}"));
    let history = source.history.as_ref().map_or_else(String::new, |history| {
        format!(", history of {} ms", history.retention_ms)
    });
    format!(
        "{kind} from {topic}: key {} ({}), value {} ({used}), time {}, pseudo {:?}{window}{history}",
        source.key_format.format,
        types(&source.columns.key_types()),
        source.value_format.format,
        time_text(&source.timestamp),
        source.pseudo
    )
}

fn aggregate_text(aggregate: &Aggregate) -> String {
    let of = if aggregate.of_table { "a table" } else { "a stream" };
    let empty = if aggregate.keep_empty { " with empty groups" } else { "" };
    format!("aggregate {of}{empty}: {}", list(&aggregate.calls))
}

/// What the rows of a topology's global tables were made by.
pub(super) fn of_globals(topology: &Topology) -> String {
    let tables = topology.globals.iter();
    hash(tables.map(|global| {
        format!(
            "row codec {ROW_CODEC_VERSION}: {}",
            source_text(topology, &global.source)
        )
    }))
}

fn global_text(topology: &Topology, plan: &TablePlan) -> String {
    match plan {
        TablePlan::Project(input, columns) => format!("({}) of {}", list(columns), global_text(topology, input)),
        plan => {
            let table = plan
                .stores()
                .first()
                .and_then(|id| topology.globals.get(usize::from(*id)));
            table.map_or_else(String::new, |global| source_text(topology, &global.source))
        }
    }
}

fn table_text(topology: &Topology, plan: &TablePlan) -> String {
    let name = |id: StoreId| {
        topology
            .stores
            .iter()
            .find(|s| s.id == id)
            .map_or("?", |s| &s.name)
            .to_string()
    };
    match plan {
        TablePlan::Store(id) => format!("rows of {}", name(*id)),
        TablePlan::Aggregate(aggregate) => {
            format!("results of {} ({})", name(aggregate.store), aggregate_text(aggregate))
        }
        TablePlan::Filter(input, predicate) => format!("{} where {predicate}", table_text(topology, input)),
        TablePlan::Project(input, columns) => format!("({}) of {}", list(columns), table_text(topology, input)),
        TablePlan::Join(left, right, kind, ..) => {
            format!(
                "({} {kind:?} join {})",
                table_text(topology, left),
                table_text(topology, right)
            )
        }
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
