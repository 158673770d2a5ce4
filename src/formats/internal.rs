//! INTERNAL: our own codecs, for topics that only we read. Values are rows of the row codec, keys are in the order-preserving key encoding.

use crate::types::{Format, Value, decode_key, decode_row, encode_key, encode_row};

use super::{Deserializer, FormatError, Serializer};

const FORMAT: Format = Format::Internal;

/// Reads and writes rows or keys of our own.
pub(super) struct Internal {
    /// How many columns a row has.
    columns: usize,
    /// The columns that are read, ascending.
    used: Vec<usize>,
    is_key: bool,
}

impl Internal {
    /// For rows of `columns` columns.
    pub(super) fn new(columns: usize, used: &[usize], is_key: bool) -> Self {
        Self {
            columns,
            used: used.to_vec(),
            is_key,
        }
    }
}

impl Deserializer for Internal {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        let row = if self.is_key {
            decode_key(bytes)
        } else {
            decode_row(bytes)
        };
        let row = row.map_err(|e| FormatError::data(FORMAT, "a record of ours", "other bytes").at(e.at))?;
        if row.len() != self.columns {
            let (expected, found) = (format!("{} values", self.columns), format!("{}", row.len()));
            return Err(FormatError::data(FORMAT, expected, found));
        }
        out.extend(self.used.iter().map(|&i| row[i].clone()));
        Ok(())
    }
}

impl Serializer for Internal {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.is_key {
            encode_key(row, out);
        } else {
            encode_row(row, out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_rows_survive_and_used_columns_are_picked() {
        for is_key in [true, false] {
            let row = [Value::Bigint(7), "x".into(), Value::Null];
            let mut bytes = Vec::new();
            Internal::new(3, &[], is_key).serialize(&row, &mut bytes).unwrap();
            let mut read = Vec::new();
            Internal::new(3, &[0, 2], is_key)
                .deserialize(&bytes, &mut read)
                .unwrap();
            assert_eq!(read, [Value::Bigint(7), Value::Null]);
            assert!(Internal::new(2, &[0], is_key).deserialize(&bytes, &mut read).is_err());
            assert!(
                Internal::new(3, &[0], is_key)
                    .deserialize(&[0xff, 1], &mut read)
                    .is_err()
            );
        }
    }
}
