//! Avro schemas in the shape that programs are compiled from: an arena of types, so that references and recursion are plain indices.
//!
//! `apache-avro` parses and checks the text; this resolves its named references once. Logical types that the Avro specification says to ignore
//! (unknown or on a wrong base type) are gone already.

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, UuidSchema};
use rustc_hash::FxHashMap;
use serde_json::Value as Json;

use super::super::source::{SchemaText, SchemaType};

/// Index of a type in [`AvroSchema::types`].
pub(crate) type TypeId = usize;

/// A parsed schema with all that it refers to.
#[derive(Debug)]
pub(crate) struct AvroSchema {
    types: Vec<AvroType>,
    /// Types whose values take no bytes, by [`TypeId`].
    empty: Vec<bool>,
    /// The type of a whole record.
    pub(crate) root: TypeId,
}

/// What an `int` or `long` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number.
    Plain,
    /// Days since the epoch (`int`).
    Date,
    /// Fractions of a second of the day: so many in a millisecond.
    Time(i64),
    /// Fractions of a second since the epoch: so many in a millisecond.
    Timestamp(i64),
}

/// `decimal`: digits in all, digits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecimalType {
    pub(crate) precision: usize,
    pub(crate) scale: usize,
}

/// A type. Names are full names.
#[derive(Debug)]
pub(crate) enum AvroType {
    Null,
    Boolean,
    Int(Unit),
    Long(Unit),
    Float,
    Double,
    Bytes(Option<DecimalType>),
    String,
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Record),
    Enum(Enum),
    Fixed(Fixed),
}

/// A record; `map_entry` marks Connect's form of an item of a map whose keys are no strings.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) fields: Vec<Field>,
    pub(crate) map_entry: bool,
}

/// A field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) type_id: TypeId,
    pub(crate) default: Option<Json>,
}

/// An enum.
#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) symbols: Arc<[Arc<str>]>,
    pub(crate) default: Option<String>,
}

/// Bytes of one length.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) size: usize,
    pub(crate) decimal: Option<DecimalType>,
    pub(crate) uuid: bool,
}

impl AvroSchema {
    /// Parses a schema whose references are resolved.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(schema: &SchemaText) -> Result<Self, String> {
        if schema.schema_type != SchemaType::Avro {
            return Err(format!("it is a {} schema, not an Avro one", schema.schema_type));
        }
        let mut referenced = Vec::new();
        collect_references(schema, &mut referenced)?;
        let (root, others) =
            Schema::parse_str_with_list(&schema.text, &referenced).map_err(|e| format!("not an Avro schema: {e}"))?;
        let mut lowering = Lowering::default();
        for known in others.iter().chain([&root]) {
            lowering.collect(known);
        }
        let root = lowering.lower(&root)?;
        let types = lowering.finish()?;
        let empty = Self::find_empty(&types);
        Ok(Self { types, empty, root })
    }

    /// A type.
    pub(crate) fn get(&self, id: TypeId) -> &AvroType {
        &self.types[id]
    }

    /// Whether values of the type take no bytes at all, so that a count of them says nothing about the size of the input.
    pub(crate) fn is_empty_type(&self, id: TypeId) -> bool {
        self.empty[id]
    }

    /// Which types take no bytes. A record that contains itself without a union in between has no finite value; the answer does not matter.
    fn find_empty(types: &[AvroType]) -> Vec<bool> {
        let mut empty = vec![false; types.len()];
        loop {
            let mut changed = false;
            for (id, t) in types.iter().enumerate() {
                let is_empty = match t {
                    AvroType::Null => true,
                    AvroType::Fixed(fixed) => fixed.size == 0,
                    AvroType::Record(record) => record.fields.iter().all(|f| empty[f.type_id]),
                    AvroType::Boolean
                    | AvroType::Int(_)
                    | AvroType::Long(_)
                    | AvroType::Float
                    | AvroType::Double
                    | AvroType::Bytes(_)
                    | AvroType::String
                    | AvroType::Array(_)
                    | AvroType::Map(_)
                    | AvroType::Union(_)
                    | AvroType::Enum(_) => false,
                };
                changed |= is_empty != empty[id];
                empty[id] = is_empty;
            }
            if !changed {
                return empty;
            }
        }
    }

    /// The type's name in messages: `long`, `array`, ``record `io.x.Movie` ``.
    pub(crate) fn describe(&self, id: TypeId) -> String {
        match &self.types[id] {
            AvroType::Null => "null".into(),
            AvroType::Boolean => "boolean".into(),
            AvroType::Int(Unit::Date) => "int (date)".into(),
            AvroType::Int(Unit::Time(_)) => "int (time)".into(),
            AvroType::Int(Unit::Plain | Unit::Timestamp(_)) => "int".into(),
            AvroType::Long(Unit::Time(_)) => "long (time)".into(),
            AvroType::Long(Unit::Timestamp(_)) => "long (timestamp)".into(),
            AvroType::Long(Unit::Plain | Unit::Date) => "long".into(),
            AvroType::Float => "float".into(),
            AvroType::Double => "double".into(),
            AvroType::Bytes(None) => "bytes".into(),
            AvroType::Bytes(Some(d)) => format!("bytes (decimal({}, {}))", d.precision, d.scale),
            AvroType::String => "string".into(),
            AvroType::Array(item) => format!("array of {}", self.short(*item)),
            AvroType::Map(value) => format!("map of {}", self.short(*value)),
            AvroType::Union(branches) => {
                let names: Vec<String> = branches.iter().map(|b| self.short(*b)).collect();
                format!("union of {}", names.join(", "))
            }
            AvroType::Record(record) => format!("record `{}`", record.name),
            AvroType::Enum(e) => format!("enum `{}`", e.name),
            AvroType::Fixed(fixed) => format!("fixed `{}` of {} bytes", fixed.name, fixed.size),
        }
    }

    /// As [`AvroSchema::describe`], but nothing of what is inside (types can be recursive).
    fn short(&self, id: TypeId) -> String {
        match &self.types[id] {
            AvroType::Array(_) => "array".into(),
            AvroType::Map(_) => "map".into(),
            AvroType::Union(_) => "union".into(),
            _ => self.describe(id),
        }
    }
}

/// The texts of all references, inner ones first, each once.
fn collect_references(schema: &SchemaText, out: &mut Vec<String>) -> Result<(), String> {
    for reference in &schema.references {
        let Some(text) = &reference.resolved else {
            return Err(format!(
                "the reference `{}` (subject {}, version {}) was not resolved",
                reference.name, reference.subject, reference.version
            ));
        };
        collect_references(text, out)?;
        if !out.contains(&text.text) {
            out.push(text.text.clone());
        }
    }
    Ok(())
}

/// Turns apache-avro's tree into the arena.
#[derive(Default)]
struct Lowering<'a> {
    /// `None` while a record is being lowered.
    types: Vec<Option<AvroType>>,
    /// Lowered named types.
    named: FxHashMap<String, TypeId>,
    /// Definitions by full name, for references that come before or stand in another text.
    definitions: FxHashMap<String, &'a Schema>,
}

impl<'a> Lowering<'a> {
    fn collect(&mut self, schema: &'a Schema) {
        if let Some(name) = schema.name() {
            if matches!(schema, Schema::Ref { .. }) {
                return;
            }
            self.definitions.entry(name.fullname(None)).or_insert(schema);
            for alias in schema.aliases().into_iter().flatten() {
                self.definitions.entry(alias.fullname(None)).or_insert(schema);
            }
        }
        match schema {
            Schema::Array(array) => self.collect(&array.items),
            Schema::Map(map) => self.collect(&map.types),
            Schema::Union(union) => union.variants().iter().for_each(|v| self.collect(v)),
            Schema::Record(record) => record.fields.iter().for_each(|f| self.collect(&f.schema)),
            _ => {}
        }
    }

    fn push(&mut self, t: AvroType) -> TypeId {
        self.types.push(Some(t));
        self.types.len() - 1
    }

    fn finish(self) -> Result<Vec<AvroType>, String> {
        let types: Option<Vec<AvroType>> = self.types.into_iter().collect();
        types.ok_or_else(|| "a record of the schema was left open".to_string())
    }

    fn lower(&mut self, schema: &'a Schema) -> Result<TypeId, String> {
        let name = schema.name().map(|n| n.fullname(None));
        if let Some(id) = name.as_ref().and_then(|n| self.named.get(n)) {
            return Ok(*id);
        }
        let lowered = match schema {
            Schema::Ref { name } => {
                let full = name.fullname(None);
                let definition = *self
                    .definitions
                    .get(&full)
                    .ok_or_else(|| format!("the type `{full}` is not defined"))?;
                let id = self.lower(definition)?;
                self.named.insert(full, id);
                return Ok(id);
            }
            Schema::Record(record) => return self.lower_record(record),
            Schema::Array(array) => AvroType::Array(self.lower(&array.items)?),
            Schema::Map(map) => AvroType::Map(self.lower(&map.types)?),
            Schema::Union(union) => AvroType::Union(
                union
                    .variants()
                    .iter()
                    .map(|v| self.lower(v))
                    .collect::<Result<_, _>>()?,
            ),
            Schema::Enum(e) => AvroType::Enum(Enum {
                name: e.name.fullname(None).into(),
                aliases: full_names(e.aliases.as_deref()),
                symbols: e.symbols.iter().map(|s| Arc::from(s.as_str())).collect(),
                default: e.default.clone(),
            }),
            leaf => lower_leaf(leaf)?,
        };
        let id = self.push(lowered);
        if let Some(name) = name {
            self.named.insert(name, id);
        }
        Ok(id)
    }

    fn lower_record(&mut self, record: &'a apache_avro::schema::RecordSchema) -> Result<TypeId, String> {
        let id = self.types.len();
        self.types.push(None);
        let name = record.name.fullname(None);
        self.named.insert(name.clone(), id);
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            fields.push(Field {
                name: field.name.as_str().into(),
                aliases: field.aliases.clone(),
                type_id: self.lower(&field.schema)?,
                default: field.default.clone(),
            });
        }
        let marked = record.attributes.get("connect.internal.type").and_then(Json::as_str) == Some("MapEntry");
        let map_entry = marked || name == "io.confluent.connect.avro.MapEntry";
        self.types[id] = Some(AvroType::Record(Record {
            name: name.into(),
            aliases: full_names(record.aliases.as_deref()),
            fields,
            map_entry,
        }));
        Ok(id)
    }
}

fn full_names(aliases: Option<&[apache_avro::schema::Alias]>) -> Vec<String> {
    aliases.unwrap_or_default().iter().map(|a| a.fullname(None)).collect()
}

/// Types without types inside.
fn lower_leaf(schema: &Schema) -> Result<AvroType, String> {
    Ok(match schema {
        Schema::Null => AvroType::Null,
        Schema::Boolean => AvroType::Boolean,
        Schema::Int => AvroType::Int(Unit::Plain),
        Schema::Long => AvroType::Long(Unit::Plain),
        Schema::Float => AvroType::Float,
        Schema::Double => AvroType::Double,
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => AvroType::Bytes(None),
        Schema::String | Schema::Uuid(UuidSchema::String) => AvroType::String,
        Schema::Date => AvroType::Int(Unit::Date),
        Schema::TimeMillis => AvroType::Int(Unit::Time(1)),
        Schema::TimeMicros => AvroType::Long(Unit::Time(1_000)),
        Schema::TimestampMillis | Schema::LocalTimestampMillis => AvroType::Long(Unit::Timestamp(1)),
        Schema::TimestampMicros | Schema::LocalTimestampMicros => AvroType::Long(Unit::Timestamp(1_000)),
        Schema::TimestampNanos | Schema::LocalTimestampNanos => AvroType::Long(Unit::Timestamp(1_000_000)),
        Schema::Fixed(fixed) | Schema::Duration(fixed) => lower_fixed(fixed, None, false),
        Schema::Uuid(UuidSchema::Fixed(fixed)) => lower_fixed(fixed, None, true),
        Schema::Decimal(decimal) => {
            let digits = DecimalType {
                precision: decimal.precision,
                scale: decimal.scale,
            };
            match &decimal.inner {
                InnerDecimalSchema::Bytes => AvroType::Bytes(Some(digits)),
                InnerDecimalSchema::Fixed(fixed) => lower_fixed(fixed, Some(digits), false),
            }
        }
        other => return Err(format!("a type that is not known here: {other:?}")),
    })
}

fn lower_fixed(fixed: &apache_avro::schema::FixedSchema, decimal: Option<DecimalType>, uuid: bool) -> AvroType {
    AvroType::Fixed(Fixed {
        name: fixed.name.fullname(None).into(),
        aliases: full_names(fixed.aliases.as_deref()),
        size: fixed.size,
        decimal,
        uuid,
    })
}
