use std::sync::Arc;
use std::time::Duration;

use super::control::{ControlReader, ControlRecord, Wanted};
use super::*;
use crate::formats::MemoryRegistry;
use crate::log::sim::SimLog;
use crate::topology::{Node, Relation, Repartition, Sink, Source, SourceTopic, SubTopology, TimestampFrom, TopicSpec};
use crate::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType};

fn schema() -> RelationSchema {
    RelationSchema {
        key: vec![Column::new("ID", SqlType::Bigint)],
        value: vec![Column::new("NAME", SqlType::String)],
    }
}

fn relation(name: &str, topic: &str, partitions: Option<i32>) -> Relation {
    Relation {
        name: name.into(),
        kind: RelationKind::Stream,
        schema: schema(),
        topic: TopicSpec {
            name: topic.into(),
            partitions,
            replicas: None,
            retention_ms: None,
            compacted: false,
        },
        key_format: SerdeSpec::key(Format::Kafka),
        value_format: SerdeSpec::value(Format::Kafka),
        window: None,
        derived: false,
        sql: "".into(),
        headers: Vec::new(),
    }
}

fn node(id: usize, sub: usize, inputs: Vec<usize>, op: Op) -> Node {
    Node {
        id,
        name: format!("N{id}").into(),
        op,
        inputs,
        kind: RelationKind::Stream,
        schema: schema(),
        sub,
    }
}

fn source(topic: SourceTopic) -> Op {
    Op::Source(Source {
        topic,
        relation: "R".into(),
        columns: schema(),
        used: vec![0],
        pseudo: vec![],
        key_format: SerdeSpec::key(Format::Kafka),
        value_format: SerdeSpec::value(Format::Kafka),
        timestamp: TimestampFrom::Record,
        window: None,
        store: None,
        history: None,
    })
}

/// A and B are read together and re-keyed; the result is written to `out`.
fn topology() -> Topology {
    let repartition = Op::Repartition(Repartition {
        name: "R".into(),
        key: vec![],
        value: vec![],
        partitions: None,
    });
    let sink = Op::Sink(Sink {
        relation: "OUT".into(),
        topic: "out".into(),
        key_format: SerdeSpec::key(Format::Kafka),
        value_format: SerdeSpec::value(Format::Kafka),
        window: None,
        timestamp: TimestampFrom::Record,
    });
    Topology {
        name: "t".into(),
        relations: vec![
            relation("A", "a", None),
            relation("B", "b", None),
            relation("OUT", "out", None),
        ],
        nodes: vec![
            node(0, 0, vec![], source(SourceTopic::External("A".into()))),
            node(1, 0, vec![], source(SourceTopic::External("B".into()))),
            node(2, 0, vec![0], repartition),
            node(3, 1, vec![], source(SourceTopic::Repartition(2))),
            node(4, 1, vec![3], sink),
        ],
        subs: vec![
            SubTopology {
                id: 0,
                nodes: vec![0, 1, 2],
                sources: vec![0, 1],
                ..SubTopology::default()
            },
            SubTopology {
                id: 1,
                nodes: vec![3, 4],
                sources: vec![3],
                ..SubTopology::default()
            },
        ],
        stores: vec![],
        views: vec![],
        properties: vec![],
        inserts: Vec::new(),
        asserts: Vec::new(),
        globals: Vec::new(),
    }
}

fn with_context<R>(log: &SimLog, run: impl FnOnce(&DeployContext<'_>) -> R) -> R {
    let process = log.process();
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::default());
    let settings = EngineSettings::default();
    run(&DeployContext {
        log: &*process,
        schemas: &schemas,
        settings: &settings,
    })
}

#[test]
fn topics_are_created_once_with_the_partitions_of_their_inputs() {
    let log = SimLog::new(1, 0).unwrap();
    log.create_topic("a", 3, &[]).unwrap();
    log.create_topic("b", 3, &[]).unwrap();
    let topology = Arc::new(topology());
    let deployment = with_context(&log, |context| {
        let first = deploy(context, &GenerationPlan::new(&topology, 0)).unwrap();
        assert_eq!(
            deploy(context, &GenerationPlan::new(&topology, 0)).unwrap(),
            first,
            "deployment can be repeated"
        );
        first
    });
    assert_eq!(deployment.partitions(), [3, 3]);
    assert_eq!(deployment.tasks().len(), 6);
    assert_eq!(deployment.task(4), Some(TaskId { sub: 1, partition: 1 }));
    assert_eq!(deployment.index(TaskId { sub: 1, partition: 1 }), 4);
    assert_eq!(deployment.task(6), None);
    let out = deployment.outputs[4].as_ref().unwrap();
    assert_eq!((&*out.topic, out.partitions), ("out", 3));
    assert_eq!(&*deployment.subs[1].inputs[0].topic, "millstream.t.R.repartition");
    assert!(deployment.subs[1].inputs[0].internal);
    use super::super::TaskId;
}

#[test]
fn all_problems_are_told_at_once_and_nothing_is_created() {
    let log = SimLog::new(1, 0).unwrap();
    log.create_topic("a", 3, &[]).unwrap();
    log.create_topic("b", 2, &[]).unwrap();
    let mut other = topology();
    other.name = "other".into();
    other.relations[0].topic.name = "missing".into();
    let topologies = [topology(), other].map(|topology| GenerationPlan::new(&Arc::new(topology), 0));
    let error = with_context(&log, |context| check_all(context, &topologies).err().unwrap());
    let text = error.to_string();
    assert!(
        text.contains("topology t: partitions do not match: A (topic a: 3), B (topic b: 2)"),
        "{text}"
    );
    assert!(
        text.contains("topology other: A reads topic missing, which does not exist"),
        "{text}"
    );
    let process = log.process();
    assert_eq!(crate::log::Log::admin(&*process).list_topics().unwrap(), ["a", "b"]);
}

#[test]
fn an_input_that_gained_partitions_needs_a_replay() {
    let log = SimLog::new(1, 0).unwrap();
    log.create_topic("a", 2, &[]).unwrap();
    log.create_topic("b", 2, &[]).unwrap();
    let topology = Arc::new(topology());
    with_context(&log, |context| {
        deploy(context, &GenerationPlan::new(&topology, 0)).unwrap()
    });
    log.add_partitions("a", 4).unwrap();
    log.add_partitions("b", 4).unwrap();
    let error = with_context(&log, |context| {
        check(context, &GenerationPlan::new(&topology, 0)).err().unwrap()
    });
    assert!(error.to_string().contains("millstream replay t"), "{error}");
    let next = with_context(&log, |context| {
        deploy(context, &GenerationPlan::new(&topology, 1)).unwrap()
    });
    assert_eq!(next.partitions(), [4, 4]);
    assert_eq!(next.names.tasks_topic(), "millstream.t.g1.tasks");
}

#[test]
fn the_control_topic_is_followed() {
    let log = SimLog::new(1, 0).unwrap();
    let process = log.process();
    let settings = EngineSettings::default();
    let mut follower = ControlReader::open(&*process, &settings).unwrap();
    let record = ControlRecord {
        generation: 2,
        wanted: Wanted::Paused,
        ..ControlRecord::default()
    };
    control::write(&*process, &settings, "t", Some(&record)).unwrap();
    assert_eq!(follower.poll(Duration::ZERO).unwrap(), ["t"]);
    assert_eq!(follower.state["t"], record);
    assert_eq!(ControlReader::open(&*process, &settings).unwrap().state["t"], record);
    control::write(&*process, &settings, "t", None).unwrap();
    assert_eq!(follower.poll(Duration::ZERO).unwrap(), ["t"]);
    assert!(follower.state.is_empty());
}

#[test]
fn only_a_record_that_says_so_makes_a_topology_undeployed() {
    let log = SimLog::new(1, 0).unwrap();
    let process = log.process();
    let settings = EngineSettings::default();
    let undeploying = ControlRecord {
        wanted: Wanted::Undeploying,
        ..ControlRecord::default()
    };
    let mut reader = ControlReader::open(&*process, &settings).unwrap();
    control::write(&*process, &settings, "t", Some(&undeploying)).unwrap();
    assert_eq!(reader.poll(Duration::ZERO).unwrap(), ["t"]);
    assert!(!reader.is_removed("t") && !reader.is_removed("other"));
    // the start brings the undeployment to its end, and deploys again: its own record is known before the end of the undeployment is read
    let end = control::write(&*process, &settings, "t", None).unwrap();
    let deployed = ControlRecord::default();
    reader.wrote("t", deployed.clone(), end + 1);
    reader.poll(Duration::ZERO).unwrap();
    assert!(!reader.is_removed("t"));
    assert_eq!(reader.state["t"], deployed);
    assert_eq!(
        control::write(&*process, &settings, "t", Some(&deployed)).unwrap(),
        end + 1
    );
    control::write(&*process, &settings, "t", None).unwrap();
    reader.poll(Duration::ZERO).unwrap();
    assert!(reader.is_removed("t") && reader.state.is_empty());
}

#[test]
fn inserted_records_are_written_once_however_often_a_topology_starts() {
    let log = SimLog::new(1, 0).unwrap();
    log.create_topic("a", 3, &[]).unwrap();
    let process = log.process();
    let mut topology = topology();
    let insert = |id: i64| crate::topology::Insert {
        relation: "A".into(),
        key: Some(vec![Value::Bigint(id)].into()),
        value: vec![Value::from("x")].into(),
        timestamp: Some(7),
    };
    let ends = || -> i64 {
        let admin = crate::log::Log::admin(&*process);
        let end = |partition| admin.stable_end(&TopicPartition::new("a", partition)).unwrap();
        // a transaction's marker takes an offset of its own
        (0..3).map(end).sum()
    };
    // the same statement twice is two records
    topology.inserts = vec![insert(1), insert(1)];
    let (mut first, mut again) = (ControlRecord::default(), ControlRecord::default());
    with_context(&log, |context| {
        inserts::write_once(context, &topology, &mut first).unwrap()
    });
    let written = ends();
    assert!(written >= 2, "{written}");
    with_context(&log, |context| {
        inserts::write_once(context, &topology, &mut again).unwrap()
    });
    assert_eq!((ends(), &again.inserted), (written, &first.inserted));
    // a statement that is added later is written, and only that
    topology.inserts.push(insert(2));
    with_context(&log, |context| {
        inserts::write_once(context, &topology, &mut again).unwrap()
    });
    assert_eq!((again.inserted.len(), ends() > written), (3, true));
    use crate::types::{TopicPartition, Value};
}

#[test]
fn assertions_are_checked_before_anything_is_made() {
    let log = SimLog::new(1, 0).unwrap();
    log.create_topic("a", 3, &[]).unwrap();
    let mut topology = topology();
    let topic = |name: &str, partitions, absent| Assert {
        absent,
        what: Asserted::Topic {
            name: name.into(),
            partitions,
            replicas: None,
        },
        timeout_ms: None,
        sql: format!("ASSERT {name}").into(),
    };
    topology.asserts = vec![
        topic("a", Some(3), false),
        topic("a", Some(4), false),
        topic("none", None, false),
        topic("none", None, true),
        topic("a", None, true),
    ];
    let mut problems = Vec::new();
    with_context(&log, |context| {
        asserts::check(context, &topology, &mut problems).unwrap()
    });
    let told: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let said = [
        "topic a has 3 partitions, not 4",
        "there is no topic none",
        "what must not exist does",
    ];
    assert_eq!(
        told,
        said.map(|why| format!("an assertion of the file does not hold: {why}"))
    );
    use crate::topology::{Assert, Asserted};
}
