//! PROTOBUF and PROTOBUF_NOSR end to end: known bytes, schemas made and read, rows that survive, hostile bytes.

use std::sync::Arc;

use serde_json::json;

use super::super::{
    CaseCodec, Compatibility, CompatibilityLevel, Deserializer, MemoryRegistry, RegisteredSchema, SchemaReference,
    SchemaSource, SchemaText, SchemaType, SinkSchema, check_compatibility, check_schema, columns_of, deserializer,
    schemas_equal, serializer, sink_schema,
};
use crate::types::{Column, Decimal, Format, ProtobufNulls, SerdeSpec, SqlType, StructField, Value};

mod random;

fn text(proto: &str) -> SchemaText {
    SchemaText {
        text: proto.to_string(),
        schema_type: SchemaType::Protobuf,
        references: Vec::new(),
    }
}

fn registered(proto: &str) -> RegisteredSchema {
    RegisteredSchema {
        id: 1,
        subject: "t-value".into(),
        version: 1,
        schema: text(proto),
    }
}

fn field(name: &str, sql_type: SqlType) -> StructField {
    StructField {
        name: name.into(),
        sql_type,
    }
}

fn shown(columns: &[Column]) -> String {
    let shown: Vec<String> = columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
    shown.join(", ")
}

fn inferred(proto: &str, spec: &SerdeSpec) -> Vec<Column> {
    columns_of(&registered(proto), spec, false).unwrap()
}

fn spec() -> SerdeSpec {
    SerdeSpec::value(Format::Protobuf)
}

fn reader(registry: &Arc<dyn SchemaSource>, columns: &[Column]) -> Box<dyn Deserializer> {
    let used: Vec<usize> = (0..columns.len()).collect();
    deserializer(&spec(), columns, &used, false, registry).unwrap()
}

#[test]
fn columns_come_from_a_file() {
    let proto = r#"
        syntax = "proto3"; // a comment
        package a.b;
        import "google/protobuf/wrappers.proto"; import "google/protobuf/timestamp.proto";
        import 'confluent/type/decimal.proto'; import "google/type/date.proto"; import "google/type/timeofday.proto";
        option java_package = "x";
        message Main {
          reserved 50 to 60, 70; reserved "old";
          bool c1 = 1; int32 c2 = 2; int64 c3 = 3; double c4 = 4; string c5 = 5; bytes c6 = 6; float c7 = 7;
          uint32 c8 = 8; uint64 c9 = 9; sint32 c10 = 10; fixed64 c11 = 11; sfixed32 c12 = 12;
          repeated string c13 = 13; map<string, int64> c14 = 14; map<int32, Inner> c15 = 15;
          enum Suit { SPADES = 0; HEARTS = 1; } Suit c16 = 16;
          message Inner { int32 f1 = 1; } Inner c17 = 17; /* and
          another */ google.protobuf.Int32Value c18 = 18; .google.protobuf.Timestamp c19 = 19;
          confluent.type.Decimal c20 = 20 [(confluent.field_meta) = { params: [
            { value: "4", key: "precision" }, { value: "2", key: "scale" }]}];
          google.type.Date c21 = 21; google.type.TimeOfDay c22 = 22; optional int32 c23 = 23 [deprecated = true];
          oneof choice { int32 a = 30; string b = 31; }
          repeated PairEntry c24 = 24; message PairEntry { string key = 1; double value = 2; }
        }
        message Second { int32 only = 1; }
        service S { rpc Do (Main) returns (Second) { option (x) = { a: 1 }; } }
    "#;
    let expected = "CHOICE_0 STRUCT<A INTEGER, B STRING>, C1 BOOLEAN, C2 INTEGER, C3 BIGINT, C4 DOUBLE, C5 STRING, C6 BYTES, C7 DOUBLE, \
                    C8 BIGINT, C9 BIGINT, C10 INTEGER, C11 BIGINT, C12 INTEGER, C13 ARRAY<STRING>, C14 MAP<STRING, BIGINT>, \
                    C15 MAP<STRING, STRUCT<F1 INTEGER>>, C16 STRING, C17 STRUCT<F1 INTEGER>, C18 INTEGER, C19 TIMESTAMP, \
                    C20 DECIMAL(4, 2), C21 DATE, C22 TIME, C23 INTEGER, C24 MAP<STRING, DOUBLE>";
    assert_eq!(shown(&inferred(proto, &spec())), expected);
    let mut named = spec();
    named.full_name = Some("a.b.Second".into());
    assert_eq!(shown(&inferred(proto, &named)), "ONLY INTEGER");
    named.full_name = Some("a.b.Third".into());
    assert!(columns_of(&registered(proto), &named, false).is_err());
    named.full_name = None;
    named.schema_id = Some(1);
    assert!(shown(&inferred(proto, &named)).starts_with("choice_0 STRUCT<`a` INTEGER"));
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let said = |proto: &str| check_schema(&text(proto)).unwrap_err();
    assert_eq!(
        said("syntax = \"proto3\";\nmessage A {\n  int32 = 1;\n}"),
        "not a Protocol Buffers schema: line 3: expected the name of a field, found `=`"
    );
    assert!(said("message A { int32 a = 1; int32 b = 1; }").contains("the number 1 is used twice"));
    assert!(said("message A { int32 a = 19500; }").contains("19500"));
    assert!(said("message A { B b = 1; }").contains("the type `B` is declared nowhere"));
    assert!(said("import \"x.proto\"; message A {}").contains("none of the schema's references"));
    assert!(said("syntax = \"proto3\"; enum E { A = 1; }").contains("must be 0"));
    assert!(said("message A {").contains("the end of the text"));
    assert!(said("/* ").contains("has no end"));
    let deep = format!("{}{}", "message A {".repeat(500), "}".repeat(500));
    assert!(said(&deep).contains("nest deeper"));
}

#[test]
fn imports_are_references() {
    let mut schema = text("syntax = \"proto3\"; import \"event.proto\"; message Logistics { Event event = 1; }");
    schema.references.push(SchemaReference {
        name: "event.proto".into(),
        subject: "event".into(),
        version: 1,
        resolved: Some(Arc::new(text(
            "syntax = \"proto3\"; message Event { int64 timestamp = 1; }",
        ))),
    });
    let columns = columns_of(
        &RegisteredSchema {
            schema,
            ..registered("")
        },
        &spec(),
        false,
    )
    .unwrap();
    assert_eq!(shown(&columns), "EVENT STRUCT<TIMESTAMP BIGINT>");
}

/// The specification's own examples, and Confluent's header: zero byte, id, message indexes.
#[test]
fn known_bytes_are_read_and_written() {
    let registry = Arc::new(MemoryRegistry::new());
    let proto = "syntax = \"proto3\"; message Test1 { int32 a = 1; string b = 2; repeated int32 f = 6; message In { sint32 z = 1; } In c = 3; }";
    let registered = registry.register("t-value", &text(proto)).unwrap();
    let source: Arc<dyn SchemaSource> = registry.clone();
    let columns = inferred(proto, &spec());
    let mut reader = reader(&source, &columns);
    let head = [0, 0, 0, 0, 1, 0];
    let body = [
        &[0x08, 0x96, 0x01][..],                                 // a: 150
        &[0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g'], // b: "testing"
        &[0x1a, 0x02, 0x08, 0x03],                               // c: {z: -2}
        &[0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05],       // f: 3, 270, 86942, packed
    ]
    .concat();
    let row: Vec<Value> = vec![
        150.into(),
        "testing".into(),
        Value::Array(vec![3.into(), 270.into(), 86942.into()].into()),
        Value::Struct(vec![Value::Integer(-2)].into()),
    ];
    let bytes = [&head[..], &body].concat();
    let mut read = Vec::new();
    reader.deserialize(&bytes, &mut read).unwrap();
    assert_eq!(read, row);
    let mut written = Vec::new();
    serializer(&spec(), &columns, false, Some(registered))
        .unwrap()
        .serialize(&row, &mut written)
        .unwrap();
    assert_eq!(written, bytes);
    // the same place, spelled out: one index, 0; and the repeated field one by one
    let longer = [&[0, 0, 0, 0, 1, 2, 0][..], &[0x08, 0x96, 0x01, 0x30, 0x03, 0x30, 0x04]].concat();
    read.clear();
    reader.deserialize(&longer, &mut read).unwrap();
    assert_eq!(read[2], Value::Array(vec![3.into(), 4.into()].into()));
    // an unknown field, a group among them, is passed over
    let unknown = [&head[..], &[0x53, 0x58, 0x01, 0x54, 0x08, 0x01]].concat();
    read.clear();
    reader.deserialize(&unknown, &mut read).unwrap();
    assert_eq!(read, vec![1.into(), "".into(), Value::Array([].into()), Value::Null]);
    // another message of the file
    let inner = [0, 0, 0, 0, 1, 4, 0, 0, 0x08, 0x03];
    let mut z = self::reader(&source, &[Column::new("Z", SqlType::Integer)]);
    read.clear();
    z.deserialize(&inner, &mut read).unwrap();
    assert_eq!(read, [Value::Integer(-2)]);
}

fn made(spec: &SerdeSpec, columns: &[Column]) -> SchemaText {
    match sink_schema(columns, spec, false, None).unwrap() {
        SinkSchema::New(schema) => schema,
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_schemas_are_kafka_connects() {
    let columns = [
        Column::new("I", SqlType::Integer),
        Column::new("D", SqlType::Decimal { precision: 4, scale: 2 }),
        Column::new("R", SqlType::Struct([field("F", SqlType::String)].into())),
        Column::new("M", SqlType::Map(SqlType::String.into(), SqlType::Bigint.into())),
        Column::new(
            "A",
            SqlType::Array(SqlType::Struct([field("G", SqlType::Boolean)].into()).into()),
        ),
    ];
    let schema = made(&spec(), &columns);
    let expected = r#"syntax = "proto3";

import "confluent/meta.proto";
import "confluent/type/decimal.proto";

message ConnectDefault1 {
  int32 I = 1;
  confluent.type.Decimal D = 2 [(confluent.field_meta) = {
    params: [
      {
        key: "precision",
        value: "4"
      },
      {
        key: "scale",
        value: "2"
      }
    ]
  }];
  ConnectDefault2 R = 3;
  repeated ConnectDefault3Entry M = 4;
  repeated ConnectDefault4 A = 5;

  message ConnectDefault2 {
    string F = 1;
  }

  message ConnectDefault3Entry {
    string key = 1;
    int64 value = 2;
  }

  message ConnectDefault4 {
    bool G = 1;
  }
}
"#;
    assert_eq!(schema.text, expected);
    assert!(schemas_equal(
        Format::Protobuf,
        &json!(expected.replace('\n', " ")),
        &schema.text
    ));
    assert!(!schemas_equal(
        Format::Protobuf,
        &json!(expected.replace("I = 1", "I = 9")),
        &schema.text
    ));
    let again = RegisteredSchema {
        schema,
        ..registered("")
    };
    assert_eq!(
        sink_schema(&columns, &spec(), false, Some(&again)).unwrap(),
        SinkSchema::Registered(again)
    );
    let mut optional = spec();
    optional.protobuf_nulls = ProtobufNulls::Optional;
    assert!(made(&optional, &columns[..1]).text.contains("optional int32 I = 1;"));
    optional.protobuf_nulls = ProtobufNulls::Wrapper;
    assert!(
        made(&optional, &columns[..1])
            .text
            .contains("google.protobuf.Int32Value I = 1;")
    );
    let mut named = spec();
    named.full_name = Some("a.b.Order".into());
    assert!(
        made(&named, &columns[..1])
            .text
            .contains("package a.b;\n\nmessage Order {")
    );
    let int_keys = [Column::new(
        "M",
        SqlType::Map(SqlType::Integer.into(), SqlType::Bigint.into()),
    )];
    assert!(sink_schema(&int_keys, &spec(), false, None).is_err());
    let nested = [Column::new(
        "A",
        SqlType::Array(SqlType::Array(SqlType::Bigint.into()).into()),
    )];
    assert!(sink_schema(&nested, &spec(), false, None).is_err());
}

#[test]
fn null_is_the_default_unless_it_is_represented() {
    let columns = [Column::new("I", SqlType::Integer), Column::new("S", SqlType::String)];
    for (nulls, expected) in [
        (ProtobufNulls::Default, [Value::Integer(0), "".into()]),
        (ProtobufNulls::Optional, [Value::Null, Value::Null]),
        (ProtobufNulls::Wrapper, [Value::Null, Value::Null]),
    ] {
        let mut spec = SerdeSpec::value(Format::ProtobufNosr);
        spec.protobuf_nulls = nulls;
        let registry: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        let mut bytes = Vec::new();
        serializer(&spec, &columns, false, None)
            .unwrap()
            .serialize(&[Value::Null, Value::Null], &mut bytes)
            .unwrap();
        let mut row = Vec::new();
        deserializer(&spec, &columns, &[0, 1], false, &registry)
            .unwrap()
            .deserialize(&bytes, &mut row)
            .unwrap();
        assert_eq!(row, expected, "{nulls:?}");
    }
}

#[test]
fn cases_are_read_and_written_by_the_schema() {
    let registry = Arc::new(MemoryRegistry::new());
    let proto = "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\"; enum Suit { A = 0; B = 1; } message M { int32 c1 = 1; Suit e = 2; \
                 google.protobuf.StringValue w = 3; map<string, float> m = 4; oneof o { int32 x = 5; string y = 6; } }";
    let registered = registry.register("t-value", &text(proto)).unwrap();
    let source: Arc<dyn SchemaSource> = registry;
    let mut codec = CaseCodec::new(&spec(), &[], Some(&registered), &source).unwrap();
    let given = json!({"C1": 5, "e": "B", "M": {"a": 1.5}, "o_0": {"y": "z"}, "unknown": 1});
    let bytes = codec.encode(&given).unwrap();
    let read = codec.decode(bytes.as_deref()).unwrap();
    assert_eq!(
        read,
        json!({"o_0": {"x": null, "y": "z"}, "c1": 5, "e": "B", "w": null, "m": {"a": 1.5}})
    );
    assert!(
        codec
            .encode(&json!({"c1": "x"}))
            .unwrap_err()
            .to_string()
            .contains("column c1")
    );
    let recursive =
        "syntax = \"proto3\"; import \"google/protobuf/struct.proto\"; message M { google.protobuf.Struct s = 1; }";
    let registered = source.register("r-value", &text(recursive)).unwrap();
    assert!(CaseCodec::new(&spec(), &[], Some(&registered), &source).is_ok());
}

#[test]
fn compatibility_is_the_registrys() {
    let reads = |old: &str, new: &str| {
        let file = |fields: &str| text(&format!("syntax = \"proto3\"; message M {{ {fields} }}"));
        check_compatibility(CompatibilityLevel::Backward, &file(new), &[file(old)]).unwrap()
            == Compatibility::Compatible
    };
    assert!(reads("int32 a = 1;", "int32 a = 1; string b = 2;"));
    assert!(reads("int32 a = 1; string b = 2;", "int32 a = 1;"));
    assert!(reads("int32 a = 1;", "int64 renamed = 1;"));
    assert!(reads("string a = 1;", "bytes a = 1;"));
    assert!(!reads("int32 a = 1;", "string a = 1;"));
    assert!(!reads("int32 a = 1;", "sint32 a = 1;"));
    assert!(!reads("int32 a = 1;", "repeated int32 a = 1;"));
    assert!(reads("string a = 1;", "repeated string a = 1;"));
    assert!(!reads("message N {} N a = 1;", "message O {} O a = 1;"));
    assert!(reads("enum E { X = 0; } E a = 1;", "int32 a = 1;"));
    assert!(reads("int32 a = 1;", "oneof o { int32 a = 1; }"));
    assert!(!reads(
        "int32 a = 1; int32 b = 2;",
        "oneof o { int32 a = 1; int32 b = 2; }"
    ));
    assert!(!reads(
        "oneof o { int32 a = 1; int32 b = 2; }",
        "oneof o { int32 a = 1; }"
    ));
    let types = check_compatibility(
        CompatibilityLevel::Backward,
        &text("message A {}"),
        &[SchemaText::avro("\"int\"")],
    );
    assert!(!types.unwrap().is_compatible());
    let gone = check_compatibility(
        CompatibilityLevel::Backward,
        &text("message A {}"),
        &[text("message B {}")],
    );
    let expected = "MESSAGE_REMOVED at #/B: the new schema lacks the message".to_string();
    assert_eq!(gone.unwrap(), Compatibility::Incompatible(vec![expected]));
}
