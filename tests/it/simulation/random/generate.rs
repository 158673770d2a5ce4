//! Plans from a seed: any operator over what there is, as far as what comes out does not depend on chance.

use std::collections::BTreeSet;

use millstream::log::sim::Rng;

use super::plan::{Agg, Col, Input, Join, Op, Plan, Query, Shape, Term};

/// What a generator has to choose from.
struct Known {
    streams: Vec<String>,
    tables: Vec<String>,
    /// Tables that no stream is part of: a stream may be joined with them.
    still: Vec<String>,
    /// Streams whose records have all their columns and reach every partition: what closes over them, closes.
    plain: Vec<String>,
}

fn pick(rng: &mut Rng, of: &[String]) -> Option<String> {
    (!of.is_empty()).then(|| of[rng.below(of.len())].clone())
}

fn value(rng: &mut Rng) -> Col {
    [Col::A, Col::B][rng.below(2)]
}

fn any(rng: &mut Rng) -> Col {
    [Col::K, Col::A, Col::B][rng.below(3)]
}

fn term(rng: &mut Rng, of: fn(&mut Rng) -> Col) -> Term {
    let plus = if rng.chance(300) { 1 + rng.below(3) as i64 } else { 0 };
    Term { col: of(rng), plus }
}

/// Of one of these columns. Each query uses a value, so that it notices records without a readable one.
fn agg(rng: &mut Rng, of: fn(&mut Rng) -> Col) -> Agg {
    match rng.below(4) {
        0 if of(rng) == Col::K => Agg::Count,
        0 | 1 => Agg::Sum(of(rng)),
        2 => Agg::Min(value(rng)),
        _ => Agg::Max(value(rng)),
    }
}

fn shape(rng: &mut Rng) -> Shape {
    match rng.below(3) {
        0 => Shape::Tumbling { ms: 600_000 },
        1 => Shape::Hopping {
            ms: 1_200_000,
            by_ms: 600_000,
        },
        _ => Shape::Session { gap_ms: 120_000 },
    }
}

/// Some operator over what is known; `None` where there is nothing for it.
fn operator(rng: &mut Rng, known: &Known) -> Option<Op> {
    let all: Vec<String> = known.streams.iter().chain(&known.tables).cloned().collect();
    Some(match rng.below(12) {
        0 => Op::Map {
            from: pick(rng, &all)?,
            keep: rng.chance(600).then(|| (any(rng), rng.below(4) as i64)),
            a: term(rng, any),
            b: term(rng, value),
        },
        1 => Op::Rekey {
            from: pick(rng, &known.streams)?,
            by: value(rng),
        },
        2..=4 => Op::Group {
            from: pick(rng, &all)?,
            by: any(rng),
            a: agg(rng, any),
            b: agg(rng, value),
        },
        5 | 6 => {
            let last = rng.chance(500);
            Op::Window {
                from: pick(rng, if last { &known.plain } else { &known.streams })?,
                by: any(rng),
                a: agg(rng, any),
                b: agg(rng, value),
                shape: shape(rng),
                last,
            }
        }
        7 => Op::StreamTable {
            stream: pick(rng, &known.streams)?,
            table: pick(rng, &known.still)?,
            left: rng.chance(500),
        },
        8 | 9 => {
            let join = |rng: &mut Rng| [Join::Inner, Join::Left][rng.below(2)];
            let mut others = vec![(pick(rng, &known.tables)?, join(rng))];
            while others.len() < 3 && rng.chance(300) {
                others.push((pick(rng, &known.tables)?, join(rng)));
            }
            if others.len() == 1 && rng.chance(300) {
                others[0].1 = Join::Full;
            }
            Op::Tables {
                first: pick(rng, &known.tables)?,
                others,
            }
        }
        10 => Op::Foreign {
            left: pick(rng, &known.tables)?,
            by: value(rng),
            right: pick(rng, &known.tables)?,
            keeps: rng.chance(500),
        },
        _ => {
            let join = [Join::Inner, Join::Left, Join::Full][rng.below(3)];
            let from = if join == Join::Inner {
                &known.streams
            } else {
                &known.plain
            };
            Op::Streams {
                left: pick(rng, from)?,
                right: pick(rng, from)?,
                within_ms: 60_000,
                join,
            }
        }
    })
}

/// A plan from a seed.
pub fn generate(rng: &mut Rng) -> Plan {
    let mut plan = Plan::default();
    let mut known = Known {
        streams: Vec::new(),
        tables: Vec::new(),
        still: Vec::new(),
        plain: Vec::new(),
    };
    for n in 0..1 + rng.below(4) {
        let (name, is_table) = (format!("in{n}"), rng.chance(500));
        let format = ["JSON", "JSON", "AVRO", "JSON_SR", "PROTOBUF", "DELIMITED"][rng.below(6)].to_string();
        if is_table {
            known.tables.push(name.clone());
            known.still.push(name.clone());
        } else {
            known.streams.push(name.clone());
            known.plain.push(name.clone());
        }
        plan.inputs.push(Input { name, is_table, format });
    }
    let wanted = 1 + rng.below(5);
    while plan.queries.len() < wanted {
        let Some(op) = operator(rng, &known) else { continue };
        let name = format!("q{}", plan.queries.len());
        plan.queries.push(Query {
            name: name.clone(),
            op: op.clone(),
        });
        if op.is_open_ended() {
            continue;
        }
        if !plan.is_table(&name) {
            known.streams.push(name);
            continue;
        }
        let of_tables = plan.inputs_of(&name).iter().all(|input| plan.is_table(input));
        if of_tables {
            known.still.push(name.clone());
        }
        known.tables.push(name);
    }
    let used: BTreeSet<String> = plan
        .queries
        .iter()
        .flat_map(|query| plan.inputs_of(&query.name))
        .collect();
    plan.inputs.retain(|input| used.contains(&input.name));
    plan
}
