use super::super::super::source::SchemaText;
use super::super::super::{RegisteredSchema, SinkSchema, columns_of, sink_schema};
use super::*;
use crate::types::{SqlType, StructField};

const RATED_MOVIE: &str = r#"{"type":"record","name":"RatedMovie","namespace":"io.movies","fields":[
    {"name":"movie_id","type":"long"},{"name":"title","type":"string"},
    {"name":"release_year","type":"int"},{"name":"rating","type":"double"}]}"#;

fn column(name: &str, sql_type: SqlType) -> Column {
    Column::new(name, sql_type)
}

fn rated() -> Vec<Column> {
    vec![
        column("TITLE", SqlType::String),
        column("MOVIE_ID", SqlType::Bigint),
        column("RELEASE_YEAR", SqlType::Integer),
        column("RATING", SqlType::Double),
    ]
}

fn registered(text: &str) -> RegisteredSchema {
    registry(text).1
}

fn new_text(schema: SinkSchema) -> String {
    match schema {
        SinkSchema::New(schema) => schema.text,
        other => panic!("not new: {other:?}"),
    }
}

#[test]
fn a_new_schema_is_named_as_ksqldb_does() {
    let columns = [
        column("ID", SqlType::Bigint),
        column(
            "AMOUNT",
            SqlType::Decimal {
                precision: 18,
                scale: 3,
            },
        ),
    ];
    let spec = SerdeSpec::value(Format::Avro);
    let text = new_text(sink_schema(&columns, &spec, false, None).unwrap());
    assert_eq!(
        text,
        r#"{"type":"record","name":"KsqlDataSourceSchema","namespace":"io.confluent.ksql.avro_schemas","fields":[{"name":"ID","type":["null","long"],"default":null},{"name":"AMOUNT","type":["null",{"type":"bytes","logicalType":"decimal","precision":18,"scale":3}],"default":null}]}"#
    );
    let key = SerdeSpec::key(Format::Avro);
    assert_eq!(
        new_text(sink_schema(&columns[..1], &key, true, None).unwrap()),
        "\"long\""
    );
    let bad = [column("no name", SqlType::Bigint)];
    let e = sink_schema(&bad, &spec, false, None).unwrap_err().to_string();
    assert!(
        e.contains("column no name") && e.contains("no name of an Avro field"),
        "{e}"
    );
}

#[test]
fn a_registered_schema_that_fits_is_used() {
    let spec = SerdeSpec::value(Format::Avro);
    let latest = registered(RATED_MOVIE);
    let sink = sink_schema(&rated(), &spec, false, Some(&latest)).unwrap();
    assert_eq!(sink, SinkSchema::Registered(latest));
    let row = ["Up".into(), Value::Bigint(-1), Value::Integer(2009), Value::Double(0.5)];
    let bytes = write(RATED_MOVIE, &rated(), &row).unwrap();
    assert_eq!(bytes[5..], [1, 4, b'U', b'p', 0xb2, 0x1f, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f]);
    assert_eq!(read(RATED_MOVIE, &rated(), &bytes).unwrap(), row);
}

#[test]
fn a_registered_schema_is_carried_on() {
    let spec = SerdeSpec::value(Format::Avro);
    let mut columns = rated();
    columns.push(column("VOTES", SqlType::Bigint));
    let text = new_text(sink_schema(&columns, &spec, false, Some(&registered(RATED_MOVIE))).unwrap());
    assert!(text.contains(r#"{"name":"movie_id","type":"long"}"#), "{text}");
    assert!(
        text.contains(r#"{"name":"VOTES","type":["null","long"],"default":null}"#),
        "{text}"
    );
    let old = SchemaText::avro(RATED_MOVIE);
    let answer = super::super::compat::check(Default::default(), &SchemaText::avro(text), &[old]).unwrap();
    assert!(answer.is_compatible(), "{answer:?}");
}

#[test]
fn a_null_where_none_is_allowed_is_said() {
    let row = [Value::Null, Value::Bigint(1), Value::Integer(2), Value::Double(3.0)];
    let e = write(RATED_MOVIE, &rated(), &row).unwrap_err();
    assert_eq!(
        e.to_string(),
        "AVRO, column TITLE: expected a STRING that is not NULL (the field is not nullable), found NULL"
    );
    let e = write(RATED_MOVIE, &rated()[1..], &row[1..]).unwrap_err().to_string();
    assert_eq!(
        e,
        "AVRO: field `title` of record `io.movies.RatedMovie` has no default, and no column fills it"
    );
}

#[test]
fn columns_come_from_a_schema() {
    let text = r#"{"type":"record","name":"O","fields":[
        {"name":"id","type":"long"},
        {"name":"state","type":{"type":"enum","name":"S","symbols":["A"]}},
        {"name":"tags","type":["null",{"type":"array","items":"string"}]},
        {"name":"counts","type":{"type":"map","values":"int"}},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"amount","type":{"type":"fixed","name":"F","size":8,"logicalType":"decimal","precision":9,"scale":2}},
        {"name":"by","type":{"type":"record","name":"P","fields":[{"name":"age","type":"float"}]}}]}"#;
    let spec = SerdeSpec::value(Format::Avro);
    let columns = columns_of(&registered(text), &spec, false).unwrap();
    let shown: Vec<String> = columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
    let expected = [
        "ID BIGINT",
        "STATE STRING",
        "TAGS ARRAY<STRING>",
        "COUNTS MAP<STRING, INTEGER>",
        "AT TIMESTAMP",
        "DAY DATE",
        "AMOUNT DECIMAL(9, 2)",
        "BY STRUCT<AGE DOUBLE>",
    ];
    assert_eq!(shown, expected);
    let key = SerdeSpec::key(Format::Avro);
    assert_eq!(
        columns_of(&registered("\"long\""), &key, true).unwrap(),
        [column("ROWKEY", SqlType::Bigint)]
    );
    let recursive = r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#;
    let e = columns_of(&registered(recursive), &spec, false)
        .unwrap_err()
        .to_string();
    assert!(e.contains("field `next`: record `N` contains itself"), "{e}");
    let union = r#"{"type":"record","name":"N","fields":[{"name":"u","type":["int","string"]}]}"#;
    let found = columns_of(&registered(union), &spec, false).unwrap();
    assert_eq!(found[0].sql_type.to_string(), "STRUCT<INT INTEGER, STRING STRING>");
    let rows: [[Value; 1]; 2] = [
        [Value::Struct(vec![Value::Integer(1), Value::Null].into())],
        [Value::Struct(vec![Value::Null, "x".into()].into())],
    ];
    for row in rows {
        let bytes = write(union, &found, &row).unwrap();
        assert_eq!(read(union, &found, &bytes).unwrap(), row);
    }
    let both = [Value::Struct(vec![Value::Integer(1), "x".into()].into())];
    assert!(write(union, &found, &both).is_err());
    let mut by_id = spec.clone();
    by_id.schema_id = Some(1);
    assert_eq!(&*columns_of(&registered(union), &by_id, false).unwrap()[0].name, "u");
}

#[test]
fn numbers_are_read_as_text_and_maps_are_written_as_entries() {
    let columns = [column("S", SqlType::String)];
    for (schema, bytes) in [("\"int\"", &[20u8][..]), ("\"long\"", &[20])] {
        let wrapped = format!(r#"{{"type":"record","name":"r","fields":[{{"name":"s","type":{schema}}}]}}"#);
        assert_eq!(read(&wrapped, &columns, &record(bytes)).unwrap(), ["10".into()]);
    }
    let map = [column(
        "M",
        SqlType::Map(SqlType::String.into(), SqlType::Bigint.into()),
    )];
    let text = new_text(sink_schema(&map, &SerdeSpec::value(Format::Avro), false, None).unwrap());
    assert_eq!(
        text,
        r#"{"type":"record","name":"KsqlDataSourceSchema","namespace":"io.confluent.ksql.avro_schemas","fields":[{"name":"M","type":["null",{"type":"array","items":{"type":"record","name":"KsqlDataSourceSchema_M","namespace":"io.confluent.ksql.avro_schemas","fields":[{"name":"key","type":["null","string"],"default":null},{"name":"value","type":["null","long"],"default":null}],"connect.internal.type":"MapEntry"}}],"default":null}]}"#
    );
    assert_eq!(
        columns_of(&registered(&text), &SerdeSpec::value(Format::Avro), false).unwrap(),
        map
    );
}

#[test]
fn missing_fields_are_null_or_the_declared_schemas_default() {
    let registry = MemoryRegistry::new();
    let old = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"int"},{"name":"was","type":"int"}]}"#;
    let new = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"},{"name":"y","type":"string","default":"?"},
        {"name":"is","type":"long","aliases":["was"]},{"name":"d","type":["null","int"],"default":null}]}"#;
    registry.register("t-value", &SchemaText::avro(old)).unwrap();
    let declared = registry.register("t-value", &SchemaText::avro(new)).unwrap();
    let schemas: Arc<dyn SchemaSource> = Arc::new(registry);
    let columns: Vec<Column> = ["D", "IS", "Y", "X"]
        .map(|n| column(n, if n == "Y" { SqlType::String } else { SqlType::Bigint }))
        .into();
    let bytes = record(&[2, 4]);
    let mut spec = SerdeSpec::value(Format::Avro);
    for (schema_id, is, y) in [
        (None, Value::Null, Value::Null),
        (Some(declared.id), Value::Bigint(2), "?".into()),
    ] {
        spec.schema_id = schema_id;
        let mut out = Vec::new();
        let mut deserializer = AvroDeserializer::new(&spec, &columns, &[0, 1, 2, 3], &schemas).unwrap();
        deserializer.deserialize(&bytes, &mut out).unwrap();
        assert_eq!(out, [Value::Null, is, y, Value::Bigint(1)]);
    }
}

#[test]
fn a_registry_that_is_away_is_asked_again_and_an_answer_is_kept() {
    let registry = Arc::new(MemoryRegistry::new());
    registry.register("t-value", &SchemaText::avro(RATED_MOVIE)).unwrap();
    let schemas: Arc<dyn SchemaSource> = registry.clone();
    let spec = SerdeSpec::value(Format::Avro);
    let row = ["Up".into(), Value::Bigint(-1), Value::Integer(2009), Value::Double(0.5)];
    let bytes = write(RATED_MOVIE, &rated(), &row).unwrap();
    let mut deserializer = AvroDeserializer::new(&spec, &rated(), &[1, 3], &schemas).unwrap();
    registry.set_away(true);
    let e = deserializer.deserialize(&bytes, &mut Vec::new()).unwrap_err();
    assert!(e.is_retryable(), "{e}");
    registry.set_away(false);
    let before = registry.questions();
    for _ in 0..3 {
        let mut out = Vec::new();
        deserializer.deserialize(&bytes, &mut out).unwrap();
        assert_eq!(out, [Value::Bigint(-1), Value::Double(0.5)]);
    }
    assert_eq!(registry.questions() - before, 1);
    let unknown = [0, 0, 0, 0, 9, 0];
    let e = deserializer.deserialize(&unknown, &mut Vec::new()).unwrap_err();
    assert!(!e.is_retryable() && e.to_string().contains("Schema 9 not found"), "{e}");
}

#[test]
fn a_key_is_bare_and_a_struct_can_be() {
    let spec = SerdeSpec::key(Format::Avro);
    let address = SqlType::Struct(
        [StructField {
            name: "CITY".into(),
            sql_type: SqlType::String,
        }]
        .into(),
    );
    let of_struct = r#"{"type":"record","name":"A","fields":[{"name":"city","type":"string"}]}"#;
    for (text, sql_type, value) in [
        ("\"long\"", SqlType::Bigint, Value::Bigint(7)),
        (r#"["null","string"]"#, SqlType::String, "x".into()),
        (of_struct, address, Value::Struct(vec!["Oslo".into()].into())),
    ] {
        let (schemas, schema) = registry(text);
        let columns = [column("K", sql_type)];
        let mut bytes = Vec::new();
        AvroSerializer::new(&spec, &columns, Some(schema))
            .unwrap()
            .serialize(std::slice::from_ref(&value), &mut bytes)
            .unwrap();
        let mut out = Vec::new();
        AvroDeserializer::new(&spec, &columns, &[0], &schemas)
            .unwrap()
            .deserialize(&bytes, &mut out)
            .unwrap();
        assert_eq!(out, [value]);
    }
}
