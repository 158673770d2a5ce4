//! Records from outside (HTTP) into a relation's topic, answered once the log has them.
//!
//! One thread owns the producer; requests that come while it flushes go into the next flush together. Records are serialized before any of
//! them is sent, so a record that its format refuses leaves nothing behind.
//!
//! It is *not* transactional: the producer is idempotent, and a request whose outcome is not known says so.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::deployment::max_message_bytes;
use crate::formats::{self, FormatError, RegistryError, SchemaSource, Serializer, SinkSchema, subject_of};
use crate::log::{Log, LogError, OutRecord, Producer, TopicHandle, partition_for_key};
use crate::topology::Relation;
use crate::types::{Column, Format, Headers, Position, Row, SerdeSpec, Timestamp, TopicPartition};

/// Requests that wait for the producer's thread.
const MOST_WAITING_REQUESTS: usize = 256;
/// Records of requests that are flushed together.
const MOST_RECORDS_A_FLUSH: usize = 20_000;
/// How long a flush may take before its outcome is called unknown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);
/// What a record takes beside its key, value and headers, at most: lengths, and the head of a batch of its own.
const RECORD_OVERHEAD: usize = 120;
/// How long partition counts and registered schemas are believed.
const DEFINITIONS_FOR: Duration = Duration::from_secs(30);

/// A record to write.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRecord {
    /// The key's values; `None` for a record without key.
    pub key: Option<Row>,
    /// The value's; `None` deletes a table's row.
    pub value: Option<Row>,
    /// Its event time.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

/// Why records were not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// One of them cannot be written in the relation's format; nothing was written.
    #[error("record {index}: {message}")]
    Record {
        /// Its place in the request, from 0.
        index: usize,
        /// What is wrong.
        message: String,
    },
    /// Larger than the topic takes.
    #[error("{0}")]
    TooLarge(String),
    /// The user must change something; nothing was written.
    #[error("{0}")]
    Refused(String),
    /// The log or the registry is away; nothing was written.
    #[error("{0}")]
    Unavailable(String),
    /// They may have been written.
    #[error("{0}")]
    Unknown(String),
}

/// Writes records of a relation; blocks until the log has them.
pub trait Ingest: Send + Sync {
    /// The position of each record, in their order.
    ///
    /// # Errors
    /// See [`IngestError`]: only after [`IngestError::Unknown`] can anything have been written.
    fn write(&self, relation: &Relation, records: Vec<NewRecord>) -> Result<Vec<Position>, IngestError>;
}

struct Request {
    relation: Relation,
    records: Vec<NewRecord>,
    answer: Sender<Result<Vec<Position>, IngestError>>,
}

/// Writes through a [`Log`].
pub struct LogIngest {
    requests: SyncSender<Request>,
}

impl LogIngest {
    /// Starts the producer's thread; it ends when this is dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(log: Arc<dyn Log>, schemas: Arc<dyn SchemaSource>) -> std::io::Result<Self> {
        let (requests, receiver) = sync_channel(MOST_WAITING_REQUESTS);
        let mut writer = Writer {
            log,
            schemas,
            producer: None,
            definitions: FxHashMap::default(),
            round_robin: 0,
        };
        std::thread::Builder::new()
            .name("ingest".into())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self { requests })
    }
}

impl Ingest for LogIngest {
    fn write(&self, relation: &Relation, records: Vec<NewRecord>) -> Result<Vec<Position>, IngestError> {
        let (answer, answered) = channel();
        let request = Request {
            relation: relation.clone(),
            records,
            answer,
        };
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => IngestError::Unavailable(format!(
                "{MOST_WAITING_REQUESTS} requests are waiting to be written already"
            )),
            TrySendError::Disconnected(_) => IngestError::Unavailable("the writer has stopped".into()),
        })?;
        let gone = |_| IngestError::Unknown("the writer stopped while it wrote the records".into());
        answered.recv().map_err(gone)?
    }
}

/// How a relation is written, as of a moment.
pub(super) struct Definition {
    pub partitions: i32,
    max_bytes: usize,
    pub key: Option<Box<dyn Serializer>>,
    pub value: Box<dyn Serializer>,
    made: Instant,
}

/// Serialized records of a request.
struct Encoded {
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Timestamp,
    headers: Headers,
}

struct Writer {
    log: Arc<dyn Log>,
    schemas: Arc<dyn SchemaSource>,
    producer: Option<Box<dyn Producer>>,
    /// By topic and SQL text: a relation that is declared anew is another one.
    definitions: FxHashMap<(Arc<str>, Arc<str>), Definition>,
    round_robin: i32,
}

/// A request whose records are handed to the producer.
struct Sent {
    request: Request,
    records: usize,
}

impl Writer {
    fn run(&mut self, requests: &Receiver<Request>) {
        // Connected before the first request comes; one that cannot be made now is made, or complained of, then.
        self.producer = self.log.producer().ok();
        while let Ok(first) = requests.recv() {
            let mut records = first.records.len();
            let mut sent = Vec::new();
            self.take(first, &mut sent);
            while records < MOST_RECORDS_A_FLUSH {
                let Ok(next) = requests.try_recv() else { break };
                records += next.records.len();
                self.take(next, &mut sent);
            }
            self.flush(sent);
        }
    }

    /// Serializes a request's records and hands them to the producer; a request that fails is answered at once.
    fn take(&mut self, mut request: Request, sent: &mut Vec<Sent>) {
        let records = std::mem::take(&mut request.records);
        match self
            .encode(&request.relation, records)
            .and_then(|encoded| self.send(&request.relation, &encoded))
        {
            Ok(records) => sent.push(Sent { request, records }),
            Err(error) => answer(&request, Err(error)),
        }
    }

    fn flush(&mut self, sent: Vec<Sent>) {
        if sent.is_empty() {
            return;
        }
        let Some(producer) = &mut self.producer else { return };
        match producer.flush(FLUSH_TIMEOUT) {
            Ok(delivered) => {
                let mut delivered = delivered.into_iter();
                for Sent { request, records } in sent {
                    let topic = &request.relation.topic.name;
                    let positions: Vec<Position> = delivered
                        .by_ref()
                        .take(records)
                        .map(|(_, partition, offset)| Position {
                            tp: TopicPartition::new(topic.clone(), partition),
                            offset,
                        })
                        .collect();
                    let result = if positions.len() == records {
                        Ok(positions)
                    } else {
                        Err(IngestError::Unknown("the log did not report every record".into()))
                    };
                    answer(&request, result);
                }
            }
            Err(error) => {
                // what it still holds must not come after an answer that says otherwise: a new one starts empty
                self.producer = None;
                for Sent { request, .. } in sent {
                    let error = match &error {
                        LogError::TooLarge { .. } => IngestError::TooLarge(error.to_string()),
                        other => IngestError::Unknown(other.to_string()),
                    };
                    answer(&request, Err(error));
                }
            }
        }
    }

    fn encode(&mut self, relation: &Relation, records: Vec<NewRecord>) -> Result<Vec<Encoded>, IngestError> {
        if let Some(window) = relation.window {
            // as for INSERT ... VALUES: a record has no place to say its window
            return Err(IngestError::Refused(format!(
                "{} has {} windows in its keys: write to the stream that it is made from",
                relation.name, window.kind
            )));
        }
        let id = (relation.topic.name.clone(), relation.sql.clone());
        let fresh = self
            .definitions
            .get(&id)
            .is_some_and(|d| d.made.elapsed() < DEFINITIONS_FOR);
        if !fresh {
            let definition = define(&*self.log, &self.schemas, relation)?;
            self.definitions.insert(id.clone(), definition);
        }
        let Some(definition) = self.definitions.get_mut(&id) else {
            return Ok(Vec::new());
        };
        let mut encoded = Vec::with_capacity(records.len());
        for (index, record) in records.into_iter().enumerate() {
            let wrong = |error: FormatError| IngestError::Record {
                index,
                message: error.to_string(),
            };
            let write = |serializer: &mut Box<dyn Serializer>, row: &Row| {
                let mut bytes = Vec::new();
                serializer.serialize(row, &mut bytes).map(|()| bytes).map_err(wrong)
            };
            let key = match (&mut definition.key, &record.key) {
                (Some(serializer), Some(row)) => Some(write(serializer, row)?),
                _ => None,
            };
            let value = record
                .value
                .as_ref()
                .map(|row| write(&mut definition.value, row))
                .transpose()?;
            let headers = record.headers.iter().flat_map(|list| list.iter());
            let headers: usize = headers
                .map(|(name, bytes)| 20 + name.len() + bytes.as_ref().map_or(0, |b| b.len()))
                .sum();
            let bytes =
                RECORD_OVERHEAD + headers + key.as_ref().map_or(0, Vec::len) + value.as_ref().map_or(0, Vec::len);
            if bytes > definition.max_bytes {
                let (topic, most) = (&relation.topic.name, definition.max_bytes);
                return Err(IngestError::TooLarge(format!(
                    "record {index} takes {bytes} bytes, topic {topic} takes {most}"
                )));
            }
            let partition = match &key {
                Some(key) => partition_for_key(key, definition.partitions),
                None => {
                    self.round_robin = self.round_robin.wrapping_add(1);
                    self.round_robin.rem_euclid(definition.partitions)
                }
            };
            encoded.push(Encoded {
                partition,
                key,
                value,
                timestamp: record.timestamp,
                headers: record.headers,
            });
        }
        Ok(encoded)
    }

    /// Hands records to the producer; returns how many.
    fn send(&mut self, relation: &Relation, records: &[Encoded]) -> Result<usize, IngestError> {
        let producer = match &mut self.producer {
            Some(producer) => producer,
            none => none.insert(self.log.producer().map_err(away)?),
        };
        let handle = producer.topic(&relation.topic.name).map_err(away)?;
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = send_one(producer.as_mut(), handle, record) {
                let error = match (&error, index) {
                    (LogError::TooLarge { .. }, 0) => IngestError::TooLarge(error.to_string()),
                    (_, 0) => away(error),
                    _ => IngestError::Unknown(format!(
                        "record {index}: {error}; those before it may have been written"
                    )),
                };
                // flushes count records, so a half-sent request must not stay in this producer; others in it get no answer but `Unknown`
                if index > 0 {
                    self.producer = None;
                }
                return Err(error);
            }
        }
        Ok(records.len())
    }
}

/// Looks at a relation's topic and schemas.
///
/// # Errors
/// As [`Ingest::write`].
pub(super) fn define(
    log: &dyn Log,
    schemas: &Arc<dyn SchemaSource>,
    relation: &Relation,
) -> Result<Definition, IngestError> {
    let topic = &relation.topic.name;
    let info = log.admin().topics(&[topic]).map_err(away)?;
    let Some(Some(info)) = info.first() else {
        return Err(IngestError::Refused(format!(
            "topic {topic} of {} does not exist",
            relation.name
        )));
    };
    let max_bytes = max_message_bytes(log.admin(), &[topic]).map_err(away)?;
    let key = match relation.schema.key.is_empty() {
        true => None,
        false => Some(serializer(
            schemas,
            &relation.key_format,
            &relation.schema.key,
            true,
            topic,
        )?),
    };
    Ok(Definition {
        partitions: info.partitions.max(1),
        // one was asked for
        max_bytes: max_bytes[0],
        key,
        value: serializer(schemas, &relation.value_format, &relation.schema.value, false, topic)?,
        made: Instant::now(),
    })
}

fn serializer(
    schemas: &Arc<dyn SchemaSource>,
    spec: &SerdeSpec,
    columns: &[Column],
    is_key: bool,
    topic: &str,
) -> Result<Box<dyn Serializer>, IngestError> {
    let refused = |error: FormatError| match error.is_retryable() {
        true => IngestError::Unavailable(error.to_string()),
        false => IngestError::Refused(format!("topic {topic}: {error}")),
    };
    let registered = match spec.format {
        Format::Avro | Format::JsonSr | Format::Protobuf => {
            let subject = subject_of(topic, is_key);
            let latest = match spec.schema_id {
                Some(id) => Some(schemas.by_id(id).map_err(|e| registry(&subject, &e))?),
                None => schemas.latest(&subject).map_err(|e| registry(&subject, &e))?,
            };
            match formats::sink_schema(columns, spec, is_key, latest.as_ref()).map_err(refused)? {
                SinkSchema::None => None,
                SinkSchema::Registered(schema) => Some(schema),
                SinkSchema::New(text) => Some(schemas.register(&subject, &text).map_err(|e| registry(&subject, &e))?),
            }
        }
        Format::Json | Format::ProtobufNosr | Format::Delimited | Format::Kafka | Format::None | Format::Internal => {
            None
        }
    };
    formats::serializer(spec, columns, is_key, registered).map_err(refused)
}

fn send_one(producer: &mut dyn Producer, topic: TopicHandle, record: &Encoded) -> Result<(), LogError> {
    producer.send(OutRecord {
        topic,
        partition: record.partition,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        timestamp: record.timestamp,
        headers: &record.headers,
    })
}

fn answer(request: &Request, result: Result<Vec<Position>, IngestError>) {
    // nobody waits any more: the client has gone
    let _: Result<(), _> = request.answer.send(result);
}

fn registry(subject: &str, error: &RegistryError) -> IngestError {
    match error.is_retryable() {
        true => IngestError::Unavailable(format!("the schema registry: {error}")),
        false => IngestError::Refused(format!("subject {subject}: {error}")),
    }
}

fn away(error: LogError) -> IngestError {
    match error {
        LogError::TooLarge { .. } => IngestError::TooLarge(error.to_string()),
        LogError::Fatal(message) | LogError::Refused(message) => IngestError::Refused(message),
        LogError::OutOfRange { .. } => IngestError::Refused(error.to_string()),
        LogError::Unknown(message) => IngestError::Unknown(message),
        LogError::Retry(message) | LogError::Abort(message) | LogError::Fenced(message) => {
            IngestError::Unavailable(message)
        }
    }
}

#[cfg(test)]
mod tests;
