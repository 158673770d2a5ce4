//! The WITH clause: one table of properties, read into checked values.

use crate::types::{Format, ProtobufNulls, SerdeSpec, WindowKind};

use super::ast::{Duration, Literal, Property};
use super::diagnostic::{Problem, Span};

/// What a property may be used with, for the error message of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Any,
    /// Only where a topic is declared, not with AS SELECT.
    Declared,
    /// Only with AS SELECT.
    Derived,
}

/// A property of WITH clauses.
#[derive(Clone, Copy, Debug)]
pub struct PropertyDoc {
    /// The name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    usage: Use,
}

impl PropertyDoc {
    /// The statements that take it, in words.
    pub fn with(&self) -> &'static str {
        match self.usage {
            Use::Any => "CREATE, CREATE ... AS SELECT",
            Use::Declared => "CREATE",
            Use::Derived => "CREATE ... AS SELECT",
        }
    }
}

const fn doc(name: &'static str, usage: Use, doc: &'static str) -> PropertyDoc {
    PropertyDoc { name, doc, usage }
}

/// All properties, for the check of names and the manual.
pub const PROPERTIES: &[PropertyDoc] = &[
    doc("FORMAT", Use::Any, "KEY_FORMAT and VALUE_FORMAT at once."),
    doc(
        "GLOBAL",
        Use::Declared,
        "TRUE: every process reads the whole table, so that streams and tables are joined with it by any key.",
    ),
    doc(
        "HISTORY_RETENTION_MS",
        Use::Declared,
        "Of a table: how far back FOR SYSTEM_TIME AS OF sees its rows, by the time of its own records.",
    ),
    doc("KAFKA_TOPIC", Use::Any, "The topic; by default the relation's name."),
    doc(
        "KEY_DELIMITER",
        Use::Any,
        "What separates the columns of DELIMITED keys: a character, SPACE or TAB.",
    ),
    doc("KEY_FORMAT", Use::Any, "How keys are written; KAFKA by default."),
    doc(
        "KEY_PROTOBUF_NULLABLE_REPRESENTATION",
        Use::Any,
        "How PROTOBUF keys hold NULL: OPTIONAL or WRAPPER; by default as the type's default.",
    ),
    doc(
        "KEY_SCHEMA_FULL_NAME",
        Use::Any,
        "The name of the key's registered record.",
    ),
    doc(
        "KEY_SCHEMA_ID",
        Use::Any,
        "Keys are written with this registered schema.",
    ),
    doc(
        "PARTITIONS",
        Use::Any,
        "Partitions of the topic, if it has to be created.",
    ),
    doc("REPLICAS", Use::Any, "Replicas of the topic, if it has to be created."),
    doc(
        "RETENTION_MS",
        Use::Any,
        "Retention of the topic, if it has to be created.",
    ),
    doc(
        "TIMESTAMP",
        Use::Any,
        "The column that holds the event time; by default the record's timestamp is it.",
    ),
    doc(
        "TIMESTAMP_FORMAT",
        Use::Any,
        "The pattern of a STRING column in TIMESTAMP.",
    ),
    doc(
        "VALUE_AVRO_SCHEMA_FULL_NAME",
        Use::Any,
        "An older name of VALUE_SCHEMA_FULL_NAME.",
    ),
    doc(
        "VALUE_DELIMITER",
        Use::Any,
        "What separates the columns of DELIMITED values: a character, SPACE or TAB.",
    ),
    doc("VALUE_FORMAT", Use::Any, "How values are written."),
    doc(
        "VALUE_PROTOBUF_NULLABLE_REPRESENTATION",
        Use::Any,
        "How PROTOBUF values hold NULL: OPTIONAL or WRAPPER; by default as the type's default.",
    ),
    doc(
        "VALUE_SCHEMA_FULL_NAME",
        Use::Any,
        "The name of the value's registered record.",
    ),
    doc(
        "VALUE_SCHEMA_ID",
        Use::Any,
        "Values are written with this registered schema.",
    ),
    doc(
        "WINDOW_SIZE",
        Use::Declared,
        "The size of the TUMBLING or HOPPING windows in the key: '30 SECONDS'.",
    ),
    doc(
        "WINDOW_TYPE",
        Use::Declared,
        "The kind of windows in the key: TUMBLING, HOPPING or SESSION.",
    ),
    doc(
        "WRAP_SINGLE_VALUE",
        Use::Any,
        "Whether a single value column is wrapped in a record.",
    ),
    doc(
        "WRITE_TOPIC",
        Use::Derived,
        "FALSE: no topic is written; the rest of the file, and for a table also queries, read it all the same.",
    ),
];

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A WITH clause, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct With {
    /// KAFKA_TOPIC.
    pub topic: Option<Placed<String>>,
    /// PARTITIONS.
    pub partitions: Option<Placed<i32>>,
    /// REPLICAS.
    pub replicas: Option<i16>,
    /// RETENTION_MS.
    pub retention_ms: Option<i64>,
    /// GLOBAL.
    pub global: Option<Placed<bool>>,
    /// HISTORY_RETENTION_MS.
    pub history_retention_ms: Option<Placed<i64>>,
    /// KEY_FORMAT, or FORMAT.
    pub key_format: Option<Placed<Format>>,
    /// VALUE_FORMAT, or FORMAT.
    pub value_format: Option<Placed<Format>>,
    /// KEY_DELIMITER.
    pub key_delimiter: Option<char>,
    /// VALUE_DELIMITER.
    pub value_delimiter: Option<char>,
    /// TIMESTAMP: a column, folded.
    pub timestamp: Option<Placed<String>>,
    /// TIMESTAMP_FORMAT.
    pub timestamp_format: Option<Placed<String>>,
    /// WRAP_SINGLE_VALUE.
    pub wrap_single_value: Option<Placed<bool>>,
    /// WINDOW_TYPE.
    pub window_type: Option<Placed<WindowKind>>,
    /// WINDOW_SIZE, in milliseconds.
    pub window_size: Option<Placed<i64>>,
    /// WRITE_TOPIC.
    pub write_topic: Option<Placed<bool>>,
    /// KEY_SCHEMA_ID.
    pub key_schema_id: Option<u32>,
    /// VALUE_SCHEMA_ID.
    pub value_schema_id: Option<u32>,
    /// KEY_SCHEMA_FULL_NAME.
    pub key_full_name: Option<String>,
    /// VALUE_SCHEMA_FULL_NAME.
    pub value_full_name: Option<String>,
    /// KEY_PROTOBUF_NULLABLE_REPRESENTATION.
    pub key_nulls: Option<ProtobufNulls>,
    /// VALUE_PROTOBUF_NULLABLE_REPRESENTATION.
    pub value_nulls: Option<ProtobufNulls>,
}

/// Reads a WITH clause; `derived` if the statement has AS SELECT. Every problem is added to `problems`.
pub fn read(with: &[Property], derived: bool, problems: &mut Vec<Problem>) -> With {
    let mut read = With::default();
    for (i, property) in with.iter().enumerate() {
        let name = &*property.name.text;
        let Some(known) = PROPERTIES.iter().find(|p| p.name == name) else {
            let problem = Problem::new(property.name.span, format!("there is no property {name}"));
            let problem = problem.hint("docs/sql.md lists them all");
            // TOPIC, DELIMITER: a part of a name
            let part = PROPERTIES.iter().find(|p| p.name.split('_').any(|word| word == name));
            let problem = match part {
                Some(part) => problem.hint(format!("did you mean {}?", part.name)),
                None => problem,
            };
            problems.push(problem.nearest(name, PROPERTIES.iter().map(|p| p.name)));
            continue;
        };
        if with[..i].iter().any(|p| p.name == property.name) {
            problems.push(Problem::new(
                property.name.span,
                format!("property {name} is given twice"),
            ));
        }
        match known.usage {
            Use::Declared if derived => {
                let message = format!("{name} is for declarations: with AS SELECT the query decides");
                problems.push(Problem::new(property.name.span, message).hint("leave it out"));
            }
            Use::Derived if !derived => {
                let problem = Problem::new(property.name.span, format!("{name} goes with AS SELECT only"));
                problems.push(problem.hint("a declared stream or table stands on a topic that others write"));
            }
            Use::Any | Use::Declared | Use::Derived => {
                if let Err(problem) = set(&mut read, name, property) {
                    problems.push(problem);
                }
            }
        }
    }
    let named = |name: &str| with.iter().find(|p| &*p.name.text == name);
    if let (Some(_), Some(other)) = (named("FORMAT"), named("KEY_FORMAT").or(named("VALUE_FORMAT"))) {
        let message = format!(
            "FORMAT sets the formats of keys and values: {} beside it is one too many",
            other.name.text
        );
        problems.push(Problem::new(other.name.span, message).hint("leave one of them out"));
    }
    read
}

fn set(with: &mut With, name: &str, property: &Property) -> Result<(), Problem> {
    match name {
        "KAFKA_TOPIC" => with.topic = Some(topic(property)?),
        "PARTITIONS" => with.partitions = Some(placed(property, number(property, 1, i32::MAX)?)),
        "REPLICAS" => with.replicas = Some(number(property, 1, i16::MAX)?),
        "RETENTION_MS" => with.retention_ms = Some(number(property, -1, i64::MAX)?),
        "GLOBAL" => with.global = Some(placed(property, boolean(property)?)),
        "HISTORY_RETENTION_MS" => {
            with.history_retention_ms = Some(placed(property, number(property, 1, i64::MAX)?));
        }
        "FORMAT" => {
            with.key_format = Some(format(property)?);
            with.value_format = Some(format(property)?);
        }
        "KEY_FORMAT" => with.key_format = Some(format(property)?),
        "VALUE_FORMAT" => with.value_format = Some(format(property)?),
        "KEY_DELIMITER" => with.key_delimiter = Some(delimiter(property)?),
        "VALUE_DELIMITER" => with.value_delimiter = Some(delimiter(property)?),
        "TIMESTAMP" => {
            let column = text(property)?;
            let folded = match column.strip_prefix('`').and_then(|c| c.strip_suffix('`')) {
                Some(quoted) => quoted.to_string(),
                None => column.to_uppercase(),
            };
            with.timestamp = Some(placed(property, folded));
        }
        "TIMESTAMP_FORMAT" => with.timestamp_format = Some(placed(property, text(property)?)),
        "WRAP_SINGLE_VALUE" => with.wrap_single_value = Some(placed(property, boolean(property)?)),
        "WINDOW_TYPE" => with.window_type = Some(window_type(property)?),
        "WINDOW_SIZE" => with.window_size = Some(window_size(property)?),
        "WRITE_TOPIC" => with.write_topic = Some(placed(property, boolean(property)?)),
        "KEY_SCHEMA_ID" => with.key_schema_id = Some(number(property, 1, u32::MAX)?),
        "VALUE_SCHEMA_ID" => with.value_schema_id = Some(number(property, 1, u32::MAX)?),
        "KEY_PROTOBUF_NULLABLE_REPRESENTATION" => with.key_nulls = Some(nulls(property)?),
        "VALUE_PROTOBUF_NULLABLE_REPRESENTATION" => with.value_nulls = Some(nulls(property)?),
        "KEY_SCHEMA_FULL_NAME" => with.key_full_name = Some(text(property)?),
        "VALUE_SCHEMA_FULL_NAME" | "VALUE_AVRO_SCHEMA_FULL_NAME" => with.value_full_name = Some(text(property)?),
        _ => {}
    }
    Ok(())
}

fn placed<T>(property: &Property, value: T) -> Placed<T> {
    Placed {
        value,
        span: property.span,
    }
}

fn wrong(property: &Property, what: &str) -> Problem {
    Problem::new(
        property.span,
        format!("{} takes {what}, not {}", property.name.text, property.value),
    )
}

fn text(property: &Property) -> Result<String, Problem> {
    match &property.value {
        Literal::String(s) if !s.is_empty() => Ok(s.clone()),
        _ => Err(wrong(property, "a text in quotes")),
    }
}

/// Kafka's rule for names of topics.
pub fn is_topic_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.chars().all(allowed)
}

fn topic(property: &Property) -> Result<Placed<String>, Problem> {
    let name = text(property)?;
    if is_topic_name(&name) {
        return Ok(placed(property, name));
    }
    Err(wrong(
        property,
        "the name of a topic (up to 249 letters, digits, '.', '_' and '-')",
    ))
}

/// A number, also in quotes, between bounds.
fn number<T: TryFrom<i64> + Into<i128> + Copy>(property: &Property, least: i64, most: T) -> Result<T, Problem> {
    let parsed = match &property.value {
        Literal::Number(n) | Literal::String(n) => n.parse::<i64>().ok(),
        Literal::Null | Literal::Boolean(_) => None,
    };
    let fits = parsed.filter(|n| *n >= least).and_then(|n| T::try_from(n).ok());
    fits.ok_or_else(|| wrong(property, &format!("a whole number from {least} to {}", most.into())))
}

fn boolean(property: &Property) -> Result<bool, Problem> {
    match &property.value {
        Literal::Boolean(b) => Ok(*b),
        Literal::String(s) if s.eq_ignore_ascii_case("true") => Ok(true),
        Literal::String(s) if s.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(wrong(property, "TRUE or FALSE")),
    }
}

fn window_type(property: &Property) -> Result<Placed<WindowKind>, Problem> {
    const KNOWN: [WindowKind; 3] = [WindowKind::Tumbling, WindowKind::Hopping, WindowKind::Session];
    let name = text(property)?.to_uppercase();
    let found = KNOWN.iter().find(|kind| kind.to_string() == name);
    found.map(|kind| placed(property, *kind)).ok_or_else(|| {
        let problem = wrong(property, "TUMBLING, HOPPING or SESSION");
        problem.nearest(&name, ["TUMBLING", "HOPPING", "SESSION"])
    })
}

fn window_size(property: &Property) -> Result<Placed<i64>, Problem> {
    let size = Duration::parse(&text(property)?, property.span);
    let size = size.map_err(|why| {
        Problem::new(property.span, format!("WINDOW_SIZE: {why}")).hint("WINDOW_SIZE='30 SECONDS', for example")
    })?;
    match size.millis() {
        Some(ms) if ms > 0 => Ok(placed(property, ms)),
        _ => Err(wrong(property, "a length of time above zero")),
    }
}

fn delimiter(property: &Property) -> Result<char, Problem> {
    let s = text(property)?;
    let mut chars = s.chars();
    match (s.to_uppercase().as_str(), chars.next(), chars.next()) {
        ("SPACE", ..) => Ok(' '),
        ("TAB", ..) => Ok('\t'),
        (_, Some(c), None) => Ok(c),
        _ => Err(wrong(property, "one character, SPACE or TAB")),
    }
}

fn nulls(property: &Property) -> Result<ProtobufNulls, Problem> {
    match text(property)?.to_uppercase().as_str() {
        "OPTIONAL" => Ok(ProtobufNulls::Optional),
        "WRAPPER" => Ok(ProtobufNulls::Wrapper),
        _ => Err(wrong(property, "OPTIONAL or WRAPPER")),
    }
}

fn format(property: &Property) -> Result<Placed<Format>, Problem> {
    let name = text(property)?.to_uppercase();
    let Some(found) = Format::named(&name) else {
        let names: Vec<_> = Format::ALL.iter().map(ToString::to_string).collect();
        let problem = wrong(property, &format!("one of {}", names.join(", ")));
        return Err(problem.nearest(&name, names.iter().map(String::as_str)));
    };
    Ok(placed(property, found))
}

impl With {
    /// The key's serialization; `default` is what the relation would have without the property.
    pub fn key_spec(&self, default: &SerdeSpec, columns: usize) -> SerdeSpec {
        if columns == 0 {
            return SerdeSpec::key(Format::None);
        }
        let mut spec = match &self.key_format {
            Some(format) if format.value != default.format => SerdeSpec::key(format.value),
            _ => default.clone(),
        };
        spec.delimiter = self.key_delimiter.unwrap_or(spec.delimiter);
        spec.schema_id = self.key_schema_id;
        spec.full_name = self.key_full_name.clone().map(Into::into);
        spec.protobuf_nulls = self.key_nulls.unwrap_or(spec.protobuf_nulls);
        spec
    }

    /// The value's serialization; `default` is what the relation would have without the property.
    pub fn value_spec(&self, default: &SerdeSpec) -> SerdeSpec {
        let mut spec = match &self.value_format {
            Some(format) if format.value != default.format => SerdeSpec::value(format.value),
            _ => default.clone(),
        };
        spec.wrap_single = self.wrap_single_value.as_ref().map_or(spec.wrap_single, |w| w.value);
        spec.delimiter = self.value_delimiter.unwrap_or(spec.delimiter);
        spec.schema_id = self.value_schema_id;
        spec.full_name = self.value_full_name.clone().map(Into::into);
        spec.protobuf_nulls = self.value_nulls.unwrap_or(spec.protobuf_nulls);
        spec
    }
}
