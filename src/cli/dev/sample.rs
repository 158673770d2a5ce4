//! Feeds the sample into the running instance through its own HTTP interface, at the sample's pace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::http_client::Client;
use crate::dev::sample::{Sample, SampleRecord, TICK_MS, TOPICS};
use crate::log::{Log, NewTopic};
use crate::topology::Topology;

/// Where the sample is, in the data directory.
const TICK_FILE: &str = "sample";
/// Ticks between two notes of where it is: after a crash at most so many are sent again.
const NOTE_EVERY: u64 = 10;
/// Wait after a tick that could not be written; then it is sent again.
const RETRY: Duration = Duration::from_millis(500);

/// Creates the sample's topics, small and bounded, before the topologies would create them without bounds. Topics that exist stay as they are.
///
/// # Errors
/// Those of the log.
pub fn create_topics(log: &dyn Log, topologies: &[Arc<Topology>]) -> Result<(), Failure> {
    let topics: Vec<NewTopic> = TOPICS
        .iter()
        .filter_map(|topic| {
            let relation = topologies
                .iter()
                .flat_map(|t| &t.relations)
                .find(|r| &*r.name == topic.relation)?;
            Some(NewTopic {
                name: relation.topic.name.to_string(),
                partitions: relation.topic.partitions.unwrap_or(1),
                replicas: 1,
                config: topic
                    .config
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            })
        })
        .collect();
    log.admin().create_topics(&topics).map_err(Failure::failed)
}

/// The thread that feeds; told to stop when dropped.
pub struct Feed {
    stop: Arc<AtomicBool>,
}

impl Feed {
    /// Starts to feed the instance at `url`, from where the sample was.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(url: &str, data_dir: &Path) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let client = Client::new(url)?;
        let place = data_dir.join(TICK_FILE);
        let feeder = Feeder { client, place };
        std::thread::Builder::new()
            .name("sample".into())
            .spawn(move || feeder.run(&told))
            .map_err(Failure::failed)?;
        Ok(Self { stop })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Feeder {
    client: Client,
    place: PathBuf,
}

impl Feeder {
    fn run(mut self, stop: &AtomicBool) {
        let known = match self.writable() {
            Ok(known) => known,
            Err(Failure::Failed(reason) | Failure::Usage(reason)) => {
                tracing::warn!(reason, "no sample");
                return;
            }
        };
        let tick = std::fs::read_to_string(&self.place)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let mut sample = Sample::new(tick);
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let records = sample.step();
            while !self.write(&known, &records) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(RETRY);
            }
            if sample.tick().is_multiple_of(NOTE_EVERY) || tick + 1 == sample.tick() {
                self.note(sample.tick());
            }
            due += Duration::from_millis(TICK_MS);
            // After a pause of the machine the sample does not hurry to catch up.
            due = due.max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Relations of the running topologies that take records.
    fn writable(&mut self) -> Result<Vec<String>, Failure> {
        let answer = self.client.send("GET", "/v1/streams", &[])?.json()?;
        let streams = answer
            .get("streams")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let writable = streams
            .iter()
            .filter(|stream| stream.get("writable") != Some(&Value::Bool(false)));
        Ok(writable
            .filter_map(|stream| stream.get("name")?.as_str().map(str::to_owned))
            .collect())
    }

    /// Writes a tick's records; false where it has to be tried again.
    fn write(&mut self, known: &[String], records: &[SampleRecord]) -> bool {
        let mut bodies: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for record in records
            .iter()
            .filter(|record| known.iter().any(|name| name == record.relation))
        {
            bodies
                .entry(record.relation)
                .or_default()
                .push(json!({ "value": record.columns }));
        }
        bodies.into_iter().all(|(relation, records)| {
            let body = json!({ "records": records }).to_string();
            let answer = self
                .client
                .send("POST", &format!("/v1/streams/{relation}"), body.as_bytes());
            match answer.and_then(|answer| answer.json()) {
                Ok(_) => true,
                Err(Failure::Failed(reason) | Failure::Usage(reason)) => {
                    tracing::debug!(relation, reason, "the sample waits");
                    false
                }
            }
        })
    }

    /// Remembers the next tick; either whole or not at all.
    fn note(&self, tick: u64) {
        let temporary = self.place.with_extension("new");
        let noted =
            std::fs::write(&temporary, tick.to_string()).and_then(|()| std::fs::rename(&temporary, &self.place));
        if let Err(error) = noted {
            tracing::warn!(%error, "where the sample is cannot be noted");
        }
    }
}
