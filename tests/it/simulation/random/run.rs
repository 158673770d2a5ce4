//! Runs a scenario: its events between steps, a phase after the other, readers looking on; then no fault any more, until all is processed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::golden::{Case, TopicCodec};
use millstream::engine::{Emit, EngineSettings};
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::partition_for_key;
use millstream::types::TopicPartition;
use serde_json::{Value as Json, json};

use super::check;
use super::readers::Readers;
use super::scenario::{Event, PHASES, Payload, Scenario, What};
use crate::simulation::world::World;

/// Once faults have stopped, all is processed within this, in milliseconds of virtual time.
const SOON_MS: i64 = 120_000;
/// Steps between two looks of the readers.
const LOOK_EVERY: u32 = 10;

/// What a run that went well has to tell.
#[derive(Debug, PartialEq)]
pub struct Survived {
    /// A hash of all that happened.
    pub trace: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Records put in.
    pub records: usize,
    /// Snapshots that were read while it ran.
    pub looks: u64,
    /// From the end of faults until all was processed, in milliseconds.
    pub settled_ms: i64,
}

/// A scenario at work.
pub struct Run<'a> {
    pub scenario: &'a Scenario,
    pub world: World,
    pub schemas: Arc<dyn SchemaSource>,
    /// Where bad records are, and how many of each place.
    pub bad: Vec<TopicPartition>,
    codecs: BTreeMap<String, TopicCodec>,
    readers: Readers,
}

pub fn row(a: Option<i64>, b: Option<i64>) -> Json {
    json!({"A": a, "B": b})
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let registry = Arc::new(MemoryRegistry::new());
        let schemas: Arc<dyn SchemaSource> = registry.clone();
        let case = Case {
            sql: scenario.plan.sql(scenario.partitions),
            ..Case::default()
        };
        let topology =
            crate::golden::compile_case("random", &case, &schemas).unwrap_or_else(|e| panic!("{e}\n{}", case.sql));
        let settings = EngineSettings {
            workers: scenario.workers,
            commit_interval: Duration::from_millis(scenario.commit_ms),
            emit: match scenario.every_change {
                true => Emit::EveryChange,
                false => Emit::HoldUntilCommit,
            },
            buffer_bytes: scenario.buffer_bytes,
            cache_bytes: scenario.buffer_bytes,
            queue_records: scenario.queue_records,
            store_flush_interval: Duration::from_millis(scenario.flush_ms),
            fan_out: scenario.fan_out,
            standbys: scenario.standbys,
            ..EngineSettings::default()
        };
        let mut world = World::with_schemas(scenario.seed, topology, settings, scenario.instances, schemas.clone());
        world.registry = Some((registry, i64::MAX));
        for input in &scenario.plan.inputs {
            // not compacted, since it may have bad records without key
            world.log.create_topic(&input.name, scenario.partitions, &[]).unwrap();
        }
        let codec = |input: &super::plan::Input| {
            let codec = TopicCodec::new(&world.topology, &input.name, &schemas).unwrap();
            (input.name.clone(), codec)
        };
        Self {
            codecs: scenario.plan.inputs.iter().map(codec).collect(),
            scenario,
            world,
            schemas,
            bad: Vec::new(),
            readers: Readers::default(),
        }
    }

    fn put(&mut self, to: &str, key: Option<i64>, value: &Payload, ts: i64) {
        let key = key.map(i64::to_be_bytes);
        let key = key.as_ref().map(<[u8; 8]>::as_slice);
        let bytes = match value {
            Payload::Gone => None,
            Payload::Bad => Some(b"\x01{no row".to_vec()),
            Payload::Row(a, b) => {
                let Some(codec) = self.codecs.get_mut(to) else { return };
                codec.record(&Json::Null, &row(*a, *b), ts).unwrap().value
            }
        };
        let partition = key.map_or(0, |key| partition_for_key(key, self.scenario.partitions));
        let tp = TopicPartition::new(to, partition);
        self.world.log.append(&tp, key, bytes.as_deref(), ts).unwrap();
        let is_table = self.scenario.plan.is_table(to);
        if *value == Payload::Bad || (is_table && key.is_none()) {
            self.bad.push(tp);
        }
    }

    fn happen(&mut self, event: &Event) {
        match &event.what {
            What::Record { to, key, value, ts } => self.put(to, *key, value, *ts),
            What::Fault(fault) => {
                self.readers.look(&self.world);
                self.world.inject(fault);
            }
        }
    }

    fn phase(&mut self, phase: u8) {
        let scenario = self.scenario;
        let mut events = scenario.events.iter().filter(|event| event.phase == phase).peekable();
        for step in 0.. {
            while let Some(event) = events.next_if(|event| event.at <= step) {
                self.happen(event);
            }
            if events.peek().is_none() {
                break;
            }
            self.world.step();
            assert_eq!(self.world.failure, None, "the topology stopped");
            if step % LOOK_EVERY == 0 {
                self.readers.look(&self.world);
            }
        }
        if phase + 1 < PHASES {
            self.world.catch_up();
        }
        self.readers.look_closely(&self.world);
    }

    fn finish(mut self) -> Survived {
        let since = self.world.log.now();
        self.world.settle();
        let settled_ms = self.world.log.now() - since;
        assert!(
            settled_ms <= SOON_MS,
            "it took {settled_ms} ms until all was processed without faults"
        );
        self.readers.look_closely(&self.world);
        check::all(&self);
        Survived {
            trace: self.world.log.trace(),
            faults: self.world.log.struck(),
            records: self.scenario.events.iter().filter(|event| !event.is_fault()).count(),
            looks: self.readers.looks,
            settled_ms,
        }
    }
}

/// Runs a scenario; what is wrong panics.
pub fn run(scenario: &Scenario) -> Survived {
    let mut run = Run::new(scenario);
    run.world.catch_up();
    for phase in 0..PHASES {
        run.phase(phase);
    }
    run.finish()
}
