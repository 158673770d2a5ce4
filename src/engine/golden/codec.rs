//! Rows of a topic between JSON, as cases are written, and the bytes of the topic's formats.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::engine::task::SinkSchemas;
use crate::formats::{
    self, Deserializer, FormatError, SchemaSource, Serializer, SinkSchema, WindowedDeserializer, WindowedSerializer,
    subject_of,
};
use crate::topology::{NodeId, Op, Topology};
use crate::types::{Column, Format, RelationSchema, Row, SerdeSpec, Value, WindowInfo, window_columns};

use super::LocalRecord;

/// Key or value of a topic.
struct Part {
    name: &'static str,
    to_bytes: Box<dyn Serializer>,
    from_bytes: Box<dyn Deserializer>,
    json: JsonPart,
}

/// Rows as JSON.
struct JsonPart {
    columns: usize,
    to_json: Box<dyn Serializer>,
    from_json: Box<dyn Deserializer>,
}

/// Writes and reads the records of a topic.
pub struct TopicCodec {
    key: Part,
    value: Part,
}

/// A row of columns as one JSON value: bare for a single column of a key.
pub struct RowCodec {
    key: JsonPart,
    value: JsonPart,
}

type Result<T> = std::result::Result<T, String>;

fn told<T>(result: std::result::Result<T, FormatError>, what: &str) -> Result<T> {
    result.map_err(|e| format!("{what}: {e}"))
}

impl JsonPart {
    fn new(columns: &[Column], bare: bool, schemas: &Arc<dyn SchemaSource>) -> Result<Self> {
        let spec = if bare {
            SerdeSpec::key(Format::Json)
        } else {
            SerdeSpec::value(Format::Json)
        };
        let used: Vec<usize> = (0..columns.len()).collect();
        Ok(Self {
            columns: columns.len(),
            to_json: told(formats::serializer(&spec, columns, bare, None), "JSON")?,
            from_json: told(formats::deserializer(&spec, columns, &used, bare, schemas), "JSON")?,
        })
    }

    /// A JSON value as a row; `null` is a row of NULLs.
    fn row(&mut self, json: &Json) -> Result<Row> {
        if json.is_null() || self.columns == 0 {
            return Ok(vec![Value::Null; self.columns].into());
        }
        let mut row = Vec::new();
        told(
            self.from_json.deserialize(json.to_string().as_bytes(), &mut row),
            &json.to_string(),
        )?;
        Ok(row.into())
    }

    fn json(&mut self, row: &[Value]) -> Result<String> {
        let mut bytes = Vec::new();
        told(self.to_json.serialize(row, &mut bytes), "JSON")?;
        String::from_utf8(bytes).map_err(|e| e.to_string())
    }
}

impl Part {
    fn new(
        topic: &str,
        columns: &[Column],
        spec: &SerdeSpec,
        (is_key, window): (bool, Option<WindowInfo>),
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Self> {
        let name = if is_key { "key" } else { "value" };
        let what = format!("{name} of {topic}");
        let used: Vec<usize> = (0..columns.len()).collect();
        let schema = told(register(topic, columns, spec, is_key, schemas), &what)?;
        let bare = is_key || (columns.len() == 1 && !spec.wrap_single);
        let to_bytes = told(formats::serializer(spec, columns, is_key, schema), &what)?;
        let from_bytes = told(formats::deserializer(spec, columns, &used, is_key, schemas), &what)?;
        // of a windowed key the bounds stand behind its columns
        let shown: Vec<Column> = columns
            .iter()
            .cloned()
            .chain(window.into_iter().flat_map(|_| window_columns()))
            .collect();
        Ok(Self {
            name,
            to_bytes: Box::new(WindowedSerializer::new(to_bytes, columns.len(), window)),
            from_bytes: Box::new(WindowedDeserializer::new(from_bytes, window)),
            json: JsonPart::new(&shown, bare, schemas)?,
        })
    }

    fn encode(&mut self, json: &Json) -> Result<Option<Vec<u8>>> {
        if json.is_null() || self.json.columns == 0 {
            return Ok(None);
        }
        let row = self.json.row(json)?;
        let mut bytes = Vec::new();
        told(self.to_bytes.serialize(&row, &mut bytes), self.name)?;
        Ok(Some(bytes))
    }

    fn decode(&mut self, bytes: Option<&[u8]>) -> Result<Option<Row>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let mut row = Vec::new();
        told(self.from_bytes.deserialize(bytes, &mut row), self.name)?;
        Ok(Some(row.into()))
    }

    fn show(&mut self, row: Option<&Row>) -> Result<String> {
        row.map_or(Ok("null".into()), |row| self.json.json(row))
    }
}

/// The schema that a topic's keys or values are written with: the registered one, or the one that is made from the columns.
fn register(
    topic: &str,
    columns: &[Column],
    spec: &SerdeSpec,
    is_key: bool,
    schemas: &Arc<dyn SchemaSource>,
) -> std::result::Result<Option<formats::RegisteredSchema>, FormatError> {
    let subject = subject_of(topic, is_key);
    let latest = schemas.latest(&subject)?;
    Ok(match formats::sink_schema(columns, spec, is_key, latest.as_ref())? {
        SinkSchema::None => None,
        SinkSchema::Registered(schema) => Some(schema),
        SinkSchema::New(text) => Some(schemas.register(&subject, &text)?),
    })
}

/// Registers what the sinks of a topology write with, as deployment does.
///
/// # Errors
/// What the registry or a format says.
pub fn sink_schemas(topology: &Topology, schemas: &Arc<dyn SchemaSource>) -> Result<BTreeMap<NodeId, SinkSchemas>> {
    let mut sinks = BTreeMap::new();
    for node in &topology.nodes {
        let Op::Sink(sink) = &node.op else { continue };
        let part = |columns: &[Column], spec: &SerdeSpec, is_key| {
            told(register(&sink.topic, columns, spec, is_key, schemas), &sink.topic)
        };
        let registered = SinkSchemas {
            key: part(&node.schema.key, &sink.key_format, true)?,
            value: part(&node.schema.value, &sink.value_format, false)?,
            max_bytes: None,
        };
        sinks.insert(node.id, registered);
    }
    Ok(sinks)
}

impl TopicCodec {
    /// The codec of a topic that a relation of the topology stands on.
    ///
    /// # Errors
    /// When no relation does, or a format cannot hold its columns.
    pub fn new(topology: &Topology, topic: &str, schemas: &Arc<dyn SchemaSource>) -> Result<Self> {
        let relation = topology
            .relations
            .iter()
            .find(|relation| &*relation.topic.name == topic);
        let relation = relation.ok_or_else(|| format!("no stream or table has the topic {topic}"))?;
        let RelationSchema { key, value } = &relation.schema;
        Ok(Self {
            key: Part::new(topic, key, &relation.key_format, (true, relation.window), schemas)?,
            value: Part::new(topic, value, &relation.value_format, (false, None), schemas)?,
        })
    }

    /// A record from JSON.
    ///
    /// # Errors
    /// When the columns cannot hold it.
    pub fn record(&mut self, key: &Json, value: &Json, timestamp: i64) -> Result<LocalRecord> {
        Ok(LocalRecord {
            key: self.key.encode(key)?,
            value: self.value.encode(value)?,
            timestamp,
            headers: None,
        })
    }

    /// A record as text that is the same for equal rows: key and value as JSON.
    ///
    /// # Errors
    /// When the bytes are not of the topic's formats.
    pub fn show(&mut self, record: &LocalRecord) -> Result<(String, String)> {
        let key = self.key.decode(record.key.as_deref())?;
        let value = self.value.decode(record.value.as_deref())?;
        Ok((self.key.show(key.as_ref())?, self.value.show(value.as_ref())?))
    }

    /// What [`Self::show`] gives for a record with this JSON.
    ///
    /// # Errors
    /// When the columns cannot hold it.
    pub fn normal(&mut self, key: &Json, value: &Json) -> Result<(String, String)> {
        let record = self.record(key, value, 0)?;
        self.show(&record)
    }
}

impl RowCodec {
    /// The codec of a view's rows.
    ///
    /// # Errors
    /// When JSON cannot hold the columns.
    pub fn new(schema: &RelationSchema, schemas: &Arc<dyn SchemaSource>) -> Result<Self> {
        Ok(Self {
            key: JsonPart::new(&schema.key, true, schemas)?,
            value: JsonPart::new(&schema.value, false, schemas)?,
        })
    }

    /// A row as text that is the same for equal rows.
    ///
    /// # Errors
    /// When JSON cannot hold it.
    pub fn show(&mut self, key: &[Value], value: &[Value]) -> Result<(String, String)> {
        Ok((self.key.json(key)?, self.value.json(value)?))
    }

    /// What [`Self::show`] gives for a row with this JSON.
    ///
    /// # Errors
    /// When the columns cannot hold it.
    pub fn normal(&mut self, key: &Json, value: &Json) -> Result<(String, String)> {
        let (key, value) = (self.key.row(key)?, self.value.row(value)?);
        self.show(&key, &value)
    }
}
