//! The columns of a declaration: keys, values and headers, and what they may be called.

use crate::sql::ast::{ColumnDef, ColumnRole, Create, Property};
use crate::sql::diagnostic::{Problem, Span};
use crate::topology::HeaderColumn;
use crate::types::{Column, Format, ProtobufNulls, RelationKind, RelationSchema, SerdeSpec, SqlType};

/// Names that a query has without a declaration.
pub(super) const PSEUDO: [&str; 5] = ["ROWTIME", "ROWPARTITION", "ROWOFFSET", "WINDOWSTART", "WINDOWEND"];

/// The columns that a statement lists, and what is wrong with them.
pub(super) fn columns(create: &Create, problems: &mut Vec<Problem>) -> (RelationSchema, Vec<HeaderColumn>) {
    let (mut schema, mut headers) = (RelationSchema::default(), Vec::<HeaderColumn>::new());
    let all: &[ColumnDef] = create.columns.as_deref().unwrap_or_default();
    for (i, column) in all.iter().enumerate() {
        let name = &column.name;
        if all[..i].iter().any(|c| c.name == *name) {
            problems.push(Problem::new(name.span, format!("column {} occurs twice", name.text)));
        }
        if PSEUDO.contains(&&*name.text) {
            problems.push(Problem::new(
                name.span,
                format!("{} is the name of a pseudo column", name.text),
            ));
        }
        let made = Column::new(name.text.clone(), column.sql_type.clone());
        match (&column.role, create.kind) {
            (ColumnRole::Value, _) => schema.value.push(made),
            (ColumnRole::Headers(header), _) => {
                let made = HeaderColumn {
                    name: name.text.clone(),
                    header: header.as_deref().map(Into::into),
                };
                match header_problem(column, &made, &headers) {
                    Some(problem) => problems.push(problem),
                    None => headers.push(made),
                }
            }
            (ColumnRole::Key, RelationKind::Stream) | (ColumnRole::PrimaryKey, RelationKind::Table) => {
                schema.key.push(made);
            }
            (ColumnRole::Key, RelationKind::Table) => {
                let message = format!("column {} is a KEY, but a table has a PRIMARY KEY", name.text);
                problems.push(Problem::new(column.span, message).hint("write PRIMARY KEY"));
            }
            (ColumnRole::PrimaryKey, RelationKind::Stream) => {
                let message = format!(
                    "column {} is a PRIMARY KEY, but a stream's keys can occur again",
                    name.text
                );
                problems.push(Problem::new(column.span, message).hint("write KEY"));
            }
        }
        if matches!(column.role, ColumnRole::Key | ColumnRole::PrimaryKey) && has_map(&column.sql_type) {
            problems.push(Problem::new(
                column.span,
                format!("{} cannot be a key: a MAP has no order", name.text),
            ));
        }
    }
    (schema, headers)
}

fn header_problem(column: &ColumnDef, made: &HeaderColumn, others: &[HeaderColumn]) -> Option<Problem> {
    let wanted = made.sql_type();
    if column.sql_type != wanted {
        let what = match &made.header {
            Some(header) => format!("HEADER('{header}')"),
            None => "HEADERS".into(),
        };
        let message = format!(
            "column {} takes {what}, which is {wanted}, not {}",
            column.name.text, column.sql_type
        );
        return Some(Problem::new(column.span, message));
    }
    let all = made.header.is_none() && !others.is_empty() || others.iter().any(|other| other.header.is_none());
    if all {
        let message = "HEADERS takes all headers: no other column can take headers beside it";
        return Some(Problem::new(column.span, message));
    }
    let other = others.iter().find(|other| other.header == made.header)?;
    let message = format!(
        "column {} takes the header that {} has already",
        column.name.text, other.name
    );
    Some(Problem::new(column.span, message))
}

/// Whether a MAP is anywhere inside.
pub(super) fn has_map(sql_type: &SqlType) -> bool {
    match sql_type {
        SqlType::Map(..) => true,
        SqlType::Array(item) => has_map(item),
        SqlType::Struct(fields) => fields.iter().any(|f| has_map(&f.sql_type)),
        _ => false,
    }
}

/// Whether the formats can hold the columns.
pub(super) fn check_formats(
    with: &[Property],
    schema: &RelationSchema,
    key: &SerdeSpec,
    value: &SerdeSpec,
    span: Span,
    problems: &mut Vec<Problem>,
) {
    for (what, spec) in [("KEY", key), ("VALUE", value)] {
        if let Some(property) = misplaced(spec) {
            let name = format!("{what}_{property}");
            let message = format!("{name} means nothing in the format {}", spec.format);
            let given = with.iter().find(|p| *p.name.text == name);
            let span = given.map_or(span, |property| property.name.span);
            problems.push(Problem::new(span, message).hint(format!("leave {name} out, or change the format")));
        }
    }
    let wrapped = |columns: &[Column], spec: &SerdeSpec| columns.len() > 1 || spec.wrap_single;
    for (columns, spec, wrapped) in [
        (&schema.key, key, schema.key.len() > 1),
        (&schema.value, value, wrapped(&schema.value, value)),
    ] {
        if spec.format == Format::Avro
            && let Some(name) = columns.iter().find_map(|c| no_avro_name(c, wrapped))
        {
            let message = format!("the format AVRO takes no name like {name}: letters, digits and '_', no digit first");
            problems.push(Problem::new(span, message).hint("give it another name with AS, or choose another format"));
        }
    }
    for (what, columns, format) in [("key", &schema.key, key.format), ("value", &schema.value, value.format)] {
        let Some(why) = format.unfit(columns) else { continue };
        let listed: Vec<_> = columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        let message = format!(
            "the format {format} cannot hold the {what} ({}): {why}",
            listed.join(", ")
        );
        problems.push(Problem::new(span, message).hint(instead(what, columns, format)));
    }
}

/// What to do about columns that the format of keys or values cannot hold.
fn instead(what: &str, columns: &[Column], format: Format) -> String {
    let others = [Format::Json, Format::Avro].into_iter();
    let others = others.filter(|other| *other != format && other.unfit(columns).is_none());
    let others: Vec<_> = others.map(|other| other.to_string()).collect();
    match others.is_empty() {
        // the one thing that neither of them holds
        true => "make the keys of the MAP STRING".into(),
        false => format!("set {}_FORMAT to {}", what.to_uppercase(), others.join(" or ")),
    }
}

/// A name in a column that Avro's schemas cannot hold; its own if it is a field of a record.
fn no_avro_name(column: &Column, is_field: bool) -> Option<String> {
    let bad = |name: &str| {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    fn fields(sql_type: &SqlType, bad: &dyn Fn(&str) -> bool) -> Option<String> {
        match sql_type {
            SqlType::Array(item) => fields(item, bad),
            SqlType::Map(_, value) => fields(value, bad),
            SqlType::Struct(all) => all.iter().find_map(|field| match bad(&field.name) {
                true => Some(field.name.to_string()),
                false => fields(&field.sql_type, bad),
            }),
            _ => None,
        }
    }
    match is_field && bad(&column.name) {
        true => Some(column.name.to_string()),
        false => fields(&column.sql_type, &bad),
    }
}

/// A property that the format does not have. Formats without bytes are those of absent keys, whose properties are for derived ones.
fn misplaced(spec: &SerdeSpec) -> Option<&'static str> {
    let named = matches!(
        spec.format,
        Format::Avro | Format::Protobuf | Format::JsonSr | Format::None
    );
    match spec {
        SerdeSpec {
            format: Format::Delimited | Format::None,
            ..
        } => None,
        SerdeSpec { delimiter, .. } if *delimiter != ',' => Some("DELIMITER"),
        SerdeSpec { full_name: Some(_), .. } if !named => Some("SCHEMA_FULL_NAME"),
        SerdeSpec { protobuf_nulls, .. }
            if *protobuf_nulls != ProtobufNulls::Default && !spec.format.features().protobuf_nulls =>
        {
            Some("PROTOBUF_NULLABLE_REPRESENTATION")
        }
        _ => None,
    }
}
