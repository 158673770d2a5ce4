//! Topologies as plain data: relations with one key and two values, all BIGINT, and queries over them; their SQL. [`super::generate`] makes them,
//! [`super::model`] says what they mean.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Inputs and the queries over them; each names relations before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub inputs: Vec<Input>,
    pub queries: Vec<Query>,
}

/// A topic from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub is_table: bool,
    pub format: String,
}

/// A derived relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Query {
    pub name: String,
    pub op: Op,
}

/// A column: the key or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Col {
    K,
    A,
    B,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    pub col: Col,
    pub plus: i64,
}

/// NULL counts as 0 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Agg {
    Count,
    Sum(Col),
    Min(Col),
    Max(Col),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    Tumbling { ms: i64 },
    Hopping { ms: i64, by_ms: i64 },
    Session { gap_ms: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Join {
    Inner,
    Left,
    Full,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Rows whose column is at least a number, with values computed anew.
    Map {
        from: String,
        keep: Option<(Col, i64)>,
        a: Term,
        b: Term,
    },
    /// A stream with another key.
    Rekey {
        from: String,
        by: Col,
    },
    Group {
        from: String,
        by: Col,
        a: Agg,
        b: Agg,
    },
    /// `last`: each window once, when it has closed.
    Window {
        from: String,
        by: Col,
        a: Agg,
        b: Agg,
        shape: Shape,
        last: bool,
    },
    StreamTable {
        stream: String,
        table: String,
        left: bool,
    },
    /// Tables of one key, two or more of them.
    Tables {
        first: String,
        others: Vec<(String, Join)>,
    },
    /// A column of the left table is the key of the right one.
    Foreign {
        left: String,
        by: Col,
        right: String,
        keeps: bool,
    },
    Streams {
        left: String,
        right: String,
        within_ms: i64,
        join: Join,
    },
}

/// How long windows stay open: longer than all timestamps of a scenario, so that no record is late.
const GRACE: &str = "GRACE PERIOD 1 DAY";

impl Col {
    pub fn name(self) -> &'static str {
        match self {
            Self::K => "k",
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl Term {
    fn sql(self) -> String {
        match (self.col, self.plus) {
            // the key itself is selected only once
            (Col::K, 0) => "AS_VALUE(k)".into(),
            (col, 0) => col.name().into(),
            (col, plus) => format!("{} + {plus}", col.name()),
        }
    }
}

impl Agg {
    fn sql(self) -> String {
        let of = |name: &str, col: Col| format!("{name}(COALESCE({}, CAST(0 AS BIGINT)))", col.name());
        match self {
            Self::Count => "COUNT(*)".into(),
            Self::Sum(col) => of("SUM", col),
            Self::Min(col) => of("MIN", col),
            Self::Max(col) => of("MAX", col),
        }
    }
}

impl Shape {
    fn sql(self) -> String {
        match self {
            Self::Tumbling { ms } => format!("TUMBLING (SIZE {ms} MILLISECONDS, {GRACE})"),
            Self::Hopping { ms, by_ms } => {
                format!("HOPPING (SIZE {ms} MILLISECONDS, ADVANCE BY {by_ms} MILLISECONDS, {GRACE})")
            }
            Self::Session { gap_ms } => format!("SESSION ({gap_ms} MILLISECONDS, {GRACE})"),
        }
    }
}

impl Join {
    fn sql(self) -> &'static str {
        match self {
            Self::Inner => "JOIN",
            Self::Left => "LEFT JOIN",
            Self::Full => "FULL OUTER JOIN",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Inner | Self::Left => "l.k",
            Self::Full => "ROWKEY",
        }
    }
}

impl Op {
    /// The relations that it reads.
    pub fn from(&self) -> Vec<&str> {
        match self {
            Self::Map { from, .. }
            | Self::Rekey { from, .. }
            | Self::Group { from, .. }
            | Self::Window { from, .. } => {
                vec![from]
            }
            Self::StreamTable { stream, table, .. } => vec![stream, table],
            Self::Tables { first, others } => {
                let mut all = vec![first.as_str()];
                all.extend(others.iter().map(|(other, _)| other.as_str()));
                all
            }
            Self::Foreign { left, right, .. } | Self::Streams { left, right, .. } => vec![left, right],
        }
    }

    /// Whether others may read it: not what is complete only at the very end.
    pub fn is_open_ended(&self) -> bool {
        match self {
            Self::Window { .. } => true,
            Self::Streams { join, .. } => *join != Join::Inner,
            _ => false,
        }
    }

    fn sql(&self) -> String {
        match self {
            Self::Map { from, keep, a, b } => {
                let keep = keep.map(|(col, least)| format!(" WHERE {} >= {least}", col.name()));
                let keep = keep.unwrap_or_default();
                format!("SELECT k, {} AS a, {} AS b FROM {from}{keep}", a.sql(), b.sql())
            }
            Self::Rekey { from, by: Col::A } => format!("SELECT a AS k, k AS a, b FROM {from} PARTITION BY a"),
            Self::Rekey { from, .. } => format!("SELECT b AS k, a, k AS b FROM {from} PARTITION BY b"),
            Self::Group { from, by, a, b } => {
                let by = by.name();
                format!(
                    "SELECT {by} AS k, {} AS a, {} AS b FROM {from} GROUP BY {by}",
                    a.sql(),
                    b.sql()
                )
            }
            Self::Window {
                from,
                by,
                a,
                b,
                shape,
                last,
            } => {
                let (by, emit) = (by.name(), if *last { "FINAL" } else { "CHANGES" });
                let window = shape.sql();
                let values = format!("{} AS a, {} AS b", a.sql(), b.sql());
                format!("SELECT {by} AS k, {values} FROM {from} WINDOW {window} GROUP BY {by} EMIT {emit}")
            }
            Self::StreamTable { stream, table, left } => {
                let join = if *left { Join::Left } else { Join::Inner }.sql();
                format!("SELECT l.k AS k, l.a AS a, r.b AS b FROM {stream} l {join} {table} r ON l.k = r.k")
            }
            Self::Tables { first, others } => tables(first, others),
            Self::Foreign { left, by, right, keeps } => {
                let join = if *keeps { Join::Left } else { Join::Inner }.sql();
                let by = by.name();
                format!("SELECT l.k AS k, l.b AS a, r.b AS b FROM {left} l {join} {right} r ON l.{by} = r.k")
            }
            Self::Streams {
                left,
                right,
                within_ms,
                join,
            } => format!(
                "SELECT {} AS k, l.a AS a, r.b AS b FROM {left} l {} {right} r WITHIN {within_ms} MILLISECONDS {GRACE} ON l.k = r.k",
                join.key(),
                join.sql()
            ),
        }
    }
}

fn tables(first: &str, others: &[(String, Join)]) -> String {
    let full = others.iter().any(|(_, join)| *join == Join::Full);
    let key = if full { Join::Full } else { Join::Inner }.key();
    let (mut values, mut joins) = (Vec::new(), String::new());
    for (n, (other, join)) in others.iter().enumerate() {
        values.push(format!("COALESCE(r{n}.b, CAST(0 AS BIGINT))"));
        let _ = write!(joins, " {} {other} r{n} ON l.k = r{n}.k", join.sql());
    }
    let b = if others.len() == 1 {
        "r0.b".into()
    } else {
        values.join(" + ")
    };
    format!("SELECT {key} AS k, l.a AS a, {b} AS b FROM {first} l{joins}")
}

impl Plan {
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    pub fn query(&self, name: &str) -> Option<&Query> {
        self.queries.iter().find(|query| query.name == name)
    }

    pub fn is_table(&self, name: &str) -> bool {
        if let Some(input) = self.input(name) {
            return input.is_table;
        }
        self.query(name).is_some_and(|query| match &query.op {
            Op::Map { from, .. } => self.is_table(from),
            Op::Rekey { .. } | Op::StreamTable { .. } | Op::Streams { .. } => false,
            Op::Group { .. } | Op::Window { .. } | Op::Tables { .. } | Op::Foreign { .. } => true,
        })
    }

    /// The inputs that a relation is made of.
    pub fn inputs_of(&self, name: &str) -> BTreeSet<String> {
        match self.query(name) {
            None => BTreeSet::from([name.to_string()]),
            Some(query) => query
                .op
                .from()
                .into_iter()
                .flat_map(|from| self.inputs_of(from))
                .collect(),
        }
    }

    /// Inputs that must not change once streams are joined with what is made of them: which row a record meets is chance.
    pub fn fixed(&self) -> BTreeSet<String> {
        let table = |query: &Query| match &query.op {
            Op::StreamTable { table, .. } => self.inputs_of(table),
            _ => BTreeSet::new(),
        };
        self.queries.iter().flat_map(table).collect()
    }

    /// Whether something is given out only when stream time has gone on.
    pub fn has_closing(&self) -> bool {
        let closes = |query: &Query| match &query.op {
            Op::Window { last, .. } => *last,
            op => op.is_open_ended(),
        };
        self.queries.iter().any(closes)
    }

    /// Without a query and whatever nobody reads then; `None` where others read it.
    pub fn without(&self, name: &str) -> Option<Self> {
        let mut plan = self.clone();
        plan.queries.retain(|query| query.name != name);
        if plan.queries.is_empty() || plan.queries.iter().any(|query| query.op.from().contains(&name)) {
            return None;
        }
        let used: BTreeSet<String> = plan
            .queries
            .iter()
            .flat_map(|query| self.inputs_of(&query.name))
            .collect();
        plan.inputs.retain(|input| used.contains(&input.name));
        Some(plan)
    }

    pub fn sql(&self, partitions: i32) -> String {
        let mut sql = String::new();
        for Input { name, is_table, format } in &self.inputs {
            let (kind, key) = if *is_table {
                ("TABLE", "PRIMARY KEY")
            } else {
                ("STREAM", "KEY")
            };
            let _ = writeln!(
                sql,
                "CREATE {kind} {name} (k BIGINT {key}, a BIGINT, b BIGINT) WITH (KAFKA_TOPIC = '{name}', KEY_FORMAT = 'KAFKA', \
                 VALUE_FORMAT = '{format}', PARTITIONS = {partitions});"
            );
        }
        for Query { name, op } in &self.queries {
            let kind = if self.is_table(name) { "TABLE" } else { "STREAM" };
            let _ = writeln!(
                sql,
                "CREATE {kind} {name} WITH (KAFKA_TOPIC = '{name}', VALUE_FORMAT = 'JSON', PARTITIONS = {partitions}) AS {};",
                op.sql()
            );
        }
        sql
    }
}
