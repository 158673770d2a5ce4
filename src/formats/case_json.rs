//! The records of test cases: a JSON value to the bytes of a topic's key or value, and bytes back to JSON for comparison.
//!
//! Formats with a registered schema go by that schema alone, so that a topic can be written and read that no statement declares; KAFKA needs the
//! type of its column. JSON is passed on as it stands: numbers keep all their digits. What is no JSON number comes as a text (`"NaN"`), bytes as
//! base64, dates in days, times and timestamps in milliseconds.

use std::sync::Arc;

use crate::types::BASE64;
use base64::Engine;
use serde_json::Value as Json;

use crate::types::{Column, Format, SerdeSpec, SqlType, Value};

use super::avro::plain_json as avro_json;
use super::avro::schema::AvroSchema;
use super::error::{double_json, shown};
use super::source::{RegisteredSchema, SchemaSource, SchemaText, SchemaType};
use super::{Deserializer, FormatError, Serializer, kafka, proto, wire};

type Result<T> = std::result::Result<T, FormatError>;

/// Key or value of a topic, between JSON and bytes.
pub struct CaseCodec {
    format: Format,
    kind: Kind,
    schemas: Arc<dyn SchemaSource>,
}

enum Kind {
    /// No bytes, ever.
    Nothing,
    /// JSON text as it is.
    Json,
    /// JSON text behind the id of a schema.
    JsonWithId(u32),
    /// A line, or any other text.
    Text,
    /// One of Kafka's own serializers.
    Kafka(Box<kafka::Kafka>, SqlType),
    /// Avro, written with a schema.
    Avro(u32, Box<AvroSchema>),
    /// A message, of a registered schema or of the columns.
    Protobuf(Box<proto::CaseJson>),
}

impl CaseCodec {
    /// For the keys or values of a topic. `schema` is the one that records are written with (the subject's latest, or the one of a schema id);
    /// `columns` are those of the relation that stands on the topic, which KAFKA and PROTOBUF_NOSR need.
    ///
    /// # Errors
    /// [`FormatError::Definition`] when the schema is missing or of another language.
    pub fn new(
        spec: &SerdeSpec,
        columns: &[Column],
        schema: Option<&RegisteredSchema>,
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Self> {
        let registered = || {
            schema.ok_or_else(|| {
                FormatError::definition(format!(
                    "a topic in the format {} needs a schema in the registry",
                    spec.format
                ))
            })
        };
        let kind = match spec.format {
            Format::None => Kind::Nothing,
            Format::Json => Kind::Json,
            Format::Delimited => Kind::Text,
            Format::Kafka => match columns {
                [only] => Kind::Kafka(Box::new(kafka::Kafka::new(columns, true)?), only.sql_type.clone()),
                _ => Kind::Text,
            },
            Format::JsonSr => Kind::JsonWithId(registered()?.id),
            Format::Avro => {
                let schema = registered()?;
                let parsed = AvroSchema::parse(&schema.schema).map_err(FormatError::Definition)?;
                Kind::Avro(schema.id, Box::new(parsed))
            }
            Format::Protobuf => Kind::Protobuf(Box::new(proto::CaseJson::registered(registered()?, spec)?)),
            Format::ProtobufNosr => Kind::Protobuf(Box::new(proto::CaseJson::of_columns(columns, spec)?)),
            Format::Internal => {
                return Err(FormatError::definition(
                    "the format INTERNAL is for topics that only we read and write",
                ));
            }
        };
        Ok(Self {
            format: spec.format,
            kind,
            schemas: schemas.clone(),
        })
    }

    /// A record's bytes; `None` for null, which is no record (a tombstone, or a null key).
    ///
    /// # Errors
    /// [`FormatError::Unwritable`] when the format or schema cannot hold the value.
    pub fn encode(&mut self, json: &Json) -> Result<Option<Vec<u8>>> {
        if json.is_null() {
            return Ok(None);
        }
        let mut out = Vec::new();
        match &mut self.kind {
            Kind::Nothing => return Ok(None),
            Kind::Json => out.extend_from_slice(json.to_string().as_bytes()),
            Kind::JsonWithId(id) => {
                wire::header(*id, &mut out);
                out.extend_from_slice(json.to_string().as_bytes());
            }
            Kind::Text => match json {
                Json::String(s) => out.extend_from_slice(s.as_bytes()),
                Json::Bool(_) | Json::Number(_) => out.extend_from_slice(json.to_string().as_bytes()),
                Json::Null | Json::Array(_) | Json::Object(_) => {
                    return Err(FormatError::unwritable(self.format, "a text", shown(json)));
                }
            },
            Kind::Kafka(kafka, sql_type) => {
                let value = kafka_value(json, sql_type)
                    .ok_or_else(|| FormatError::unwritable(self.format, sql_type.to_string(), shown(json)))?;
                kafka.serialize(&[value], &mut out)?;
            }
            Kind::Avro(id, schema) => {
                wire::header(*id, &mut out);
                avro_json::encode(schema, json, &mut out)?;
            }
            Kind::Protobuf(message) => message.encode(json, &mut out)?,
        }
        Ok(Some(out))
    }

    /// A record's bytes as JSON; no bytes are null.
    ///
    /// # Errors
    /// [`FormatError::Data`] when the bytes are not of the format; [`FormatError::RegistryUnavailable`].
    pub fn decode(&mut self, bytes: Option<&[u8]>) -> Result<Json> {
        let Some(bytes) = bytes else { return Ok(Json::Null) };
        match &mut self.kind {
            Kind::Nothing => Ok(Json::Null),
            Kind::Json => parse_json(self.format, bytes),
            Kind::JsonWithId(_) => parse_json(self.format, wire::split(self.format, bytes)?.1),
            Kind::Text => Ok(String::from_utf8_lossy(bytes).into()),
            Kind::Protobuf(message) => message.decode(bytes, self.format, &*self.schemas),
            Kind::Kafka(kafka, _) => {
                let mut row = Vec::new();
                kafka.deserialize(bytes, &mut row)?;
                Ok(row.pop().map_or(Json::Null, |v| kafka_json(&v)))
            }
            Kind::Avro(id, schema) => {
                let (found, _) = wire::split(self.format, bytes)?;
                if found == *id {
                    return avro_json::decode(schema, bytes, wire::HEADER_BYTES);
                }
                let other = self.schemas.by_id(found)?;
                let other = AvroSchema::parse(&other.schema).map_err(FormatError::Definition)?;
                avro_json::decode(&other, bytes, wire::HEADER_BYTES)
            }
        }
    }
}

fn parse_json(format: Format, bytes: &[u8]) -> Result<Json> {
    serde_json::from_slice(bytes).map_err(|e| FormatError::data(format, "JSON text", e.to_string()))
}

/// A JSON value as the one column of a KAFKA record.
fn kafka_value(json: &Json, sql_type: &SqlType) -> Option<Value> {
    match json {
        Json::String(s) => super::scalar::parse(s, sql_type),
        Json::Number(n) => super::scalar::parse(&n.to_string(), sql_type),
        Json::Bool(b) => super::scalar::parse(&b.to_string(), sql_type),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// One of the values that KAFKA holds.
fn kafka_json(value: &Value) -> Json {
    match value {
        Value::Integer(n) => (*n).into(),
        Value::Bigint(n) => (*n).into(),
        Value::Double(x) => double_json(*x),
        Value::String(s) => (**s).into(),
        Value::Bytes(b) => BASE64.encode(b).into(),
        Value::Null
        | Value::Boolean(_)
        | Value::Decimal(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::Array(_)
        | Value::Map(_)
        | Value::Struct(_) => Json::Null,
    }
}

/// A schema of a case (Avro and JSON schemas as JSON, Protocol Buffers as a string) as a registry takes it. References are to be added.
pub fn case_schema(schema_type: SchemaType, json: &Json) -> SchemaText {
    let text = match (schema_type, json) {
        (SchemaType::Protobuf, Json::String(text)) => text.clone(),
        _ => json.to_string(),
    };
    SchemaText {
        text,
        schema_type,
        references: Vec::new(),
    }
}

/// The language of the schemas that a format registers; `None` for formats without.
pub fn schema_type_of(format: Format) -> Option<SchemaType> {
    match format {
        Format::Avro => Some(SchemaType::Avro),
        Format::JsonSr => Some(SchemaType::Json),
        Format::Protobuf => Some(SchemaType::Protobuf),
        Format::Json | Format::ProtobufNosr | Format::Delimited | Format::Kafka | Format::None | Format::Internal => {
            None
        }
    }
}

/// Whether a registered schema is the one that a case expects, however either is spelled.
pub fn schemas_equal(format: Format, expected: &Json, actual: &str) -> bool {
    let Some(schema_type) = schema_type_of(format) else {
        return false;
    };
    let expected = case_schema(schema_type, expected).text;
    match schema_type {
        SchemaType::Avro => {
            let canonical = |text: &str| {
                let mut json = serde_json::from_str::<Json>(text).ok()?;
                drop_connect(&mut json);
                super::canonical_avro(&json.to_string()).ok()
            };
            canonical(&expected).is_some_and(|e| canonical(actual).is_some_and(|a| a == e))
        }
        SchemaType::Json => {
            let parse = |text: &str| serde_json::from_str::<Json>(text).ok();
            parse(&expected).is_some_and(|e| parse(actual).is_some_and(|a| a == e))
        }
        SchemaType::Protobuf => {
            let declarations = proto::print::canonical;
            declarations(&expected).is_ok_and(|e| declarations(actual).is_ok_and(|a| a == e))
        }
    }
}

/// Leaves out the notes that Kafka Connect writes into Avro schemas for itself.
fn drop_connect(json: &mut Json) {
    match json {
        Json::Object(members) => {
            members.retain(|name, _| !name.starts_with("connect."));
            members.values_mut().for_each(drop_connect);
        }
        Json::Array(items) => items.iter_mut().for_each(drop_connect),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::MemoryRegistry;
    use serde_json::json;

    fn codec(format: Format, columns: &[Column], schema: Option<&str>) -> CaseCodec {
        let registry = Arc::new(MemoryRegistry::new());
        let registered = schema.map(|text| {
            let mut schema = SchemaText::avro(text);
            schema.schema_type = schema_type_of(format).unwrap();
            registry.register("t-value", &schema).unwrap()
        });
        let schemas: Arc<dyn SchemaSource> = registry;
        CaseCodec::new(&SerdeSpec::value(format), columns, registered.as_ref(), &schemas).unwrap()
    }

    fn round(codec: &mut CaseCodec, json: &Json) -> Json {
        let bytes = codec.encode(json).unwrap();
        codec.decode(bytes.as_deref()).unwrap()
    }

    #[test]
    fn avro_goes_by_the_schema() {
        let schema = r#"{"type":"record","name":"r","fields":[
            {"name":"c1","type":["null","int"],"default":null},
            {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}},
            {"name":"m","type":{"type":"array","items":{"type":"record","name":"e","fields":[
                {"name":"key","type":["null","string"]},{"name":"value","type":["null","long"]}]}}},
            {"name":"e","type":{"type":"enum","name":"s","symbols":["A","B"]}},
            {"name":"u","type":["null","int","string"]},
            {"name":"t","type":{"type":"long","logicalType":"timestamp-micros"}},
            {"name":"x","type":"string","default":"z"}]}"#;
        let mut codec = codec(Format::Avro, &[], Some(schema));
        let given =
            json!({"C1": 1, "D": 10.1, "M": {"a": 1, "b": null}, "e": "B", "u": {"int": 5}, "T": 12, "other": 1});
        let expected = json!({"c1": 1, "d": 10.10, "m": {"a": 1, "b": null}, "e": "B", "u": {"int": 5, "string": null},
            "t": 12, "x": "z"});
        let read = round(&mut codec, &given);
        assert_eq!(read["d"].to_string(), "10.10");
        let mut expected = expected;
        expected["d"] = read["d"].clone();
        assert_eq!(read, expected);
        assert_eq!(round(&mut codec, &Json::Null), Json::Null);
        let e = codec.encode(&json!({"c1": "x"})).unwrap_err();
        assert_eq!(e.to_string(), "AVRO, column c1: expected int, found \"x\"");
    }

    #[test]
    fn a_bare_value_needs_no_record() {
        let mut codec = codec(Format::Avro, &[], Some("\"int\""));
        assert_eq!(codec.encode(&json!(10)).unwrap().unwrap(), [0, 0, 0, 0, 1, 20]);
        assert_eq!(round(&mut codec, &json!(10)), json!(10));
    }

    #[test]
    fn other_formats_take_json_as_it_is() {
        let value: Json = serde_json::from_str(r#"{"a":10.10,"b":12345678901234567890123}"#).unwrap();
        let mut json = codec(Format::Json, &[], None);
        assert_eq!(json.encode(&value).unwrap().unwrap(), value.to_string().into_bytes());
        assert_eq!(round(&mut json, &value), value);
        let mut json_sr = codec(Format::JsonSr, &[], Some("{}"));
        assert_eq!(json_sr.encode(&json!(1)).unwrap().unwrap(), [0, 0, 0, 0, 1, b'1']);
        let mut delimited = codec(Format::Delimited, &[], None);
        assert_eq!(round(&mut delimited, &json!("0,zero")), json!("0,zero"));
        assert_eq!(round(&mut delimited, &json!(5)), json!("5"));
        let mut kafka = codec(Format::Kafka, &[Column::new("K", SqlType::Bigint)], None);
        assert_eq!(round(&mut kafka, &json!(5)), json!(5));
        assert!(kafka.encode(&json!("x")).is_err());
    }

    #[test]
    fn schemas_are_compared_by_meaning() {
        let expected = json!({"type": "record", "namespace": "n", "name": "R", "fields": [
            {"name": "A", "default": null, "type": ["null", {"type": "int"}]}]});
        let actual = r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"A","type":["null","int"],"default":null}]}"#;
        assert!(schemas_equal(Format::Avro, &expected, actual));
        assert!(!schemas_equal(Format::Avro, &json!("int"), actual));
        assert!(schemas_equal(
            Format::JsonSr,
            &json!({"b": 1, "a": [2]}),
            r#"{"a":[2],"b":1}"#
        ));
        assert!(!schemas_equal(Format::Json, &json!({}), "{}"));
    }
}
