//! The bytes of windowed keys: those of the key columns, then the window, as Kafka Streams writes them.
//!
//! ```text
//! time window:  | key columns | start, 8 bytes |                     (the size is not in the key: WINDOW_SIZE says it)
//! session:      | key columns | end, 8 bytes | start, 8 bytes |      (big-endian milliseconds)
//! ```
//!
//! A windowed record is in the partition of its key columns' bytes: all windows of a key are together ([`unwindowed`]).

use super::{Deserializer, FormatError, Serializer};
use crate::types::{Format, Value, WindowInfo};

/// The part of a key's bytes that holds the key columns; all of it where there is no window.
pub fn unwindowed(key: &[u8], window: Option<WindowInfo>) -> &[u8] {
    let suffix = window.map_or(0, |window| window.suffix_bytes());
    key.get(..key.len().saturating_sub(suffix)).unwrap_or(key)
}

/// Writes key rows that may end with a window.
pub struct WindowedSerializer {
    columns: usize,
    inner: Box<dyn Serializer>,
    window: Option<WindowInfo>,
}

impl WindowedSerializer {
    /// `inner` writes the `columns` key columns.
    pub fn new(inner: Box<dyn Serializer>, columns: usize, window: Option<WindowInfo>) -> Self {
        Self { columns, inner, window }
    }
}

impl Serializer for WindowedSerializer {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let Some(window) = self.window else {
            return self.inner.serialize(row, out);
        };
        let (columns, bounds) = row.split_at(self.columns.min(row.len()));
        let [Value::Bigint(start), Value::Bigint(end)] = bounds else {
            return Err(FormatError::definition("a windowed key without its window"));
        };
        self.inner.serialize(columns, out)?;
        if window.is_session() {
            out.extend_from_slice(&end.to_be_bytes());
        }
        out.extend_from_slice(&start.to_be_bytes());
        Ok(())
    }
}

/// Reads key rows that may end with a window.
pub struct WindowedDeserializer {
    inner: Box<dyn Deserializer>,
    window: Option<WindowInfo>,
}

impl WindowedDeserializer {
    /// `inner` reads the key columns.
    pub fn new(inner: Box<dyn Deserializer>, window: Option<WindowInfo>) -> Self {
        Self { inner, window }
    }
}

impl Deserializer for WindowedDeserializer {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        let Some(window) = self.window else {
            return self.inner.deserialize(bytes, out);
        };
        let short = || {
            let wanted = window.suffix_bytes();
            let expected = format!("a key that ends with the {wanted} bytes of a window");
            FormatError::data(Format::Internal, expected, format!("{} bytes", bytes.len()))
        };
        let (rest, last) = bytes.split_last_chunk::<8>().ok_or_else(short)?;
        let start = i64::from_be_bytes(*last);
        let (columns, end) = match window.size_ms {
            Some(size) if !window.is_session() => (rest, start.saturating_add(size)),
            _ => {
                let (rest, end) = rest.split_last_chunk::<8>().ok_or_else(short)?;
                (rest, i64::from_be_bytes(*end))
            }
        };
        self.inner.deserialize(columns, out)?;
        out.extend([Value::Bigint(start), Value::Bigint(end)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::formats::{MemoryRegistry, SchemaSource, deserializer, serializer};
    use crate::types::{Column, SerdeSpec, SqlType, WindowKind};

    fn codecs(window: WindowInfo) -> (WindowedSerializer, WindowedDeserializer) {
        let columns = [Column::new("K", SqlType::String)];
        let spec = SerdeSpec::key(Format::Kafka);
        let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        let inner = serializer(&spec, &columns, true, None).unwrap();
        let back = deserializer(&spec, &columns, &[0], true, &schemas).unwrap();
        (
            WindowedSerializer::new(inner, 1, Some(window)),
            WindowedDeserializer::new(back, Some(window)),
        )
    }

    #[test]
    fn a_time_window_is_its_start_and_a_session_its_end_and_start() {
        let time = WindowInfo {
            kind: WindowKind::Hopping,
            size_ms: Some(30),
        };
        let session = WindowInfo {
            kind: WindowKind::Session,
            size_ms: None,
        };
        let row = ["ab".into(), Value::Bigint(0x0102), Value::Bigint(0x0102 + 30)];
        for (window, expected) in [
            (time, &b"ab\0\0\0\0\0\0\x01\x02"[..]),
            (session, &b"ab\0\0\0\0\0\0\x01\x20\0\0\0\0\0\0\x01\x02"[..]),
        ] {
            let (mut write, mut read) = codecs(window);
            let mut bytes = Vec::new();
            write.serialize(&row, &mut bytes).unwrap();
            assert_eq!(bytes, expected);
            assert_eq!(unwindowed(&bytes, Some(window)), b"ab");
            let mut back = Vec::new();
            read.deserialize(&bytes, &mut back).unwrap();
            assert_eq!(back, row);
            for short in 0..window.suffix_bytes() {
                assert!(read.deserialize(&bytes[..short], &mut Vec::new()).is_err());
            }
        }
        assert_eq!(unwindowed(b"ab", None), b"ab");
    }
}
