//! Changes into records: of sinks, repartition topics and dead letters.

use std::sync::Arc;

use crate::engine::outbox::{Dest, Outbox};
use crate::formats::{self, FormatError, Serializer};
use crate::topology::{NodeId, Sink};
use crate::types::{Change, Headers, RelationSchema, encode_key, encode_row};

use super::InputRecord;
use super::decode::{HAS_NEW, HAS_OLD};
use super::error::{Failure, Reason};
use super::event_time::EventTime;
use super::plan::SinkSchemas;

/// Encodes one sink's records.
pub(super) struct SinkCodec {
    key: Box<dyn Serializer>,
    value: Box<dyn Serializer>,
    timestamp: Option<EventTime>,
    /// What its topic takes.
    pub max_bytes: usize,
}

impl SinkCodec {
    pub fn new(sink: &Sink, schema: &RelationSchema, schemas: SinkSchemas) -> Result<Self, FormatError> {
        let key = formats::serializer(&sink.key_format, &schema.key, true, schemas.key)?;
        Ok(Self {
            key: match sink.window {
                None => key,
                window => Box::new(formats::WindowedSerializer::new(key, schema.key.len(), window)),
            },
            value: formats::serializer(&sink.value_format, &schema.value, false, schemas.value)?,
            timestamp: EventTime::new(&sink.timestamp),
            max_bytes: schemas.max_bytes.unwrap_or(usize::MAX),
        })
    }

    /// Appends a record; a key of nothing but NULLs is written as no key, as ksqlDB does.
    pub fn encode(&mut self, node: NodeId, change: &Change, out: &mut Outbox) -> Result<(), Failure> {
        let timestamp = match (&self.timestamp, &change.new) {
            (Some(time), Some(_)) if time.of_key => time.of(&change.key[time.column])?,
            (Some(time), Some(new)) => time.of(&new[time.column])?,
            _ => change.timestamp,
        };
        let has_key = change.key.iter().any(|value| !value.is_null());
        // of a value that is not wrapped, NULL has no other form than no value
        let has_value = change.new.as_ref().is_some_and(|new| !self.value.is_null(new));
        let mut key = |arena: &mut Vec<u8>| self.key.serialize(&change.key, arena);
        let mut value = |arena: &mut Vec<u8>| match &change.new {
            Some(new) => self.value.serialize(new, arena),
            None => Ok(()),
        };
        out.push_with(
            Dest::Sink(node),
            timestamp,
            change.headers.clone(),
            has_key.then_some(&mut key),
            has_value.then_some(&mut value),
        )
        .map_err(|e| Failure::of_format(e, Reason::Unwritable))
    }

    /// Deletes what stood there before a row that cannot be written.
    pub fn encode_delete(&mut self, node: NodeId, change: Change, out: &mut Outbox) -> Result<(), Failure> {
        match change.old {
            Some(_) => self.encode(node, &Change { new: None, ..change }, out),
            None => Ok(()),
        }
    }
}

/// Appends a change to a repartition topic: the encoded key; a byte of flags, the old row after its timestamp and length (i64 and u32,
/// big-endian), the new row.
pub(super) fn encode_repartition(node: NodeId, change: &Change, out: &mut Outbox) {
    let mut key = |arena: &mut Vec<u8>| {
        encode_key(&change.key, arena);
        Ok::<(), std::convert::Infallible>(())
    };
    let mut value = |arena: &mut Vec<u8>| {
        repartition_value(change, arena);
        Ok(())
    };
    let dest = Dest::Repartition(node);
    let headers = change.headers.clone();
    match out.push_with(dest, change.timestamp, headers, Some(&mut key), Some(&mut value)) {
        Ok(()) => {}
        Err(e) => match e {},
    }
}

fn repartition_value(change: &Change, arena: &mut Vec<u8>) {
    let Change { old, new, .. } = change;
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    arena.push(flag(old.is_some(), HAS_OLD) | flag(new.is_some(), HAS_NEW));
    if let Some(old) = old {
        arena.extend_from_slice(&change.old_timestamp.to_be_bytes());
        let length_at = arena.len();
        arena.extend_from_slice(&[0; 4]);
        encode_row(old, arena);
        let length = (arena.len() - length_at - 4) as u32;
        arena[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
    if let Some(new) = new {
        encode_row(new, arena);
    }
}

/// A dead letter's key and value are cut to this many bytes in all: below the 1 MiB that a broker takes by default, headers included.
pub const MAX_DEAD_LETTER_BYTES: usize = 900 << 10;
/// A reason is cut to this many bytes.
const MAX_REASON_BYTES: usize = 4 << 10;

/// Appends a dead letter: the original bytes, and in headers where they came from and why. One that is too large is cut; headers then hold
/// the original lengths and checksums.
pub(super) fn encode_dead_letter(
    record: &InputRecord<'_>,
    node: &str,
    reason: Reason,
    message: &str,
    out: &mut Outbox,
) {
    let text = |s: String| Some(Arc::from(s.into_bytes()));
    let mut message = format!("{}: {message}", reason.word());
    if message.len() > MAX_REASON_BYTES {
        let end = (0..=MAX_REASON_BYTES).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
    }
    let mut headers: Vec<Header> = vec![
        ("millstream.topic".into(), text(record.topic.to_string())),
        ("millstream.partition".into(), text(record.partition.to_string())),
        ("millstream.offset".into(), text(record.offset.to_string())),
        ("millstream.timestamp".into(), text(record.timestamp.to_string())),
        ("millstream.reason".into(), text(message)),
        ("millstream.node".into(), text(node.to_string())),
    ];
    let mut room = MAX_DEAD_LETTER_BYTES;
    let mut cut = |part: &str, bytes: Option<&'_ [u8]>| -> usize {
        let len = bytes.map_or(0, <[u8]>::len);
        let kept = len.min(room);
        room -= kept;
        if let (Some(bytes), true) = (bytes, kept < len) {
            let name = |what: &str| Arc::from(format!("millstream.{part}.{what}"));
            headers.push((name("length"), text(len.to_string())));
            headers.push((name("crc32c"), text(format!("{:08x}", crc32c::crc32c(bytes)))));
        }
        kept
    };
    let key_len = cut("key", record.key);
    let value_len = cut("value", record.value);
    let originals: usize = record
        .headers
        .to_headers()
        .iter()
        .flat_map(|h| h.iter())
        .map(header_bytes)
        .sum();
    if originals <= room {
        headers.extend(record.headers.to_headers().iter().flat_map(|h| h.iter().cloned()));
    }
    let headers: Headers = Some(Arc::new(headers));
    out.push(
        Dest::DeadLetter,
        record.timestamp,
        headers,
        record.key.map(|key| &key[..key_len]),
        record.value.map(|value| &value[..value_len]),
    );
}

type Header = (Arc<str>, Option<Arc<[u8]>>);

fn header_bytes((name, value): &Header) -> usize {
    name.len() + value.as_ref().map_or(0, |v| v.len())
}
