//! JSON text to the used columns, with ksqlDB's coercions (`KsqlJsonDeserializer`): numbers and booleans become STRING as their text, objects
//! as JSON text; strings become numbers when they hold one; nothing becomes BOOLEAN, ARRAY, MAP or STRUCT. Fractions are cut for INTEGER and
//! BIGINT; a number out of range is an error. A field's own spelling is preferred, then its name in upper case: what SQL left unquoted is found
//! regardless of case, a quoted name only as it is spelled.

use std::sync::Arc;

use crate::types::BASE64;
use base64::Engine;

use crate::types::{Column, Decimal, Format, SqlType, Value, map_value, number_to_string};

use super::super::FormatError;
use super::super::error::quoted;
use super::super::scalar;
use super::pull::{Kind, Pull};

type Result<T> = std::result::Result<T, FormatError>;

/// Fields that are read from an object, in the order of their values.
pub(super) struct Fields {
    fields: Vec<(Arc<str>, Shape)>,
    /// By field: its name is in upper case, as SQL folds names that are not quoted.
    folded: Vec<bool>,
    /// Two names differ in case only.
    twins: bool,
}

/// What is read.
pub(super) enum Shape {
    Scalar(SqlType),
    Array(Box<Shape>),
    Map(SqlType, Box<Shape>),
    Struct(Fields),
}

/// How well a slot's field matched so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    None,
    AnyCase,
    Exact,
}

impl Shape {
    pub(super) fn of(sql_type: &SqlType) -> Result<Self> {
        Ok(match sql_type {
            SqlType::Array(item) => Self::Array(Box::new(Self::of(item)?)),
            SqlType::Map(key, value) => {
                if matches!(**key, SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_)) {
                    return Err(FormatError::definition(format!(
                        "JSON: keys of a map are texts, {key} is none; use another type"
                    )));
                }
                Self::Map((**key).clone(), Box::new(Self::of(value)?))
            }
            SqlType::Struct(fields) => {
                let columns: Vec<Column> = fields
                    .iter()
                    .map(|f| Column::new(f.name.clone(), f.sql_type.clone()))
                    .collect();
                Self::Struct(Fields::of(&columns)?)
            }
            scalar => Self::Scalar(scalar.clone()),
        })
    }

    pub(super) fn read(&self, pull: &mut Pull<'_>) -> Result<Value> {
        let kind = pull.peek()?;
        if kind == Kind::Null {
            pull.word(kind);
            return Ok(Value::Null);
        }
        match (self, kind) {
            (Self::Scalar(sql_type), _) => read_scalar(pull, kind, sql_type),
            (Self::Array(item), Kind::Array) => {
                let mut items = Vec::new();
                while pull.next_item(items.is_empty())? {
                    let index = items.len();
                    items.push(item.read(pull).map_err(|e| e.inside_item(index))?);
                }
                Ok(Value::Array(items.into()))
            }
            (Self::Map(key, value), Kind::Object) => {
                let mut entries = Vec::new();
                while let Some(name) = pull.next_key(entries.is_empty())? {
                    let inside = |e: FormatError| e.inside(&format!("[{name:?}]"));
                    let key = from_text(pull, &name, key).map_err(inside)?;
                    entries.push((key, value.read(pull).map_err(inside)?));
                }
                Ok(map_value(entries))
            }
            (Self::Struct(fields), Kind::Object) => {
                let mut values = vec![Value::Null; fields.fields.len()];
                fields.read(pull, &mut values)?;
                Ok(Value::Struct(values.into()))
            }
            (Self::Array(_), _) => Err(pull.error("an array", kind.words())),
            (Self::Map(..) | Self::Struct(_), _) => Err(pull.error("an object", kind.words())),
        }
    }
}

impl Fields {
    pub(super) fn of(columns: &[Column]) -> Result<Self> {
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            fields.push((column.name.clone(), Shape::of(&column.sql_type)?));
        }
        let twin =
            |(i, (a, _)): (usize, &(Arc<str>, Shape))| fields[..i].iter().any(|(b, _)| a.eq_ignore_ascii_case(b));
        let twins = fields.iter().enumerate().any(twin);
        let folded = fields.iter().map(|(name, _)| !name.chars().any(char::is_lowercase));
        Ok(Self {
            folded: folded.collect(),
            fields,
            twins,
        })
    }

    /// The slot of a field's name. Records tend to have their fields in the same order, so `next` is tried first.
    fn slot(&self, name: &str, next: usize) -> Option<usize> {
        let same = |i: &usize| {
            let field = &self.fields[*i].0;
            **field == *name || (self.folded[*i] && field.eq_ignore_ascii_case(name))
        };
        if self.twins
            && let Some(exact) = self.fields.iter().position(|(f, _)| **f == *name)
        {
            return Some(exact);
        }
        let indexes = 0..self.fields.len();
        Some(next)
            .filter(|i| *i < self.fields.len() && same(i))
            .or_else(|| indexes.into_iter().find(same))
    }

    /// Reads an object, after `peek` found it, into one value a field; what is missing stays as it is.
    pub(super) fn read(&self, pull: &mut Pull<'_>, values: &mut [Value]) -> Result<()> {
        /// Records of more columns than this keep their notes on the heap.
        const FEW: usize = 32;
        let (mut few, mut many);
        let matched: &mut [Match] = if values.len() <= FEW {
            few = [Match::None; FEW];
            &mut few
        } else {
            many = vec![Match::None; values.len()];
            &mut many
        };
        let (mut first, mut next) = (true, 0);
        while let Some(key) = pull.next_key(first)? {
            first = false;
            let Some(slot) = self.slot(&key, next) else {
                pull.skip()?;
                continue;
            };
            next = slot + 1;
            let (name, shape) = &self.fields[slot];
            let match_ = if **name == *key { Match::Exact } else { Match::AnyCase };
            if match_ < matched[slot] {
                pull.skip()?;
                continue;
            }
            matched[slot] = match_;
            values[slot] = shape.read(pull).map_err(|e| e.inside(name))?;
        }
        Ok(())
    }
}

fn read_scalar(pull: &mut Pull<'_>, kind: Kind, sql_type: &SqlType) -> Result<Value> {
    match (sql_type, kind) {
        (SqlType::Boolean, Kind::Boolean(b)) => {
            pull.word(kind);
            Ok(Value::Boolean(b))
        }
        (SqlType::String, _) => Ok(Value::String(read_text(pull, kind)?.into())),
        (SqlType::Boolean, _) => Err(pull.error("a boolean", kind.words())),
        (SqlType::Bytes, Kind::String) => {
            let text = pull.string()?;
            let bytes = BASE64
                .decode(&*text)
                .map_err(|e| pull.error("base64", format!("{}: {e}", quoted(&text))))?;
            Ok(Value::Bytes(bytes.into()))
        }
        (SqlType::Bytes, _) => Err(pull.error("base64 in a string", kind.words())),
        (_, Kind::Number) => {
            let text = pull.number()?;
            number(text, sql_type).ok_or_else(|| pull.error(&format!("a number that fits {sql_type}"), text))
        }
        (_, Kind::String) => {
            let text = pull.string()?;
            from_text(pull, &text, sql_type)
        }
        _ => Err(pull.error(&format!("{sql_type} as a number"), kind.words())),
    }
}

/// Any value as a STRING.
fn read_text(pull: &mut Pull<'_>, kind: Kind) -> Result<String> {
    Ok(match kind {
        Kind::String => pull.string()?.into_owned(),
        Kind::Number => number_to_string(pull.number()?).into_owned(),
        Kind::Object => pull.compact()?,
        Kind::Boolean(b) => {
            pull.word(kind);
            b.to_string()
        }
        Kind::Null => {
            pull.word(kind);
            "null".to_string()
        }
        Kind::Array => {
            // as Java prints a list of the items' texts
            let text = pull.compact()?;
            let mut items = Vec::new();
            let mut inner = Pull::new(text.as_bytes());
            inner.peek()?;
            while inner.next_item(items.is_empty())? {
                let kind = inner.peek()?;
                items.push(match kind {
                    Kind::Array => inner.compact()?,
                    _ => read_text(&mut inner, kind)?,
                });
            }
            format!("[{}]", items.join(", "))
        }
    })
}

/// A number's text as a numeric or time type.
fn number(text: &str, sql_type: &SqlType) -> Option<Value> {
    match scalar::parse(text, sql_type) {
        Some(value) => Some(value),
        None => match sql_type {
            // a fraction is cut, an exponent multiplied out
            SqlType::Integer | SqlType::Bigint | SqlType::Date | SqlType::Time | SqlType::Timestamp => {
                let whole = text.parse::<Decimal>().ok()?.trunc();
                scalar::parse(&whole.to_string(), sql_type)
            }
            _ => None,
        },
    }
}

/// A string's text as a type that is no STRING: what holds a number, or a map's key.
fn from_text(pull: &Pull<'_>, text: &str, sql_type: &SqlType) -> Result<Value> {
    scalar::parse(text, sql_type)
        .ok_or_else(|| FormatError::data(Format::Json, sql_type.to_string(), quoted(text)).at(pull.at()))
}
