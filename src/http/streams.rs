//! Records in: streams and tables that take them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use serde_json::{Map, Value as Json, json};

use super::answer::{columns_json, ok};
use super::json_in::{Checker, member, timestamp};
use super::params::Params;
use super::state::now_ms;
use super::views::parse_body;
use super::{ApiError, App};
use crate::engine::{NewRecord, PublishedTopology};
use crate::topology::Relation;
use crate::types::{Column, Headers, RelationKind, Row, Value};
use crate::views::Token;

struct Found {
    topology: Arc<PublishedTopology>,
    index: usize,
}

impl Found {
    fn relation(&self) -> &Relation {
        &self.topology.topology.relations[self.index]
    }
}

fn all(app: &App) -> Vec<Found> {
    let of = |topology: Arc<PublishedTopology>| {
        let count = topology.topology.relations.len();
        (0..count).map(move |index| Found {
            topology: topology.clone(),
            index,
        })
    };
    app.published().topologies().into_iter().flat_map(of).collect()
}

pub(super) async fn list(State(app): State<App>, _: Params) -> Response {
    let streams: Json = all(&app)
        .iter()
        .map(|found| {
            let relation = found.relation();
            json!({
                "name": &*relation.name,
                "kind": relation.kind.to_string(),
                "topology": &*found.topology.topology.name,
                "topic": &*relation.topic.name,
                "key": relation.schema.key.iter().map(|c| &*c.name).collect::<Vec<_>>(),
                "columns": columns_json(&relation.schema.columns().cloned().collect::<Vec<_>>()),
                "formats": {
                    "key": relation.key_format.format.to_string(),
                    "value": relation.value_format.format.to_string(),
                },
                "writable": !relation.derived && app.ingest().is_some(),
            })
        })
        .collect();
    ok(&json!({"streams": streams}))
}

/// A stream or table by `NAME` or `topology.NAME`. Topologies that declare the same topic alike are one.
fn find(app: &App, name: &str) -> Result<Relation, ApiError> {
    let all = all(app);
    let matches = |found: &&Found| {
        let relation = found.relation();
        let qualified = name.split_once('.').is_some_and(|(topology, plain)| {
            *found.topology.topology.name == *topology && relation.name.eq_ignore_ascii_case(plain)
        });
        relation.name.eq_ignore_ascii_case(name) || qualified
    };
    let mut found: Vec<&Found> = all.iter().filter(matches).collect();
    // a relation that a query writes in one file is what another file declares over its topic
    if let Some(derived) = found.iter().find(|f| f.relation().derived) {
        found = vec![derived];
    }
    let Some(first) = found.first() else {
        let known: Vec<String> = all.iter().map(|f| f.relation().name.to_string()).collect();
        let hint = match known.is_empty() {
            true => "No topology runs here yet.".to_string(),
            false => format!("Known streams and tables: {}.", known.join(", ")),
        };
        return Err(ApiError::not_found(
            "unknown_stream",
            format!("there is no stream or table {name}"),
            hint,
        ));
    };
    let relation = first.relation();
    let alike = |f: &&Found| {
        let other = f.relation();
        other.topic.name == relation.topic.name
            && other.schema == relation.schema
            && other.key_format == relation.key_format
            && other.value_format == relation.value_format
    };
    if !found.iter().all(alike) {
        let topologies: Vec<&str> = found.iter().map(|f| &*f.topology.topology.name).collect();
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "ambiguous_stream",
            format!(
                "several topologies declare {name} differently: {}",
                topologies.join(", ")
            ),
            format!("Name the topology too: {}.{}", topologies[0], relation.name),
        ));
    }
    Ok(relation.clone())
}

pub(super) async fn write(
    State(app): State<App>,
    Path(name): Path<String>,
    _: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let relation = find(&app, &name)?;
    let Some(ingest) = app.ingest().cloned() else {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "read_only",
            "this instance takes no records",
            "Write to the topic with a Kafka client.",
        ));
    };
    if relation.derived {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "derived",
            format!("{} is written by its own query", relation.name),
            "Write to the streams that it reads.",
        ));
    }
    let body = parse_body(body, &app)?;
    let records = parse_records(&body, &relation, app.settings().records, now_ms())?;
    let written = tokio::task::spawn_blocking(move || ingest.write(&relation, records)).await;
    let positions = written.map_err(ApiError::internal)??;
    let position =
        |p: &crate::types::Position| json!({"topic": &*p.tp.topic, "partition": p.tp.partition, "offset": p.offset});
    Ok(ok(&json!({
        "positions": positions.iter().map(position).collect::<Vec<_>>(),
        "token": Token::of_records(&positions).encode(),
    })))
}

/// The records of a body: `{"records": [...]}` or one record.
pub(super) fn parse_records(
    body: &Json,
    relation: &Relation,
    most: usize,
    now: i64,
) -> Result<Vec<NewRecord>, ApiError> {
    const SHAPE: &str =
        r#"One record: {"key": ..., "value": {...}, "timestamp": ..., "headers": {...}}; a batch: {"records": [...]}"#;
    let Json::Object(members) = body else {
        return Err(ApiError::bad("the body is not an object", SHAPE));
    };
    let (list, path) = match members.get("records") {
        Some(Json::Array(records)) if members.len() == 1 => (&records[..], "$.records"),
        Some(_) => return Err(ApiError::bad("records must be an array, and stand alone", SHAPE)),
        None => (std::slice::from_ref(body), "$"),
    };
    if list.is_empty() || list.len() > most {
        let message = format!("{} records in one request; from 1 to {most} are taken", list.len());
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_records",
            message,
            "Send several requests.",
        ));
    }
    let mut checker = Checker::default();
    let records: Vec<NewRecord> = list
        .iter()
        .enumerate()
        .map(|(i, record)| {
            let path = if path == "$" {
                path.to_string()
            } else {
                format!("{path}[{i}]")
            };
            parse_record(record, relation, &path, now, &mut checker)
        })
        .collect();
    if checker.problems.is_empty() {
        Ok(records)
    } else {
        Err(ApiError::problems(checker.problems))
    }
}

fn parse_record(record: &Json, relation: &Relation, path: &str, now: i64, checker: &mut Checker) -> NewRecord {
    let empty = Map::new();
    let members = record.as_object().unwrap_or_else(|| {
        checker.problem(path, "a record is an object with key, value, timestamp and headers");
        &empty
    });
    for name in members.keys() {
        if !["key", "value", "timestamp", "headers"].contains(&name.as_str()) {
            let hint =
                "unknown member; a record has key, value, timestamp and headers, and its columns stand inside value";
            checker.problem(&format!("{path}.{name}"), hint);
        }
    }
    let (key, value) = key_and_value(members, relation, path, checker);
    let given = members.get("timestamp").filter(|t| !t.is_null());
    let timestamp = given.map_or(Ok(now), timestamp).unwrap_or_else(|message| {
        checker.problem(&format!("{path}.timestamp"), message);
        now
    });
    let headers = members.get("headers").filter(|h| !h.is_null());
    NewRecord {
        key,
        value,
        timestamp,
        headers: headers.and_then(|json| parse_headers(json, &format!("{path}.headers"), checker)),
    }
}

fn key_and_value(
    members: &Map<String, Json>,
    relation: &Relation,
    path: &str,
    checker: &mut Checker,
) -> (Option<Row>, Option<Row>) {
    let schema = &relation.schema;
    let value_path = format!("{path}.value");
    let mut in_value = None;
    let value = match members.get("value") {
        Some(Json::Object(value)) => {
            // key columns may stand among the value's
            let mut value = value.clone();
            if !members.contains_key("key") && !schema.key.is_empty() {
                in_value = Some(take_key(&mut value, &schema.key, &schema.value, &value_path, checker));
            }
            Some(checker.row(&value, &schema.value, &value_path))
        }
        Some(Json::Null) => {
            if relation.kind == RelationKind::Stream {
                checker.problem(
                    &value_path,
                    "a stream's record needs a value; null deletes a row of a table",
                );
            }
            None
        }
        Some(_) => {
            checker.problem(&value_path, "expected an object with the columns");
            None
        }
        None => {
            checker.problem(path, "the record has no value");
            None
        }
    };
    let key = match members.get("key") {
        Some(json) => parse_key(json, &schema.key, &format!("{path}.key"), checker),
        None => in_value.flatten(),
    };
    if relation.kind == RelationKind::Table && key.as_ref().is_none_or(|key| key.has_null()) {
        let names: Vec<&str> = schema.key.iter().map(|c| &*c.name).collect();
        checker.problem(path, format!("a row of a table needs its key: {}", names.join(", ")));
    }
    (key, value)
}

/// Takes the key's columns out of a value's members. One that is a column of the value as well stays there.
fn take_key(
    value: &mut Map<String, Json>,
    key: &[Column],
    value_columns: &[Column],
    path: &str,
    checker: &mut Checker,
) -> Option<Row> {
    let mut any = false;
    let row: Row = key
        .iter()
        .map(|column| {
            let Some((_, name, json)) = member(value, &column.name) else {
                return Value::Null;
            };
            any = true;
            let found = checker.value(json, &column.sql_type, &format!("{path}.{name}"), 0);
            let name = name.to_string();
            if !value_columns.iter().any(|c| c.name == column.name) {
                value.shift_remove(&name);
            }
            found
        })
        .collect();
    any.then_some(row)
}

fn parse_key(json: &Json, columns: &[Column], path: &str, checker: &mut Checker) -> Option<Row> {
    match (json, columns) {
        (Json::Null, _) => None,
        (_, []) => {
            checker.problem(path, "the stream has no key columns");
            None
        }
        // an object names the columns, also the only one; a STRUCT that has the key's name as a field must be written that way
        (Json::Object(members), _) if columns.len() > 1 || member(members, &columns[0].name).is_some() => {
            Some(checker.row(members, columns, path))
        }
        (_, [only]) => Some(Row::from([checker.value(json, &only.sql_type, path, 0)])),
        (_, _) => {
            let names: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
            checker.problem(path, format!("expected an object with {}", names.join(", ")));
            None
        }
    }
}

fn parse_headers(json: &Json, path: &str, checker: &mut Checker) -> Headers {
    let Json::Object(members) = json else {
        checker.problem(path, "expected an object of names and texts");
        return None;
    };
    let headers = members.iter().map(|(name, json)| {
        let bytes: Option<Arc<[u8]>> = match json {
            Json::String(text) => Some(text.as_bytes().into()),
            Json::Null => None,
            other => {
                let encoded = other.get("base64").and_then(Json::as_str);
                let decoded = encoded.and_then(|text| crate::types::BASE64.decode(text).ok());
                if decoded.is_none() {
                    checker.problem(
                        &format!("{path}.{name}"),
                        "expected a text, null or {\"base64\": \"...\"}",
                    );
                }
                decoded.map(Into::into)
            }
        };
        (Arc::from(name.as_str()), bytes)
    });
    Some(Arc::new(headers.collect()))
}
