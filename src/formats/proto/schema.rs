//! Parsed files with every name resolved: messages and enums in arenas, so that recursion is plain indices.
//!
//! ```text
//! text + references + well-known files --parse--> File, File, ... --collect--> names --resolve--> ProtoSchema
//! ```

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::source::{SchemaText, SchemaType};
use super::file::{self, FieldType, File, Label, Scalar, Syntax};
use super::parse::parse;
use super::well_known::{self, WellKnown};

/// Index of a message in [`ProtoSchema`].
pub(super) type MessageId = usize;

/// A file with all that it refers to.
#[derive(Debug)]
pub(crate) struct ProtoSchema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    /// The messages of the file itself, not of its imports, in its order.
    own: Vec<MessageId>,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// With the package and enclosing messages.
    pub(super) full_name: String,
    pub(super) fields: Vec<Field>,
    pub(super) oneofs: Vec<String>,
    /// Messages inside, in the order of the file.
    pub(super) nested: Vec<MessageId>,
    pub(super) well_known: Option<WellKnown>,
}

/// A field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Arc<str>,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) cardinality: Cardinality,
    pub(super) packed: bool,
    pub(super) oneof: Option<usize>,
    /// Digits in all and after the point, of a decimal.
    pub(super) decimal: (Option<u8>, u8),
}

/// How often a field occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cardinality {
    /// Not being there means the default value.
    Implicit,
    /// Not being there means NULL.
    Optional,
    Required,
    Repeated,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar(Scalar),
    Enum(usize),
    Message(MessageId),
}

/// An enum.
#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: String,
    /// Symbols and numbers; of symbols with one number the first counts.
    pub(super) values: Arc<[(Arc<str>, i32)]>,
}

impl ProtoSchema {
    /// Parses a schema whose references are resolved.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(schema: &SchemaText) -> Result<Self, String> {
        if schema.schema_type != SchemaType::Protobuf {
            return Err(format!(
                "it is a {} schema, not a Protocol Buffers one",
                schema.schema_type
            ));
        }
        let main = parse(&schema.text).map_err(|e| format!("not a Protocol Buffers schema: {e}"))?;
        let mut files = Files::default();
        files.add_references(schema)?;
        files.add_imports(&main)?;
        let mut linker = Linker::default();
        for (file, path) in files.ordered.iter().zip(&files.paths) {
            linker.declare(file).map_err(|e| format!("{path}: {e}"))?;
        }
        let first_own = linker.messages.len();
        linker.declare(&main)?;
        let own = linker
            .roots
            .split_off(linker.roots.partition_point(|id| *id < first_own));
        for (file, path) in files.ordered.iter().zip(&files.paths) {
            linker.resolve(file).map_err(|e| format!("{path}: {e}"))?;
        }
        linker.resolve(&main)?;
        Ok(Self {
            messages: linker.messages,
            enums: linker.enums,
            own,
        })
    }

    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id]
    }

    pub(super) fn enumeration(&self, id: usize) -> &Enum {
        &self.enums[id]
    }

    /// The message that records are: the named one, else the file's first.
    pub(super) fn root(&self, full_name: Option<&str>) -> Result<MessageId, String> {
        let Some(name) = full_name else {
            return self
                .own
                .first()
                .copied()
                .ok_or_else(|| "the schema has no message".to_string());
        };
        let name = name.trim_start_matches('.');
        let found = |id: &MessageId| self.messages[*id].full_name == name;
        let all: Vec<MessageId> = self.all_own();
        all.iter().copied().find(|id| found(id)).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|id| self.messages[*id].full_name.as_str()).collect();
            format!("the schema has no message {name}; it has {}", names.join(", "))
        })
    }

    /// The file's messages with those inside them.
    fn all_own(&self) -> Vec<MessageId> {
        let (mut out, mut open) = (Vec::new(), self.own.clone());
        open.reverse();
        while let Some(id) = open.pop() {
            out.push(id);
            open.extend(self.messages[id].nested.iter().rev());
        }
        out
    }

    /// The message at a place in the file: an index, then indexes inside that message, and so on.
    pub(super) fn at(&self, indexes: &[usize]) -> Option<MessageId> {
        let (first, inner) = indexes.split_first()?;
        let start = *self.own.get(*first)?;
        inner
            .iter()
            .try_fold(start, |id, i| self.messages[id].nested.get(*i).copied())
    }

    /// The place of one of the file's messages.
    pub(super) fn indexes_of(&self, id: MessageId) -> Option<Vec<usize>> {
        fn search(schema: &ProtoSchema, among: &[MessageId], id: MessageId, path: &mut Vec<usize>) -> bool {
            for (i, candidate) in among.iter().enumerate() {
                path.push(i);
                if *candidate == id || search(schema, &schema.messages[*candidate].nested, id, path) {
                    return true;
                }
                path.pop();
            }
            false
        }
        let mut path = Vec::new();
        search(self, &self.own, id, &mut path).then_some(path)
    }

    /// The key and value of a map, where a field is one: `map<..>` or repeated entries, as Kafka Connect writes them.
    pub(super) fn map_of(&self, field: &Field) -> Option<(&Field, &Field)> {
        let (Kind::Message(id), Cardinality::Repeated) = (field.kind, field.cardinality) else {
            return None;
        };
        let message = &self.messages[id];
        match message.fields.as_slice() {
            [key, value]
                if message.full_name.ends_with("Entry")
                    && (&*key.name, &*value.name) == ("key", "value")
                    && key.cardinality != Cardinality::Repeated
                    && value.cardinality != Cardinality::Repeated =>
            {
                Some((key, value))
            }
            _ => None,
        }
    }

    /// The type's name in messages.
    pub(super) fn describe(&self, kind: Kind) -> String {
        match kind {
            Kind::Scalar(scalar) => scalar.name().to_string(),
            Kind::Enum(id) => format!("enum `{}`", self.enums[id].name),
            Kind::Message(id) => format!("message `{}`", self.messages[id].full_name),
        }
    }
}

/// Imported files, inner ones first, each once.
#[derive(Default)]
struct Files {
    /// Texts of references, by the path under which they are imported.
    known: FxHashMap<String, String>,
    paths: Vec<String>,
    ordered: Vec<File>,
    seen: FxHashSet<String>,
}

impl Files {
    fn add_references(&mut self, schema: &SchemaText) -> Result<(), String> {
        for reference in &schema.references {
            let Some(text) = &reference.resolved else {
                return Err(format!(
                    "the reference `{}` (subject {}, version {}) was not resolved",
                    reference.name, reference.subject, reference.version
                ));
            };
            self.add_references(text)?;
            self.known
                .entry(reference.name.clone())
                .or_insert_with(|| text.text.clone());
        }
        Ok(())
    }

    fn add_imports(&mut self, file: &File) -> Result<(), String> {
        for import in &file.imports {
            if !self.seen.insert(import.path.clone()) {
                continue;
            }
            let text = self.known.get(&import.path).cloned();
            let text = text
                .or_else(|| well_known::file(&import.path).map(str::to_string))
                .ok_or_else(|| {
                    format!(
                        "the import {:?} is none of the schema's references; add one of this name",
                        import.path
                    )
                })?;
            let parsed = parse(&text).map_err(|e| format!("{}: {e}", import.path))?;
            self.add_imports(&parsed)?;
            self.paths.push(import.path.clone());
            self.ordered.push(parsed);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Named {
    Message(MessageId),
    Enum(usize),
}

#[derive(Default)]
struct Linker {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    /// Messages that are in no other, in the order of their declaration.
    roots: Vec<MessageId>,
    names: FxHashMap<String, Named>,
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_string()
    } else {
        format!("{scope}.{name}")
    }
}

impl Linker {
    fn declare(&mut self, file: &File) -> Result<(), String> {
        for message in &file.messages {
            let id = self.declare_message(message, &file.package)?;
            self.roots.push(id);
        }
        file.enums.iter().try_for_each(|e| self.declare_enum(e, &file.package))
    }

    fn name(&mut self, full_name: &str, named: Named) -> Result<(), String> {
        match self.names.insert(full_name.to_string(), named) {
            None => Ok(()),
            Some(_) => Err(format!("`{full_name}` is declared twice")),
        }
    }

    fn declare_message(&mut self, message: &file::Message, scope: &str) -> Result<MessageId, String> {
        let full_name = joined(scope, &message.name);
        let id = self.messages.len();
        self.messages.push(Message {
            well_known: WellKnown::named(&full_name),
            full_name: full_name.clone(),
            fields: Vec::new(),
            oneofs: message.oneofs.clone(),
            nested: Vec::new(),
        });
        self.name(&full_name, Named::Message(id))?;
        for inner in &message.messages {
            let nested = self.declare_message(inner, &full_name)?;
            self.messages[id].nested.push(nested);
        }
        message
            .enums
            .iter()
            .try_for_each(|e| self.declare_enum(e, &full_name))?;
        Ok(id)
    }

    fn declare_enum(&mut self, e: &file::Enum, scope: &str) -> Result<(), String> {
        let id = self.enums.len();
        self.enums.push(Enum {
            name: e.name.clone(),
            values: e.values.iter().map(|(s, n)| (Arc::from(s.as_str()), *n)).collect(),
        });
        self.name(&joined(scope, &e.name), Named::Enum(id))
    }

    fn resolve(&mut self, file: &File) -> Result<(), String> {
        file.messages
            .iter()
            .try_for_each(|m| self.resolve_message(m, &file.package, file.syntax))
    }

    fn resolve_message(&mut self, message: &file::Message, scope: &str, syntax: Syntax) -> Result<(), String> {
        let full_name = joined(scope, &message.name);
        let Some(Named::Message(id)) = self.names.get(&full_name).copied() else {
            return Err(format!("`{full_name}` is no message"));
        };
        for field in &message.fields {
            let resolved = self.field(field, &full_name, syntax)?;
            self.messages[id].fields.push(resolved);
        }
        message
            .messages
            .iter()
            .try_for_each(|m| self.resolve_message(m, &full_name, syntax))
    }

    fn field(&mut self, field: &file::Field, scope: &str, syntax: Syntax) -> Result<Field, String> {
        let kind = match &field.kind {
            FieldType::Map(key, value) => Kind::Message(self.entry(field, *key, value, scope)?),
            simple => self.kind(simple, scope)?,
        };
        let is_message = matches!(kind, Kind::Message(_));
        let is_map = matches!(field.kind, FieldType::Map(..));
        let explicit = syntax != Syntax::Proto3 && !field.implicit;
        let cardinality = match field.label {
            _ if is_map => Cardinality::Repeated,
            Label::Repeated => Cardinality::Repeated,
            Label::Required => Cardinality::Required,
            Label::Optional => Cardinality::Optional,
            Label::None if is_message || explicit || field.oneof.is_some() => Cardinality::Optional,
            Label::None => Cardinality::Implicit,
        };
        let packable = match kind {
            Kind::Scalar(scalar) => scalar.is_packable(),
            Kind::Enum(_) => true,
            Kind::Message(_) => false,
        };
        let digits = |key: &str| field.param(key).and_then(|v| v.parse::<u8>().ok());
        Ok(Field {
            name: field.name.as_str().into(),
            number: field.number,
            kind,
            cardinality,
            packed: packable && field.packed.unwrap_or(syntax != Syntax::Proto2),
            oneof: field.oneof,
            decimal: (digits("precision"), digits("scale").unwrap_or(0)),
        })
    }

    /// The message of a map's entries. It has no place of its own in the file.
    fn entry(&mut self, field: &file::Field, key: Scalar, value: &FieldType, scope: &str) -> Result<MessageId, String> {
        let part = |name: &str, number: u32, kind: Kind| Field {
            name: name.into(),
            number,
            kind,
            cardinality: match kind {
                Kind::Message(_) => Cardinality::Optional,
                _ => Cardinality::Implicit,
            },
            packed: false,
            oneof: None,
            decimal: (None, 0),
        };
        let value = self.kind(value, scope)?;
        self.messages.push(Message {
            full_name: format!("{scope}.{}Entry", field.name),
            fields: vec![part("key", 1, Kind::Scalar(key)), part("value", 2, value)],
            oneofs: Vec::new(),
            nested: Vec::new(),
            well_known: None,
        });
        Ok(self.messages.len() - 1)
    }

    fn kind(&self, kind: &FieldType, scope: &str) -> Result<Kind, String> {
        let name = match kind {
            FieldType::Scalar(scalar) => return Ok(Kind::Scalar(*scalar)),
            FieldType::Named(name) => name,
            FieldType::Map(..) => return Err("a map cannot hold maps; use a message in between".to_string()),
        };
        let found = match name.strip_prefix('.') {
            Some(absolute) => self.names.get(absolute),
            None => self.look_up(name, scope),
        };
        match found {
            Some(Named::Message(id)) => Ok(Kind::Message(*id)),
            Some(Named::Enum(id)) => Ok(Kind::Enum(*id)),
            None => Err(format!(
                "the type `{name}` is declared nowhere in the schema nor in its imports"
            )),
        }
    }

    /// From the innermost scope outwards.
    fn look_up(&self, name: &str, scope: &str) -> Option<&Named> {
        let mut scope = scope;
        loop {
            if let Some(found) = self.names.get(&joined(scope, name)) {
                return Some(found);
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }
}
