//! Functions of texts that are JSON. Numbers keep the digits that they are written with.

use serde_json::Value as Json;

use super::memo::Memo;
use super::{CallContext, EvalError, Signature, Ty, length, text};
use crate::expr::{double_to_string, time_text};
use crate::types::{SqlType, Value, map_value, number_to_string};

type Result = std::result::Result<Value, EvalError>;

const T: Ty = Ty::Any('T');
const S: Ty = Ty::String;

functions! {
    "EXTRACTJSONFIELD"(S, S) -> S, extract,
        "The value at a JSONPath ($.a.b, $.a[0], $[\"a b\"]) as text; NULL if it is not there. A text that is no JSON is an error of the record.",
        ["EXTRACTJSONFIELD('{\"log\": {\"cloud\": \"gcp\", \"n\": [4, 5]}}', '$.log.cloud')" => "'gcp'",
         "EXTRACTJSONFIELD('{\"log\": {\"n\": [4, 5]}}', '$.log.n[1]')" => "'5'"];
    "IS_JSON_STRING"(S) -> Ty::Boolean, |a, _| Ok(Value::Boolean(!a[0].is_null() && parse(&a[0]).is_some())), "Whether the text is JSON; FALSE for NULL.",
        ["IS_JSON_STRING('[1, 2]')" => "TRUE", "IS_JSON_STRING('abc')" => "FALSE"] .sees_nulls();
    "JSON_ARRAY_CONTAINS"(S, T) -> Ty::Boolean, array_contains, "Whether the JSON array has the value; FALSE if the text is no array.",
        ["JSON_ARRAY_CONTAINS('[1, 2, 3]', 3)" => "TRUE", "JSON_ARRAY_CONTAINS('[\"a\"]', 'b')" => "FALSE"] .sees_nulls();
    "JSON_ARRAY_LENGTH"(S) -> Ty::Integer, array_length, "The number of items of a JSON array; NULL if the text is none.",
        ["JSON_ARRAY_LENGTH('[1, [2, 3]]')" => "2", "JSON_ARRAY_LENGTH('{}')" => "NULL"];
    "JSON_CONCAT"(S) -> S, concat,
        "The JSON objects as one, the last of equal keys counting; if not all are objects, the items of all as one array. NULL if a text is no JSON.",
        ["JSON_CONCAT('{\"a\": 1}', '{\"b\": 2}')" => "'{\"a\":1,\"b\":2}'", "JSON_CONCAT('[1, 2]', '3')" => "'[1,2,3]'"] .variadic();
    "JSON_ITEMS"(S) -> Ty::Array(&S), items, "The objects of a JSON array as texts; NULL if the text is no array of objects.",
        ["JSON_ITEMS('[{\"a\": 1}, {}]')" => "ARRAY['{\"a\":1}', '{}']"];
    "JSON_KEYS"(S) -> Ty::Array(&S), keys, "The keys of a JSON object; NULL if the text is none.", ["JSON_KEYS('{\"a\": 1, \"b\": {}}')" => "ARRAY['a', 'b']"];
    "JSON_RECORDS"(S) -> Ty::Map(&S, &S), records, "The keys of a JSON object with their values as JSON; NULL if the text is no object.",
        ["JSON_RECORDS('{\"a\": \"x\", \"b\": [1]}')" => "MAP('a' := '\"x\"', 'b' := '[1]')"];
    "TO_JSON_STRING"(T) -> S, to_json, "Any value as JSON. Fields and keys come in the order of their names, BYTES as base64, times in ISO 8601.",
        ["TO_JSON_STRING(ARRAY[1, NULL])" => "'[1,null]'", "TO_JSON_STRING(STRUCT(ID := 1, NAME := 'A'))" => "'{\"ID\":1,\"NAME\":\"A\"}'"]
        .sees_nulls();
}

/// The first value of a text; what stands behind it is not looked at, as in ksqlDB.
fn parse(value: &Value) -> Option<Json> {
    serde_json::Deserializer::from_str(text(value)).into_iter().next()?.ok()
}

/// JSON as Java writes it; only numbers differ.
fn printed(json: &Json) -> String {
    fn print(json: &Json, out: &mut String) {
        let mut comma = "";
        match json {
            Json::Number(number) => out.push_str(&number_to_string(&number.to_string())),
            Json::Array(items) => {
                out.push('[');
                for item in items {
                    out.push_str(std::mem::replace(&mut comma, ","));
                    print(item, out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (name, value) in fields {
                    out.push_str(std::mem::replace(&mut comma, ","));
                    quoted(name, out);
                    out.push(':');
                    print(value, out);
                }
                out.push('}');
            }
            Json::String(text) => quoted(text, out),
            Json::Null | Json::Bool(_) => out.push_str(&json.to_string()),
        }
    }
    let mut out = String::new();
    print(json, &mut out);
    out
}

/// A JSON value as text: a string without its quotes.
fn bare(json: &Json) -> Value {
    match json {
        Json::String(s) => Value::from(s.as_str()),
        other => Value::string(printed(other)),
    }
}

thread_local! {
    static PATHS: Memo<Vec<String>> = Memo::new();
}

/// The names and positions of a JSONPath.
fn path(text: &str) -> std::result::Result<Vec<String>, EvalError> {
    let wrong = |why: &str| EvalError::new(format!("'{text}' is no JSONPath: {why}"));
    let mut rest = text.strip_prefix('$').ok_or_else(|| wrong("it begins with $"))?;
    let mut steps = Vec::new();
    let name_end = |rest: &str| {
        let inner = |c: char| c.is_alphanumeric() || "_:-$@/#|".contains(c);
        rest.find(|c| !inner(c)).unwrap_or(rest.len())
    };
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('.') {
            let (name, behind) = behind.split_at(name_end(behind));
            steps.push(name.to_string());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("[\"").or_else(|| rest.strip_prefix("['")) {
            let quote = rest.as_bytes()[1] as char;
            let (mut name, mut chars) = (String::new(), behind.chars());
            loop {
                match chars.next() {
                    Some('\\') => name.extend(chars.next()),
                    Some(c) if c == quote => break,
                    Some(c) => name.push(c),
                    None => return Err(wrong("a quote is not closed")),
                }
            }
            steps.push(name);
            rest = chars
                .as_str()
                .strip_prefix(']')
                .ok_or_else(|| wrong("a ] is missing"))?;
            continue;
        } else if let Some(behind) = rest.strip_prefix('[') {
            let (name, behind) = behind.split_at(name_end(behind));
            steps.push(name.to_string());
            rest = behind.strip_prefix(']').ok_or_else(|| wrong("a ] is missing"))?;
        } else {
            return Err(wrong("a step is .name, [position] or [\"name\"]"));
        }
        if steps.last().is_some_and(String::is_empty) {
            return Err(wrong("a step has no name; wildcards are not supported"));
        }
    }
    Ok(steps)
}

fn extract(args: &[Value], _: &CallContext<'_>) -> Result {
    let path = PATHS.with(|known| known.get(text(&args[1]), || path(text(&args[1]))))?;
    if text(&args[0]).trim().is_empty() {
        return Ok(Value::Null);
    }
    let Some(json) = parse(&args[0]) else {
        return Err(EvalError::new(format!(
            "EXTRACTJSONFIELD: this is no JSON: {}",
            text(&args[0])
        )));
    };
    let mut at = &json;
    for step in path.iter() {
        let next = match at {
            Json::Array(items) => step.parse().ok().and_then(|i: usize| items.get(i)),
            Json::Object(fields) => fields.get(step),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return Ok(Value::Null),
        }
    }
    Ok(bare(at))
}

fn array_contains(args: &[Value], _: &CallContext<'_>) -> Result {
    if args[0].is_null() {
        return Ok(Value::Null);
    }
    let Some(Json::Array(items)) = parse(&args[0]) else {
        return Ok(Value::Boolean(false));
    };
    Ok(Value::Boolean(items.iter().any(|item| same(item, &args[1]))))
}

/// Whole numbers are equal to whole ones only, as in ksqlDB; other numbers are compared as numbers.
fn same(json: &Json, value: &Value) -> bool {
    match (json, value) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(a), Value::Boolean(b)) => a == b,
        (Json::String(a), Value::String(b)) => **a == **b,
        (Json::Number(a), Value::Integer(b)) => a.as_i64() == Some(i64::from(*b)),
        (Json::Number(a), Value::Bigint(b)) => a.as_i64() == Some(*b),
        (Json::Number(a), Value::Double(b)) => a.as_i64().is_none() && a.as_f64() == Some(*b),
        (Json::Number(a), Value::Decimal(b)) => {
            let number = a.to_string().parse::<crate::types::Decimal>();
            a.as_i64().is_none() && number.is_ok_and(|n| n == *b)
        }
        _ => false,
    }
}

fn array_length(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match parse(&args[0]) {
        Some(Json::Array(items)) => length(items.len()),
        _ => Value::Null,
    })
}

fn concat(args: &[Value], _: &CallContext<'_>) -> Result {
    let Some(all) = args.iter().map(parse).collect::<Option<Vec<Json>>>() else {
        return Ok(Value::Null);
    };
    let joined = if all.iter().all(Json::is_object) {
        let fields = all.into_iter().flat_map(|json| match json {
            Json::Object(fields) => fields,
            _ => serde_json::Map::new(),
        });
        Json::Object(fields.collect())
    } else if let [one] = all.as_slice() {
        one.clone()
    } else {
        let items = all.into_iter().flat_map(|json| match json {
            Json::Array(items) => items,
            other => vec![other],
        });
        Json::Array(items.collect())
    };
    Ok(Value::string(printed(&joined)))
}

fn items(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match parse(&args[0]) {
        Some(Json::Array(items)) if items.iter().all(Json::is_object) => {
            Value::Array(items.iter().map(|item| Value::string(printed(item))).collect())
        }
        _ => Value::Null,
    })
}

fn keys(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match parse(&args[0]) {
        Some(Json::Object(fields)) => Value::Array(fields.keys().map(|k| Value::from(k.as_str())).collect()),
        _ => Value::Null,
    })
}

fn records(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match parse(&args[0]) {
        Some(Json::Object(fields)) => {
            let entries = fields
                .iter()
                .map(|(k, v)| (Value::from(k.as_str()), Value::string(printed(v))));
            map_value(entries.collect())
        }
        _ => Value::Null,
    })
}

fn to_json(args: &[Value], call: &CallContext<'_>) -> Result {
    let mut out = String::new();
    write(&args[0], call.params.first().unwrap_or(&SqlType::String), &mut out);
    Ok(Value::string(out))
}

fn quoted(text: &str, out: &mut String) {
    out.push_str(&Json::from(text).to_string());
}

fn write(value: &Value, sql_type: &SqlType, out: &mut String) {
    match (value, sql_type) {
        (Value::Null, _) => out.push_str("null"),
        (Value::Boolean(b), _) => out.push_str(if *b { "true" } else { "false" }),
        (Value::Integer(n), _) => out.push_str(&n.to_string()),
        (Value::Bigint(n), _) => out.push_str(&n.to_string()),
        (Value::Double(x), _) if x.is_finite() => out.push_str(&double_to_string(*x)),
        (Value::Double(x), _) => quoted(&double_to_string(*x), out),
        (Value::Decimal(d), _) => out.push_str(&d.to_string()),
        (Value::String(s), _) => quoted(s, out),
        (Value::Bytes(b), _) => {
            use base64::Engine;
            quoted(&crate::types::BASE64.encode(b), out);
        }
        (Value::Date(days), _) => quoted(&time_text::date_to_string(*days), out),
        (Value::Time(ms), _) => quoted(&time_text::short_time(*ms), out),
        (Value::Timestamp(ms), _) => quoted(&time_text::timestamp_to_string(*ms), out),
        (Value::Array(items), of) => {
            let item = match of {
                SqlType::Array(item) => item,
                other => other,
            };
            out.push('[');
            for (i, value) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(value, item, out);
            }
            out.push(']');
        }
        (Value::Map(entries), of) => {
            let (key, item) = match of {
                SqlType::Map(key, item) => (&**key, &**item),
                other => (other, other),
            };
            let entries = entries.iter().map(|(k, v)| {
                let mut name = String::new();
                write(k, key, &mut name);
                // a text is quoted already
                let name = if name.starts_with('"') {
                    name
                } else {
                    format!("\"{name}\"")
                };
                (name, v, item)
            });
            object(entries, out);
        }
        (Value::Struct(values), SqlType::Struct(fields)) => {
            let mut sorted: Vec<_> = fields.iter().zip(values.iter()).collect();
            sorted.sort_by(|a, b| a.0.name.cmp(&b.0.name));
            let entries = sorted.into_iter().map(|(field, value)| {
                let mut name = String::new();
                quoted(&field.name, &mut name);
                (name, value, &field.sql_type)
            });
            object(entries, out);
        }
        (Value::Struct(_), _) => out.push_str("null"),
    }
}

fn object<'a>(entries: impl Iterator<Item = (String, &'a Value, &'a SqlType)>, out: &mut String) {
    out.push('{');
    for (i, (name, value, sql_type)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&name);
        out.push(':');
        write(value, sql_type, out);
    }
    out.push('}');
}
