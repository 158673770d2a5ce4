use super::*;
use crate::formats::MemoryRegistry;
use crate::log::sim::SimLog;
use crate::topology::TopicSpec;
use crate::types::{RelationKind, RelationSchema, SqlType, Value};

fn relation(topic: &str) -> Relation {
    Relation {
        name: "NUMBERS".into(),
        kind: RelationKind::Stream,
        schema: RelationSchema {
            key: vec![Column::new("ID", SqlType::Bigint)],
            value: vec![Column::new("N", SqlType::Bigint)],
        },
        topic: TopicSpec {
            name: topic.into(),
            partitions: None,
            replicas: None,
            retention_ms: None,
            compacted: false,
        },
        key_format: SerdeSpec::key(Format::Kafka),
        value_format: SerdeSpec::value(Format::Kafka),
        window: None,
        derived: false,
        sql: "CREATE STREAM ...".into(),
        headers: Vec::new(),
    }
}

fn record(key: Option<i64>, value: Option<i64>) -> NewRecord {
    let row = |n: i64| Row::from([Value::Bigint(n)]);
    NewRecord {
        key: key.map(row),
        value: value.map(row),
        timestamp: 5,
        headers: None,
    }
}

#[test]
fn records_are_in_the_log_when_they_are_answered() {
    let sim = SimLog::new(1, 1_000).unwrap();
    sim.create_topic("numbers", 3, &[]).unwrap();
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::default());
    let ingest = LogIngest::start(sim.process(), schemas).unwrap();
    let records = vec![
        record(Some(7), Some(1)),
        record(Some(7), None),
        record(None, Some(2)),
        record(None, Some(3)),
    ];
    let positions = ingest.write(&relation("numbers"), records).unwrap();
    let home = partition_for_key(&7i64.to_be_bytes(), 3);
    assert_eq!((positions[0].tp.partition, positions[1].tp.partition), (home, home));
    assert_eq!(positions[1].offset, positions[0].offset + 1);
    assert_ne!(
        positions[2].tp.partition, positions[3].tp.partition,
        "records without key are spread"
    );
    let read = sim.read(&positions[0].tp, true).unwrap();
    let first = read.iter().find(|r| r.offset == positions[0].offset).unwrap();
    assert_eq!(
        (first.value.as_deref(), first.timestamp),
        (Some(&1i64.to_be_bytes()[..]), 5)
    );

    let small = relation("small");
    sim.create_topic("small", 1, &[("max.message.bytes", "130")]).unwrap();
    let records = vec![record(None, Some(1)), record(Some(1), Some(1))];
    let error = ingest.write(&small, records).unwrap_err();
    assert!(
        matches!(&error, IngestError::TooLarge(m) if m.contains("record 1 takes 136 bytes")),
        "{error}"
    );
    let tp = TopicPartition::new("small", 0);
    assert!(sim.read(&tp, false).unwrap().is_empty(), "a part was written");

    let error = ingest
        .write(&relation("nowhere"), vec![record(None, Some(1))])
        .unwrap_err();
    assert!(
        matches!(&error, IngestError::Refused(m) if m.contains("nowhere")),
        "{error}"
    );
}
