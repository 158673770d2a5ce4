//! A scenario: all that a run does, as plain data, so that it can be kept in a file, made smaller, and run again.

use std::collections::BTreeMap;

use millstream::log::sim::Rng;
use serde::{Deserialize, Serialize};

use super::generate::generate;
use super::model::{Rec, Relation};
use super::plan::{Input, Plan};
use crate::simulation::fault::Fault;
use crate::simulation::world::EPOCH;

/// The phases of a run: tables are filled; everything comes; what is open closes. Each begins when all of the one before is processed.
pub const PHASES: u8 = 3;
/// Event times lie in the hour from here.
const FIRST_TS: i64 = EPOCH;
/// Records of this time close every window.
pub const CLOSING_TS: i64 = EPOCH + 10 * 24 * 3_600_000;
/// Closing records have these keys: so many that each partition has one.
const CLOSING_KEYS: std::ops::Range<i64> = 10_000..10_032;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub seed: u64,
    pub plan: Plan,
    pub partitions: i32,
    pub instances: usize,
    pub workers: usize,
    pub every_change: bool,
    pub commit_ms: u64,
    pub flush_ms: u64,
    pub buffer_bytes: usize,
    pub queue_records: usize,
    pub fan_out: usize,
    pub standbys: usize,
    pub events: Vec<Event>,
}

/// Something that happens before a step of a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub phase: u8,
    pub at: u32,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    Record {
        to: String,
        key: Option<i64>,
        value: Payload,
        ts: i64,
    },
    Fault(Fault),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Payload {
    Row(Option<i64>, Option<i64>),
    /// No value: a table's row is deleted.
    Gone,
    /// Bytes that are no row.
    Bad,
}

impl Event {
    pub fn is_fault(&self) -> bool {
        matches!(self.what, What::Fault(_))
    }

    /// One of those that close what is open, all together.
    pub fn is_closing(&self) -> bool {
        matches!(self.what, What::Record { ts, .. } if ts == CLOSING_TS)
    }
}

fn record(rng: &mut Rng, input: &Input) -> What {
    let Input { name, is_table, format } = input;
    // one key is hot; values are keys of other relations
    let key = if rng.chance(300) { 1 } else { rng.below(9) as i64 };
    // a message of proto3 has no NULL
    let nulls = if format == "PROTOBUF" { 0 } else { 80 };
    let number = |rng: &mut Rng| (!rng.chance(nulls)).then(|| rng.below(7) as i64);
    let (a, b) = (number(rng), number(rng));
    let value = match rng.below(20) {
        0 => Payload::Bad,
        1 | 2 if *is_table => Payload::Gone,
        _ => Payload::Row(a, b),
    };
    What::Record {
        to: name.clone(),
        key: (!rng.chance(40)).then_some(key),
        value,
        ts: FIRST_TS + rng.below(3_600_000) as i64,
    }
}

impl Scenario {
    /// From a seed; a `long` one has many times the records and faults.
    pub fn generate(seed: u64, long: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x5ce0_a210);
        let rng = &mut rng;
        let plan = generate(rng);
        let scale = if long { 12 } else { 1 };
        let mut scenario = Self {
            seed,
            partitions: 1 + rng.below(3) as i32,
            instances: 1 + rng.below(3),
            workers: 1 + rng.below(2),
            every_change: rng.chance(400),
            commit_ms: 10 + rng.below(150) as u64,
            flush_ms: 200 + rng.below(3_000) as u64,
            buffer_bytes: if rng.chance(300) { 2_000 } else { 8 << 20 },
            queue_records: 1 + rng.below(20),
            fan_out: 1 + rng.below(4),
            standbys: usize::from(rng.chance(250)),
            events: Vec::new(),
            plan,
        };
        let fixed = scenario.plan.fixed();
        let inputs = scenario.plan.inputs.clone();
        let tables: Vec<_> = inputs.iter().filter(|input| input.is_table).collect();
        let moving: Vec<_> = inputs.iter().filter(|input| !fixed.contains(&input.name)).collect();
        for (phase, inputs, most) in [(0, tables, 20), (1, moving, 50)] {
            let steps = (40 + rng.below(150)) * scale;
            for _ in 0..if inputs.is_empty() { 0 } else { rng.below(most * scale) } {
                let input = inputs[rng.below(inputs.len())];
                let what = record(rng, input);
                scenario.add(phase, rng.below(steps), what);
            }
            for _ in 0..rng.below(7 * scale) {
                let fault = Fault::any(rng);
                scenario.add(phase, rng.below(steps), What::Fault(fault));
            }
        }
        if scenario.plan.has_closing() {
            scenario.close(rng);
        }
        scenario.events.sort_by_key(|event| (event.phase, event.at));
        scenario
    }

    fn add(&mut self, phase: u8, at: usize, what: What) {
        let at = at as u32;
        self.events.push(Event { phase, at, what });
    }

    /// Records behind everything, so that what is open closes.
    fn close(&mut self, rng: &mut Rng) {
        let streams: Vec<String> = (self.plan.inputs.iter().filter(|input| !input.is_table))
            .map(|input| input.name.clone())
            .collect();
        for to in streams {
            for key in CLOSING_KEYS {
                let what = What::Record {
                    to: to.clone(),
                    key: Some(key),
                    value: Payload::Row(Some(key), Some(key)),
                    ts: CLOSING_TS,
                };
                self.add(2, rng.below(30), what);
            }
        }
        for _ in 0..rng.below(3) {
            let fault = Fault::any(rng);
            self.add(2, rng.below(60), What::Fault(fault));
        }
    }

    /// The input relations when all is processed.
    pub fn inputs(&self) -> BTreeMap<String, Relation> {
        let empty = |is_table: bool| match is_table {
            true => Relation::Table(BTreeMap::new()),
            false => Relation::Stream(Vec::new()),
        };
        let inputs = self.plan.inputs.iter();
        let mut inputs: BTreeMap<_, _> = inputs
            .map(|input| (input.name.clone(), empty(input.is_table)))
            .collect();
        for event in &self.events {
            let What::Record { to, key, value, ts } = &event.what else {
                continue;
            };
            match (inputs.get_mut(to), value, key) {
                (Some(Relation::Stream(records)), Payload::Row(a, b), _) => records.push(Rec {
                    k: *key,
                    a: *a,
                    b: *b,
                    ts: *ts,
                }),
                (Some(Relation::Table(rows)), Payload::Row(a, b), Some(key)) => {
                    rows.insert(*key, (*a, *b));
                }
                (Some(Relation::Table(rows)), Payload::Gone, Some(key)) => {
                    rows.remove(key);
                }
                _ => {}
            }
        }
        inputs
    }
}
