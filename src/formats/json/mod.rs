//! JSON without a schema: an object with the columns as fields, or, of a single column that is not wrapped, the value itself.

mod pull;
mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::types::{Column, Format, SerdeSpec, Value};

use super::error::Name;
use super::{Deserializer, FormatError, Serializer};
use pull::{Kind, Pull};

/// Whether the only column stands for the whole text.
pub(super) fn is_bare(spec: &SerdeSpec, columns: &[Column]) -> bool {
    !spec.wrap_single && columns.len() == 1
}

/// Reads JSON texts.
pub(super) struct JsonDeserializer {
    read: Read,
}

enum Read {
    Object { fields: read::Fields, width: usize },
    Bare(Name, read::Shape),
    Nothing,
}

impl JsonDeserializer {
    /// For the columns at the positions `used`.
    pub(super) fn new(spec: &SerdeSpec, columns: &[Column], used: &[usize]) -> Result<Self, FormatError> {
        let used: Vec<Column> = used.iter().map(|&i| columns[i].clone()).collect();
        let read = match used.first() {
            None => Read::Nothing,
            Some(only) if is_bare(spec, columns) => Read::Bare(only.name.clone(), read::Shape::of(&only.sql_type)?),
            Some(_) => Read::Object {
                fields: read::Fields::of(&used)?,
                width: used.len(),
            },
        };
        Ok(Self { read })
    }
}

impl Deserializer for JsonDeserializer {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        let mut pull = Pull::new(bytes);
        match &self.read {
            Read::Nothing => return Ok(()),
            Read::Bare(name, shape) => out.push(shape.read(&mut pull).map_err(|e| e.inside(name))?),
            Read::Object { fields, width } => {
                let base = out.len();
                out.resize(base + width, Value::Null);
                match pull.peek()? {
                    Kind::Object => fields.read(&mut pull, &mut out[base..])?,
                    Kind::Null => pull.word(Kind::Null),
                    other => return Err(pull.error("an object with the columns as fields", other.words())),
                }
            }
        }
        pull.end()
    }
}

/// Writes JSON texts.
pub(super) struct JsonSerializer {
    members: Vec<write::Member>,
    bare: Option<write::Shape>,
    text: String,
}

impl JsonSerializer {
    /// For these columns.
    pub(super) fn new(spec: &SerdeSpec, columns: &[Column]) -> Result<Self, FormatError> {
        // reading refuses the same keys of maps
        read::Fields::of(columns)?;
        Ok(Self {
            members: columns
                .iter()
                .map(|c| write::Member::new(&c.name, &c.sql_type))
                .collect(),
            bare: is_bare(spec, columns).then(|| write::Shape::of(&columns[0].sql_type)),
            text: String::new(),
        })
    }
}

impl Serializer for JsonSerializer {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if row.len() != self.members.len() {
            let (expected, found) = (format!("{} values", self.members.len()), format!("{}", row.len()));
            return Err(FormatError::unwritable(Format::Json, expected, found));
        }
        self.text.clear();
        match &self.bare {
            Some(shape) => write::value(&row[0], shape, &mut self.text),
            None => write::object(&self.members, row, &mut self.text),
        }
        out.extend_from_slice(self.text.as_bytes());
        Ok(())
    }

    fn is_null(&self, row: &[Value]) -> bool {
        self.bare.is_some() && matches!(row, [Value::Null])
    }
}
