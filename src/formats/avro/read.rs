//! How one writer's records become the used columns: a tree of reads, compiled once (see `compile`), run once a record.

use std::sync::Arc;

use crate::types::{Decimal, Value, double_to_string, map_value};

use super::super::FormatError;
use super::super::error::Name;
use super::super::exact_decimal;
use super::input::Input;
use super::schema::{AvroSchema, AvroType, TypeId};

type Result<T> = std::result::Result<T, FormatError>;

/// The program of one writer schema for one set of columns.
pub(super) struct Program {
    pub(super) schema: Arc<AvroSchema>,
    /// How many values a row has.
    pub(super) width: usize,
    pub(super) root: Root,
}

/// What the writer's root type is.
pub(super) enum Root {
    /// A record, field by field into the columns.
    Record(RecordPlan),
    /// A union of records and null (a row of NULLs).
    Union(Vec<Option<RecordPlan>>),
    /// The value itself is the only column.
    Single(Name, Read),
    /// No column is used: nothing is read.
    Nothing,
}

/// How a record fills slots. Fields after the last used one are not even passed over, where the record is the last thing to be read.
pub(super) struct RecordPlan {
    pub(super) steps: Vec<Step>,
    /// Values of columns that the writer does not have. All other slots that no step fills are NULL.
    pub(super) defaults: Vec<(usize, Value)>,
    /// So many slots are filled, one after the other; 0 when the order is another one.
    pub(super) ordered: usize,
}

/// One field.
pub(super) enum Step {
    Skip(TypeId),
    Read { slot: usize, name: Name, read: Read },
}

/// How a value is read.
pub(super) enum Read {
    Null,
    Boolean,
    Integer,
    /// From an `int`.
    IntBigint,
    Bigint,
    IntDouble,
    LongDouble,
    FloatDouble,
    Double,
    /// From `bytes`, or from `fixed` of a size.
    Decimal {
        size: Option<usize>,
        from_scale: u8,
        precision: u8,
        scale: u8,
    },
    String,
    Bytes,
    /// From `fixed`.
    FixedBytes(usize),
    /// A UUID in 16 bytes, as text.
    Uuid,
    /// An enum's symbol.
    Symbol(Arc<[Arc<str>]>),
    Date,
    /// From an `int` of milliseconds.
    TimeMillis,
    /// From a `long`: so many in a millisecond.
    Time(i64),
    /// From a `long`: so many in a millisecond.
    Timestamp(i64),
    Array {
        item: Box<Read>,
        empty: bool,
    },
    Map(Box<Read>),
    /// A map as an array of records that hold key (slot 0) and value (slot 1).
    Entries {
        plan: RecordPlan,
        empty: bool,
    },
    Struct {
        plan: RecordPlan,
        width: usize,
    },
    /// A union of null and one type; `null` is null's index.
    Nullable {
        null: i64,
        inner: Box<Read>,
    },
    /// A number or boolean as its text.
    TextOf(Box<Read>),
    /// A `float` as its text, which has fewer digits than that of the same `double`.
    FloatText,
    /// A union of several types as a STRUCT: by branch, the field that it fills and how. Other branches fill none.
    Members {
        reads: Vec<Option<(usize, Read)>>,
        types: Vec<TypeId>,
        width: usize,
    },
    /// A union by index; branches that do not fit the column say why.
    Union(Vec<std::result::Result<Read, String>>),
}

impl Program {
    /// Reads one record, from byte `at` on, and appends its columns.
    pub(super) fn run(&self, bytes: &[u8], at: usize, stack: &mut Vec<Value>, out: &mut Vec<Value>) -> Result<()> {
        let mut input = Input::new(bytes, at, stack);
        let base = out.len();
        let plan = match &self.root {
            Root::Record(plan) => Some(plan),
            Root::Union(branches) => {
                let branch = input.index(branches.len(), "branches of a union")?;
                branches[branch].as_ref()
            }
            Root::Single(name, read) => {
                let value = read.run(&mut input, &self.schema).map_err(|e| e.inside(name))?;
                out.push(value);
                return Ok(());
            }
            Root::Nothing => None,
        };
        match plan {
            // the common case: every column comes in its turn, so nothing has to be filled in first
            Some(plan) if plan.in_turn(self.width) => {
                out.reserve(self.width);
                plan.run(&mut input, &self.schema, |_, _, value| out.push(value))
            }
            Some(plan) => {
                out.resize(base + self.width, Value::Null);
                plan.run(&mut input, &self.schema, |_, slot, value| out[base + slot] = value)
            }
            None => {
                out.resize(base + self.width, Value::Null);
                Ok(())
            }
        }
    }
}

impl RecordPlan {
    pub(super) fn new(steps: Vec<Step>, defaults: Vec<(usize, Value)>) -> Self {
        let slot = |step: &Step| match step {
            Step::Skip(_) => None,
            Step::Read { slot, .. } => Some(*slot),
        };
        let slots = steps.iter().filter_map(slot);
        let ordered = if defaults.is_empty() && slots.clone().enumerate().all(|(i, slot)| i == slot) {
            slots.count()
        } else {
            0
        };
        Self {
            steps,
            defaults,
            ordered,
        }
    }

    /// Whether the reads alone fill a row of `width` values in order.
    #[inline]
    fn in_turn(&self, width: usize) -> bool {
        self.ordered == width
    }

    #[inline]
    fn run<'a>(
        &self,
        input: &mut Input<'a>,
        schema: &AvroSchema,
        mut put: impl FnMut(&mut Input<'a>, usize, Value),
    ) -> Result<()> {
        for step in &self.steps {
            match step {
                Step::Skip(id) => input.skip(schema, *id, 0)?,
                Step::Read { slot, name, read } => {
                    let value = read.run(input, schema).map_err(|e| e.inside(name))?;
                    put(input, *slot, value);
                }
            }
        }
        for (slot, value) in &self.defaults {
            put(input, *slot, value.clone());
        }
        Ok(())
    }

    /// Reads the fields onto the stack and leaves `width` values there, from the index that is given back.
    fn run_on_stack(&self, input: &mut Input<'_>, schema: &AvroSchema, width: usize) -> Result<usize> {
        let base = input.stack.len();
        input.stack.resize(base + width, Value::Null);
        self.run(input, schema, |input, slot, value| input.stack[base + slot] = value)?;
        Ok(base)
    }
}

impl Read {
    /// Reads one value. On an error the stack is left as it is; the next record clears it.
    #[inline]
    pub(super) fn run(&self, input: &mut Input<'_>, schema: &AvroSchema) -> Result<Value> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Boolean => Value::Boolean(input.boolean()?),
            Self::Integer => Value::Integer(input.int()?),
            Self::IntBigint => Value::Bigint(i64::from(input.int()?)),
            Self::Bigint => Value::Bigint(input.long()?),
            Self::IntDouble => Value::Double(f64::from(input.int()?)),
            Self::LongDouble => Value::Double(input.long()? as f64),
            Self::FloatDouble => Value::Double(f64::from(input.float()?)),
            Self::Double => Value::Double(input.double()?),
            Self::String => Value::String(input.text()?.into()),
            Self::Bytes => Value::Bytes(input.slice()?.into()),
            Self::FixedBytes(n) => Value::Bytes(input.fixed(*n)?.into()),
            Self::Symbol(symbols) => Value::String(symbols[input.index(symbols.len(), "symbols")?].clone()),
            Self::Date => Value::Date(input.int()?),
            Self::TimeMillis => Value::Time(input.int()?),
            Self::Timestamp(per_ms) => Value::Timestamp(input.long()?.div_euclid(*per_ms)),
            Self::Nullable { null, inner } => {
                if input.index(2, "branches of a union")? as i64 == *null {
                    Value::Null
                } else {
                    inner.run(input, schema)?
                }
            }
            _ => self.run_rare(input, schema)?,
        })
    }

    /// The larger and rarer ones, kept out of line so that the common ones stay small.
    fn run_rare(&self, input: &mut Input<'_>, schema: &AvroSchema) -> Result<Value> {
        match self {
            Self::Decimal {
                size,
                from_scale,
                precision,
                scale,
            } => {
                let bytes = match size {
                    Some(n) => input.fixed(*n)?,
                    None => input.slice()?,
                };
                decimal(bytes, *from_scale, *precision, *scale)
                    .map(Value::Decimal)
                    .map_err(|found| input.error(&format!("DECIMAL({precision}, {scale}) without rounding"), found))
            }
            Self::Uuid => {
                let bytes = input.fixed(16)?;
                let uuid = uuid::Uuid::from_slice(bytes).map_err(|e| input.error("a UUID", e.to_string()))?;
                Ok(Value::String(uuid.hyphenated().to_string().into()))
            }
            Self::Time(per_ms) => {
                let ms = input.long()?.div_euclid(*per_ms);
                let time = i32::try_from(ms).map_err(|_| input.error("a time of the day", format!("{ms} ms")))?;
                Ok(Value::Time(time))
            }
            Self::Array { item, empty } => read_array(input, schema, item, *empty),
            Self::Map(value) => read_map(input, schema, value),
            Self::Entries { plan, empty } => read_entries(input, schema, plan, *empty),
            Self::Struct { plan, width } => {
                let base = plan.run_on_stack(input, schema, *width)?;
                Ok(Value::Struct(input.stack.drain(base..).collect()))
            }
            Self::TextOf(inner) => {
                let text = match inner.run(input, schema)? {
                    Value::Boolean(b) => b.to_string(),
                    Value::Integer(n) => n.to_string(),
                    Value::Bigint(n) => n.to_string(),
                    Value::Double(x) => double_to_string(x),
                    other => return Ok(other),
                };
                Ok(Value::String(text.into()))
            }
            // the shortest digits that give the float: read as a double they are printed as the float's
            Self::FloatText => {
                let x = input.float()?;
                let shown = x.to_string().parse().unwrap_or_else(|_| f64::from(x));
                Ok(Value::String(double_to_string(shown).into()))
            }
            Self::Members { reads, types, width } => {
                let branch = input.index(types.len(), "branches of a union")?;
                if matches!(schema.get(types[branch]), AvroType::Null) {
                    return Ok(Value::Null);
                }
                let mut fields = vec![Value::Null; *width];
                match &reads[branch] {
                    Some((slot, read)) => fields[*slot] = read.run(input, schema)?,
                    None => input.skip(schema, types[branch], 0)?,
                }
                Ok(Value::Struct(fields.into()))
            }
            Self::Union(branches) => match &branches[input.index(branches.len(), "branches of a union")?] {
                Ok(read) => read.run(input, schema),
                Err(message) => Err(input.error("a value that fits the column", message.as_str())),
            },
            _ => unreachable!("handled by run"),
        }
    }
}

fn read_array(input: &mut Input<'_>, schema: &AvroSchema, item: &Read, empty: bool) -> Result<Value> {
    let base = input.stack.len();
    while let Some(block) = input.block(empty)? {
        for _ in 0..block.items {
            let index = input.stack.len() - base;
            let value = item.run(input, schema).map_err(|e| e.inside_item(index))?;
            input.stack.push(value);
        }
    }
    Ok(Value::Array(input.stack.drain(base..).collect()))
}

fn read_map(input: &mut Input<'_>, schema: &AvroSchema, value: &Read) -> Result<Value> {
    let base = input.stack.len();
    while let Some(block) = input.block(false)? {
        for _ in 0..block.items {
            let key = input.text()?;
            let value = value.run(input, schema).map_err(|e| e.inside(&format!("[{key:?}]")))?;
            input.stack.push(Value::String(key.into()));
            input.stack.push(value);
        }
    }
    Ok(map_from_stack(input, base))
}

fn read_entries(input: &mut Input<'_>, schema: &AvroSchema, plan: &RecordPlan, empty: bool) -> Result<Value> {
    let base = input.stack.len();
    while let Some(block) = input.block(empty)? {
        for _ in 0..block.items {
            let index = (input.stack.len() - base) / 2;
            plan.run_on_stack(input, schema, 2).map_err(|e| e.inside_item(index))?;
        }
    }
    Ok(map_from_stack(input, base))
}

/// Keys and values by turns, from `base` on.
fn map_from_stack(input: &mut Input<'_>, base: usize) -> Value {
    let mut items = input.stack.drain(base..);
    let mut entries = Vec::with_capacity(items.len() / 2);
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        entries.push((key, value));
    }
    drop(items);
    map_value(entries)
}

/// A big-endian two's-complement integer, at another scale. The error is what was found.
fn decimal(bytes: &[u8], from_scale: u8, precision: u8, scale: u8) -> std::result::Result<Decimal, String> {
    let unscaled = integer_of(bytes).ok_or_else(|| format!("an integer of {} bytes", bytes.len()))?;
    exact_decimal(Decimal::new(unscaled, from_scale), precision, scale)
        .ok_or_else(|| Decimal::new(unscaled, from_scale).to_string())
}

/// A big-endian two's-complement integer of any length that fits 128 bits.
pub(in super::super) fn integer_of(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let extra = bytes.len().saturating_sub(16);
    let (sign, digits) = bytes.split_at(extra);
    if sign.iter().any(|b| *b != fill) {
        return None;
    }
    let mut whole = [fill; 16];
    whole[16 - digits.len()..].copy_from_slice(digits);
    let n = i128::from_be_bytes(whole);
    ((n < 0) == negative).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_length() {
        assert_eq!(integer_of(&[]), Some(0));
        assert_eq!(integer_of(&[0xff]), Some(-1));
        assert_eq!(integer_of(&[0, 0xff]), Some(255));
        assert_eq!(integer_of(&[0; 40]), Some(0));
        assert_eq!(integer_of(&[0xff; 40]), Some(-1));
        let mut large = [0u8; 17];
        large[1] = 0x80;
        assert_eq!(integer_of(&large), None);
    }

    #[test]
    fn decimals_are_never_rounded() {
        let of = |s: &str| s.parse::<Decimal>().unwrap();
        assert_eq!(exact_decimal(of("1.50"), 3, 1).unwrap().to_string(), "1.5");
        assert!(exact_decimal(of("1.55"), 3, 1).is_none());
        assert!(exact_decimal(of("1000"), 3, 0).is_none());
        assert!(exact_decimal(of("1000.0"), 3, 1).is_none());
    }
}
