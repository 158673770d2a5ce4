//! Whether a file may follow another: the rules of Confluent's registry (`ProtobufSchema`'s differences), for the file's own declarations.
//!
//! Compatible: messages, enums, symbols and fields added; enums, symbols and fields removed; fields renamed; types exchanged that share a layout
//! (int32, uint32, int64, uint64, bool, enums; sint32, sint64; string, bytes; fixed32, sfixed32; fixed64, sfixed64); a oneof added or removed; one
//! field moved into a new oneof. Everything else is not. *Not compared*: what stands in imported files.

use super::super::source::{CompatibilityLevel, SchemaText};
use super::file::{Field, FieldType, File, Label, Message, Scalar};
use super::parse::parse;

/// The differences that forbid `new` beside `old` at a level.
///
/// # Errors
/// When `new` is no schema. An old one that cannot be parsed is a difference.
pub(in super::super) fn compare(
    level: CompatibilityLevel,
    new: &SchemaText,
    old: &SchemaText,
) -> Result<Vec<String>, String> {
    let new = parse(&new.text)?;
    let old = match parse(&old.text) {
        Ok(old) => old,
        Err(e) => return Ok(vec![format!("an earlier schema cannot be read: {e}")]),
    };
    let mut messages = Vec::new();
    if level.new_reads_old() {
        files(&old, &new, &mut messages);
    }
    if level.old_reads_new() {
        files(&new, &old, &mut messages);
    }
    Ok(messages)
}

fn files(old: &File, new: &File, out: &mut Vec<String>) {
    if old.package != new.package {
        out.push(format!(
            "PACKAGE_CHANGED at #/: from `{}` to `{}`",
            old.package, new.package
        ));
    }
    let root = Scope {
        old,
        new,
        path: "#".to_string(),
    };
    root.messages(&old.messages, &new.messages, out);
}

struct Scope<'a> {
    old: &'a File,
    new: &'a File,
    path: String,
}

fn is_entry(message: &Message) -> bool {
    let names: Vec<&str> = message.fields.iter().map(|f| f.name.as_str()).collect();
    message.name.ends_with("Entry") && names == ["key", "value"]
}

/// Whether a file declares an enum of this name anywhere.
fn is_enum(file: &File, name: &str) -> bool {
    fn inside(message: &Message, name: &str) -> bool {
        message.enums.iter().any(|e| e.name == name) || message.messages.iter().any(|m| inside(m, name))
    }
    let name = name.rsplit('.').next().unwrap_or(name);
    file.enums.iter().any(|e| e.name == name) || file.messages.iter().any(|m| inside(m, name))
}

impl Scope<'_> {
    fn messages(&self, old: &[Message], new: &[Message], out: &mut Vec<String>) {
        for message in old {
            let scope = Scope {
                path: format!("{}/{}", self.path, message.name),
                ..*self
            };
            match new.iter().find(|m| m.name == message.name) {
                Some(same) => scope.message(message, same, out),
                None if is_entry(message) => {}
                None => out.push(format!(
                    "MESSAGE_REMOVED at {}: the new schema lacks the message",
                    scope.path
                )),
            }
        }
    }

    fn message(&self, old: &Message, new: &Message, out: &mut Vec<String>) {
        self.messages(&old.messages, &new.messages, out);
        for field in &old.fields {
            let path = format!("{}/{}", self.path, field.number);
            match new.fields.iter().find(|f| f.number == field.number) {
                Some(same) => self.field(&path, field, same, out),
                None if field.oneof.is_some() => {
                    let kept = field
                        .oneof
                        .and_then(|i| old.oneofs.get(i))
                        .is_some_and(|o| new.oneofs.contains(o));
                    if kept {
                        out.push(format!(
                            "ONEOF_FIELD_REMOVED at {path}: `{}` was a member of a oneof",
                            field.name
                        ));
                    }
                }
                None if field.label == Label::Required => {
                    out.push(format!(
                        "REQUIRED_FIELD_REMOVED at {path}: old readers need `{}`",
                        field.name
                    ));
                }
                None => {}
            }
        }
        for field in &new.fields {
            let added = !old.fields.iter().any(|f| f.number == field.number);
            if added && field.label == Label::Required {
                let path = format!("{}/{}", self.path, field.number);
                out.push(format!(
                    "REQUIRED_FIELD_ADDED at {path}: old records lack `{}`",
                    field.name
                ));
            }
        }
        for (i, oneof) in new.oneofs.iter().enumerate().filter(|(_, o)| !old.oneofs.contains(o)) {
            let members = new.fields.iter().filter(|f| f.oneof == Some(i));
            let moved = members
                .filter(|f| old.fields.iter().any(|o| o.number == f.number))
                .count();
            if moved > 1 {
                let path = format!("{}/{oneof}", self.path);
                out.push(format!(
                    "MULTIPLE_FIELDS_MOVED_TO_ONEOF at {path}: a record may have several of them"
                ));
            }
        }
    }

    fn field(&self, path: &str, old: &Field, new: &Field, out: &mut Vec<String>) {
        if let Some(kind) = self.types(&old.kind, &new.kind) {
            let (from, to) = (text(&old.kind), text(&new.kind));
            out.push(format!("{kind} at {path}: `{}` was {from} and is {to}", new.name));
        }
        let repeated = |f: &Field| f.label == Label::Repeated;
        let numeric = matches!(&old.kind, FieldType::Scalar(s) if s.is_packable());
        if repeated(old) != repeated(new) && numeric {
            out.push(format!(
                "FIELD_NUMERIC_LABEL_CHANGED at {path}: `{}` is repeated on one side only",
                new.name
            ));
        }
    }

    /// The kind of difference between two types, if there is one.
    fn types(&self, old: &FieldType, new: &FieldType) -> Option<&'static str> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
        match (old, new) {
            (FieldType::Scalar(a), FieldType::Scalar(b)) => {
                (group(*a) != group(*b)).then_some("FIELD_SCALAR_KIND_CHANGED")
            }
            (FieldType::Named(a), FieldType::Named(b)) => (last(a) != last(b)
                && !(is_enum(self.old, a) && is_enum(self.new, b)))
            .then_some("FIELD_NAMED_TYPE_CHANGED"),
            (FieldType::Map(k, v), FieldType::Map(l, w)) => {
                if group(*k) == group(*l) {
                    self.types(v, w)
                } else {
                    Some("FIELD_SCALAR_KIND_CHANGED")
                }
            }
            (FieldType::Named(e), FieldType::Scalar(s))
                if is_enum(self.old, e) && group(*s) == group(Scalar::Int32) =>
            {
                None
            }
            (FieldType::Scalar(s), FieldType::Named(e))
                if is_enum(self.new, e) && group(*s) == group(Scalar::Int32) =>
            {
                None
            }
            _ => Some("FIELD_KIND_CHANGED"),
        }
    }
}

fn text(kind: &FieldType) -> String {
    match kind {
        FieldType::Scalar(s) => s.name().to_string(),
        FieldType::Named(n) => n.clone(),
        FieldType::Map(k, v) => format!("map<{}, {}>", k.name(), text(v)),
    }
}

/// Types of one group share their layout.
fn group(scalar: Scalar) -> u8 {
    match scalar {
        Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 | Scalar::Bool => 0,
        Scalar::Sint32 | Scalar::Sint64 => 1,
        Scalar::String | Scalar::Bytes => 2,
        Scalar::Fixed32 | Scalar::Sfixed32 => 3,
        Scalar::Fixed64 | Scalar::Sfixed64 => 4,
        Scalar::Double => 5,
        Scalar::Float => 6,
    }
}
