//! Columns to JSON Schema and back, as ksqlDB does it through Kafka Connect: `connect.index` orders the fields, `connect.type` and `title` say what
//! a number or string means, everything may be null.

use serde_json::{Map, Value as Json, json};

use crate::types::{Column, MAX_PRECISION, SerdeSpec, SqlType, StructField};

use super::super::infer::{self, Fields};
use super::super::source::{RegisteredSchema, SchemaText, SchemaType};
use super::super::{FormatError, SinkSchema};
use super::is_bare;
use super::model::{JsonSchema, Node};

const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
const DATE: &str = "org.apache.kafka.connect.data.Date";
const TIME: &str = "org.apache.kafka.connect.data.Time";
const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
const ADVICE: &str = "name the columns in the statement and leave it out";

/// See [`super::super::sink_schema`].
pub(in super::super) fn sink_schema(
    columns: &[Column],
    spec: &SerdeSpec,
    latest: Option<&RegisteredSchema>,
) -> Result<SinkSchema, FormatError> {
    let found = infer::registered_that_fits(latest, spec, SchemaType::Json, |registered| {
        spelled(registered, columns, spec).map(|_| true)
    })?;
    if let Some(found) = found {
        return Ok(found);
    }
    let json = if is_bare(spec, columns) {
        nullable(&columns[0].sql_type, None)
    } else {
        object(columns.iter().map(|c| (&*c.name, &c.sql_type)))
    };
    Ok(SinkSchema::New(SchemaText {
        text: json.to_string(),
        schema_type: SchemaType::Json,
        references: Vec::new(),
    }))
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a SqlType)>) -> Json {
    let properties = fields
        .enumerate()
        .map(|(i, (name, t))| (name.to_string(), nullable(t, Some(i))));
    let properties: Map<String, Json> = properties.collect();
    json!({"type": "object", "properties": properties})
}

fn nullable(sql_type: &SqlType, index: Option<usize>) -> Json {
    let mut out = json!({"oneOf": [{"type": "null"}, type_of(sql_type)]});
    if let (Json::Object(members), Some(index)) = (&mut out, index) {
        members.insert("connect.index".into(), index.into());
    }
    out
}

fn type_of(sql_type: &SqlType) -> Json {
    let logical = |title: &str, connect: &str| json!({"type": "integer", "title": title, "connect.version": 1, "connect.type": connect});
    match sql_type {
        SqlType::Boolean => json!({"type": "boolean"}),
        SqlType::Integer => json!({"type": "integer", "connect.type": "int32"}),
        SqlType::Bigint => json!({"type": "integer", "connect.type": "int64"}),
        SqlType::Double => json!({"type": "number", "connect.type": "float64"}),
        SqlType::String => json!({"type": "string"}),
        SqlType::Bytes => json!({"type": "string", "connect.type": "bytes"}),
        SqlType::Decimal { precision, scale } => json!({
            "type": "number",
            "title": DECIMAL,
            "connect.version": 1,
            "connect.type": "bytes",
            "connect.parameters": {"scale": scale.to_string(), "connect.decimal.precision": precision.to_string()},
        }),
        SqlType::Date => logical(DATE, "int32"),
        SqlType::Time => logical(TIME, "int32"),
        SqlType::Timestamp => logical(TIMESTAMP, "int64"),
        SqlType::Array(item) => json!({"type": "array", "items": nullable(item, None)}),
        // records hold maps as objects, so that is what their schema says
        SqlType::Map(_, value) => {
            json!({"type": "object", "connect.type": "map", "additionalProperties": nullable(value, None)})
        }
        SqlType::Struct(fields) => object(fields.iter().map(|f| (&*f.name, &f.sql_type))),
    }
}

/// See [`super::super::columns_of`].
pub(in super::super) fn columns_of(
    registered: &RegisteredSchema,
    spec: &SerdeSpec,
    is_key: bool,
) -> Result<Vec<Column>, FormatError> {
    let at = infer::at(registered);
    let schema = JsonSchema::parse(&registered.schema).map_err(at)?;
    let types = Types(Fields::of(spec));
    let sql_type = types.of(schema.root(), &mut Vec::new()).map_err(at)?;
    match sql_type {
        SqlType::Struct(fields) if spec.wrap_single => Ok(fields
            .iter()
            .map(|f| Column::new(f.name.clone(), f.sql_type.clone()))
            .collect()),
        _ if spec.wrap_single && !is_key => Err(at(infer::UNWRAPPED.to_string())),
        bare => Ok(vec![Column::new(if is_key { "ROWKEY" } else { "ROWVAL" }, bare)]),
    }
}

/// The columns, with the names that a registered schema has for them, when it can hold them.
pub(super) fn spelled(
    registered: &RegisteredSchema,
    columns: &[Column],
    spec: &SerdeSpec,
) -> Result<Vec<Column>, FormatError> {
    let at = |m: String| FormatError::definition(format!("JSON_SR, schema {}: {m}", registered.id));
    let schema = JsonSchema::parse(&registered.schema).map_err(at)?;
    let types = Types(Fields::spelled());
    let found = types.of(schema.root(), &mut Vec::new()).map_err(at)?;
    if is_bare(spec, columns) {
        let sql_type =
            respelled(&columns[0].sql_type, &found).map_err(|m| at(format!("column {}: {m}", columns[0].name)))?;
        return Ok(vec![Column::new(columns[0].name.clone(), sql_type)]);
    }
    let SqlType::Struct(fields) = &found else {
        return Err(at(format!(
            "the columns are written as fields of an object, but the schema is {found}"
        )));
    };
    let spelled = columns.iter().map(|c| {
        let field = respelled_field(&c.name, &c.sql_type, fields).map_err(|m| at(format!("column {}: {m}", c.name)))?;
        Ok(Column::new(field.name, field.sql_type))
    });
    spelled.collect()
}

fn respelled_field(name: &str, sql_type: &SqlType, fields: &[StructField]) -> Result<StructField, String> {
    let exact = fields.iter().find(|f| *f.name == *name);
    let field = exact.or_else(|| fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)));
    let field = field.ok_or_else(|| "the schema has no such property".to_string())?;
    Ok(StructField {
        name: field.name.clone(),
        sql_type: respelled(sql_type, &field.sql_type)?,
    })
}

/// The column's type with the names of the schema's; an error when the schema's type cannot hold it.
fn respelled(column: &SqlType, schema: &SqlType) -> Result<SqlType, String> {
    Ok(match (column, schema) {
        (SqlType::Struct(wanted), SqlType::Struct(fields)) => {
            let fields: Result<Vec<StructField>, String> = wanted
                .iter()
                .map(|f| respelled_field(&f.name, &f.sql_type, fields))
                .collect();
            SqlType::Struct(fields?.into())
        }
        (SqlType::Array(a), SqlType::Array(b)) => SqlType::Array(respelled(a, b)?.into()),
        (SqlType::Map(k, a), SqlType::Map(_, b)) => SqlType::Map(k.clone(), respelled(a, b)?.into()),
        (SqlType::Integer, SqlType::Bigint | SqlType::Double) | (SqlType::Bigint, SqlType::Double) => column.clone(),
        (SqlType::Decimal { .. }, SqlType::Double) => column.clone(),
        (SqlType::Decimal { precision: p, scale: s }, SqlType::Decimal { precision, scale })
            if p <= precision && s <= scale =>
        {
            column.clone()
        }
        (a, b) if a == b => column.clone(),
        (a, b) => return Err(format!("{a} cannot be written as {b}")),
    })
}

struct Types(Fields);

impl Types {
    /// The SQL type of a schema; `open` are the objects on the way to it.
    fn of(&self, node: Node<'_>, open: &mut Vec<usize>) -> Result<SqlType, String> {
        if let Some(branches) = node.children("oneOf").or_else(|| node.children("anyOf")) {
            return self.union(&branches, open);
        }
        if let Some(parts) = node.children("allOf") {
            return self.product(node, &parts, open);
        }
        let kind = match node.get("type") {
            Some(Json::String(kind)) => kind.as_str(),
            Some(Json::Array(kinds)) => {
                let mut others = kinds.iter().filter_map(Json::as_str).filter(|k| *k != "null");
                match (others.next(), others.next()) {
                    (Some(only), None) => only,
                    _ => return Err(format!("a value of several types has no SQL type; {ADVICE}")),
                }
            }
            _ if node.get("enum").is_some() => return Ok(SqlType::String),
            _ if node.get("properties").is_some() => "object",
            _ if node.get("items").is_some() => "array",
            _ => return Err(format!("a value of any type has no SQL type; {ADVICE}")),
        };
        match kind {
            "object" => self.object(node, open),
            "array" => self.array(node, open),
            scalar => scalar_type(node, scalar),
        }
    }

    fn union(&self, branches: &[Node<'_>], open: &mut Vec<usize>) -> Result<SqlType, String> {
        let mut others = branches.iter().filter(|n| n.text("type") != Some("null"));
        match (others.next(), others.next()) {
            (Some(only), None) => self.of(*only, open),
            _ => Err(format!("a union has no SQL type; {ADVICE}")),
        }
    }

    /// `allOf`: the fields of all parts, or the one part that has a type.
    fn product(&self, node: Node<'_>, parts: &[Node<'_>], open: &mut Vec<usize>) -> Result<SqlType, String> {
        let mut fields = Vec::new();
        let mut other = None;
        for part in parts.iter().copied().chain(node.get("properties").map(|_| node)) {
            if part.get("properties").is_some() {
                for field in self.fields(part, open)? {
                    fields.retain(|f: &StructField| f.name != field.name);
                    fields.push(field);
                }
            } else if let Ok(sql_type) = self.of(part, open) {
                match sql_type {
                    SqlType::Struct(inner) => fields.extend(inner.iter().cloned()),
                    scalar => other = other.or(Some(scalar)),
                }
            }
        }
        match (fields.is_empty(), other) {
            (false, _) => Ok(SqlType::Struct(fields.into())),
            (true, Some(sql_type)) => Ok(sql_type),
            (true, None) => Err(format!("`allOf` of schemas without type has no SQL type; {ADVICE}")),
        }
    }

    fn object(&self, node: Node<'_>, open: &mut Vec<usize>) -> Result<SqlType, String> {
        if node.text("connect.type") == Some("map") {
            let value = node.child("additionalProperties").filter(|n| n.json.is_object());
            let value =
                value.ok_or_else(|| format!("a map without `additionalProperties` has no SQL type; {ADVICE}"))?;
            return Ok(SqlType::Map(SqlType::String.into(), self.of(value, open)?.into()));
        }
        Ok(SqlType::Struct(self.fields(node, open)?.into()))
    }

    fn fields(&self, node: Node<'_>, open: &mut Vec<usize>) -> Result<Vec<StructField>, String> {
        if open.contains(&node.place()) {
            return Err(format!("an object that contains itself has no SQL type; {ADVICE}"));
        }
        open.push(node.place());
        let mut properties: Vec<(u64, &String, Node<'_>)> = Vec::new();
        for (name, json) in node.object("properties").into_iter().flatten() {
            let property = node.at(json);
            let index = property.get("connect.index").and_then(Json::as_u64);
            properties.push((index.unwrap_or(properties.len() as u64), name, property.followed()));
        }
        // equal places stay in the order of the text
        properties.sort_by_key(|(index, ..)| *index);
        self.0.enter(properties.len())?;
        let mut fields: Vec<StructField> = Vec::new();
        for (_, name, property) in properties {
            let sql_type = self.of(property, open).map_err(|m| format!("property `{name}`: {m}"))?;
            let name = self.0.name(name).into();
            infer::add(StructField { name, sql_type }, &mut fields)?;
        }
        open.pop();
        Ok(fields)
    }

    fn array(&self, node: Node<'_>, open: &mut Vec<usize>) -> Result<SqlType, String> {
        let items = node.child("items").filter(|n| n.json.is_object());
        let items = items.ok_or_else(|| format!("an array without `items` has no SQL type; {ADVICE}"))?;
        if node.text("connect.type") == Some("map") {
            let value = items
                .object("properties")
                .and_then(|p| p.get("value"))
                .map(|json| items.at(json).followed());
            let value = value.ok_or_else(|| format!("a map whose items have no `value` has no SQL type; {ADVICE}"))?;
            return Ok(SqlType::Map(SqlType::String.into(), self.of(value, open)?.into()));
        }
        Ok(SqlType::Array(self.of(items, open)?.into()))
    }
}

fn scalar_type(node: Node<'_>, kind: &str) -> Result<SqlType, String> {
    Ok(match (kind, node.text("connect.type"), node.text("title")) {
        (_, _, Some(DECIMAL)) => {
            let parameter = |key: &str| node.object("connect.parameters").and_then(|p| p.get(key));
            let digits = |key: &str| parameter(key).and_then(|v| v.as_str().and_then(|s| s.parse::<u8>().ok()));
            let (precision, scale) = (
                digits("connect.decimal.precision").unwrap_or(MAX_PRECISION),
                digits("scale").unwrap_or(0),
            );
            if precision == 0 || precision > MAX_PRECISION || scale > precision {
                return Err(format!("DECIMAL({precision}, {scale}) is no type; {ADVICE}"));
            }
            SqlType::Decimal { precision, scale }
        }
        ("integer", _, Some(DATE)) => SqlType::Date,
        ("integer", _, Some(TIME)) => SqlType::Time,
        ("integer", _, Some(TIMESTAMP)) => SqlType::Timestamp,
        ("integer" | "number", Some("int8" | "int16" | "int32"), _) => SqlType::Integer,
        ("integer" | "number", Some("int64"), _) | ("integer", None, _) => SqlType::Bigint,
        ("integer" | "number", Some("float32" | "float64"), _) | ("number", None, _) => SqlType::Double,
        ("string", Some("bytes"), _) => SqlType::Bytes,
        ("string", _, _) => SqlType::String,
        ("boolean", _, _) => SqlType::Boolean,
        (other, ..) => return Err(format!("{other} has no SQL type; {ADVICE}")),
    })
}
