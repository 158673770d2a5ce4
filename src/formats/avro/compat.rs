//! Whether data of one schema can be read with another: the rules of Avro's Java implementation (`SchemaCompatibility`), which is what a
//! Confluent registry asks. Logical types do not matter to them; records, enums and fixed are compared by their unqualified names.
//!
//! `apache_avro::SchemaCompatibility` is stricter (decimals, record aliases, named references), hence this.

use rustc_hash::FxHashMap;

use super::super::source::{Compatibility, CompatibilityLevel, SchemaText};
use super::schema::{AvroSchema, AvroType, Enum, Field, Fixed, Record, TypeId};

/// Whether `new` may follow `old` (the newest first) at a level. Messages name the version's place, the path and the difference.
///
/// # Errors
/// When `new` is no Avro schema. An old one that cannot be parsed is an incompatibility.
pub fn check(level: CompatibilityLevel, new: &SchemaText, old: &[SchemaText]) -> Result<Compatibility, String> {
    let new = AvroSchema::parse(new)?;
    let depth = if level.is_transitive() { old.len() } else { 1 };
    let mut messages = Vec::new();
    if level != CompatibilityLevel::None {
        for old in old.iter().take(depth) {
            match AvroSchema::parse(old) {
                Ok(old) => messages.extend(compare(level, &new, &old)),
                Err(e) => messages.push(format!("an earlier schema cannot be read: {e}")),
            }
        }
    }
    Ok(if messages.is_empty() {
        Compatibility::Compatible
    } else {
        Compatibility::Incompatible(messages)
    })
}

fn compare(level: CompatibilityLevel, new: &AvroSchema, old: &AvroSchema) -> Vec<String> {
    let mut messages = Vec::new();
    if level.new_reads_old() {
        messages.extend(can_read(
            new,
            old,
            Roles {
                reader: "new",
                writer: "old",
            },
        ));
    }
    if level.old_reads_new() {
        messages.extend(can_read(
            old,
            new,
            Roles {
                reader: "old",
                writer: "new",
            },
        ));
    }
    messages
}

/// What reader and writer are called in messages.
#[derive(Clone, Copy)]
struct Roles {
    reader: &'static str,
    writer: &'static str,
}

fn can_read(reader: &AvroSchema, writer: &AvroSchema, roles: Roles) -> Vec<String> {
    let mut check = Check {
        reader,
        writer,
        roles,
        seen: FxHashMap::default(),
        path: Vec::new(),
    };
    let mut messages = Vec::new();
    check.types(reader.root, writer.root, &mut messages);
    messages
}

/// What is known of a pair of types: where it was found incompatible, or nothing bad (so far: which ends recursion, as in Java).
type Verdict = Option<String>;

/// One schema held against another. Each pair of types is compared once: types can refer to each other in exponentially many ways.
struct Check<'a> {
    reader: &'a AvroSchema,
    writer: &'a AvroSchema,
    roles: Roles,
    seen: FxHashMap<(TypeId, TypeId), Verdict>,
    /// The way to the types: `fields`, `0`, `type`, ...
    path: Vec<String>,
}

impl Check<'_> {
    fn report(&self, kind: &str, what: &str, messages: &mut Vec<String>) {
        messages.push(format!("{kind} at /{}: {what}", self.path.join("/")));
    }

    fn inside(&mut self, path: &[&str], reader: TypeId, writer: TypeId, messages: &mut Vec<String>) {
        let depth = self.path.len();
        self.path.extend(path.iter().map(ToString::to_string));
        self.types(reader, writer, messages);
        self.path.truncate(depth);
    }

    fn types(&mut self, reader: TypeId, writer: TypeId, messages: &mut Vec<String>) {
        match self.seen.get(&(reader, writer)) {
            Some(None) => return,
            Some(Some(path)) => {
                let what = format!("the types are incompatible, as at /{path}");
                return self.report("TYPE_MISMATCH", &what, messages);
            }
            None => drop(self.seen.insert((reader, writer), None)),
        }
        let before = messages.len();
        self.compare_types(reader, writer, messages);
        if messages.len() > before {
            self.seen.insert((reader, writer), Some(self.path.join("/")));
        }
    }

    fn compare_types(&mut self, reader: TypeId, writer: TypeId, messages: &mut Vec<String>) {
        use AvroType as A;
        match (self.reader.get(reader), self.writer.get(writer)) {
            (_, A::Union(branches)) => {
                for (i, branch) in branches.iter().enumerate() {
                    self.inside(&[&i.to_string()], reader, *branch, messages);
                }
            }
            (A::Union(branches), _) => self.reader_union(branches, writer, messages),
            (A::Null, A::Null)
            | (A::Boolean, A::Boolean)
            | (A::Int(_), A::Int(_))
            | (A::Long(_), A::Long(_) | A::Int(_))
            | (A::Float, A::Float | A::Int(_) | A::Long(_))
            | (A::Double, A::Double | A::Float | A::Int(_) | A::Long(_))
            | (A::Bytes(_) | A::String, A::Bytes(_) | A::String) => {}
            (A::Array(r), A::Array(w)) => self.inside(&["items"], *r, *w, messages),
            (A::Map(r), A::Map(w)) => self.inside(&["values"], *r, *w, messages),
            (A::Fixed(r), A::Fixed(w)) => self.fixed(r, w, messages),
            (A::Enum(r), A::Enum(w)) => self.enums(r, w, messages),
            (A::Record(r), A::Record(w)) => self.records(r, w, messages),
            _ => {
                let Roles { reader: r, writer: w } = self.roles;
                let (of_reader, of_writer) = (self.reader.describe(reader), self.writer.describe(writer));
                let what = format!("the {r} schema has {of_reader}, which does not read {of_writer} of the {w} schema");
                self.report("TYPE_MISMATCH", &what, messages);
            }
        }
    }

    fn reader_union(&mut self, branches: &[TypeId], writer: TypeId, messages: &mut Vec<String>) {
        for branch in branches {
            let mut reasons = Vec::new();
            self.types(*branch, writer, &mut reasons);
            if reasons.is_empty() {
                return;
            }
        }
        let Roles { reader: r, writer: w } = self.roles;
        let what = format!(
            "the union of the {r} schema lacks {} of the {w} schema",
            self.writer.describe(writer)
        );
        self.report("MISSING_UNION_BRANCH", &what, messages);
    }

    /// Unqualified names are equal, or the writer's full name is an alias of the reader's.
    fn names(&self, reader: (&str, &[String]), writer: &str, messages: &mut Vec<String>) {
        let plain = |name: &str| name.rsplit('.').next().map(str::to_string);
        if plain(reader.0) != plain(writer) && !reader.1.iter().any(|a| a == writer) {
            let Roles { reader: r, writer: w } = self.roles;
            let what = format!("the {r} schema's name is `{}`, the {w} schema's `{writer}`", reader.0);
            self.report("NAME_MISMATCH", &what, messages);
        }
    }

    fn fixed(&self, reader: &Fixed, writer: &Fixed, messages: &mut Vec<String>) {
        self.names((&reader.name, &reader.aliases), &writer.name, messages);
        if reader.size != writer.size {
            let Roles { reader: r, writer: w } = self.roles;
            let what = format!(
                "the {r} schema has {} bytes, the {w} schema {}",
                reader.size, writer.size
            );
            self.report("FIXED_SIZE_MISMATCH", &what, messages);
        }
    }

    fn enums(&self, reader: &Enum, writer: &Enum, messages: &mut Vec<String>) {
        self.names((&reader.name, &reader.aliases), &writer.name, messages);
        let unknown = |s: &&std::sync::Arc<str>| !reader.symbols.contains(s);
        let missing: Vec<&str> = writer.symbols.iter().filter(unknown).map(|s| &**s).collect();
        let has_default = reader
            .default
            .as_ref()
            .is_some_and(|d| reader.symbols.iter().any(|s| **s == **d));
        if !missing.is_empty() && !has_default {
            let Roles { reader: r, writer: w } = self.roles;
            let what = format!(
                "the {r} schema lacks symbols of the {w} schema and has no default: {}",
                missing.join(", ")
            );
            self.report("MISSING_ENUM_SYMBOLS", &what, messages);
        }
    }

    fn records(&mut self, reader: &Record, writer: &Record, messages: &mut Vec<String>) {
        self.names((&reader.name, &reader.aliases), &writer.name, messages);
        for (i, field) in reader.fields.iter().enumerate() {
            match self.writer_field(field, writer) {
                Some(of_writer) => {
                    let (r, w) = (field.type_id, of_writer.type_id);
                    self.inside(&["fields", &i.to_string(), "type"], r, w, messages);
                }
                None if field.default.is_some() || self.enum_with_default(field) => {}
                None => {
                    let Roles { reader: r, writer: w } = self.roles;
                    let what = format!(
                        "the field '{}' of the {r} schema has no default value and is missing in the {w} schema",
                        field.name
                    );
                    self.path.extend(["fields".to_string(), i.to_string()]);
                    self.report("READER_FIELD_MISSING_DEFAULT_VALUE", &what, messages);
                    self.path.truncate(self.path.len() - 2);
                }
            }
        }
    }

    fn writer_field<'w>(&self, field: &Field, writer: &'w Record) -> Option<&'w Field> {
        let named = |name: &str| writer.fields.iter().find(|f| *f.name == *name);
        named(&field.name).or_else(|| field.aliases.iter().find_map(|a| named(a)))
    }

    fn enum_with_default(&self, field: &Field) -> bool {
        matches!(self.reader.get(field.type_id), AvroType::Enum(e) if e.default.is_some())
    }
}
