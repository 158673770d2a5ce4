//! Runs a case: its steps against a [`LocalRun`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Emit;
use crate::engine::task::TaskOptions;
use crate::formats::{SchemaSource, SchemaText};
use crate::topology::Topology;

use super::case::{Case, CaseRow, Step};
use super::codec::{RowCodec, TopicCodec, sink_schemas};
use super::{LocalRecord, LocalRun};

/// A step that did not come out as the case says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct CaseFailure {
    /// The step's line.
    pub line: usize,
    /// What was expected and what came.
    pub message: String,
}

type Result<T> = std::result::Result<T, String>;

impl Case {
    /// Registers the schemas that the case names, before its SQL is compiled.
    ///
    /// # Errors
    /// What the registry says.
    pub fn register_schemas(&self, schemas: &Arc<dyn SchemaSource>) -> Result<()> {
        for (subject, text) in &self.schemas {
            let registered = schemas.register(subject, &SchemaText::avro(text.clone()));
            registered.map_err(|e| format!("{subject}: {e}"))?;
        }
        Ok(())
    }

    /// Runs the case on its compiled SQL.
    ///
    /// # Errors
    /// The first step that does not come out.
    pub fn run(
        &self,
        topology: Arc<Topology>,
        schemas: &Arc<dyn SchemaSource>,
    ) -> std::result::Result<(), CaseFailure> {
        let at = |line| move |message| CaseFailure { line, message };
        let mut runner = Runner::new(self, topology, schemas).map_err(at(0))?;
        for (line, step) in &self.steps {
            runner.step(step).map_err(at(*line))?;
        }
        Ok(())
    }
}

struct Runner<'a> {
    run: LocalRun,
    topology: Arc<Topology>,
    schemas: &'a Arc<dyn SchemaSource>,
    codecs: BTreeMap<String, TopicCodec>,
    /// How many records of a topic were looked at.
    seen: BTreeMap<String, usize>,
}

impl<'a> Runner<'a> {
    fn new(case: &Case, topology: Arc<Topology>, schemas: &'a Arc<dyn SchemaSource>) -> Result<Self> {
        let sinks = sink_schemas(&topology, schemas)?;
        let emit = if case.every_change {
            Emit::EveryChange
        } else {
            Emit::HoldUntilCommit
        };
        let options = TaskOptions {
            emit,
            ..TaskOptions::default()
        };
        // one partition, so that a case is one sequence; the simulation runs the same cases over more
        let run = LocalRun::new(topology.clone(), options, schemas, &sinks, 1).map_err(|e| e.to_string())?;
        Ok(Self {
            run,
            topology,
            schemas,
            codecs: BTreeMap::new(),
            seen: BTreeMap::new(),
        })
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let told = |result: std::result::Result<_, super::LocalError>| result.map_err(|e| e.to_string());
        match step {
            Step::Input { topic, row, raw } => {
                let record = if *raw {
                    raw_record(row)
                } else {
                    self.record(topic, row)?
                };
                self.run.set_now(record.timestamp);
                self.run.send(topic, None, record);
                told(self.run.process_all().map(|_| ()))
            }
            Step::Commit => {
                told(self.run.process_all().map(|_| ()))?;
                told(self.run.commit())
            }
            Step::Settle => told(self.run.settle()),
            Step::Abort => {
                told(self.run.process_all().map(|_| ()))?;
                self.run.abort();
                Ok(())
            }
            Step::Crash => {
                told(self.run.process_all().map(|_| ()))?;
                told(self.run.crash())
            }
            Step::CrashUnapplied => {
                told(self.run.process_all().map(|_| ()))?;
                told(self.run.prepare())?;
                self.run.publish();
                told(self.run.crash())
            }
            Step::Restart => {
                told(self.run.settle())?;
                told(self.run.crash())
            }
            Step::Out(topic, expected) => self.out(topic, expected),
            Step::Final(topic, expected) => self.last_rows(topic, expected),
            Step::View(name, expected) => self.view(name, expected),
            Step::Dead(expected) => self.dead(expected),
        }
    }

    fn codec(&mut self, topic: &str) -> Result<&mut TopicCodec> {
        if !self.codecs.contains_key(topic) {
            let codec = TopicCodec::new(&self.topology, topic, self.schemas)?;
            self.codecs.insert(topic.into(), codec);
        }
        self.codecs.get_mut(topic).ok_or_else(|| topic.to_string())
    }

    fn record(&mut self, topic: &str, row: &CaseRow) -> Result<LocalRecord> {
        self.codec(topic)?
            .record(&row.key, &row.value, row.timestamp.unwrap_or_default())
    }

    fn out(&mut self, topic: &str, expected: &[CaseRow]) -> Result<()> {
        let all: Vec<LocalRecord> = self.run.topic(topic).cloned().collect();
        let from = self.seen.insert(topic.into(), all.len()).unwrap_or(0);
        let codec = self.codec(topic)?;
        let mut rows = Vec::new();
        for record in &all[from..] {
            let (key, value) = codec.show(record)?;
            rows.push((key, value, record.timestamp));
        }
        compare(expected, rows, |row| codec.normal(&row.key, &row.value))
    }

    fn last_rows(&mut self, topic: &str, expected: &[CaseRow]) -> Result<()> {
        let all: Vec<LocalRecord> = self.run.topic(topic).cloned().collect();
        let codec = self.codec(topic)?;
        let mut last = BTreeMap::new();
        for record in &all {
            let (key, value) = codec.show(record)?;
            match record.value {
                Some(_) => last.insert(key, (value, record.timestamp)),
                None => last.remove(&key),
            };
        }
        let rows = last
            .into_iter()
            .map(|(key, (value, timestamp))| (key, value, timestamp));
        let mut sorted = Vec::new();
        for row in expected {
            sorted.push((codec.normal(&row.key, &row.value)?.0, row.clone()));
        }
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let expected: Vec<CaseRow> = sorted.into_iter().map(|(_, row)| row).collect();
        compare(&expected, rows.collect(), |row| codec.normal(&row.key, &row.value))
    }

    fn view(&mut self, name: &str, expected: &[CaseRow]) -> Result<()> {
        let view = self.topology.views.iter().find(|view| &*view.name == name);
        let view = view.ok_or_else(|| format!("no view {name}"))?;
        let mut codec = RowCodec::new(&view.schema, self.schemas)?;
        let mut rows = Vec::new();
        for (key, row, timestamp) in self.run.view(name).map_err(|e| e.to_string())? {
            let (key, value) = codec.show(&key, &row)?;
            rows.push((key, value, timestamp));
        }
        compare(expected, rows, |row| codec.normal(&row.key, &row.value))
    }

    fn dead(&mut self, expected: &[String]) -> Result<()> {
        let topic = self.run.dead_letters();
        let reasons: Vec<String> = self.run.topic(&topic).map(reason).collect();
        let from = self.seen.insert(topic, reasons.len()).unwrap_or(0);
        let reasons = &reasons[from..];
        let same = reasons.len() == expected.len()
            && reasons
                .iter()
                .zip(expected)
                .all(|(reason, expected)| reason.starts_with(expected.as_str()));
        if same {
            Ok(())
        } else {
            Err(difference(expected, reasons))
        }
    }
}

fn raw_record(row: &CaseRow) -> LocalRecord {
    let bytes = |json: &serde_json::Value| match json {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    };
    LocalRecord {
        key: bytes(&row.key),
        value: bytes(&row.value),
        timestamp: row.timestamp.unwrap_or_default(),
        headers: None,
    }
}

fn reason(record: &LocalRecord) -> String {
    let headers = record.headers.iter().flat_map(|headers| headers.iter());
    let reason = headers
        .filter(|(name, _)| &**name == "millstream.reason")
        .find_map(|(_, value)| value.clone());
    String::from_utf8_lossy(&reason.unwrap_or_default()).into_owned()
}

fn compare(
    expected: &[CaseRow],
    rows: Vec<(String, String, i64)>,
    mut normal: impl FnMut(&CaseRow) -> Result<(String, String)>,
) -> Result<()> {
    let mut wanted = Vec::new();
    let mut came = Vec::new();
    for (i, row) in expected.iter().enumerate() {
        let (key, value) = normal(row)?;
        // a timestamp that the case does not name is whatever came
        let timestamp = row
            .timestamp
            .or_else(|| rows.get(i).map(|(_, _, timestamp)| *timestamp));
        wanted.push(format!("{key} {value} @{}", timestamp.unwrap_or_default()));
    }
    for (key, value, timestamp) in &rows {
        came.push(format!("{key} {value} @{timestamp}"));
    }
    if wanted == came {
        Ok(())
    } else {
        Err(difference(&wanted, &came))
    }
}

/// Expected and come lines one below the other, the first difference marked.
fn difference(expected: &[String], came: &[String]) -> String {
    let mut text = format!("{} expected, {} came", lines(expected.len()), came.len());
    let pairs = expected.len().max(came.len());
    let first = (0..pairs).find(|i| expected.get(*i) != came.get(*i));
    for i in 0..pairs {
        let number = i + 1;
        match (expected.get(i), came.get(i)) {
            (Some(wanted), Some(line)) if wanted == line => text.push_str(&format!("\n    = {number}  {line}")),
            (wanted, line) => {
                let mark = if first == Some(i) { '>' } else { ' ' };
                let nothing = String::from("nothing");
                text.push_str(&format!(
                    "\n  {mark} ! {number}  expected  {}\n      {:width$}  came      {}",
                    wanted.unwrap_or(&nothing),
                    "",
                    line.unwrap_or(&nothing),
                    width = number.to_string().len(),
                ));
            }
        }
    }
    text
}

fn lines(n: usize) -> String {
    format!("{n} {}", if n == 1 { "line" } else { "lines" })
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_difference_is_marked() {
        let lines = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            difference(&lines(&["a", "b"]), &lines(&["a", "c", "d"])),
            "2 lines expected, 3 came\n    = 1  a\n  > ! 2  expected  b\n         came      c\n    ! 3  expected  nothing\n         came      d"
        );
    }
}
