//! A [`File`] as text, laid out as Confluent's registry does it; and a form in which two texts of one file are equal.

use super::file::{Enum, Field, FieldType, File, Label, Message, Syntax};
use super::parse::parse;

/// The text of a file.
pub(super) fn print(file: &File) -> String {
    let mut out = String::new();
    match file.syntax {
        Syntax::Proto2 => out.push_str("syntax = \"proto2\";\n"),
        Syntax::Proto3 => out.push_str("syntax = \"proto3\";\n"),
        Syntax::Edition => out.push_str("edition = \"2023\";\n"),
    }
    if !file.package.is_empty() {
        out.push_str(&format!("package {};\n", file.package));
    }
    if !file.imports.is_empty() {
        out.push('\n');
    }
    for import in &file.imports {
        let public = if import.public { "public " } else { "" };
        out.push_str(&format!("import {public}\"{}\";\n", import.path));
    }
    for message in &file.messages {
        out.push('\n');
        print_message(message, 0, &mut out);
    }
    for e in &file.enums {
        out.push('\n');
        print_enum(e, 0, &mut out);
    }
    out
}

/// A text that is the same for all texts of the same declarations, whatever their layout, comments and imports.
///
/// # Errors
/// What is wrong with the text.
pub(in super::super) fn canonical(text: &str) -> Result<String, String> {
    let mut file = parse(text)?;
    file.imports.clear();
    Ok(print(&file))
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn print_message(message: &Message, depth: usize, out: &mut String) {
    indent(depth, out);
    out.push_str(&format!("message {} {{\n", message.name));
    for (from, to) in &message.reserved {
        indent(depth + 1, out);
        match (from == to, *to == i64::MAX) {
            (true, _) => out.push_str(&format!("reserved {from};\n")),
            (_, true) => out.push_str(&format!("reserved {from} to max;\n")),
            _ => out.push_str(&format!("reserved {from} to {to};\n")),
        }
    }
    for name in &message.reserved_names {
        indent(depth + 1, out);
        out.push_str(&format!("reserved \"{name}\";\n"));
    }
    for field in message.fields.iter().filter(|f| f.oneof.is_none()) {
        print_field(field, depth + 1, out);
    }
    for (i, oneof) in message.oneofs.iter().enumerate() {
        out.push('\n');
        indent(depth + 1, out);
        out.push_str(&format!("oneof {oneof} {{\n"));
        for field in message.fields.iter().filter(|f| f.oneof == Some(i)) {
            print_field(field, depth + 2, out);
        }
        indent(depth + 1, out);
        out.push_str("}\n");
    }
    for inner in &message.messages {
        out.push('\n');
        print_message(inner, depth + 1, out);
    }
    for inner in &message.enums {
        out.push('\n');
        print_enum(inner, depth + 1, out);
    }
    indent(depth, out);
    out.push_str("}\n");
}

fn print_enum(e: &Enum, depth: usize, out: &mut String) {
    indent(depth, out);
    out.push_str(&format!("enum {} {{\n", e.name));
    for (symbol, number) in &e.values {
        indent(depth + 1, out);
        out.push_str(&format!("{symbol} = {number};\n"));
    }
    indent(depth, out);
    out.push_str("}\n");
}

fn type_text(kind: &FieldType) -> String {
    match kind {
        FieldType::Scalar(scalar) => scalar.name().to_string(),
        FieldType::Named(name) => name.clone(),
        FieldType::Map(key, value) => format!("map<{}, {}>", key.name(), type_text(value)),
    }
}

fn print_field(field: &Field, depth: usize, out: &mut String) {
    indent(depth, out);
    out.push_str(match field.label {
        Label::None => "",
        Label::Optional => "optional ",
        Label::Required => "required ",
        Label::Repeated => "repeated ",
    });
    out.push_str(&format!("{} {} = {}", type_text(&field.kind), field.name, field.number));
    let mut options = Vec::new();
    if let Some(packed) = field.packed {
        options.push(format!("packed = {packed}"));
    }
    if field.implicit {
        options.push("features.field_presence = IMPLICIT".to_string());
    }
    if !field.params.is_empty() {
        options.push(print_params(field, depth));
    }
    if !options.is_empty() {
        out.push_str(&format!(" [{}]", options.join(", ")));
    }
    out.push_str(";\n");
}

fn print_params(field: &Field, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    let entry = |(key, value): &(String, String)| {
        format!("{pad}    {{\n{pad}      key: {key:?},\n{pad}      value: {value:?}\n{pad}    }}")
    };
    let entries: Vec<String> = field.params.iter().map(entry).collect();
    format!(
        "(confluent.field_meta) = {{\n{pad}  params: [\n{}\n{pad}  ]\n{pad}}}",
        entries.join(",\n")
    )
}
