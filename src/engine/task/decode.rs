//! Records of a source's topic into changes.

use std::sync::Arc;

use crate::formats::{self, Deserializer, FormatError, SchemaSource};
use crate::topology::{PseudoColumn, Source, SourceTopic};
use crate::types::{Change, Headers, RelationKind, Row, Timestamp, Value, WINDOW_COLUMNS, decode_key, decode_row};

use super::InputRecord;
use super::error::{Failure, Reason};
use super::event_time::EventTime;

/// Bits of the first byte of a repartition record: which rows follow. See [`super::encode::repartition_value`].
pub(super) const HAS_OLD: u8 = 1;
pub(super) const HAS_NEW: u8 = 2;

/// Decodes one source's records.
pub(super) struct SourceCodec {
    body: Body,
    headers: bool,
    scratch: Vec<Value>,
}

enum Body {
    /// A relation's topic.
    External(Box<External>),
    /// An internal topic with old and new rows in our own codec, of a table or of a stream.
    Repartition { of_table: bool },
}

struct External {
    key: Box<dyn Deserializer>,
    /// The key of a record without one.
    no_key: Row,
    value: Box<dyn Deserializer>,
    timestamp: Option<ColumnTimestamp>,
    /// The event time where a column of the key holds it.
    key_time: Option<EventTime>,
    pseudo: Vec<PseudoColumn>,
}

/// The decoded column that holds the event time.
struct ColumnTimestamp {
    at: usize,
    /// It is decoded for this only.
    only: bool,
    time: EventTime,
}

impl SourceCodec {
    pub fn new(
        source: &Source,
        kind: RelationKind,
        headers: bool,
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Self, FormatError> {
        let body = match &source.topic {
            SourceTopic::Repartition(_) => Body::Repartition {
                of_table: kind == RelationKind::Table,
            },
            SourceTopic::External(_) => Body::External(Box::new(External::new(source, schemas)?)),
        };
        Ok(Self {
            body,
            headers,
            scratch: Vec::new(),
        })
    }

    /// Whether its rows are part of a table above this task, so that none of its records can be rejected as a whole.
    pub fn is_of_table_above(&self) -> bool {
        matches!(self.body, Body::Repartition { of_table: true })
    }

    /// The key of a record alone, if it can be decoded.
    pub fn key(&mut self, bytes: &[u8]) -> Option<Row> {
        match &mut self.body {
            Body::External(external) if external.no_key.is_empty() => None,
            Body::External(external) => {
                self.scratch.clear();
                external.key.deserialize(bytes, &mut self.scratch).ok()?;
                Some(Row::take(&mut self.scratch))
            }
            Body::Repartition { .. } => decode_key(bytes).ok(),
        }
    }

    pub fn decode(&mut self, record: &InputRecord<'_>) -> Result<Change, Failure> {
        let mut change = match &mut self.body {
            Body::External(external) => external.decode(record, &mut self.scratch)?,
            Body::Repartition { .. } => decode_repartition(record)?,
        };
        if self.headers {
            change.headers = record.headers.to_headers();
        }
        Ok(change)
    }
}

impl External {
    fn new(source: &Source, schemas: &Arc<dyn SchemaSource>) -> Result<Self, FormatError> {
        let columns = &source.columns;
        let mut used = source.used.clone();
        let (key_time, time) = match EventTime::new(&source.timestamp) {
            Some(time) if time.of_key => (Some(time), None),
            time => (None, time),
        };
        let timestamp = time.map(|time| {
            let (at, only) = match used.binary_search(&time.column) {
                Ok(at) => (at, false),
                Err(at) => {
                    used.insert(at, time.column);
                    (at, true)
                }
            };
            ColumnTimestamp { at, only, time }
        });
        let all_keys: Vec<usize> = (0..columns.key.len()).collect();
        let key = formats::deserializer(&source.key_format, &columns.key, &all_keys, true, schemas)?;
        let bounds = source.window.map_or(0, |_| WINDOW_COLUMNS.len());
        Ok(Self {
            key: match source.window {
                None => key,
                window => Box::new(formats::WindowedDeserializer::new(key, window)),
            },
            no_key: vec![Value::Null; columns.key.len() + bounds].into(),
            value: formats::deserializer(&source.value_format, &columns.value, &used, false, schemas)?,
            timestamp,
            key_time,
            pseudo: source.pseudo.clone(),
        })
    }

    fn decode(&mut self, record: &InputRecord<'_>, scratch: &mut Vec<Value>) -> Result<Change, Failure> {
        let mut timestamp = record.timestamp;
        let key = match record.key {
            Some(bytes) if !self.no_key.is_empty() => {
                scratch.clear();
                self.key
                    .deserialize(bytes, scratch)
                    .map_err(|e| Failure::of_format(e, Reason::Key))?;
                Row::take(scratch)
            }
            Some(_) | None => self.no_key.clone(),
        };
        let new = match record.value {
            None => None,
            Some(bytes) => {
                if let Some(time) = &self.key_time {
                    timestamp = time.of(key.get(time.column).unwrap_or(&Value::Null))?;
                }
                scratch.clear();
                self.value
                    .deserialize(bytes, scratch)
                    .map_err(|e| Failure::of_format(e, Reason::Value))?;
                if let Some(column) = &self.timestamp {
                    timestamp = column.time.of(&scratch[column.at])?;
                    if column.only {
                        scratch.remove(column.at);
                    }
                }
                for pseudo in &self.pseudo {
                    scratch.push(match pseudo {
                        PseudoColumn::Partition => Value::Integer(record.partition),
                        PseudoColumn::Offset => Value::Bigint(record.offset),
                        PseudoColumn::Headers => all_headers(&record.headers.to_headers()),
                        PseudoColumn::Header(name) => last_header(&record.headers.to_headers(), name),
                    });
                }
                Some(Row::take(scratch))
            }
        };
        Ok(Change::record(key, new, timestamp))
    }
}

/// `HEADERS`: each header as STRUCT<KEY STRING, VALUE BYTES>, in order.
fn all_headers(headers: &Headers) -> Value {
    let header = |(name, value): &(Arc<str>, Option<Arc<[u8]>>)| {
        let bytes = value.clone().map_or(Value::Null, Value::Bytes);
        Value::Struct([Value::String(name.clone()), bytes].into())
    };
    Value::Array(headers.iter().flat_map(|all| all.iter()).map(header).collect())
}

/// `HEADER('name')`: the value of the last header of this name; NULL if there is none.
fn last_header(headers: &Headers, name: &str) -> Value {
    let mut all = headers.iter().flat_map(|all| all.iter()).rev();
    let found = all.find(|(known, _)| &**known == name);
    found
        .and_then(|(_, value)| value.clone())
        .map_or(Value::Null, Value::Bytes)
}

fn decode_repartition(record: &InputRecord<'_>) -> Result<Change, Failure> {
    let truncated = || Failure::bad(Reason::Value, "not a repartition record of this version");
    let key = decode_key(record.key.unwrap_or_default()).map_err(|e| Failure::bad(Reason::Key, e.to_string()))?;
    let row = |bytes: &[u8]| decode_row(bytes).map_err(|e| Failure::bad(Reason::Value, e.to_string()));
    let (flags, mut rest) = record.value.and_then(<[u8]>::split_first).ok_or_else(truncated)?;
    let (mut old, mut old_timestamp) = (None, record.timestamp);
    if flags & HAS_OLD != 0 {
        let (timestamp, after) = rest.split_first_chunk().ok_or_else(truncated)?;
        old_timestamp = Timestamp::from_be_bytes(*timestamp);
        let (len, after) = after.split_first_chunk().ok_or_else(truncated)?;
        let (bytes, after) = after
            .split_at_checked(u32::from_be_bytes(*len) as usize)
            .ok_or_else(truncated)?;
        old = Some(row(bytes)?);
        rest = after;
    }
    let new = match flags & HAS_NEW {
        0 if rest.is_empty() => None,
        0 => return Err(truncated()),
        _ => Some(row(rest)?),
    };
    Ok(Change {
        old,
        old_timestamp,
        ..Change::record(key, new, record.timestamp)
    })
}
