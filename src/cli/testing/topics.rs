//! The topics of a case: what stands in them, and JSON to the bytes of their formats and back.
//!
//! A topic's formats are those of the relation that stands on it; a topic that only the case declares has the declared ones. Schemas that the
//! statements imply are registered when a topic is first written, as creating its source would.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::BASE64;
use base64::Engine;
use serde_json::Value as Json;

use crate::engine::golden::LocalRecord;
use crate::formats::{
    CaseCodec, MemoryRegistry, RegisteredSchema, SchemaReference, SchemaSource, SinkSchema, case_schema,
    schema_type_of, serializer, sink_schema, subject_of,
};
use crate::topology::{Insert, Relation};
use crate::types::{Column, Format, Headers, SerdeSpec, SqlType, StructField, Value, WindowInfo};

use super::case::{CaseRecord, SideDecl, TopicDecl, Window, plain};
use super::compare::{SeenRecord, Types};

type Result<T> = std::result::Result<T, String>;

/// Key or value of a topic.
struct Side {
    codec: CaseCodec,
    spec: SerdeSpec,
    columns: Vec<Column>,
    is_key: bool,
}

struct Topic {
    key: Side,
    value: Side,
    window: Option<WindowInfo>,
}

/// The topics of one case.
pub struct Topics {
    schemas: Arc<dyn SchemaSource>,
    relations: Vec<Relation>,
    declared: Vec<TopicDecl>,
    /// As they are written by the case: the first relation counts.
    inputs: BTreeMap<String, Topic>,
    /// As they are read for comparison: the relation that is derived counts.
    outputs: BTreeMap<String, Topic>,
    /// What stands in them.
    records: BTreeMap<Arc<str>, Vec<LocalRecord>>,
}

/// The format of this name.
pub fn format_of(name: &str) -> Option<Format> {
    let all = [
        Format::Avro,
        Format::Json,
        Format::JsonSr,
        Format::Protobuf,
        Format::ProtobufNosr,
        Format::Delimited,
        Format::Kafka,
        Format::None,
    ];
    all.into_iter()
        .find(|format| format.to_string().eq_ignore_ascii_case(name))
}

/// Registers the schemas that the case's topics declare.
///
/// # Errors
/// A schema that the registry refuses.
pub fn register(declared: &[TopicDecl], registry: &MemoryRegistry) -> Result<()> {
    for topic in declared {
        for (side, is_key) in [(&topic.key, true), (&topic.value, false)] {
            register_side(topic, side, is_key, registry)?;
        }
    }
    Ok(())
}

fn register_side(topic: &TopicDecl, side: &SideDecl, is_key: bool, registry: &MemoryRegistry) -> Result<()> {
    let Some(json) = &side.schema else { return Ok(()) };
    let subject = subject_of(&topic.name, is_key);
    let told = |e: String| format!("the schema {subject}: {e}");
    let format = side.format.as_deref().unwrap_or("AVRO");
    let format = format_of(format).ok_or_else(|| told(format!("{format} is no format")))?;
    let Some(schema_type) = schema_type_of(format) else {
        return Ok(());
    };
    let mut references = Vec::new();
    for reference in &side.references {
        let name = reference["name"]
            .as_str()
            .ok_or_else(|| told("a reference needs a name".into()))?;
        let format = reference["format"]
            .as_str()
            .and_then(format_of)
            .and_then(schema_type_of);
        let text = case_schema(format.unwrap_or(schema_type), &reference["schema"]);
        let registered = registry
            .register(name, &text)
            .map_err(|e| told(format!("{name}: {e}")))?;
        references.push(SchemaReference {
            name: name.to_owned(),
            subject: name.to_owned(),
            version: registered.version,
            resolved: None,
        });
    }
    let mut text = case_schema(schema_type, json);
    text.references = references;
    let registered = match side.schema_id {
        Some(id) => registry.register_as(&subject, &text, id),
        None => registry.register(&subject, &text),
    };
    registered.map(|_| ()).map_err(|e| told(e.to_string()))
}

impl Side {
    fn new(
        topic: &str,
        columns: &[Column],
        spec: &SerdeSpec,
        is_key: bool,
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Self> {
        let what = |e: &dyn std::fmt::Display| {
            let part = if is_key { "keys" } else { "values" };
            format!("the {part} of {topic}: {e}")
        };
        let schema = schema_of(topic, columns, spec, is_key, schemas).map_err(|e| what(&e))?;
        let codec = CaseCodec::new(spec, columns, schema.as_ref(), schemas).map_err(|e| what(&e))?;
        Ok(Self {
            codec,
            spec: spec.clone(),
            columns: columns.to_vec(),
            is_key,
        })
    }

    /// Whether a single column stands without a record around it.
    fn is_bare(&self) -> bool {
        let features = self.spec.format.features();
        let always_wrapped = features.wraps && !features.unwraps;
        self.columns.len() == 1 && !always_wrapped && (self.is_key || !self.spec.wrap_single)
    }

    fn encode(&mut self, json: &Json) -> Result<Option<Vec<u8>>> {
        let bare = json.as_object().filter(|object| object.len() == 1 && self.is_bare());
        let inner = bare.and_then(|object| {
            let (name, value) = object.iter().next()?;
            let is_struct = matches!(self.columns[0].sql_type, SqlType::Struct(_) | SqlType::Map(..));
            (!is_struct && name.eq_ignore_ascii_case(&self.columns[0].name)).then_some(value)
        });
        let part = if self.is_key { "key" } else { "value" };
        let bytes = self.codec.encode(inner.unwrap_or(json));
        bytes.map_err(|e| format!("the {part} {json} cannot be written: {e}"))
    }

    fn sql_type(&self) -> Option<SqlType> {
        if matches!(self.spec.format, Format::Delimited | Format::None) {
            return None;
        }
        match self.columns.as_slice() {
            [] => None,
            [only] if self.is_bare() || self.spec.format == Format::Kafka => Some(only.sql_type.clone()),
            all => {
                let field = |c: &Column| StructField {
                    name: c.name.clone(),
                    sql_type: c.sql_type.clone(),
                };
                Some(SqlType::Struct(all.iter().map(field).collect()))
            }
        }
    }
}

/// The schema that a topic's keys or values are written with.
fn schema_of(
    topic: &str,
    columns: &[Column],
    spec: &SerdeSpec,
    is_key: bool,
    schemas: &Arc<dyn SchemaSource>,
) -> std::result::Result<Option<RegisteredSchema>, String> {
    if schema_type_of(spec.format).is_none() {
        return Ok(None);
    }
    if let Some(id) = spec.schema_id {
        return schemas.by_id(id).map(Some).map_err(|e| e.to_string());
    }
    let subject = subject_of(topic, is_key);
    if let Some(latest) = schemas.latest(&subject).map_err(|e| e.to_string())? {
        return Ok(Some(latest));
    }
    Ok(
        match sink_schema(columns, spec, is_key, None).map_err(|e| e.to_string())? {
            SinkSchema::None => None,
            SinkSchema::Registered(schema) => Some(schema),
            SinkSchema::New(text) => Some(schemas.register(&subject, &text).map_err(|e| e.to_string())?),
        },
    )
}

impl Topics {
    /// The topics of the case that declares these; empty.
    pub fn new(schemas: Arc<dyn SchemaSource>, relations: Vec<Relation>, declared: Vec<TopicDecl>) -> Self {
        Self {
            schemas,
            relations,
            declared,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    /// The records of a topic.
    pub fn records(&self, topic: &str) -> &[LocalRecord] {
        self.records.get(topic).map_or(&[], Vec::as_slice)
    }

    /// Puts records at the end of a topic.
    pub fn append(&mut self, topic: &Arc<str>, records: &[LocalRecord]) {
        self.records
            .entry(topic.clone())
            .or_default()
            .extend_from_slice(records);
    }

    /// The bytes of a case's record.
    ///
    /// # Errors
    /// When nothing says how the topic is written, or its formats cannot hold the record.
    pub fn encode(&mut self, record: &CaseRecord) -> Result<LocalRecord> {
        if !self.inputs.contains_key(&record.topic) {
            let topic = self.open(&record.topic, false)?;
            self.inputs.insert(record.topic.clone(), topic);
        }
        let topic = self.inputs.get_mut(&record.topic).ok_or("no topic")?;
        let mut key = topic.key.encode(&record.key)?;
        if let (Some(key), Some(window)) = (&mut key, record.window) {
            if topic.window.map_or(window.session, |w| w.is_session()) {
                key.extend_from_slice(&window.end.to_be_bytes());
            }
            key.extend_from_slice(&window.start.to_be_bytes());
        }
        Ok(LocalRecord {
            key,
            value: topic.value.encode(&record.value)?,
            timestamp: record.timestamp.unwrap_or(0),
            headers: headers(&record.headers)?,
        })
    }

    /// Writes the record of an INSERT ... VALUES.
    ///
    /// # Errors
    /// When its formats cannot hold it.
    pub fn insert(&mut self, insert: &Insert) -> Result<()> {
        let relation = self.relations.iter().rev().find(|r| r.name == insert.relation);
        let relation = relation.ok_or_else(|| format!("there is no stream or table {}", insert.relation))?;
        let topic = relation.topic.name.clone();
        let bytes = |columns: &[Column], spec: &SerdeSpec, is_key: bool, row: &[Value]| -> Result<Option<Vec<u8>>> {
            if columns.is_empty() {
                return Ok(None);
            }
            let schema = schema_of(&topic, columns, spec, is_key, &self.schemas)?;
            let mut bytes = Vec::new();
            serializer(spec, columns, is_key, schema)
                .and_then(|mut serializer| serializer.serialize(row, &mut bytes))
                .map_err(|e| e.to_string())?;
            Ok(Some(bytes))
        };
        let key = match &insert.key {
            Some(row) => bytes(&relation.schema.key, &relation.key_format, true, row)?,
            None => None,
        };
        let record = LocalRecord {
            key,
            value: bytes(&relation.schema.value, &relation.value_format, false, &insert.value)?,
            timestamp: insert.timestamp.unwrap_or(0),
            headers: None,
        };
        self.append(&topic, &[record]);
        Ok(())
    }

    /// The records of a topic as JSON, and the types to compare them by.
    ///
    /// # Errors
    /// When nothing says how the topic is written.
    pub fn seen(&mut self, name: &str) -> Result<(Vec<SeenRecord>, Types)> {
        if !self.outputs.contains_key(name) {
            let topic = self.open(name, true)?;
            self.outputs.insert(name.to_owned(), topic);
        }
        let topic = self.outputs.get_mut(name).ok_or("no topic")?;
        let types = Types {
            key: topic.key.sql_type(),
            key_name: topic.key.is_bare().then(|| topic.key.columns[0].name.to_string()),
            value: topic.value.sql_type(),
        };
        let records = self.records.get(name).map_or(&[] as &[LocalRecord], Vec::as_slice);
        Ok((records.iter().map(|record| topic.show(record)).collect(), types))
    }

    /// The last relation on a topic that a query makes, or the first one.
    fn relation(&self, topic: &str, written: bool) -> Option<&Relation> {
        let mut on = self.relations.iter().filter(|r| &*r.topic.name == topic);
        let derived = |r: &&Relation| r.derived;
        let last = self
            .relations
            .iter()
            .rev()
            .filter(|r| &*r.topic.name == topic)
            .find(derived);
        if written { last.or_else(|| on.next()) } else { on.next() }
    }

    fn open(&self, name: &str, written: bool) -> Result<Topic> {
        let Some(relation) = self.relation(name, written) else {
            return self.open_declared(name);
        };
        let side = |columns: &[Column], spec: &SerdeSpec, is_key| Side::new(name, columns, spec, is_key, &self.schemas);
        Ok(Topic {
            key: side(&relation.schema.key, &relation.key_format, true)?,
            value: side(&relation.schema.value, &relation.value_format, false)?,
            window: relation.window,
        })
    }

    fn open_declared(&self, name: &str) -> Result<Topic> {
        let declared = self.declared.iter().find(|topic| topic.name == name);
        let Some(declared) = declared else {
            return Err(format!(
                "no statement has the topic {name}, and the case does not declare it"
            ));
        };
        let side = |decl: &SideDecl, is_key: bool, default: Format| {
            let format = decl.format.as_deref().and_then(format_of).unwrap_or(default);
            let spec = if is_key {
                SerdeSpec::key(format)
            } else {
                SerdeSpec::value(format)
            };
            Side::new(name, &[], &spec, is_key, &self.schemas)
        };
        Ok(Topic {
            key: side(&declared.key, true, Format::None)?,
            value: side(&declared.value, false, Format::Json)?,
            window: None,
        })
    }
}

impl Topic {
    fn show(&mut self, record: &LocalRecord) -> SeenRecord {
        let mut seen = SeenRecord {
            timestamp: record.timestamp,
            headers: record
                .headers
                .iter()
                .flat_map(|all| all.iter())
                .map(|(name, value)| (name.to_string(), value.as_ref().map(|v| BASE64.encode(v))))
                .collect(),
            ..SeenRecord::default()
        };
        let (key, window) = split_window(record.key.as_deref(), self.window);
        seen.window = window;
        match (
            self.key.codec.decode(key),
            self.value.codec.decode(record.value.as_deref()),
        ) {
            (Ok(key), Ok(value)) => {
                seen.key = key;
                seen.value = value;
            }
            (Err(e), _) => seen.unreadable = Some(format!("key: {e}")),
            (_, Err(e)) => seen.unreadable = Some(format!("value: {e}")),
        }
        seen
    }
}

/// The key without its window, and the window.
fn split_window(key: Option<&[u8]>, info: Option<WindowInfo>) -> (Option<&[u8]>, Option<Window>) {
    let split = || {
        let info = info?;
        let (rest, start) = key?.split_last_chunk::<8>()?;
        let start = i64::from_be_bytes(*start);
        let session = info.is_session();
        let (rest, end) = match info.size_ms {
            Some(size) if !session => (rest, start.saturating_add(size)),
            _ => {
                let (rest, end) = rest.split_last_chunk::<8>()?;
                (rest, i64::from_be_bytes(*end))
            }
        };
        Some((rest, Window { start, end, session }))
    };
    match split() {
        Some((key, window)) => (Some(key), Some(window)),
        None => (key, None),
    }
}

fn headers(all: &[(String, Option<String>)]) -> Result<Headers> {
    if all.is_empty() {
        return Ok(None);
    }
    let mut out: Vec<(Arc<str>, Option<Arc<[u8]>>)> = Vec::new();
    for (name, value) in all {
        let bytes = match value {
            Some(text) => {
                let bytes = BASE64.decode(text).map_err(|e| format!("the header {name}: {e}"))?;
                Some(bytes.into())
            }
            None => None,
        };
        out.push((name.as_str().into(), bytes));
    }
    Ok(Some(Arc::new(out)))
}

/// A record as text, for complaints about it.
pub fn brief(record: &CaseRecord) -> String {
    let text = format!("{} {}", record.key, plain(&record.value));
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
