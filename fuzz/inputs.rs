//! What bytes from outside are tried on, by name: the bodies of the fuzz targets, and of the test that replays `tests/corpus`.
//!
//! Nothing is expected of an input but that it ends without a panic, and that what is given out is in proportion to it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millstream::engine::cluster::InstanceRecord;
use millstream::engine::snapshots::{Manifest, Wanted, WantedLog};
use millstream::engine::{Cluster, Moment, TaskId};
use millstream::formats::{self, MemoryRegistry, SchemaSource, SchemaText, SchemaType};
use millstream::log::core::records;
use millstream::sql::{self, CompileContext, NoSchemas, SourceFile, ViewCatalog};
use millstream::types::{
    Column, Format, RelationSchema, SerdeSpec, SqlType, StructField, TopicPartition, decode_key, decode_row,
    encode_row, skip_value,
};

/// Tries an input on everything of a name.
pub fn run(name: &str, data: &[u8]) {
    match name {
        "sql" => text(data, sql_file),
        "avro" => {
            decoded(Format::Avro, data);
            text(data, |schema| checked(SchemaType::Avro, schema));
        }
        "protobuf" => {
            decoded(Format::Protobuf, data);
            decoded(Format::ProtobufNosr, data);
            text(data, |schema| checked(SchemaType::Protobuf, schema));
        }
        "json" => {
            decoded(Format::Json, data);
            decoded(Format::JsonSr, data);
            text(data, |schema| checked(SchemaType::Json, schema));
        }
        "delimited" => {
            decoded(Format::Delimited, data);
            decoded(Format::Kafka, data);
            rows(data);
        }
        "broker" => broker(data),
        "peers" => {
            instance(data);
            manifest(data);
        }
        other => unreachable!("there is no target {other}"),
    }
}

fn text(data: &[u8], with: impl Fn(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        with(text);
    }
}

struct Views;

impl ViewCatalog for Views {
    fn view(&self, _: Option<&str>, name: &str) -> Result<RelationSchema, String> {
        let key = vec![Column::new("ID", SqlType::Integer)];
        match name {
            "T" => Ok(RelationSchema {
                key,
                value: all_types(),
            }),
            _ => Err(format!("there is no view {name}")),
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["T".into()]
    }
}

/// Parses, prints what was parsed and parses that, compiles, and takes it for a query, too.
fn sql_file(text: &str) {
    let (statements, _) = sql::parse::statements(text);
    for statement in &statements {
        let printed = statement.to_string();
        let (again, problems) = sql::parse::statements(&printed);
        if problems.is_empty() {
            assert_eq!(again.as_slice(), std::slice::from_ref(statement), "{printed}");
        }
        // a statement may use what others have defined before it; and it is printed with all its parentheses
        for problem in problems {
            let message = &problem.message;
            let of_others = ["there is no type ", "the variable "]
                .iter()
                .any(|m| message.starts_with(m));
            assert!(
                of_others || message.starts_with("nested deeper ") || message.starts_with("too many "),
                "{printed}\n{message}"
            );
        }
    }
    let file = SourceFile {
        name: "fuzz.sql".into(),
        text: text.into(),
    };
    match sql::compile(&file, &CompileContext { schemas: &NoSchemas }) {
        Ok(topology) => assert!(sql::outline(&file, &topology).len() <= text.len()),
        Err(problems) => problems
            .iter()
            .for_each(|problem| assert!(!problem.to_string().is_empty())),
    }
    let _ = sql::query(text, &Views);
}

fn all_types() -> Vec<Column> {
    let field = |name: &str, sql_type| StructField {
        name: name.into(),
        sql_type,
    };
    let inner = SqlType::Struct(
        [
            field("X", SqlType::Double),
            field("Y", SqlType::Array(SqlType::String.into())),
        ]
        .into(),
    );
    let types = [
        SqlType::Boolean,
        SqlType::Integer,
        SqlType::Bigint,
        SqlType::Double,
        SqlType::Decimal { precision: 9, scale: 2 },
        SqlType::String,
        SqlType::Bytes,
        SqlType::Date,
        SqlType::Time,
        SqlType::Timestamp,
        SqlType::Array(inner.clone().into()),
        SqlType::Map(SqlType::String.into(), SqlType::Bigint.into()),
        inner,
    ];
    let column = |(i, sql_type)| Column::new(format!("C{i}"), sql_type);
    types.into_iter().enumerate().map(column).collect()
}

const AVRO: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"C0","type":["null","boolean"]},{"name":"C1","type":"int"},{"name":"C2","type":["long","int","null"]},
    {"name":"C3","type":"double"},{"name":"C4","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"C5","type":["null","string"]},{"name":"C6","type":"bytes"},{"name":"C7","type":{"type":"int","logicalType":"date"}},
    {"name":"C8","type":{"type":"int","logicalType":"time-millis"}},{"name":"C9","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"C10","type":{"type":"array","items":{"type":"record","name":"I","fields":[
        {"name":"X","type":"double"},{"name":"Y","type":{"type":"array","items":"string"}},{"name":"next","type":["null","I"]}]}}},
    {"name":"C11","type":{"type":"map","values":"long"}},{"name":"C12","type":"I"}]}"#;

const PROTO: &str = "syntax = \"proto3\"; message R { bool C0 = 1; int32 C1 = 2; sint64 C2 = 3; double C3 = 4; string C5 = 6; bytes C6 = 7;
    repeated I C10 = 11; map<string, int64> C11 = 12; I C12 = 13; message I { double X = 1; repeated string Y = 2; I next = 3; } }";

const JSON: &str = r#"{"type":"object","properties":{"C0":{"type":"boolean"},"C1":{"type":"integer"}}}"#;

/// The schema with id 1 of a registry, by format.
fn registry(format: Format) -> Arc<dyn SchemaSource> {
    static MADE: OnceLock<[Arc<dyn SchemaSource>; 3]> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let all = [
            (SchemaType::Avro, AVRO),
            (SchemaType::Protobuf, PROTO),
            (SchemaType::Json, JSON),
        ];
        all.map(|(schema_type, schema)| {
            let registry = MemoryRegistry::new();
            let registered = registry.register("t-value", &schema_text(schema_type, schema));
            assert!(registered.is_ok(), "{registered:?}");
            Arc::new(registry) as Arc<dyn SchemaSource>
        })
    });
    match format {
        Format::Avro => made[0].clone(),
        Format::Protobuf => made[1].clone(),
        _ => made[2].clone(),
    }
}

fn schema_text(schema_type: SchemaType, schema: &str) -> SchemaText {
    SchemaText {
        text: schema.into(),
        schema_type,
        references: Vec::new(),
    }
}

/// Bytes as a record: with the header of the wire format as they are, and with one put before them.
fn decoded(format: Format, data: &[u8]) {
    let columns = match format {
        Format::Kafka => vec![Column::new("C", SqlType::Bigint)],
        Format::Delimited => all_types().into_iter().take(10).collect(),
        _ => all_types(),
    };
    let used: Vec<usize> = (0..columns.len()).collect();
    let spec = SerdeSpec::value(format);
    let Ok(mut reader) = formats::deserializer(&spec, &columns, &used, false, &registry(format)) else {
        unreachable!("{format} holds these columns");
    };
    let framed = [&[0, 0, 0, 0, 1][..], data].concat();
    for bytes in [data, &framed] {
        let mut row = Vec::new();
        if reader.deserialize(bytes, &mut row).is_ok() {
            assert_eq!(row.len(), columns.len());
            let mut encoded = Vec::new();
            encode_row(&row, &mut encoded);
            assert!(
                encoded.len() < 1000 + 400 * bytes.len(),
                "{} bytes of {}",
                encoded.len(),
                bytes.len()
            );
        }
    }
}

/// A text as a schema: its columns, and whether it goes with itself.
fn checked(schema_type: SchemaType, text: &str) {
    let schema = schema_text(schema_type, text);
    if formats::check_schema(&schema).is_err() {
        return;
    }
    let format = match schema_type {
        SchemaType::Avro => Format::Avro,
        SchemaType::Json => Format::JsonSr,
        SchemaType::Protobuf => Format::Protobuf,
    };
    let registry = MemoryRegistry::new();
    if let Ok(registered) = registry.register("t-value", &schema) {
        let _ = formats::columns_of(&registered, &SerdeSpec::value(format), false);
    }
    let level = formats::CompatibilityLevel::Full;
    let _ = formats::check_compatibility(level, &schema, std::slice::from_ref(&schema));
}

/// Bytes as rows and keys of our own.
fn rows(data: &[u8]) {
    if let Ok(row) = decode_row(data) {
        let mut encoded = Vec::new();
        encode_row(&row, &mut encoded);
        assert_eq!(decode_row(&encoded), Ok(row));
    }
    let _ = decode_key(data);
    for at in [0, 1, data.len(), usize::MAX] {
        let _ = skip_value(data, at);
    }
}

/// Bytes as a request, and as a batch of records.
fn broker(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let _ = millstream::dev::broker::check_frame(frame.clone());
    let _ = records::decode(&frame);
    let _ = records::all_have_keys(&frame);
    let _ = records::marker_commits(&frame);
}

/// Bytes as what another instance says of itself: it is believed, asked about, and grows old.
fn instance(data: &[u8]) {
    let Ok(said) = InstanceRecord::parse(data) else { return };
    let cluster = Cluster::alone("me");
    let said_at = Moment::of(said.written_at);
    let topologies = said.topologies.clone();
    cluster.learn(said.clone(), said_at);
    cluster.learn(said, Moment::of(0));
    for topology in topologies {
        let owned = topology.tasks.iter().map(|task| task.id());
        for task in owned.chain(topology.standbys.iter().map(|standby| standby.id())) {
            for now in [said_at, Moment::of(0), Moment::of(i64::MAX), Moment::of(i64::MIN)] {
                let _ = cluster.owner(&topology.topology, topology.generation, task, now);
                let _ = cluster.standbys(&topology.topology, topology.generation, task, now);
                let _ = cluster.role(&topology.topology, topology.generation, task, 1, now);
            }
        }
    }
    assert!(cluster.instances(said_at).len() <= 2);
}

/// Bytes as what a peer or a bucket says of a snapshot.
fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    assert_eq!(Manifest::parse(&manifest.to_bytes()).as_ref(), Ok(&manifest));
    let _ = manifest.bytes();
    let log = |known: &millstream::state::ChangelogPosition| WantedLog {
        tp: TopicPartition::new(known.topic.clone(), manifest.partition),
        id: known.topic_id.clone(),
        low: 0,
        end: i64::MAX,
    };
    for now in [0, 1_700_000_000_000, i64::MAX] {
        let wanted = Wanted {
            topology: manifest.topology.clone(),
            generation: manifest.generation,
            task: TaskId {
                sub: manifest.sub,
                partition: manifest.partition,
            },
            fingerprint: manifest.position.fingerprint.clone(),
            logs: manifest.position.changelogs.iter().map(log).collect(),
            replay: u64::MAX,
            delete_retention_ms: 1,
            now,
        };
        let _ = wanted.refuse(&manifest);
    }
}
