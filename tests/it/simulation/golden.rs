//! The golden cases on the simulated log, with every kind of fault between their steps: what they say of tables must hold whatever happens in
//! between. Sequences of streams are compared a key at a time, where no re-keying leaves their order open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::golden::{Case, CaseRow, LocalRecord, Step, TopicCodec};
use millstream::engine::{Emit, EngineSettings};
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::partition_for_key;
use millstream::log::sim::{Faults, Rng, SimRecord};
use millstream::topology::{Op, SourceTopic, Topology};
use millstream::types::{RelationKind, TopicPartition};

use super::fault::Fault;
use super::world::World;

/// Each case runs with so many seeds, and with one of fifty of `MILLSTREAM_SEEDS`.
const SEEDS: u64 = 3;

/// Faults between two steps, beside those that any call may meet.
const FAULTS_PER_MILLE: u32 = 30;

/// A row as text: key and value; a value of `None` deletes.
type Shown = (String, Option<String>);

struct CaseRun<'a> {
    world: World,
    schemas: &'a Arc<dyn SchemaSource>,
    /// Rows of each topic that the case has named so far, in order.
    expected: BTreeMap<String, Vec<Shown>>,
    /// Reasons of dead letters, in the order of the case.
    dead: Vec<String>,
    faults: Faults,
    /// Whether the order in which the records of different inputs arrive shows in what comes out.
    by_arrival: bool,
}

fn settings(rng: &mut Rng, case: &Case) -> EngineSettings {
    EngineSettings {
        workers: 1 + rng.below(2),
        commit_interval: Duration::from_millis(10 + rng.below(100) as u64),
        emit: if case.every_change {
            Emit::EveryChange
        } else {
            Emit::HoldUntilCommit
        },
        buffer_bytes: if rng.chance(300) { 500 } else { 8 << 20 },
        cache_bytes: 0,
        ..EngineSettings::default()
    }
}

impl<'a> CaseRun<'a> {
    fn new(case: &Case, topology: Topology, schemas: &'a Arc<dyn SchemaSource>, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xca5e);
        let settings = EngineSettings {
            fan_out: 1 + seed as usize % 3,
            ..settings(&mut rng, case)
        };
        let by_arrival =
            (topology.nodes.iter()).any(|node| matches!(node.op, Op::StreamTableJoin(_) | Op::StreamStreamJoin(_)));
        let mut faults = Faults {
            lost_request: rng.below(20) as u32,
            lost_answer: rng.below(20) as u32,
            crash: rng.below(20) as u32,
            slow_fetch: rng.below(500) as u32,
        };
        if by_arrival {
            (faults.lost_request, faults.lost_answer, faults.slow_fetch) = (0, 0, 0);
        }
        let world = World::with_schemas(seed, topology, settings, 1 + rng.below(2), schemas.clone());
        let made: Vec<_> = (world.topology.nodes.iter())
            .filter_map(|node| match &node.op {
                Op::Sink(sink) => Some(sink.topic.clone()),
                _ => None,
            })
            .collect();
        for relation in &world.topology.relations {
            if !made.contains(&relation.topic.name) {
                // Not compacted, whatever it holds: cases have records without key, too.
                let partitions = partitions(&world.topology, &relation.topic.name);
                world.log.create_topic(&relation.topic.name, partitions, &[]).unwrap();
            }
        }
        Self {
            world,
            schemas,
            expected: BTreeMap::new(),
            dead: Vec::new(),
            faults,
            by_arrival,
        }
    }

    fn codec(&self, topic: &str) -> TopicCodec {
        TopicCodec::new(&self.world.topology, topic, self.schemas).unwrap()
    }

    /// Some steps with faults, then everything is processed.
    fn pass_time(&mut self) {
        self.world.log.set_faults(self.faults);
        for _ in 0..self.world.rng.below(60) {
            if self.world.rng.chance(FAULTS_PER_MILLE) {
                self.fault();
            }
            self.world.step();
        }
        if self.world.rng.chance(50) {
            self.world.kill(0);
        }
        self.world.settle();
    }

    /// Some fault. An input whose records are late has reached its end as far as anybody can know, so that the others are not held up for it (KIP-695): where
    /// that shows, nothing comes between a fetch and its answer.
    fn fault(&mut self) {
        let fault = Fault::any(&mut self.world.rng);
        let delays_fetches = matches!(
            fault,
            Fault::LostRequest { .. }
                | Fault::LostAnswer { .. }
                | Fault::LateRequest { .. }
                | Fault::LateAnswer { .. }
                | Fault::ClusterAway { .. }
                | Fault::PartitionAway { .. }
        );
        if !(self.by_arrival && delays_fetches) {
            self.world.inject(&fault);
        }
    }

    fn input(&mut self, topic: &str, row: &CaseRow, raw: bool) {
        let bytes = |json: &serde_json::Value| json.as_str().map(|text| text.as_bytes().to_vec());
        let record = if raw {
            LocalRecord {
                key: bytes(&row.key),
                value: bytes(&row.value),
                timestamp: row.timestamp.unwrap_or_default(),
                headers: None,
            }
        } else {
            self.codec(topic)
                .record(&row.key, &row.value, row.timestamp.unwrap_or_default())
                .unwrap()
        };
        let partitions = partitions(&self.world.topology, topic);
        let partition = record
            .key
            .as_deref()
            .map_or(0, |key| partition_for_key(key, partitions));
        let tp = TopicPartition::new(topic, partition);
        self.world
            .log
            .append(&tp, record.key.as_deref(), record.value.as_deref(), record.timestamp)
            .unwrap();
    }

    fn expect(&mut self, topic: &str, rows: &[CaseRow]) {
        let mut codec = self.codec(topic);
        let shown = rows.iter().map(|row| {
            let (key, value) = codec.normal(&row.key, &row.value).unwrap();
            (key, (!row.value.is_null()).then_some(value))
        });
        let shown: Vec<Shown> = shown.collect();
        self.expected.entry(topic.to_string()).or_default().extend(shown);
    }

    fn actual(&self, topic: &str) -> Vec<Shown> {
        let mut codec = self.codec(topic);
        let show = |record: SimRecord| {
            let has_value = record.value.is_some();
            let record = LocalRecord {
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                headers: record.headers,
            };
            let (key, value) = codec.show(&record).unwrap();
            (key, has_value.then_some(value))
        };
        self.world.records(topic).into_iter().map(show).collect()
    }

    fn run(&mut self, case: &Case) {
        // The topics that the file itself creates are there before the first record is.
        self.world.settle();
        let mut finals: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (_, step) in &case.steps {
            match step {
                Step::Input { topic, row, raw } => self.input(topic, row, *raw),
                // What is not committed is not seen: nothing has to happen yet.
                Step::Abort | Step::Crash => {}
                Step::Commit | Step::Settle | Step::CrashUnapplied | Step::Restart => self.pass_time(),
                Step::Out(topic, rows) => {
                    self.expect(topic, rows);
                    self.check_topic(topic, &finals);
                }
                Step::Final(topic, rows) => {
                    let mut codec = self.codec(topic);
                    let rows = rows.iter().map(|row| codec.normal(&row.key, &row.value).unwrap());
                    finals.insert(topic.clone(), rows.collect());
                    assert_eq!(table(&self.actual(topic)), finals[topic], "final {topic}");
                }
                Step::View(..) => {}
                Step::Dead(reasons) => self.dead.extend(reasons.iter().cloned()),
            }
        }
        self.check_dead_letters();
    }

    /// What came out so far is what the case has said so far.
    fn check_topic(&self, topic: &str, finals: &BTreeMap<String, BTreeMap<String, String>>) {
        let rekeyed = self
            .world
            .topology
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::Repartition(_)));
        let (rows, actual) = (&self.expected[topic], self.actual(topic));
        match kind_of(&self.world.topology, topic) {
            RelationKind::Table if !finals.contains_key(topic) => {
                assert_eq!(table(&actual), table(rows), "table {topic}");
            }
            RelationKind::Stream if !rekeyed => assert_eq!(by_key(&actual), by_key(rows), "stream {topic}"),
            RelationKind::Table | RelationKind::Stream => {}
        }
    }

    /// A record has one letter, whatever happens. A row that was computed at a commit has one for each commit at which it could not be: how many
    /// commits there are is chance, so there may be more of those than the case says. Those of a global table are written at least once.
    fn check_dead_letters(&self) {
        if self.dead.is_empty() {
            return;
        }
        let letters = self.world.records(&self.world.deployment().names.dead_letters());
        let is_of_record = |letter: &&SimRecord| {
            let headers = letter.headers.iter().flat_map(|headers| headers.iter());
            let offset = headers.filter(|(name, _)| &**name == "millstream.offset");
            offset.into_iter().any(|(_, value)| value.as_deref() != Some(b"-1"))
        };
        let (of_globals, of_records): (Vec<_>, Vec<_>) = (letters.iter().filter(is_of_record))
            .partition(|letter| is_global(&self.world.topology, &place(letter)[0]));
        let of_globals: BTreeSet<_> = of_globals.into_iter().map(place).collect();
        let of_records = of_records.len() + of_globals.len();
        assert!(
            of_records <= self.dead.len() && self.dead.len() <= letters.len(),
            "{} dead letters, {of_records} of them of records, but {:?} is expected",
            letters.len(),
            self.dead
        );
    }
}

/// Topic, partition and offset of a dead letter's record.
fn place(letter: &SimRecord) -> [String; 3] {
    ["topic", "partition", "offset"].map(|part| {
        let mut headers = letter.headers.iter().flat_map(|headers| headers.iter());
        let value = headers.find_map(|(name, value)| {
            name.strip_prefix("millstream.")
                .filter(|name| *name == part)
                .and(value.as_deref())
        });
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    })
}

fn is_global(topology: &Topology, topic: &str) -> bool {
    let of_topic = |name: &str| (topology.relation(name)).is_some_and(|relation| &*relation.topic.name == topic);
    topology.globals.iter().any(|global| of_topic(&global.source.relation))
}

/// Every process reads all of a global table: it has several partitions. All else has one, so that a case is one sequence.
fn partitions(topology: &Topology, topic: &str) -> i32 {
    if is_global(topology, topic) { 3 } else { 1 }
}

fn kind_of(topology: &Topology, topic: &str) -> RelationKind {
    let relation = topology
        .relations
        .iter()
        .find(|relation| &*relation.topic.name == topic);
    relation.map_or(RelationKind::Stream, |relation| relation.kind)
}

fn table(rows: &[Shown]) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (key, value) in rows {
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
    table
}

fn by_key(rows: &[Shown]) -> BTreeMap<&str, Vec<Option<&str>>> {
    let mut keys: BTreeMap<&str, Vec<Option<&str>>> = BTreeMap::new();
    for (key, value) in rows {
        keys.entry(key).or_default().push(value.as_deref());
    }
    keys
}

/// Whether a case says something that only its own driver can promise: the order of arrival between a re-keyed stream and a table.
fn depends_on_arrival(topology: &Topology) -> bool {
    let joins = topology
        .nodes
        .iter()
        .any(|node| matches!(node.op, Op::StreamTableJoin(_)));
    let rekeyed = topology.nodes.iter().any(|node| match &node.op {
        Op::Source(source) => matches!(source.topic, SourceTopic::Repartition(_)),
        _ => false,
    });
    joins && rekeyed
}

#[test]
fn golden_cases_hold_under_faults() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let only = std::env::var("CASE").unwrap_or_default();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|e| e == "case") && path.to_string_lossy().contains(&only));
    let asked = std::env::var("MILLSTREAM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let seeds = asked.map_or(SEEDS, |seeds: u64| SEEDS.max(seeds / 50));
    let mut failures = Vec::new();
    for path in &paths {
        let case = Case::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for seed in 0..seeds {
            let outcome = std::panic::catch_unwind(|| {
                let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
                case.register_schemas(&schemas).unwrap();
                let topology = crate::golden::compile_case(&name, &case, &schemas).unwrap();
                if !depends_on_arrival(&topology) {
                    CaseRun::new(&case, topology, &schemas, seed).run(&case);
                }
            });
            if outcome.is_err() {
                failures.push(format!("{name} with seed {seed}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}
