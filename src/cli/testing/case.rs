//! A case of ksqlDB's JSON shape: read leniently (unknown fields mean nothing), expanded over formats and configurations, and checked.
//!
//! *Invariant*: an expanded case is again a JSON object that reads to the same case, so that it can travel as a line.

use serde_json::{Map, Value as Json};

/// A case, expanded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonCase {
    /// Its name.
    pub name: String,
    /// Settings of ksqlDB and Kafka Streams.
    pub properties: Vec<(String, String)>,
    /// Topics with their schemas.
    pub topics: Vec<TopicDecl>,
    /// SQL, in order.
    pub statements: Vec<String>,
    /// What arrives.
    pub inputs: Vec<CaseRecord>,
    /// What must come, topic by topic in this order.
    pub outputs: Vec<CaseRecord>,
    /// The refusal that must come.
    pub expected: Option<ExpectedError>,
    /// What must hold of sources and topics afterwards.
    pub post: Option<Json>,
}

/// A topic that a case declares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicDecl {
    /// Its name.
    pub name: String,
    /// Its partitions, if given.
    pub partitions: Option<i32>,
    /// Its replicas.
    pub replicas: Option<i16>,
    /// The keys.
    pub key: SideDecl,
    /// The values.
    pub value: SideDecl,
}

/// Keys or values of a declared topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideDecl {
    /// The format's name.
    pub format: Option<String>,
    /// The schema to register.
    pub schema: Option<Json>,
    /// The id to register it with.
    pub schema_id: Option<u32>,
    /// Schemas that it names.
    pub references: Vec<Json>,
}

/// A record in or out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CaseRecord {
    /// Its topic.
    pub topic: String,
    /// Its key; null for none.
    pub key: Json,
    /// Its value; null for none.
    pub value: Json,
    /// Its time.
    pub timestamp: Option<i64>,
    /// The window of its key.
    pub window: Option<Window>,
    /// Its headers: names and base64.
    pub headers: Vec<(String, Option<String>)>,
}

/// The window of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond.
    pub start: i64,
    /// One past its last millisecond; of a session its last.
    pub end: i64,
    /// Whether it is a session.
    pub session: bool,
}

/// A refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedError {
    /// A part of its text.
    pub message: Option<String>,
}

type Result<T> = std::result::Result<T, String>;

/// The cases of an object as a file has it: one for each format and configuration; none when it is not enabled.
///
/// # Errors
/// What is missing or of another kind.
pub fn expand(case: &Json) -> Result<Vec<Json>> {
    let object = case.as_object().ok_or("a case is a JSON object")?;
    if object.get("enabled") == Some(&Json::Bool(false)) {
        return Ok(Vec::new());
    }
    let name = name_of(object)?;
    let values = |field: &str| match object.get(field) {
        Some(Json::Array(all)) if !all.is_empty() => all.iter().map(Some).collect(),
        _ => vec![None],
    };
    let mut cases = Vec::new();
    for format in values("format") {
        for config in values("config") {
            let mut one = object.clone();
            let mut title = name.clone();
            one.remove("format");
            one.remove("config");
            if let Some(format) = format {
                let text = plain(format);
                title.push_str(&format!(" - {text}"));
                for field in ["statements", "topics", "expectedException", "post"] {
                    if let Some(value) = one.get_mut(field) {
                        replace_text(value, "{FORMAT}", &text);
                    }
                }
            }
            if let Some(config) = config {
                title.push_str(&format!(" - {}", plain(config)));
                if let Some(Json::Object(properties)) = one.get_mut("properties") {
                    for value in properties.values_mut().filter(|v| v.as_str() == Some("{CONFIG}")) {
                        *value = config.clone();
                    }
                }
            }
            one.insert("name".into(), title.into());
            cases.push(Json::Object(one));
        }
    }
    Ok(cases)
}

fn name_of(object: &Map<String, Json>) -> Result<String> {
    let name = object.get("name").and_then(Json::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err("a case needs a name".into());
    }
    Ok(name.to_owned())
}

/// Replaces in all strings inside.
fn replace_text(json: &mut Json, from: &str, to: &str) {
    match json {
        Json::String(text) => *text = text.replace(from, to),
        Json::Array(items) => items.iter_mut().for_each(|item| replace_text(item, from, to)),
        Json::Object(fields) => fields.values_mut().for_each(|value| replace_text(value, from, to)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// A string as it is, anything else as JSON.
pub fn plain(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

impl JsonCase {
    /// Reads an expanded case.
    ///
    /// # Errors
    /// What is missing or of another kind.
    pub fn read(case: &Json) -> Result<Self> {
        let object = case.as_object().ok_or("a case is a JSON object")?;
        let list = |field: &str| match object.get(field) {
            None | Some(Json::Null) => Ok(&[] as &[Json]),
            Some(Json::Array(all)) => Ok(all.as_slice()),
            Some(_) => Err(format!("{field} must be a list")),
        };
        let records = |field: &str| -> Result<Vec<CaseRecord>> {
            let numbered = list(field)?.iter().enumerate();
            numbered
                .map(|(i, json)| CaseRecord::read(json).map_err(|e| format!("{field}[{i}]: {e}")))
                .collect()
        };
        let statements: Option<Vec<String>> = list("statements")?
            .iter()
            .map(|s| s.as_str().map(str::to_owned))
            .collect();
        let statements = statements.filter(|all| !all.is_empty());
        let properties = match object.get("properties") {
            Some(Json::Object(all)) => all.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
            _ => Vec::new(),
        };
        let expected = match object.get("expectedException") {
            Some(Json::Object(fields)) => Some(ExpectedError {
                message: fields.get("message").and_then(Json::as_str).map(str::to_owned),
            }),
            _ => None,
        };
        Ok(Self {
            name: name_of(object)?,
            properties,
            topics: list("topics")?.iter().map(TopicDecl::read).collect::<Result<_>>()?,
            statements: statements.ok_or("statements must be a list of strings, at least one")?,
            inputs: records("inputs")?,
            outputs: records("outputs")?,
            expected,
            post: object.get("post").filter(|post| !post.is_null()).cloned(),
        })
    }
}

impl TopicDecl {
    fn read(json: &Json) -> Result<Self> {
        if let Json::String(name) = json {
            return Ok(Self {
                name: name.clone(),
                ..Self::default()
            });
        }
        let name = json["name"].as_str().ok_or("a topic needs a name")?;
        let number = |field: &str| json[field].as_i64();
        let side = |which: &str| SideDecl {
            format: format_name(&json[format!("{which}Format")]),
            schema: Some(&json[format!("{which}Schema")]).filter(|s| !s.is_null()).cloned(),
            schema_id: number(&format!("{which}SchemaId")).and_then(|id| u32::try_from(id).ok()),
            references: json[format!("{which}SchemaReferences")]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        };
        Ok(Self {
            name: name.to_owned(),
            partitions: number("partitions").and_then(|n| i32::try_from(n).ok()),
            replicas: number("replicas").and_then(|n| i16::try_from(n).ok()),
            key: side("key"),
            value: side("value"),
        })
    }
}

/// A format by itself, or an object with a format in it.
fn format_name(json: &Json) -> Option<String> {
    let name = match json {
        Json::Object(fields) => fields.get("format")?,
        other => other,
    };
    name.as_str().map(str::to_uppercase)
}

impl CaseRecord {
    fn read(json: &Json) -> Result<Self> {
        let object = json.as_object().ok_or("a record is a JSON object")?;
        let topic = object
            .get("topic")
            .and_then(Json::as_str)
            .ok_or("a record needs a topic")?;
        let integer = |json: &Json, what: &str| json.as_i64().ok_or_else(|| format!("{what} must be a whole number"));
        let timestamp = match object.get("timestamp") {
            None | Some(Json::Null) => None,
            Some(json) => Some(integer(json, "timestamp")?),
        };
        let window = match object.get("window") {
            None | Some(Json::Null) => None,
            Some(window) => Some(Window {
                start: integer(&window["start"], "the start of the window")?,
                end: integer(&window["end"], "the end of the window")?,
                session: window["type"]
                    .as_str()
                    .is_some_and(|t| t.eq_ignore_ascii_case("session")),
            }),
        };
        let headers = object.get("headers").and_then(Json::as_array).into_iter().flatten();
        let header = |json: &Json| -> Result<(String, Option<String>)> {
            let name = json["KEY"].as_str().ok_or("a header needs a KEY")?;
            Ok((name.to_owned(), json["VALUE"].as_str().map(str::to_owned)))
        };
        Ok(Self {
            topic: topic.to_owned(),
            key: object.get("key").cloned().unwrap_or_default(),
            value: object.get("value").cloned().unwrap_or_default(),
            timestamp,
            window,
            headers: headers.map(header).collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_and_configurations_multiply() {
        let case = json!({
            "name": "n", "format": ["JSON", "AVRO"], "config": ["a", true],
            "properties": {"p": "{CONFIG}", "q": 1},
            "statements": ["CREATE ... FORMAT='{FORMAT}'"],
        });
        let all: Vec<JsonCase> = expand(&case)
            .unwrap()
            .iter()
            .map(|one| JsonCase::read(one).unwrap())
            .collect();
        let names: Vec<&str> = all.iter().map(|case| &*case.name).collect();
        assert_eq!(
            names,
            ["n - JSON - a", "n - JSON - true", "n - AVRO - a", "n - AVRO - true"]
        );
        assert_eq!(all[3].statements, ["CREATE ... FORMAT='AVRO'"]);
        assert_eq!(
            all[3].properties,
            [("p".into(), "true".into()), ("q".into(), "1".into())]
        );
        assert!(expand(&json!({"name": "n", "enabled": false})).unwrap().is_empty());
        assert!(expand(&json!({"statements": []})).is_err());
    }

    #[test]
    fn records_have_defaults() {
        let case = JsonCase::read(&json!({
            "name": "n", "statements": ["x"], "what": {"is": "this"},
            "inputs": [{"topic": "t", "value": {"A": 1}},
                {"topic": "t", "key": 1, "timestamp": 5, "window": {"start": 1, "end": 2, "type": "SESSION"},
                 "headers": [{"KEY": "h", "VALUE": "AA=="}, {"KEY": "g", "VALUE": null}]}],
        }))
        .unwrap();
        assert_eq!(case.inputs[0].timestamp, None);
        assert!(case.inputs[0].key.is_null() && case.inputs[1].value.is_null());
        assert_eq!(
            case.inputs[1].window,
            Some(Window {
                start: 1,
                end: 2,
                session: true
            })
        );
        assert_eq!(
            case.inputs[1].headers,
            [("h".to_owned(), Some("AA==".to_owned())), ("g".to_owned(), None)]
        );
        for wrong in [
            json!({"name": "n"}),
            json!({"name": "n", "statements": [1]}),
            json!({"name": "n", "statements": ["x"], "inputs": [{}]}),
            json!({"name": "n", "statements": ["x"], "inputs": [{"topic": "t", "timestamp": "x"}]}),
            json!([]),
        ] {
            assert!(JsonCase::read(&wrong).is_err(), "{wrong}");
        }
    }
}
