//! `millstream load`: a file's records into a stream or table of a running instance.

use std::path::Path;
use std::time::Instant;

use clap::{Arg, Command, value_parser};
use serde_json::{Map, Value, json};

use super::{CommandSpec, Logs};
use crate::cli::http_client::Client;
use crate::cli::load::{FileFormat, Record, RecordReader};
use crate::cli::output::{self, Format};
use crate::cli::{Failure, Invocation, Outcome};
use crate::views::Token;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "load",
    about: "Writes a file's records into a stream or table of a running instance",
    examples: "\
Examples:
  millstream load raw_ratings ratings.dat
  millstream load retail_lines online-retail.csv.gz
  generate | millstream load orders - --format json

A CSV file's header names the columns (InvoiceNo is INVOICE_NO); an empty field is NULL. Lines need a stream of one column. Gzip is
recognised. Loading stops at the first bad record and says which line it is; what was written before stays.",
    arguments,
    logs: Logs::Stderr,
    run,
};

/// Records a request: one request is one flush of the instance's producer.
const BATCH_RECORDS: usize = 2_000;
/// Bytes a request, well below the instance's limit.
const BATCH_BYTES: usize = 2 << 20;

fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("name")
                .value_name("STREAM")
                .required(true)
                .help("The stream or table, by its SQL name or its topic"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .help("The file; - reads standard input"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["lines", "csv", "json"])
                .help("How records stand in the file; by its name unless told (.csv, .json; else lines)"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Stop after so many records"),
        )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let text = |name: &str| invocation.matches.get_one::<String>(name).map(String::as_str);
    let path = Path::new(text("file").unwrap_or_default());
    let format = match text("format") {
        Some("csv") => FileFormat::Csv,
        Some("json") => FileFormat::Json,
        Some(_) => FileFormat::Lines,
        None => FileFormat::of_name(path),
    };
    let limit = invocation.matches.get_one::<u64>("limit").copied().unwrap_or(u64::MAX);
    let mut client = Client::new(&invocation.settings.list("url")[0])?;
    let target = Target::find(&mut client, text("name").unwrap_or_default())?;
    let mut reader = RecordReader::open(path, format).map_err(Failure::usage)?;
    let mapping = target.mapping(format, reader.header())?;
    let started = Instant::now();
    let mut batch = Batch::default();
    let mut written = 0u64;
    while written + (batch.records as u64) < limit {
        let record = reader.next_record().map_err(|error| stopped(&error, written, path))?;
        let Some(record) = record else { break };
        let value = mapping
            .value(record)
            .map_err(|error| stopped(&format!("line {}: {error}", reader.line()), written, path))?;
        batch.push(&value, reader.line());
        if batch.records >= BATCH_RECORDS || batch.body.len() >= BATCH_BYTES {
            written += batch
                .send(&mut client, &target.name)
                .map_err(|error| stopped(&error, written, path))?;
            let (done, size) = reader.progress();
            let part = (done * 100).checked_div(size);
            let part = part.map(|part| format!("{part:3} %  ")).unwrap_or_default();
            output::progress(&format!(
                "{part}{written} records, {:.0} a second",
                written as f64 / started.elapsed().as_secs_f64()
            ));
        }
    }
    written += batch
        .send(&mut client, &target.name)
        .map_err(|error| stopped(&error, written, path))?;
    let seconds = started.elapsed().as_secs_f64();
    output::progress("");
    match Format::of(&invocation.settings) {
        Format::Text => output::line(&format!(
            "{written} records into {} (topic {}) in {seconds:.1} s, {:.0} a second",
            target.name,
            target.topic,
            written as f64 / seconds.max(0.001)
        )),
        Format::Json => output::line(
            &json!({
                "records": written,
                "stream": target.name,
                "topic": target.topic,
                "milliseconds": (seconds * 1e3) as u64,
                "token": batch.token.encode(),
            })
            .to_string(),
        ),
    }
    Ok(())
}

fn stopped(error: &str, written: u64, path: &Path) -> Failure {
    output::progress_done();
    Failure::failed(format!(
        "{}: {error}\n  {written} records were written before it",
        path.display()
    ))
}

/// Where the records go.
struct Target {
    name: String,
    topic: String,
    /// Names and types, key columns first.
    columns: Vec<(String, String)>,
}

impl Target {
    fn find(client: &mut Client, wanted: &str) -> Result<Self, Failure> {
        let answer = client.send("GET", "/v1/streams", &[])?.json()?;
        let streams = answer
            .get("streams")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut found: Vec<&Value> = streams
            .iter()
            .filter(|s| text(s, "name").eq_ignore_ascii_case(wanted))
            .collect();
        if found.is_empty() {
            found = streams
                .iter()
                .filter(|s| text(s, "topic") == wanted && s.get("writable") == Some(&Value::Bool(true)))
                .collect();
        }
        let Some(stream) = found.first() else {
            let names: Vec<String> = streams.iter().map(|s| text(s, "name")).collect();
            return Err(Failure::usage(format!(
                "no stream or table is called {wanted}; there are {}",
                names.join(", ")
            )));
        };
        let columns = ["key", "columns"]
            .iter()
            .flat_map(|list| stream.get(*list).and_then(Value::as_array).into_iter().flatten());
        let mut known: Vec<(String, String)> = Vec::new();
        for column in columns.filter(|column| column.is_object()) {
            let (name, sql_type) = (text(column, "name"), text(column, "type"));
            if !known.iter().any(|(other, _)| *other == name) {
                known.push((name, sql_type));
            }
        }
        Ok(Self {
            name: text(stream, "name"),
            topic: text(stream, "topic"),
            columns: known,
        })
    }

    /// How a record's parts become columns.
    fn mapping(&self, format: FileFormat, header: &[String]) -> Result<Mapping, Failure> {
        match format {
            FileFormat::Json => Ok(Mapping::Object),
            FileFormat::Lines => match &self.columns[..] {
                [(name, sql_type)] => Ok(Mapping::Line(name.clone(), sql_type.clone())),
                columns => Err(Failure::usage(format!(
                    "{} has {} columns; a file of lines needs a stream of one (--format csv or json?)",
                    self.name,
                    columns.len()
                ))),
            },
            FileFormat::Csv => {
                let mut unknown = Vec::new();
                let mut fields = Vec::new();
                for title in header {
                    match self.columns.iter().find(|(name, _)| plain(name) == plain(title)) {
                        Some(column) => fields.push(column.clone()),
                        None => unknown.push(title.as_str()),
                    }
                }
                if unknown.is_empty() {
                    return Ok(Mapping::Fields(fields));
                }
                let columns: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
                Err(Failure::usage(format!(
                    "{} has no column for {} of the header; its columns are {}",
                    self.name,
                    unknown.join(", "),
                    columns.join(", ")
                )))
            }
        }
    }
}

/// A name without what spellings differ in: `InvoiceNo`, `invoice_no` and `Invoice No` are one.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

enum Mapping {
    Object,
    Line(String, String),
    Fields(Vec<(String, String)>),
}

impl Mapping {
    fn value(&self, record: Record) -> Result<Value, String> {
        match (self, record) {
            (Self::Line(name, sql_type), Record::Line(line)) => Ok(json!({ name.as_str(): typed(&line, sql_type)? })),
            (Self::Fields(columns), Record::Fields(fields)) => {
                let mut object = Map::with_capacity(fields.len());
                for ((name, sql_type), field) in columns.iter().zip(fields) {
                    let value = match field {
                        None => Value::Null,
                        Some(text) => typed(&text, sql_type).map_err(|error| format!("column {name}: {error}"))?,
                    };
                    object.insert(name.clone(), value);
                }
                Ok(Value::Object(object))
            }
            (_, Record::Json(text)) => {
                let value: Value = serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
                if value.is_object() {
                    Ok(value)
                } else {
                    Err("not a JSON object".to_owned())
                }
            }
            (_, record) => Err(format!("a record of another kind: {record:?}")),
        }
    }
}

/// A text as JSON of a column's type. What the interface itself reads from text (decimals, times, big numbers) stays text.
fn typed(text: &str, sql_type: &str) -> Result<Value, String> {
    let wrong = || format!("`{text}` is no {sql_type}");
    match sql_type {
        "INTEGER" => text.trim().parse::<i32>().map(Value::from).map_err(|_| wrong()),
        "DOUBLE" => {
            let number: f64 = text.trim().parse().map_err(|_| wrong())?;
            serde_json::Number::from_f64(number)
                .map(Value::Number)
                .ok_or_else(wrong)
        }
        "BOOLEAN" => text
            .trim()
            .to_lowercase()
            .parse::<bool>()
            .map(Value::Bool)
            .map_err(|_| wrong()),
        other
            if ["ARRAY", "MAP", "STRUCT"]
                .iter()
                .any(|prefix| other.starts_with(prefix)) =>
        {
            serde_json::from_str(text).map_err(|_| wrong())
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Records on their way, as the body of a request.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    records: usize,
    first_line: u64,
    /// What was written by the batches before.
    token: Token,
}

impl Batch {
    fn push(&mut self, value: &Value, line: u64) {
        if self.records == 0 {
            self.first_line = line;
            self.body.extend_from_slice(b"{\"records\":[");
        } else {
            self.body.push(b',');
        }
        self.body.extend_from_slice(b"{\"value\":");
        self.body.extend_from_slice(value.to_string().as_bytes());
        self.body.push(b'}');
        self.records += 1;
    }

    /// Sends what there is; the number of records.
    fn send(&mut self, client: &mut Client, stream: &str) -> Result<u64, String> {
        if self.records == 0 {
            return Ok(0);
        }
        self.body.extend_from_slice(b"]}");
        let answer = client
            .send("POST", &format!("/v1/streams/{stream}"), &self.body)
            .and_then(|answer| answer.json());
        match answer {
            Ok(answer) => {
                let sent = self.records as u64;
                let token = answer.get("token").and_then(Value::as_str);
                if let Some(Ok(more)) = token.map(Token::parse) {
                    self.token.merge(&more);
                }
                *self = Self {
                    token: std::mem::take(&mut self.token),
                    ..Self::default()
                };
                Ok(sent)
            }
            Err(Failure::Failed(message) | Failure::Usage(message)) => {
                Err(format!("records from line {} on: {message}", self.first_line))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        let columns = [
            ("INVOICE_NO", "STRING"),
            ("QUANTITY", "INTEGER"),
            ("UNIT_PRICE", "DECIMAL(18, 3)"),
        ];
        Target {
            name: "RETAIL_LINES".into(),
            topic: "retail-lines".into(),
            columns: columns
                .map(|(name, sql_type)| (name.to_owned(), sql_type.to_owned()))
                .into(),
        }
    }

    #[test]
    fn headers_pair_with_columns_and_fields_get_their_types() {
        let header = ["InvoiceNo", "Quantity", "Unit Price"].map(str::to_owned);
        let mapping = target()
            .mapping(FileFormat::Csv, &header)
            .expect("all columns are there");
        let fields = |texts: [Option<&str>; 3]| Record::Fields(texts.map(|text| text.map(str::to_owned)).into());
        assert_eq!(
            mapping.value(fields([Some("536365"), Some("-6"), Some("2.55")])),
            Ok(json!({ "INVOICE_NO": "536365", "QUANTITY": -6, "UNIT_PRICE": "2.55" }))
        );
        assert_eq!(
            mapping.value(fields([None, None, None])),
            Ok(json!({ "INVOICE_NO": null, "QUANTITY": null, "UNIT_PRICE": null }))
        );
        assert_eq!(
            mapping.value(fields([None, Some("six"), None])),
            Err("column QUANTITY: `six` is no INTEGER".to_owned())
        );
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert!(
            matches!(target().mapping(FileFormat::Csv, &["Price".to_owned()]), Err(Failure::Usage(m)) if m.contains("Price"))
        );
        assert!(target().mapping(FileFormat::Lines, &[]).is_err());
    }

    #[test]
    fn a_batch_is_one_json_document() {
        let mut batch = Batch::default();
        batch.push(&json!({ "A": 1 }), 1);
        batch.push(&json!({ "A": 2 }), 2);
        batch.body.extend_from_slice(b"]}");
        let body: Value = serde_json::from_slice(&batch.body).expect("JSON");
        assert_eq!(
            body,
            json!({ "records": [{ "value": { "A": 1 } }, { "value": { "A": 2 } }] })
        );
    }
}
