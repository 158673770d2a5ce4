//! Compiles what a writer wrote into reads of the used columns.
//!
//! Fields are matched with columns by name: the same spelling first, then regardless of case, because unquoted SQL names are upper case while
//! a field keeps its own spelling. Numbers are widened as Avro's schema resolution does (int, long, float, double), never narrowed.

use std::sync::Arc;

use crate::types::{Column, Format, SqlType, StructField, Value};

use super::super::FormatError;
use super::defaults;
use super::plain_json::named_branches;
use super::read::{Program, Read, RecordPlan, Root, Step};
use super::schema::{AvroSchema, AvroType, Field, Record, TypeId, Unit};

/// What a deserializer wants of every record.
pub(super) struct Target {
    /// The used columns.
    pub(super) columns: Vec<Column>,
    /// The record holds the only column bare, not wrapped in a record.
    pub(super) bare: bool,
    /// The schema that the reader was declared with, for defaults and aliases of fields.
    pub(super) reader: Option<Arc<AvroSchema>>,
}

/// A field or column that is looked for.
struct Wanted<'a> {
    name: &'a Arc<str>,
    sql_type: &'a SqlType,
}

/// The program of a writer schema.
pub(super) fn program(schema: Arc<AvroSchema>, target: &Target) -> Result<Program, FormatError> {
    let compiler = Compiler {
        schema: &schema,
        reader: target.reader.as_deref(),
    };
    let root = compiler.root(target)?;
    Ok(Program {
        root,
        width: target.columns.len(),
        schema,
    })
}

/// How a value of one type of `schema` is read as a SQL type, with no reader schema in play.
pub(super) fn read_of(schema: &AvroSchema, id: TypeId, sql_type: &SqlType) -> Result<Read, FormatError> {
    Compiler { schema, reader: None }.read(id, sql_type, None)
}

struct Compiler<'a> {
    schema: &'a AvroSchema,
    reader: Option<&'a AvroSchema>,
}

impl Compiler<'_> {
    fn root(&self, target: &Target) -> Result<Root, FormatError> {
        let Some(first) = target.columns.first() else {
            return Ok(Root::Nothing);
        };
        let wanted: Vec<Wanted<'_>> = target.columns.iter().map(Wanted::column).collect();
        let reader = self.reader.map(|r| r.root);
        match self.schema.get(self.schema.root) {
            AvroType::Record(record) if !(target.bare && is_struct(&first.sql_type)) => {
                Ok(Root::Record(self.record(record, &wanted, reader, true)?))
            }
            AvroType::Union(branches) if !target.bare => {
                let branch = |id: &TypeId| match self.schema.get(*id) {
                    AvroType::Null => Ok(None),
                    AvroType::Record(record) => Ok(Some(self.record(record, &wanted, reader, true)?)),
                    _ => Err(self.mismatch(*id, "a record with the columns as fields")),
                };
                Ok(Root::Union(branches.iter().map(branch).collect::<Result<_, _>>()?))
            }
            _ if target.bare => {
                let read = self.read(self.schema.root, &first.sql_type, reader);
                Ok(Root::Single(
                    first.name.clone(),
                    read.map_err(|e| e.inside(&first.name))?,
                ))
            }
            _ => Err(self.mismatch(self.schema.root, "a record with the columns as fields")),
        }
    }

    #[cold]
    fn mismatch(&self, id: TypeId, expected: &str) -> FormatError {
        FormatError::data(Format::Avro, expected, format!("the type {}", self.schema.describe(id)))
    }

    /// `last`: nothing is read after this record, so that the fields after the last used one need not be passed over.
    fn record(
        &self,
        record: &Record,
        wanted: &[Wanted<'_>],
        reader: Option<TypeId>,
        last: bool,
    ) -> Result<RecordPlan, FormatError> {
        let reader = reader.and_then(|id| self.reader_record(id));
        let mut slots: Vec<Option<usize>> = vec![None; record.fields.len()];
        let mut defaults = Vec::new();
        for (slot, column) in wanted.iter().enumerate() {
            let known = reader.and_then(|r| find_field(&r.fields, column.name));
            let position = find_position(&record.fields, column.name)
                .or_else(|| known.and_then(|f| f.aliases.iter().find_map(|a| find_position(&record.fields, a))));
            match position {
                Some(i) => slots[i] = Some(slot),
                None => defaults.extend(self.default(known, column)?.map(|v| (slot, v))),
            }
        }
        let mut steps = Vec::with_capacity(record.fields.len());
        for (field, slot) in record.fields.iter().zip(&slots) {
            steps.push(match slot {
                None => Step::Skip(field.type_id),
                Some(slot) => {
                    let column = &wanted[*slot];
                    let inner = reader
                        .and_then(|r| find_field(&r.fields, column.name))
                        .map(|f| f.type_id);
                    let read = self.read(field.type_id, column.sql_type, inner);
                    Step::Read {
                        slot: *slot,
                        name: column.name.clone(),
                        read: read.map_err(|e| e.inside(column.name))?,
                    }
                }
            });
        }
        if last {
            let used = slots.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
            steps.truncate(used);
        }
        Ok(RecordPlan::new(steps, defaults))
    }

    /// The record that a type of the reader's schema is, or has beside null.
    fn reader_record(&self, id: TypeId) -> Option<&Record> {
        let reader = self.reader?;
        match reader.get(id) {
            AvroType::Record(record) => Some(record),
            AvroType::Union(branches) => branches.iter().find_map(|b| match reader.get(*b) {
                AvroType::Record(record) => Some(record),
                _ => None,
            }),
            _ => None,
        }
    }

    /// What the reader's schema says a missing field is; `None` for NULL.
    fn default(&self, known: Option<&Field>, column: &Wanted<'_>) -> Result<Option<Value>, FormatError> {
        let (Some(reader), Some(field)) = (self.reader, known) else {
            return Ok(None);
        };
        let Some(json) = &field.default else {
            return Ok(None);
        };
        defaults::value(reader, field.type_id, json, column.sql_type)
            .map(Some)
            .map_err(|e| e.inside(column.name))
    }

    fn read(&self, id: TypeId, sql_type: &SqlType, reader: Option<TypeId>) -> Result<Read, FormatError> {
        if let AvroType::Union(branches) = self.schema.get(id) {
            return self.union(id, branches, sql_type, reader);
        }
        let unfit = || self.mismatch(id, &format!("a type that can be read as {sql_type}"));
        let read = match sql_type {
            SqlType::Array(item) => match self.schema.get(id) {
                AvroType::Array(inner) => Read::Array {
                    item: Box::new(self.read(*inner, item, None).map_err(|e| e.inside("[]"))?),
                    empty: self.schema.is_empty_type(*inner),
                },
                _ => return Err(unfit()),
            },
            SqlType::Map(key, value) => return self.map(id, key, value)?.ok_or_else(unfit),
            SqlType::Struct(fields) => match self.schema.get(id) {
                AvroType::Record(record) => {
                    let wanted: Vec<Wanted<'_>> = fields
                        .iter()
                        .map(|f| Wanted {
                            name: &f.name,
                            sql_type: &f.sql_type,
                        })
                        .collect();
                    Read::Struct {
                        plan: self.record(record, &wanted, reader, false)?,
                        width: fields.len(),
                    }
                }
                _ => return Err(unfit()),
            },
            scalar => return scalar_read(self.schema.get(id), scalar).ok_or_else(unfit),
        };
        Ok(read)
    }

    fn union(
        &self,
        id: TypeId,
        branches: &[TypeId],
        sql_type: &SqlType,
        reader: Option<TypeId>,
    ) -> Result<Read, FormatError> {
        let is_null = |b: &TypeId| matches!(self.schema.get(*b), AvroType::Null);
        if let [a, b] = branches
            && is_null(a) != is_null(b)
        {
            let (null, other) = if is_null(a) { (0, *b) } else { (1, *a) };
            let inner = Box::new(self.read(other, sql_type, reader)?);
            return Ok(Read::Nullable { null, inner });
        }
        if let SqlType::Struct(fields) = sql_type
            && let Some(read) = self.members(branches, fields)
        {
            return Ok(read);
        }
        let mut reads = Vec::with_capacity(branches.len());
        for branch in branches {
            reads.push(if is_null(branch) {
                Ok(Read::Null)
            } else {
                self.read(*branch, sql_type, reader)
                    .map_err(|_| format!("the type {}, not read as {sql_type}", self.schema.describe(*branch)))
            });
        }
        let usable = |r: &Result<Read, String>| matches!(r, Ok(read) if !matches!(read, Read::Null));
        if !reads.iter().any(usable) {
            return Err(self.mismatch(id, &format!("a type that can be read as {sql_type}")));
        }
        Ok(Read::Union(reads))
    }

    /// A union of several types as a STRUCT with a field a type; `None` when the fields are not the types' names.
    fn members(&self, branches: &[TypeId], fields: &[StructField]) -> Option<Read> {
        let named = named_branches(self.schema, branches)?;
        let mut reads: Vec<Option<(usize, Read)>> = branches.iter().map(|_| None).collect();
        for (slot, field) in fields.iter().enumerate() {
            let (_, i) = named.iter().find(|(name, _)| name.eq_ignore_ascii_case(&field.name))?;
            reads[*i] = Some((slot, self.read(branches[*i], &field.sql_type, None).ok()?));
        }
        Some(Read::Members {
            reads,
            types: branches.to_vec(),
            width: fields.len(),
        })
    }

    fn map(&self, id: TypeId, key: &SqlType, value: &SqlType) -> Result<Option<Read>, FormatError> {
        match self.schema.get(id) {
            AvroType::Map(inner) if *key == SqlType::String => {
                let value = self.read(*inner, value, None).map_err(|e| e.inside("[]"))?;
                Ok(Some(Read::Map(Box::new(value))))
            }
            AvroType::Array(item) => match self.schema.get(*item) {
                AvroType::Record(entry) if find_field(&entry.fields, "key").is_some() => {
                    let names: [Arc<str>; 2] = ["key".into(), "value".into()];
                    let wanted = [
                        Wanted {
                            name: &names[0],
                            sql_type: key,
                        },
                        Wanted {
                            name: &names[1],
                            sql_type: value,
                        },
                    ];
                    Ok(Some(Read::Entries {
                        plan: self.record(entry, &wanted, None, false)?,
                        empty: self.schema.is_empty_type(*item),
                    }))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

impl<'a> Wanted<'a> {
    fn column(column: &'a Column) -> Self {
        Self {
            name: &column.name,
            sql_type: &column.sql_type,
        }
    }
}

fn is_struct(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Struct(_))
}

/// The position of a field: the same spelling first, then regardless of case.
pub(super) fn find_position(fields: &[Field], name: &str) -> Option<usize> {
    let same = fields.iter().position(|f| *f.name == *name);
    same.or_else(|| fields.iter().position(|f| f.name.eq_ignore_ascii_case(name)))
}

fn find_field<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    find_position(fields, name).map(|i| &fields[i])
}

/// How a type without types inside is read; `None` when it cannot be.
fn scalar_read(avro: &AvroType, sql_type: &SqlType) -> Option<Read> {
    use AvroType as A;
    Some(match (avro, sql_type) {
        (A::Null, _) => Read::Null,
        // as ksqlDB does: numbers and booleans are read as their texts
        (A::Boolean, SqlType::String) => Read::TextOf(Box::new(Read::Boolean)),
        (A::Int(Unit::Plain), SqlType::String) => Read::TextOf(Box::new(Read::Integer)),
        (A::Long(Unit::Plain), SqlType::String) => Read::TextOf(Box::new(Read::Bigint)),
        (A::Float, SqlType::String) => Read::FloatText,
        (A::Double, SqlType::String) => Read::TextOf(Box::new(Read::Double)),
        (A::Boolean, SqlType::Boolean) => Read::Boolean,
        (A::Int(_), SqlType::Integer) => Read::Integer,
        (A::Int(_), SqlType::Bigint) => Read::IntBigint,
        (A::Long(_), SqlType::Bigint) => Read::Bigint,
        (A::Int(Unit::Plain), SqlType::Double) => Read::IntDouble,
        (A::Long(Unit::Plain), SqlType::Double) => Read::LongDouble,
        (A::Float, SqlType::Double) => Read::FloatDouble,
        (A::Double, SqlType::Double) => Read::Double,
        (A::String | A::Bytes(None), SqlType::String) => Read::String,
        (A::Enum(e), SqlType::String) => Read::Symbol(e.symbols.clone()),
        (A::Fixed(f), SqlType::String) if f.uuid => Read::Uuid,
        (A::String | A::Bytes(_), SqlType::Bytes) => Read::Bytes,
        (A::Fixed(f), SqlType::Bytes) => Read::FixedBytes(f.size),
        (A::Bytes(Some(d)), SqlType::Decimal { precision, scale }) => decimal_read(None, d.scale, *precision, *scale)?,
        (A::Fixed(f), SqlType::Decimal { precision, scale }) => {
            decimal_read(Some(f.size), f.decimal?.scale, *precision, *scale)?
        }
        (A::Int(Unit::Date | Unit::Plain), SqlType::Date) => Read::Date,
        (A::Int(Unit::Time(_) | Unit::Plain), SqlType::Time) => Read::TimeMillis,
        (A::Long(Unit::Time(per_ms)), SqlType::Time) => Read::Time(*per_ms),
        (A::Long(Unit::Timestamp(per_ms)), SqlType::Timestamp) => Read::Timestamp(*per_ms),
        (A::Long(Unit::Plain), SqlType::Timestamp) => Read::Timestamp(1),
        _ => return None,
    })
}

fn decimal_read(size: Option<usize>, from_scale: usize, precision: u8, scale: u8) -> Option<Read> {
    Some(Read::Decimal {
        size,
        from_scale: u8::try_from(from_scale).ok()?,
        precision,
        scale,
    })
}
