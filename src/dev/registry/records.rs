//! Events as records of a compacted `_schemas` topic, in the JSON that Confluent's Schema Registry keeps there.
//!
//! Of its record types, CLEAR_SUBJECT and CONTEXT are passed over. A NOOP record, which Confluent's ignores, carries the next id here: after a
//! schema was deleted for good, compaction forgets that its id was ever given out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::formats::{SchemaReference, SchemaType};

use super::state::{Event, Stored};

/// A record: key and value, `None` for a tombstone.
pub type Record = (Vec<u8>, Option<Vec<u8>>);

#[derive(Serialize, Deserialize)]
struct Key {
    keytype: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    magic: i32,
}

#[derive(Serialize, Deserialize)]
struct SchemaValue {
    subject: String,
    version: i32,
    id: u32,
    #[serde(rename = "schemaType", default, skip_serializing_if = "is_avro")]
    schema_type: SchemaType,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    references: Vec<SchemaReference>,
    schema: String,
    #[serde(default)]
    deleted: bool,
}

fn is_avro(t: &SchemaType) -> bool {
    *t == SchemaType::Avro
}

#[derive(Serialize, Deserialize)]
struct LevelValue {
    #[serde(rename = "compatibilityLevel")]
    level: String,
}

#[derive(Serialize, Deserialize)]
struct ModeValue {
    mode: String,
}

#[derive(Serialize, Deserialize)]
struct SubjectDeletedValue {
    subject: String,
    version: i32,
}

#[derive(Serialize, Deserialize)]
struct NextIdValue {
    #[serde(rename = "nextId")]
    next_id: u32,
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|e| format!("a record of the _schemas topic cannot be written: {e}"))
}

/// The record of an event.
pub(super) fn record(event: &Event) -> Result<Record, String> {
    let key = |keytype: &str, subject: Option<&String>, version: Option<i32>, magic: i32| {
        json(&Key {
            keytype: keytype.to_string(),
            subject: subject.cloned(),
            version,
            magic,
        })
    };
    Ok(match event {
        Event::Schema {
            subject,
            version,
            id,
            stored,
            deleted,
        } => {
            let value = SchemaValue {
                subject: subject.clone(),
                version: *version,
                id: *id,
                schema_type: stored.schema_type,
                references: stored.references.clone(),
                schema: stored.text.clone(),
                deleted: *deleted,
            };
            (key("SCHEMA", Some(subject), Some(*version), 1)?, Some(json(&value)?))
        }
        Event::SchemaGone { subject, version } => (key("SCHEMA", Some(subject), Some(*version), 1)?, None),
        Event::SubjectDeleted { subject, version } => {
            let value = SubjectDeletedValue {
                subject: subject.clone(),
                version: *version,
            };
            (key("DELETE_SUBJECT", Some(subject), None, 0)?, Some(json(&value)?))
        }
        Event::Level(subject, level) => {
            let value = level.map(|l| json(&LevelValue { level: l.to_string() })).transpose()?;
            (key("CONFIG", subject.as_ref(), None, 0)?, value)
        }
        Event::Mode(subject, mode) => {
            let mode = mode
                .map(|m| {
                    json(&ModeValue {
                        mode: m.as_str().to_string(),
                    })
                })
                .transpose()?;
            (key("MODE", subject.as_ref(), None, 0)?, mode)
        }
        Event::NextId(next_id) => (
            key("NOOP", None, None, 0)?,
            Some(json(&NextIdValue { next_id: *next_id })?),
        ),
    })
}

/// The event of a record; `None` for record types that say nothing here.
///
/// # Errors
/// When the record is none of a registry's.
pub(super) fn event(key: &[u8], value: Option<&[u8]>) -> Result<Option<Event>, String> {
    let shown = || String::from_utf8_lossy(key).into_owned();
    let bad = |e: &dyn std::fmt::Display| format!("the record {} of the _schemas topic cannot be read: {e}", shown());
    let parsed: Key = serde_json::from_slice(key).map_err(|e| bad(&e))?;
    let subject = || parsed.subject.clone().ok_or_else(|| bad(&"it names no subject"));
    Ok(Some(match (parsed.keytype.as_str(), value) {
        ("SCHEMA", Some(value)) => {
            let value: SchemaValue = serde_json::from_slice(value).map_err(|e| bad(&e))?;
            Event::Schema {
                subject: value.subject,
                version: value.version,
                id: value.id,
                stored: Arc::new(Stored {
                    text: value.schema,
                    schema_type: value.schema_type,
                    references: value.references,
                }),
                deleted: value.deleted,
            }
        }
        ("SCHEMA", None) => Event::SchemaGone {
            subject: subject()?,
            version: parsed.version.ok_or_else(|| bad(&"it names no version"))?,
        },
        ("DELETE_SUBJECT", Some(value)) => {
            let value: SubjectDeletedValue = serde_json::from_slice(value).map_err(|e| bad(&e))?;
            Event::SubjectDeleted {
                subject: value.subject,
                version: value.version,
            }
        }
        ("CONFIG", None) => Event::Level(parsed.subject, None),
        ("CONFIG", Some(value)) => {
            let value: LevelValue = serde_json::from_slice(value).map_err(|e| bad(&e))?;
            Event::Level(parsed.subject, Some(value.level.parse().map_err(|e: String| bad(&e))?))
        }
        ("MODE", None) => Event::Mode(parsed.subject, None),
        ("MODE", Some(value)) => {
            let value: ModeValue = serde_json::from_slice(value).map_err(|e| bad(&e))?;
            Event::Mode(
                parsed.subject,
                Some(value.mode.parse().map_err(|()| bad(&"an unknown mode"))?),
            )
        }
        ("NOOP", Some(value)) => match serde_json::from_slice::<NextIdValue>(value) {
            Ok(value) => Event::NextId(value.next_id),
            Err(_) => return Ok(None),
        },
        ("NOOP" | "DELETE_SUBJECT" | "CLEAR_SUBJECT" | "CONTEXT", _) => return Ok(None),
        (other, _) => return Err(bad(&format!("{other} is no known type of record"))),
    }))
}
