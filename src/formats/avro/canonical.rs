//! One text for all spellings of a schema, in the order of Java's `Schema.toString`: no white space, `{"type": "int"}` as `"int"`, names relative
//! to the enclosing namespace. Other properties come sorted. Documentation, defaults and aliases stay: they are part of a version.

use serde_json::{Map, Value as Json};

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The canonical text of an Avro schema.
///
/// # Errors
/// When the text is no JSON. (Whether it is a schema is checked elsewhere.)
pub fn canonical(text: &str) -> Result<String, String> {
    let json: Json = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    Ok(render(&json, "").to_string())
}

fn render(json: &Json, namespace: &str) -> Json {
    match json {
        Json::String(name) => Json::String(relative(name, namespace)),
        Json::Array(branches) => branches.iter().map(|b| render(b, namespace)).collect(),
        Json::Object(object) => render_object(object, namespace),
        other => other.clone(),
    }
}

/// A name without its namespace where that is the enclosing one.
fn relative(name: &str, namespace: &str) -> String {
    match name.rsplit_once('.') {
        Some((ns, short)) if ns == namespace && !PRIMITIVES.contains(&short) => short.to_string(),
        _ => name.to_string(),
    }
}

fn render_object(object: &Map<String, Json>, namespace: &str) -> Json {
    let Some(Json::String(kind)) = object.get("type") else {
        // {"type": {...}}: the inner one is the schema
        return object.get("type").map_or(Json::Null, |inner| render(inner, namespace));
    };
    let mut out = Map::new();
    out.insert("type".into(), kind.as_str().into());
    match kind.as_str() {
        "record" | "error" | "enum" | "fixed" => render_named(object, namespace, &mut out),
        "array" => drop(out.insert(
            "items".into(),
            render(object.get("items").unwrap_or(&Json::Null), namespace),
        )),
        "map" => drop(out.insert(
            "values".into(),
            render(object.get("values").unwrap_or(&Json::Null), namespace),
        )),
        other => drop(out.insert("type".into(), relative(other, namespace).into())),
    }
    rest(object, &["type", "name", "namespace", "aliases"], &mut out);
    if let Some(aliases) = object.get("aliases") {
        out.insert("aliases".into(), aliases.clone());
    }
    match (out.len(), out.get("type")) {
        (1, Some(only)) => only.clone(),
        _ => Json::Object(out),
    }
}

fn render_named(object: &Map<String, Json>, enclosing: &str, out: &mut Map<String, Json>) {
    let text = |key: &str| object.get(key).and_then(Json::as_str);
    let name = text("name").unwrap_or_default();
    let (namespace, short) = match name.rsplit_once('.') {
        Some((namespace, short)) => (namespace, short),
        None => (text("namespace").unwrap_or(enclosing), name),
    };
    out.insert("name".into(), short.into());
    if namespace != enclosing {
        out.insert("namespace".into(), namespace.into());
    }
    copy(object, &["doc"], out);
    if let Some(Json::Array(fields)) = object.get("fields") {
        out.insert(
            "fields".into(),
            fields.iter().map(|f| render_field(f, namespace)).collect(),
        );
    }
    copy(object, &["symbols", "size", "default"], out);
}

fn render_field(field: &Json, namespace: &str) -> Json {
    let Json::Object(field) = field else {
        return field.clone();
    };
    let mut out = Map::new();
    copy(field, &["name"], &mut out);
    out.insert(
        "type".into(),
        render(field.get("type").unwrap_or(&Json::Null), namespace),
    );
    copy(field, &["doc", "default"], &mut out);
    if field.get("order").is_some_and(|o| o != "ascending") {
        copy(field, &["order"], &mut out);
    }
    if field
        .get("aliases")
        .is_some_and(|a| a.as_array().is_none_or(|a| !a.is_empty()))
    {
        copy(field, &["aliases"], &mut out);
    }
    rest(field, &["order", "aliases"], &mut out);
    Json::Object(out)
}

fn copy(from: &Map<String, Json>, keys: &[&str], to: &mut Map<String, Json>) {
    for key in keys {
        if let Some(value) = from.get(*key) {
            to.insert((*key).to_string(), value.clone());
        }
    }
}

/// Properties that are not in `to` yet nor named in `known`, sorted.
fn rest(from: &Map<String, Json>, known: &[&str], to: &mut Map<String, Json>) {
    let is_new = |k: &&String| !to.contains_key(k.as_str()) && !known.contains(&k.as_str());
    let mut keys: Vec<&String> = from.keys().filter(is_new).collect();
    keys.sort();
    let new: Vec<(String, Json)> = keys.into_iter().map(|k| (k.clone(), from[k].clone())).collect();
    to.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_schema_have_one_text() {
        let a = r#"{ "namespace": "x", "name": "R", "type": "record", "fields": [
            {"type": {"type": "int"}, "name": "a", "order": "ascending"},
            {"name": "b", "type": {"type": "enum", "name": "E", "symbols": ["A"]}},
            {"name": "c", "type": ["null", "x.E"], "default": null},
            {"name": "d", "type": {"scale": 2, "type": "bytes", "logicalType": "decimal", "precision": 9}} ] }"#;
        let b = r#"{"type":"record","name":"x.R","fields":[{"name":"a","type":"int"},
            {"name":"b","type":{"type":"enum","name":"x.E","symbols":["A"]}},
            {"name":"c","type":["null","E"],"default":null},
            {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}"#;
        let text = canonical(a).unwrap();
        assert_eq!(text, canonical(b).unwrap());
        assert_eq!(text, canonical(&text).unwrap());
        assert!(text.starts_with(r#"{"type":"record","name":"R","namespace":"x","fields":[{"name":"a","type":"int"}"#));
        assert_ne!(text, canonical(&a.replace("\"a\"", "\"z\"")).unwrap());
    }
}
