//! JSON_SR end to end: schemas made and read, records, references, compatibility.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::{
    CaseCodec, Compatibility, CompatibilityLevel, MemoryRegistry, RegisteredSchema, SchemaReference, SchemaSource,
    SchemaText, SchemaType, SinkSchema, check_compatibility, check_schema, columns_of, deserializer, serializer,
    sink_schema,
};
use crate::types::{Column, Decimal, Format, SerdeSpec, SqlType, StructField, Value};

fn text(json: &Json) -> SchemaText {
    SchemaText {
        text: json.to_string(),
        schema_type: SchemaType::Json,
        references: Vec::new(),
    }
}

fn registered(json: &Json) -> RegisteredSchema {
    RegisteredSchema {
        id: 7,
        subject: "t-value".into(),
        version: 1,
        schema: text(json),
    }
}

fn field(name: &str, sql_type: SqlType) -> StructField {
    StructField {
        name: name.into(),
        sql_type,
    }
}

fn all_types() -> Vec<Column> {
    vec![
        Column::new("B", SqlType::Boolean),
        Column::new("I", SqlType::Integer),
        Column::new("L", SqlType::Bigint),
        Column::new("D", SqlType::Double),
        Column::new("S", SqlType::String),
        Column::new("Y", SqlType::Bytes),
        Column::new("N", SqlType::Decimal { precision: 6, scale: 2 }),
        Column::new("DA", SqlType::Date),
        Column::new("TI", SqlType::Time),
        Column::new("TS", SqlType::Timestamp),
        Column::new("A", SqlType::Array(SqlType::String.into())),
        Column::new("M", SqlType::Map(SqlType::String.into(), SqlType::Bigint.into())),
        Column::new("R", SqlType::Struct([field("X", SqlType::Integer)].into())),
    ]
}

fn shown(columns: &[Column]) -> String {
    let shown: Vec<String> = columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
    shown.join(", ")
}

#[test]
fn a_new_schema_gives_its_columns_back() {
    let columns = all_types();
    let spec = SerdeSpec::value(Format::JsonSr);
    let SinkSchema::New(schema) = sink_schema(&columns, &spec, false, None).unwrap() else {
        panic!("a new schema");
    };
    let made: Json = serde_json::from_str(&schema.text).unwrap();
    assert_eq!(
        made["properties"]["I"],
        json!({"connect.index": 1, "oneOf": [{"type": "null"}, {"type": "integer", "connect.type": "int32"}]})
    );
    assert_eq!(made["properties"]["S"]["oneOf"][1], json!({"type": "string"}));
    let registered = RegisteredSchema {
        schema,
        ..registered(&json!({}))
    };
    assert_eq!(shown(&columns_of(&registered, &spec, false).unwrap()), shown(&columns));
    // with that schema in the registry, nothing new is registered
    let again = sink_schema(&columns, &spec, false, Some(&registered)).unwrap();
    assert_eq!(again, SinkSchema::Registered(registered));
}

#[test]
fn rows_survive_and_unknown_headers_are_refused() {
    let columns = all_types();
    let spec = SerdeSpec::value(Format::JsonSr);
    let SinkSchema::New(schema) = sink_schema(&columns, &spec, false, None).unwrap() else {
        panic!("a new schema");
    };
    let registry: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let registered = registry.register("t-value", &schema).unwrap();
    let row: Vec<Value> = vec![
        true.into(),
        1.into(),
        Value::Bigint(1 << 40),
        1.5.into(),
        "x".into(),
        Value::Bytes(vec![1, 2].into()),
        Decimal::new(1010, 2).into(),
        Value::Date(3),
        Value::Time(4),
        Value::Timestamp(5),
        Value::Array(vec!["a".into(), Value::Null].into()),
        Value::Map(vec![("k".into(), Value::Bigint(1))].into()),
        Value::Struct(vec![Value::Integer(9)].into()),
    ];
    let mut bytes = Vec::new();
    serializer(&spec, &columns, false, Some(registered))
        .unwrap()
        .serialize(&row, &mut bytes)
        .unwrap();
    assert_eq!(bytes[..5], [0, 0, 0, 0, 1]);
    let used: Vec<usize> = (0..columns.len()).collect();
    let mut reader = deserializer(&spec, &columns, &used, false, &registry).unwrap();
    let mut read = Vec::new();
    reader.deserialize(&bytes, &mut read).unwrap();
    assert_eq!(read, row);
    let e = reader.deserialize(b"{\"B\":true}", &mut read).unwrap_err();
    assert!(e.to_string().contains("looks like JSON"), "{e}");
}

#[test]
fn columns_come_from_schemas_of_other_writers() {
    let schema = json!({
        "type": "object",
        "properties": {
            "c1": {"type": "integer"},
            "c2": {"type": ["null", "string"]},
            "c3": {"type": "number"},
            "c4": {"type": "array", "items": {"$ref": "#/definitions/city"}},
            "c5": {"type": "object", "connect.type": "map", "additionalProperties": {"type": "boolean"}},
            "c6": {"type": "string", "enum": ["A", "B"]},
            "c7": {"allOf": [{"$ref": "#/definitions/city"}, {"properties": {"zip": {"type": "string"}}}]},
            "c8": {"type": "array", "connect.type": "map", "items": {"type": "object", "properties": {
                "key": {"type": "string"}, "value": {"type": "integer", "connect.type": "int8"}}}}
        },
        "definitions": {"city": {"type": "object", "properties": {"name": {"type": "string"}}}}
    });
    let columns = columns_of(&registered(&schema), &SerdeSpec::value(Format::JsonSr), false).unwrap();
    assert_eq!(
        shown(&columns),
        "C1 BIGINT, C2 STRING, C3 DOUBLE, C4 ARRAY<STRUCT<NAME STRING>>, C5 MAP<STRING, BOOLEAN>, C6 STRING, \
         C7 STRUCT<NAME STRING, ZIP STRING>, C8 MAP<STRING, INTEGER>"
    );
    let mut spec = SerdeSpec::value(Format::JsonSr);
    spec.schema_id = Some(7);
    assert!(shown(&columns_of(&registered(&schema), &spec, false).unwrap()).starts_with("c1 BIGINT, c2 STRING"));
    let recursive = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let e = columns_of(&registered(&recursive), &SerdeSpec::value(Format::JsonSr), false).unwrap_err();
    assert!(e.to_string().contains("contains itself"), "{e}");
    let key = json!({"oneOf": [{"type": "null"}, {"type": "integer", "connect.type": "int32"}]});
    assert_eq!(
        shown(&columns_of(&registered(&key), &SerdeSpec::key(Format::JsonSr), true).unwrap()),
        "ROWKEY INTEGER"
    );
}

#[test]
fn references_are_other_documents() {
    let city = text(&json!({"type": "object", "properties": {"name": {"type": "string"}}}));
    let mut schema = text(
        &json!({"type": "object", "properties": {"home": {"$ref": "city.json"}, "n": {"$ref": "city.json#/properties/name"}}}),
    );
    assert!(check_schema(&schema).unwrap_err().contains("leads nowhere"));
    schema.references.push(SchemaReference {
        name: "city.json".into(),
        subject: "city".into(),
        version: 1,
        resolved: Some(Arc::new(city)),
    });
    let columns = columns_of(
        &RegisteredSchema {
            schema,
            ..registered(&json!({}))
        },
        &SerdeSpec::value(Format::JsonSr),
        false,
    );
    assert_eq!(shown(&columns.unwrap()), "HOME STRUCT<NAME STRING>, N STRING");
}

#[test]
fn a_registered_schemas_spelling_is_written() {
    let registry: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let schema = json!({"type": "object", "properties": {"foo": {"type": "object", "properties": {"bar": {"type": "integer"}}}}});
    let registered = registry.register("t-value", &text(&schema)).unwrap();
    let columns = [Column::new(
        "FOO",
        SqlType::Struct([field("BAR", SqlType::Bigint)].into()),
    )];
    let spec = SerdeSpec::value(Format::JsonSr);
    let mut bytes = Vec::new();
    let row = [Value::Struct(vec![Value::Bigint(1)].into())];
    serializer(&spec, &columns, false, Some(registered.clone()))
        .unwrap()
        .serialize(&row, &mut bytes)
        .unwrap();
    assert_eq!(&bytes[5..], br#"{"foo":{"bar":1}}"#);
    let mut case = CaseCodec::new(&spec, &columns, Some(&registered), &registry).unwrap();
    assert_eq!(case.decode(Some(&bytes)).unwrap(), json!({"foo": {"bar": 1}}));
    let other = [Column::new("OTHER", SqlType::Integer)];
    assert!(matches!(
        sink_schema(&other, &spec, false, Some(&registered)).unwrap(),
        SinkSchema::New(_)
    ));
}

/// Whether `new` reads what `old` wrote.
fn reads(old: Json, new: Json) -> bool {
    let checked = check_compatibility(CompatibilityLevel::Backward, &text(&new), &[text(&old)]).unwrap();
    checked == Compatibility::Compatible
}

fn closed(properties: Json, required: Json) -> Json {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[test]
fn compatibility_is_the_registrys() {
    let int = || json!({"type": "integer"});
    let number = || json!({"type": "number"});
    let string = || json!({"type": "string"});
    let open = |properties: Json| json!({"type": "object", "properties": properties});
    // types
    assert!(reads(int(), number()));
    assert!(!reads(number(), int()));
    assert!(!reads(int(), string()));
    assert!(reads(string(), json!({"type": ["string", "null"]})));
    assert!(!reads(json!({"type": ["string", "null"]}), string()));
    assert!(reads(string(), json!({})));
    assert!(reads(
        string(),
        json!({"oneOf": [{"type": "null"}, {"type": "string"}]})
    ));
    // properties and the content model
    assert!(!reads(open(json!({"a": int()})), open(json!({"a": int(), "b": int()}))));
    assert!(reads(open(json!({"a": int(), "b": int()})), open(json!({"a": int()}))));
    assert!(reads(
        closed(json!({"a": int()}), json!([])),
        closed(json!({"a": int(), "b": int()}), json!([]))
    ));
    assert!(!reads(
        closed(json!({"a": int(), "b": int()}), json!([])),
        closed(json!({"a": int()}), json!([]))
    ));
    assert!(!reads(
        closed(json!({"a": int()}), json!([])),
        closed(json!({"a": int(), "b": int()}), json!(["b"]))
    ));
    let with_default = json!({"type": "integer", "default": 1});
    assert!(reads(
        closed(json!({}), json!([])),
        closed(json!({"b": with_default}), json!(["b"]))
    ));
    assert!(!reads(
        open(json!({"a": int()})),
        json!({"type": "object", "properties": {"a": int()}, "required": ["a"]})
    ));
    assert!(!reads(
        open(json!({"a": int()})),
        closed(json!({"a": int()}), json!([]))
    ));
    assert!(!reads(
        open(json!({"a": {"b": 1, "type": "object", "properties": {"x": int()}}})),
        open(json!({"a": string()}))
    ));
    // enums, bounds, arrays, unions
    assert!(reads(json!({"enum": ["a"]}), json!({"enum": ["a", "b"]})));
    assert!(!reads(json!({"enum": ["a", "b"]}), json!({"enum": ["a"]})));
    assert!(reads(
        json!({"type": "string", "maxLength": 1}),
        json!({"type": "string", "maxLength": 2})
    ));
    assert!(!reads(string(), json!({"type": "string", "pattern": "a"})));
    assert!(reads(
        json!({"type": "array", "items": int()}),
        json!({"type": "array", "items": number()})
    ));
    assert!(!reads(
        json!({"type": "array", "items": number()}),
        json!({"type": "array", "items": int()})
    ));
    let union = |branches: Json| json!({"oneOf": branches});
    assert!(reads(
        union(json!([int(), string()])),
        union(json!([string(), int(), {"type": "null"}]))
    ));
    assert!(!reads(
        union(json!([int(), string(), {"type": "null"}])),
        union(json!([int(), string()]))
    ));
    // a schema that contains itself ends
    let tree = |extra: Json| json!({"type": "object", "additionalProperties": false, "properties": {"next": {"$ref": "#"}, "x": extra}});
    assert!(reads(tree(int()), tree(number())));
    assert!(!reads(tree(number()), tree(int())));
    let messages = check_compatibility(CompatibilityLevel::Backward, &text(&string()), &[text(&int())]).unwrap();
    assert_eq!(
        messages,
        Compatibility::Incompatible(vec!["TYPE_CHANGED at #/: the type is another one".into()])
    );
}

#[test]
fn no_schema_text_makes_it_panic() {
    let odd = [
        "",
        "1",
        "[]",
        "null",
        "true",
        r##"{"$ref":"#"}"##,
        r##"{"$ref":"#/a","a":{"$ref":"#"}}"##,
        r#"{"type":5}"#,
        r#"{"type":[]}"#,
        r#"{"properties":[]}"#,
        r#"{"oneOf":{}}"#,
        r#"{"oneOf":[]}"#,
        r#"{"type":"array","items":[{}]}"#,
        r#"{"type":"object","connect.type":"map"}"#,
        r#"{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.parameters":{"scale":"99"}}"#,
    ];
    for text in odd {
        let schema = SchemaText {
            text: text.into(),
            schema_type: SchemaType::Json,
            references: Vec::new(),
        };
        let registered = RegisteredSchema {
            schema: schema.clone(),
            ..registered(&json!({}))
        };
        let _: Result<Vec<Column>, _> = columns_of(&registered, &SerdeSpec::value(Format::JsonSr), false);
        let _: Result<Compatibility, String> = check_compatibility(
            CompatibilityLevel::Full,
            &schema,
            &[self::text(&json!({"type": "object"}))],
        );
    }
}
