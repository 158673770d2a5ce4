//! KAFKA: the bytes of Kafka's own serializers, for exactly one column. INTEGER is 4 bytes and BIGINT 8 bytes big-endian, DOUBLE 8 bytes
//! IEEE 754 big-endian, STRING UTF-8, BYTES as they are.

use crate::types::{Column, Format, SqlType, Value};

use super::error::{kind_of, quoted};
use super::{Deserializer, FormatError, Serializer};

const FORMAT: Format = Format::Kafka;

/// What the one column holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Integer,
    Bigint,
    Double,
    String,
    Bytes,
}

/// Reads and writes the one column.
pub(super) struct Kafka {
    kind: Kind,
    name: super::error::Name,
    used: bool,
}

impl Kafka {
    /// For these columns; `used` says whether the column is read at all.
    pub(super) fn new(columns: &[Column], used: bool) -> Result<Self, FormatError> {
        let [column] = columns else {
            let names: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
            return Err(FormatError::definition(format!(
                "the KAFKA format holds exactly one column, but there are {} ({}); use another format",
                columns.len(),
                names.join(", ")
            )));
        };
        let kind = match column.sql_type {
            SqlType::Integer => Kind::Integer,
            SqlType::Bigint => Kind::Bigint,
            SqlType::Double => Kind::Double,
            SqlType::String => Kind::String,
            SqlType::Bytes => Kind::Bytes,
            SqlType::Boolean
            | SqlType::Decimal { .. }
            | SqlType::Date
            | SqlType::Time
            | SqlType::Timestamp
            | SqlType::Array(_)
            | SqlType::Map(..)
            | SqlType::Struct(_) => {
                return Err(FormatError::definition(format!(
                    "the KAFKA format holds INTEGER, BIGINT, DOUBLE, STRING or BYTES, but column {} is {}; use another format",
                    column.name, column.sql_type
                )));
            }
        };
        Ok(Self {
            kind,
            name: column.name.clone(),
            used,
        })
    }

    fn fixed<const N: usize>(&self, bytes: &[u8]) -> Result<[u8; N], FormatError> {
        bytes.try_into().map_err(|_| {
            FormatError::data(FORMAT, format!("{N} bytes"), format!("{} bytes", bytes.len())).inside(&self.name)
        })
    }
}

impl Deserializer for Kafka {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        if !self.used {
            return Ok(());
        }
        out.push(match self.kind {
            Kind::Integer => Value::Integer(i32::from_be_bytes(self.fixed(bytes)?)),
            Kind::Bigint => Value::Bigint(i64::from_be_bytes(self.fixed(bytes)?)),
            Kind::Double => Value::Double(f64::from_be_bytes(self.fixed(bytes)?)),
            Kind::Bytes => Value::Bytes(bytes.into()),
            Kind::String => {
                let text = std::str::from_utf8(bytes).map_err(|e| {
                    FormatError::data(FORMAT, "UTF-8 text", "bytes that are none")
                        .at(e.valid_up_to())
                        .inside(&self.name)
                })?;
                Value::String(text.into())
            }
        });
        Ok(())
    }
}

impl Serializer for Kafka {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let [value] = row else {
            return Err(FormatError::unwritable(FORMAT, "one value", format!("{}", row.len())));
        };
        match (self.kind, value) {
            (Kind::Integer, Value::Integer(n)) => out.extend_from_slice(&n.to_be_bytes()),
            (Kind::Bigint, Value::Bigint(n)) => out.extend_from_slice(&n.to_be_bytes()),
            (Kind::Double, Value::Double(x)) => out.extend_from_slice(&x.to_be_bytes()),
            (Kind::String, Value::String(s)) => out.extend_from_slice(s.as_bytes()),
            (Kind::Bytes, Value::Bytes(b)) => out.extend_from_slice(b),
            (kind, other) => {
                let found = match other {
                    Value::String(s) => quoted(s),
                    other => kind_of(other).to_string(),
                };
                return Err(FormatError::unwritable(FORMAT, format!("{kind:?}"), found).inside(&self.name));
            }
        }
        Ok(())
    }

    fn is_null(&self, row: &[Value]) -> bool {
        matches!(row, [Value::Null])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(sql_type: SqlType, value: Value, bytes: &[u8]) {
        let columns = [Column::new("C", sql_type)];
        let mut kafka = Kafka::new(&columns, true).unwrap();
        let mut out = Vec::new();
        kafka.serialize(std::slice::from_ref(&value), &mut out).unwrap();
        assert_eq!(out, bytes);
        let mut row = Vec::new();
        kafka.deserialize(bytes, &mut row).unwrap();
        assert_eq!(row, [value]);
    }

    #[test]
    fn writes_what_kafka_writes() {
        round(SqlType::Integer, Value::Integer(-2), &[255, 255, 255, 254]);
        round(SqlType::Bigint, Value::Bigint(258), &[0, 0, 0, 0, 0, 0, 1, 2]);
        round(SqlType::Double, Value::Double(1.0), &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        round(SqlType::String, "é".into(), &[0xc3, 0xa9]);
        round(SqlType::Bytes, Value::Bytes(vec![0, 255].into()), &[0, 255]);
    }

    #[test]
    fn says_what_was_expected_and_found() {
        let mut kafka = Kafka::new(&[Column::new("ID", SqlType::Bigint)], true).unwrap();
        let e = kafka.deserialize(&[1, 2, 3], &mut Vec::new()).unwrap_err();
        assert_eq!(e.to_string(), "KAFKA, column ID: expected 8 bytes, found 3 bytes");
        let e = kafka.serialize(&[Value::Null], &mut Vec::new()).unwrap_err();
        assert_eq!(e.to_string(), "KAFKA, column ID: expected Bigint, found NULL");
        assert!(Kafka::new(&[Column::new("ID", SqlType::Date)], true).is_err());
        assert!(Kafka::new(&[], true).is_err());
    }
}
