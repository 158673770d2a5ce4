//! `INSERT INTO ... VALUES`: written once, when a topology is first deployed with the statement in its file.
//!
//! The records and the control record that says so are one transaction; producers of one topology fence each other, and the control topic is
//! read after that. So whatever crashes or is started twice, a record is written exactly once for each time its statement is in the file;
//! a statement that is added later is written then. *Not* undone: taking a statement out of the file leaves its record where it is.

use std::sync::Arc;
use std::time::Duration;

use super::control::{self, ControlReader, ControlRecord};
use super::{DeployContext, DeployError, Problem};
use crate::engine::ingest::{IngestError, define};
use crate::engine::threads::now;
use crate::engine::{EngineSettings, fingerprint};
use crate::log::{LogError, OutRecord, TransactionalProducer, partition_for_key};
use crate::topology::{Insert, Topology};

/// How long one step of the transaction may take.
const STEP: Duration = Duration::from_secs(20);
/// How often a commit whose fate is not known is asked for again.
const COMMIT_ROUNDS: usize = 10;

/// A record ready to be sent.
struct Encoded {
    topic: Arc<str>,
    partition: i32,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    timestamp: i64,
}

/// Writes what has not been written yet, with `record` as the topology's control record; then `record` says so, too.
///
/// # Errors
/// When a row cannot be written, or Kafka or the registry is away: nothing was written then.
pub fn write_once(
    context: &DeployContext<'_>,
    topology: &Topology,
    record: &mut ControlRecord,
) -> Result<(), DeployError> {
    if topology.inserts.is_empty() {
        return Ok(());
    }
    let name = &topology.name;
    let failed = |e: LogError| DeployError::log(name, e);
    let id = format!("{}.{name}.inserts", context.settings.app_id);
    let mut producer = context.log.transactional_producer(&id).map_err(failed)?;
    producer.init(STEP).map_err(failed)?;
    let reader = ControlReader::open(context.log, context.settings).map_err(failed)?;
    if let Some(known) = reader.state.get(&**name) {
        record.inserted.clone_from(&known.inserted);
    }
    let mut done = record.inserted.clone();
    let mut new = Vec::new();
    for insert in &topology.inserts {
        let hash = fingerprint::of_text(&format!("{insert:?}"));
        match done.iter().position(|known| *known == hash) {
            Some(at) => drop(done.swap_remove(at)),
            None => {
                new.push(encode(context, topology, insert)?);
                record.inserted.push(hash);
            }
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    record.written_at = now();
    let json = serde_json::to_vec(record).map_err(|e| failed(LogError::Fatal(format!("control record: {e}"))))?;
    let sent = send(producer.as_mut(), context.settings, name, &new, &json);
    sent.map_err(|e| {
        // what cannot be committed is aborted, or fenced by the next start
        let _: Result<(), LogError> = producer.abort(STEP);
        failed(e)
    })
}

fn encode(context: &DeployContext<'_>, topology: &Topology, insert: &Insert) -> Result<Encoded, DeployError> {
    let refused = |message: String| {
        DeployError::Problems(vec![Problem {
            topology: topology.name.clone(),
            message: format!("INSERT INTO {}: {message}", insert.relation),
            hint: "change the values, or the columns and formats of the statement that declares it".into(),
        }])
    };
    let relation = topology.relation(&insert.relation);
    let relation = relation.ok_or_else(|| refused("there is no such relation".into()))?;
    let mut definition = define(context.log, context.schemas, relation).map_err(|e| match e {
        IngestError::Unavailable(why) | IngestError::Unknown(why) => DeployError::Unavailable(why),
        other => refused(other.to_string()),
    })?;
    let key = match (&mut definition.key, &insert.key) {
        (Some(serializer), Some(row)) => {
            let mut bytes = Vec::new();
            serializer
                .serialize(row, &mut bytes)
                .map_err(|e| refused(e.to_string()))?;
            Some(bytes)
        }
        _ => None,
    };
    let mut value = Vec::new();
    definition
        .value
        .serialize(&insert.value, &mut value)
        .map_err(|e| refused(e.to_string()))?;
    Ok(Encoded {
        topic: relation.topic.name.clone(),
        partition: key
            .as_ref()
            .map_or(0, |key| partition_for_key(key, definition.partitions)),
        key,
        value,
        timestamp: insert.timestamp.unwrap_or_else(now),
    })
}

fn send(
    producer: &mut dyn TransactionalProducer,
    settings: &EngineSettings,
    name: &str,
    records: &[Encoded],
    control: &[u8],
) -> Result<(), LogError> {
    producer.begin()?;
    for record in records {
        let topic = producer.topic(&record.topic)?;
        producer.send(OutRecord {
            topic,
            partition: record.partition,
            key: record.key.as_deref(),
            value: Some(&record.value),
            timestamp: record.timestamp,
            headers: &None,
        })?;
    }
    let topic = producer.topic(&control::partition(settings).topic)?;
    producer.send(OutRecord {
        topic,
        partition: 0,
        key: Some(name.as_bytes()),
        value: Some(control),
        timestamp: now(),
        headers: &None,
    })?;
    producer.flush(STEP)?;
    let mut rounds = 0;
    loop {
        match producer.commit(STEP) {
            Err(LogError::Unknown(_)) if rounds < COMMIT_ROUNDS => rounds += 1,
            result => return result,
        }
    }
}
