//! How messages become the used columns: a tree of reads, compiled once for a message type, run once a record.
//!
//! A field that is not there has its default (0, `""`, FALSE, no items) as proto3 says; one with presence (`optional`, messages, oneofs) is NULL.
//! A oneof is one column, a STRUCT named `<oneof>_<position>` with a field a member, as Kafka Connect sees it. Of a field that occurs several
//! times the last counts.

use std::sync::Arc;

use crate::types::{Format, SqlType, Value, map_value};

use super::super::FormatError;
use super::super::error::Name;
use super::super::exact_decimal;
use super::calendar;
use super::file::Scalar;
use super::input::{Input, WireType};
use super::scalar::{To, convert, decimal, raw_of, small_numbers, to_of, wire_of, zero_of};
use super::schema::{Cardinality, Enum, Field, Kind, MessageId, ProtoSchema};
use super::well_known::WellKnown;

type Result<T> = std::result::Result<T, FormatError>;

/// A message's program.
#[derive(Debug)]
pub(super) struct Plan {
    fields: Vec<Step>,
    /// A value a column, of a message without fields.
    initial: Vec<Value>,
}

#[derive(Debug)]
struct Step {
    number: u32,
    slot: usize,
    name: Name,
    what: What,
}

#[derive(Debug)]
enum What {
    Single(Read),
    Items(Read),
    Entries(Box<Entry>),
    /// Member `index` of a oneof of `width` members.
    Member {
        index: usize,
        width: usize,
        read: Read,
    },
}

#[derive(Debug)]
struct Entry {
    key: Read,
    value: Read,
    initial: [Value; 2],
}

#[derive(Debug)]
enum Read {
    Scalar(Scalar, To),
    Symbol(String, Arc<[(Arc<str>, i32)]>),
    Message(Box<Plan>),
    /// A message whose field `value` is the value.
    Wrapper(Scalar, To),
    Decimal(u8, u8),
    Date,
    Time,
    Timestamp,
}

/// Columns or fields that are wanted of a message.
pub(super) type Wanted<'a> = (&'a Name, &'a SqlType);

/// Compiles what is read of a message. Columns that it does not have are NULL.
///
/// # Errors
/// [`FormatError::Data`] when a field cannot be read as its column.
pub(super) fn plan(schema: &ProtoSchema, id: MessageId, wanted: &[Wanted<'_>], format: Format) -> Result<Plan> {
    let message = schema.message(id);
    let mut initial = vec![Value::Null; wanted.len()];
    let mut fields = Vec::new();
    for (slot, (name, sql_type)) in wanted.iter().enumerate() {
        let inside = |e: FormatError| e.inside(name);
        let oneof = oneof_position(&message.oneofs, name).map(|i| members(schema, id, i));
        if let Some(field) = find_field(&message.fields, name) {
            let (what, start) = what_of(schema, field, sql_type, format).map_err(inside)?;
            initial[slot] = start;
            fields.push(Step {
                number: field.number,
                slot,
                name: (*name).clone(),
                what,
            });
        } else if let (Some(members), SqlType::Struct(parts)) = (oneof, sql_type) {
            for field in members {
                let Some(index) = find_name(parts.iter().map(|p| &*p.name), &field.name) else {
                    continue;
                };
                let read = read_of(schema, field, &parts[index].sql_type, format).map_err(inside)?;
                let what = What::Member {
                    index,
                    width: parts.len(),
                    read,
                };
                fields.push(Step {
                    number: field.number,
                    slot,
                    name: (*name).clone(),
                    what,
                });
            }
        }
    }
    Ok(Plan { fields, initial })
}

/// The members of a oneof.
pub(super) fn members(schema: &ProtoSchema, id: MessageId, oneof: usize) -> Vec<&Field> {
    let fields = schema.message(id).fields.iter();
    fields.filter(|f| f.oneof == Some(oneof)).collect()
}

/// The name of a oneof's column.
pub(super) fn oneof_column(name: &str, position: usize) -> String {
    format!("{name}_{position}")
}

pub(super) fn oneof_position(oneofs: &[String], column: &str) -> Option<usize> {
    let names: Vec<String> = oneofs.iter().enumerate().map(|(i, n)| oneof_column(n, i)).collect();
    find_name(names.iter().map(String::as_str), column)
}

/// The same spelling first, then regardless of case.
pub(super) fn find_name<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<usize> {
    let exact = names.clone().position(|n| n == name);
    exact.or_else(|| { names }.position(|n| n.eq_ignore_ascii_case(name)))
}

/// A field that is no member of a oneof; members count where nothing else has the name.
pub(super) fn find_field<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    find_name(fields.iter().map(|f| &*f.name), name).map(|i| &fields[i])
}

#[cold]
fn mismatch(schema: &ProtoSchema, field: &Field, sql_type: &SqlType, format: Format) -> FormatError {
    let repeated = if field.cardinality == Cardinality::Repeated {
        "repeated "
    } else {
        ""
    };
    FormatError::data(
        format,
        format!("a type that can be read as {sql_type}"),
        format!("the type {repeated}{}", schema.describe(field.kind)),
    )
}

fn what_of(schema: &ProtoSchema, field: &Field, sql_type: &SqlType, format: Format) -> Result<(What, Value)> {
    let unfit = || mismatch(schema, field, sql_type, format);
    if let (Some((key, value)), SqlType::Map(key_type, value_type)) = (schema.map_of(field), sql_type) {
        if **key_type != SqlType::String {
            return Err(unfit());
        }
        let key_read = read_of(schema, key, key_type, format)?;
        let read = read_of(schema, value, value_type, format)?;
        let initial = [default_of(&key_read, key), default_of(&read, value)];
        let entry = Entry {
            key: key_read,
            value: read,
            initial,
        };
        return Ok((What::Entries(Box::new(entry)), Value::Map([].into())));
    }
    if field.cardinality == Cardinality::Repeated {
        let SqlType::Array(item) = sql_type else {
            return Err(unfit());
        };
        let read = read_of(schema, field, item, format).map_err(|e| e.inside("[]"))?;
        return Ok((What::Items(read), Value::Array([].into())));
    }
    let read = read_of(schema, field, sql_type, format)?;
    let start = default_of(&read, field);
    Ok((What::Single(read), start))
}

/// What a field is that is not there.
fn default_of(read: &Read, field: &Field) -> Value {
    if field.cardinality == Cardinality::Optional {
        return Value::Null;
    }
    match read {
        Read::Scalar(_, To::Boolean) => Value::Boolean(false),
        Read::Scalar(_, To::Integer) => Value::Integer(0),
        Read::Scalar(_, To::Bigint) => Value::Bigint(0),
        Read::Scalar(_, To::Double) => Value::Double(0.0),
        Read::Scalar(_, To::Bytes) => Value::Bytes([].into()),
        Read::Scalar(Scalar::String, To::String) => Value::String("".into()),
        Read::Scalar(Scalar::Bool, To::String) => Value::String("false".into()),
        Read::Scalar(_, To::String) => Value::String("0".into()),
        Read::Symbol(_, values) => values
            .first()
            .map_or(Value::Null, |(symbol, _)| Value::String(symbol.clone())),
        Read::Message(_) | Read::Wrapper(..) | Read::Decimal(..) | Read::Date | Read::Time | Read::Timestamp => {
            Value::Null
        }
    }
}

/// How one value of a field is read; of a repeated one, an item.
fn read_of(schema: &ProtoSchema, field: &Field, sql_type: &SqlType, format: Format) -> Result<Read> {
    let unfit = || mismatch(schema, field, sql_type, format);
    Ok(match (field.kind, sql_type) {
        (Kind::Scalar(scalar), _) => Read::Scalar(scalar, to_of(scalar, sql_type).ok_or_else(unfit)?),
        (Kind::Enum(id), SqlType::String) => {
            let Enum { name, values } = schema.enumeration(id);
            Read::Symbol(name.clone(), values.clone())
        }
        (Kind::Enum(_), _) => return Err(unfit()),
        (Kind::Message(id), _) => match (schema.message(id).well_known, sql_type) {
            (Some(WellKnown::Decimal), SqlType::Decimal { precision, scale }) => Read::Decimal(*precision, *scale),
            (Some(WellKnown::Date), SqlType::Date) => Read::Date,
            (Some(WellKnown::TimeOfDay), SqlType::Time) => Read::Time,
            (Some(WellKnown::Timestamp), SqlType::Timestamp) => Read::Timestamp,
            (_, SqlType::Struct(fields)) => {
                let wanted: Vec<Wanted<'_>> = fields.iter().map(|f| (&f.name, &f.sql_type)).collect();
                Read::Message(Box::new(plan(schema, id, &wanted, format)?))
            }
            (Some(WellKnown::Wrapper), _) => match schema.message(id).fields.first().map(|f| f.kind) {
                Some(Kind::Scalar(scalar)) => Read::Wrapper(scalar, to_of(scalar, sql_type).ok_or_else(unfit)?),
                _ => return Err(unfit()),
            },
            _ => return Err(unfit()),
        },
    })
}

impl Plan {
    /// Appends a value a column.
    pub(super) fn run(&self, input: Input<'_>, out: &mut Vec<Value>) -> Result<()> {
        let base = out.len();
        out.extend_from_slice(&self.initial);
        self.fill(input, &mut out[base..])
    }

    fn fill(&self, mut input: Input<'_>, values: &mut [Value]) -> Result<()> {
        let mut lists: Vec<(usize, Vec<Value>)> = Vec::new();
        let mut next = 0;
        while let Some((number, wire)) = input.tag()? {
            // fields tend to come in the order of their declaration
            let same = |i: &usize| self.fields.get(*i).is_some_and(|f| f.number == number);
            let found = Some(next).filter(same).or_else(|| (0..self.fields.len()).find(same));
            let Some(i) = found else {
                input.skip(number, wire)?;
                continue;
            };
            let step = &self.fields[i];
            next = i + usize::from(!matches!(step.what, What::Items(_) | What::Entries(_)));
            step.run(&mut input, wire, values, &mut lists)
                .map_err(|e| e.inside(&step.name))?;
        }
        for (slot, items) in lists {
            values[slot] = match values[slot] {
                Value::Map(_) => entries_of(items),
                _ => Value::Array(items.into()),
            };
        }
        Ok(())
    }
}

/// Keys and values by turns as a MAP.
fn entries_of(items: Vec<Value>) -> Value {
    let mut items = items.into_iter();
    let mut entries = Vec::with_capacity(items.len() / 2);
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        entries.push((key, value));
    }
    map_value(entries)
}

fn list_of(lists: &mut Vec<(usize, Vec<Value>)>, slot: usize) -> &mut Vec<Value> {
    let index = lists.iter().position(|(s, _)| *s == slot).unwrap_or_else(|| {
        lists.push((slot, Vec::new()));
        lists.len() - 1
    });
    &mut lists[index].1
}

impl Step {
    fn run(
        &self,
        input: &mut Input<'_>,
        wire: WireType,
        values: &mut [Value],
        lists: &mut Vec<(usize, Vec<Value>)>,
    ) -> Result<()> {
        match &self.what {
            What::Single(read) => values[self.slot] = read.run(input, wire)?,
            What::Items(read) => {
                let list = list_of(lists, self.slot);
                if wire == WireType::Bytes && read.is_packable() {
                    let mut packed = input.inner()?;
                    while !packed.is_done() {
                        list.push(read.run_as(&mut packed)?);
                    }
                } else {
                    let item = read.run(input, wire).map_err(|e| e.inside_item(list.len()))?;
                    list.push(item);
                }
            }
            What::Entries(entry) => {
                expect_wire(input, wire, WireType::Bytes)?;
                let [key, value] = entry.run(input.inner()?)?;
                list_of(lists, self.slot).extend([key, value]);
            }
            What::Member { index, width, read } => {
                let mut members = vec![Value::Null; *width];
                members[*index] = read.run(input, wire)?;
                values[self.slot] = Value::Struct(members.into());
            }
        }
        Ok(())
    }
}

impl Entry {
    fn run(&self, mut input: Input<'_>) -> Result<[Value; 2]> {
        let [mut key, mut value] = self.initial.clone();
        while let Some((number, wire)) = input.tag()? {
            match number {
                1 => key = self.key.run(&mut input, wire)?,
                2 => value = self.value.run(&mut input, wire)?,
                other => input.skip(other, wire)?,
            }
        }
        Ok([key, value])
    }
}

fn expect_wire(input: &Input<'_>, found: WireType, expected: WireType) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(input.error(
        &format!("a value laid out as {expected:?}"),
        format!("one laid out as {found:?}"),
    ))
}

impl Read {
    fn is_packable(&self) -> bool {
        match self {
            Self::Scalar(scalar, _) => scalar.is_packable(),
            Self::Symbol(..) => true,
            _ => false,
        }
    }

    fn wire(&self) -> WireType {
        match self {
            Self::Scalar(scalar, _) => wire_of(*scalar),
            Self::Symbol(..) => WireType::Varint,
            _ => WireType::Bytes,
        }
    }

    fn run(&self, input: &mut Input<'_>, wire: WireType) -> Result<Value> {
        expect_wire(input, wire, self.wire())?;
        self.run_as(input)
    }

    fn run_as(&self, input: &mut Input<'_>) -> Result<Value> {
        match self {
            Self::Scalar(scalar, to) => {
                let raw = raw_of(*scalar, input)?;
                convert(raw, *to, input)
            }
            Self::Symbol(name, values) => {
                let number = input.varint()? as i32;
                let found = values.iter().find(|(_, n)| *n == number);
                Ok(Value::String(match found {
                    Some((symbol, _)) => symbol.clone(),
                    // as Java names what a newer writer knows
                    None => format!("UNKNOWN_ENUM_VALUE_{name}_{number}").into(),
                }))
            }
            Self::Message(plan) => {
                let mut values = plan.initial.clone();
                plan.fill(input.inner()?, &mut values)?;
                Ok(Value::Struct(values.into()))
            }
            Self::Wrapper(scalar, to) => {
                let mut inner = input.inner()?;
                let mut value = convert(zero_of(*scalar), *to, &inner)?;
                while let Some((number, wire)) = inner.tag()? {
                    if number == 1 {
                        expect_wire(&inner, wire, wire_of(*scalar))?;
                        let raw = raw_of(*scalar, &mut inner)?;
                        value = convert(raw, *to, &inner)?;
                    } else {
                        inner.skip(number, wire)?;
                    }
                }
                Ok(value)
            }
            Self::Decimal(precision, scale) => {
                let d = decimal(input.inner()?)?;
                let expected = || format!("DECIMAL({precision}, {scale}) without rounding");
                let fitted = exact_decimal(d, *precision, *scale);
                Ok(Value::Decimal(
                    fitted.ok_or_else(|| input.error(&expected(), d.to_string()))?,
                ))
            }
            Self::Date => {
                let [year, month, day, _] = small_numbers(input.inner()?)?;
                let days = calendar::days(year, month, day);
                Ok(Value::Date(days.ok_or_else(|| {
                    input.error("a date", format!("{year}-{month}-{day}"))
                })?))
            }
            Self::Time => {
                let [hours, minutes, seconds, nanos] = small_numbers(input.inner()?)?;
                let in_range = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..60).contains(&seconds);
                if !in_range || !(0..1_000_000_000).contains(&nanos) {
                    return Err(input.error("a time of the day", format!("{hours}:{minutes}:{seconds}")));
                }
                let ms = ((hours * 60 + minutes) * 60 + seconds) * 1_000 + nanos / 1_000_000;
                Ok(Value::Time(ms as i32))
            }
            Self::Timestamp => {
                let [seconds, nanos, ..] = small_numbers(input.inner()?)?;
                let ms = seconds
                    .checked_mul(1_000)
                    .and_then(|ms| ms.checked_add(nanos.div_euclid(1_000_000)));
                Ok(Value::Timestamp(
                    ms.ok_or_else(|| input.error("a timestamp", format!("{seconds} s")))?,
                ))
            }
        }
    }
}
