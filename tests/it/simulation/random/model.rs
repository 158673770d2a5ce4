//! What generated queries mean, computed from all inputs at once: the oracle. Written from the meaning of the operators, not from the engine.

use std::collections::BTreeMap;

use super::plan::{Agg, Col, Join, Op, Plan, Shape, Term};

type Number = Option<i64>;

/// A stream's record, or a table's row with the key beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rec {
    pub k: Number,
    pub a: Number,
    pub b: Number,
    pub ts: i64,
}

/// Key, window start and window end.
pub type WindowKey = (i64, i64, i64);

/// A relation when all is processed.
#[derive(Clone, Debug)]
pub enum Relation {
    /// Records in the order of their partitions' inputs; of what is re-keyed or joined the order means nothing.
    Stream(Vec<Rec>),
    Table(BTreeMap<i64, (Number, Number)>),
    Windows(BTreeMap<WindowKey, (Number, Number)>),
}

impl Relation {
    fn rows(&self) -> Vec<Rec> {
        match self {
            Self::Stream(records) => records.clone(),
            Self::Table(rows) => {
                let row = |(k, (a, b)): (&i64, &(Number, Number))| Rec {
                    k: Some(*k),
                    a: *a,
                    b: *b,
                    ts: 0,
                };
                rows.iter().map(row).collect()
            }
            Self::Windows(_) => Vec::new(),
        }
    }

    fn table(&self) -> &BTreeMap<i64, (Number, Number)> {
        match self {
            Self::Table(rows) => rows,
            Self::Stream(_) | Self::Windows(_) => panic!("not a table"),
        }
    }
}

impl Rec {
    pub fn col(&self, col: Col) -> Number {
        match col {
            Col::K => self.k,
            Col::A => self.a,
            Col::B => self.b,
        }
    }

    fn term(&self, term: Term) -> Number {
        self.col(term.col).map(|n| n + term.plus)
    }
}

/// An aggregate over the records of one group, in order.
pub fn aggregate<'a>(agg: Agg, records: impl Iterator<Item = &'a Rec>) -> Number {
    let numbers = |col: Col| move |rec: &Rec| rec.col(col).unwrap_or(0);
    match agg {
        Agg::Count => Some(records.count() as i64),
        Agg::Sum(col) => Some(records.map(numbers(col)).sum()),
        Agg::Min(col) => records.map(numbers(col)).min(),
        Agg::Max(col) => records.map(numbers(col)).max(),
    }
}

fn grouped(records: &[Rec], by: Col) -> BTreeMap<i64, Vec<Rec>> {
    let mut groups: BTreeMap<i64, Vec<Rec>> = BTreeMap::new();
    for record in records {
        if let Some(key) = record.col(by) {
            groups.entry(key).or_default().push(record.clone());
        }
    }
    groups
}

/// The windows of one group's records: bounds and what is in them.
fn windows(records: &[Rec], shape: Shape) -> Vec<(i64, i64, Vec<Rec>)> {
    let mut out: Vec<(i64, i64, Vec<Rec>)> = Vec::new();
    match shape {
        Shape::Tumbling { ms } => return windows(records, Shape::Hopping { ms, by_ms: ms }),
        Shape::Hopping { ms, by_ms } => {
            let mut windows: BTreeMap<i64, Vec<Rec>> = BTreeMap::new();
            for record in records {
                let mut start = record.ts - record.ts.rem_euclid(by_ms);
                while start + ms > record.ts {
                    windows.entry(start).or_default().push(record.clone());
                    start -= by_ms;
                }
            }
            out.extend(windows.into_iter().map(|(start, records)| (start, start + ms, records)));
        }
        Shape::Session { gap_ms } => {
            let mut sorted = records.to_vec();
            sorted.sort_by_key(|record| record.ts);
            for record in sorted {
                match out.last_mut() {
                    Some((_, end, records)) if record.ts - *end <= gap_ms => {
                        *end = record.ts;
                        records.push(record);
                    }
                    _ => out.push((record.ts, record.ts, vec![record])),
                }
            }
        }
    }
    out
}

fn join_tables(first: &Relation, others: &[(&Relation, Join)]) -> Relation {
    let mut keys: Vec<i64> = first.table().keys().copied().collect();
    if others.iter().any(|(_, join)| *join == Join::Full) {
        keys.extend(others[0].0.table().keys());
    }
    let mut rows = BTreeMap::new();
    for key in keys {
        let left = first.table().get(&key);
        let right: Vec<_> = others
            .iter()
            .map(|(other, join)| (other.table().get(&key), *join))
            .collect();
        if right.iter().any(|(row, join)| *join == Join::Inner && row.is_none()) {
            continue;
        }
        let b = match right.as_slice() {
            [(row, _)] => row.and_then(|(_, b)| *b),
            several => {
                let number = |(row, _): &(Option<&(Number, Number)>, Join)| row.and_then(|(_, b)| *b).unwrap_or(0);
                Some(several.iter().map(number).sum())
            }
        };
        rows.insert(key, (left.and_then(|(a, _)| *a), b));
    }
    Relation::Table(rows)
}

fn join_streams(left: &[Rec], right: &[Rec], within_ms: i64, join: Join, closed_before: i64) -> Vec<Rec> {
    let meet = |l: &Rec, r: &Rec| l.k.is_some() && l.k == r.k && (l.ts - r.ts).abs() <= within_ms;
    // without key there is no partner for certain; with one it is known once the window has closed
    let is_over = |rec: &Rec| rec.k.is_none() || rec.ts < closed_before;
    let mut out = Vec::new();
    for l in left {
        let before = out.len();
        out.extend(right.iter().filter(|r| meet(l, r)).map(|r| Rec {
            k: l.k,
            a: l.a,
            b: r.b,
            ts: l.ts.max(r.ts),
        }));
        if out.len() == before && join != Join::Inner && is_over(l) {
            out.push(Rec { b: None, ..l.clone() });
        }
    }
    if join == Join::Full {
        let alone = |r: &&Rec| !left.iter().any(|l| meet(l, r)) && is_over(r);
        out.extend(right.iter().filter(alone).map(|r| Rec { a: None, ..r.clone() }));
    }
    out
}

/// All relations of a plan. `inputs`: streams with all records, tables with their last rows. `closed_before`: stream time has closed every window that
/// begins before.
pub fn evaluate(plan: &Plan, inputs: BTreeMap<String, Relation>, closed_before: i64) -> BTreeMap<String, Relation> {
    let mut known = inputs;
    for query in &plan.queries {
        let relation = derive(&query.op, &known, plan.is_table(&query.name), closed_before);
        known.insert(query.name.clone(), relation);
    }
    known
}

fn derive(op: &Op, known: &BTreeMap<String, Relation>, is_table: bool, closed_before: i64) -> Relation {
    match op {
        Op::Map { from, keep, a, b } => {
            let rows = known[from].rows().into_iter();
            let kept = rows.filter(|rec| keep.is_none_or(|(col, least)| rec.col(col).is_some_and(|n| n >= least)));
            let computed: Vec<Rec> = kept
                .map(|rec| Rec {
                    a: rec.term(*a),
                    b: rec.term(*b),
                    ..rec
                })
                .collect();
            if !is_table {
                return Relation::Stream(computed);
            }
            let row = |rec: Rec| Some((rec.k?, (rec.a, rec.b)));
            Relation::Table(computed.into_iter().filter_map(row).collect())
        }
        Op::Rekey { from, by } => {
            let rekeyed = known[from].rows().into_iter().map(|rec| match by {
                Col::A => Rec {
                    k: rec.a,
                    a: rec.k,
                    ..rec
                },
                Col::K | Col::B => Rec {
                    k: rec.b,
                    b: rec.k,
                    ..rec
                },
            });
            Relation::Stream(rekeyed.collect())
        }
        Op::Group { from, by, a, b } => {
            let groups = grouped(&known[from].rows(), *by).into_iter();
            let row =
                |(key, records): (i64, Vec<Rec>)| (key, (aggregate(*a, records.iter()), aggregate(*b, records.iter())));
            Relation::Table(groups.map(row).collect())
        }
        Op::Window {
            from,
            by,
            a,
            b,
            shape,
            last,
        } => {
            let mut rows = BTreeMap::new();
            for (key, records) in grouped(&known[from].rows(), *by) {
                for (start, end, records) in windows(&records, *shape) {
                    if !*last || start < closed_before {
                        let row = (aggregate(*a, records.iter()), aggregate(*b, records.iter()));
                        rows.insert((key, start, end), row);
                    }
                }
            }
            Relation::Windows(rows)
        }
        Op::StreamTable { stream, table, left } => {
            let table = known[table].table();
            let joined = known[stream].rows().into_iter().filter_map(|rec| {
                let row = rec.k.and_then(|key| table.get(&key));
                (row.is_some() || *left).then(|| Rec {
                    b: row.and_then(|(_, b)| *b),
                    ..rec
                })
            });
            Relation::Stream(joined.collect())
        }
        Op::Tables { first, others } => {
            let others: Vec<_> = others.iter().map(|(other, join)| (&known[other], *join)).collect();
            join_tables(&known[first], &others)
        }
        Op::Foreign { left, by, right, keeps } => {
            let right = known[right].table();
            let joined = known[left].rows().into_iter().filter_map(|rec| {
                let row = rec.col(*by).and_then(|key| right.get(&key));
                (row.is_some() || *keeps).then_some((rec.k?, (rec.b, row.and_then(|(_, b)| *b))))
            });
            Relation::Table(joined.collect())
        }
        Op::Streams {
            left,
            right,
            within_ms,
            join,
        } => {
            let (left, right) = (known[left].rows(), known[right].rows());
            Relation::Stream(join_streams(&left, &right, *within_ms, *join, closed_before))
        }
    }
}
