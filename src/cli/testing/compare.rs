//! Whether a record is the expected one, and where it is not.
//!
//! Numbers are compared as their texts say, with any number of digits; the column's type says how: whole numbers exactly, DOUBLE within a
//! millionth, DECIMAL with its scale. Fields are looked up as written, then in upper case.

use std::fmt;

use serde_json::Value as Json;

use crate::types::SqlType;

use super::case::{CaseRecord, Window};

/// DOUBLEs that differ by less are the same.
const DOUBLE_TOLERANCE: f64 = 1e-6;

/// A record that came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenRecord {
    /// Its key.
    pub key: Json,
    /// Its value.
    pub value: Json,
    /// Its time.
    pub timestamp: i64,
    /// The window of its key.
    pub window: Option<Window>,
    /// Its headers: names and base64.
    pub headers: Vec<(String, Option<String>)>,
    /// Why its bytes are not of the topic's formats.
    pub unreadable: Option<String>,
}

/// The types of a topic's keys and values, where they are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Types {
    /// Of a key of one column its type, else a STRUCT.
    pub key: Option<SqlType>,
    /// The name of a key's only column.
    pub key_name: Option<String>,
    /// A STRUCT, or the type of an unwrapped column.
    pub value: Option<SqlType>,
}

/// Nothing, or the first difference.
pub type Same = Result<(), String>;

/// Compares a record with the expected one.
///
/// # Errors
/// The first difference: where, what was expected, what came.
pub fn record(expected: &CaseRecord, seen: &SeenRecord, types: &Types) -> Same {
    if let Some(why) = &seen.unreadable {
        return Err(format!("the record cannot be read: {why}"));
    }
    let (wanted, came) = bare_keys(&expected.key, &seen.key, types);
    json(wanted, came, types.key.as_ref(), "key")?;
    json(&expected.value, &seen.value, types.value.as_ref(), "value")?;
    if let Some(timestamp) = expected.timestamp.filter(|t| *t != seen.timestamp) {
        return Err(differs("timestamp", timestamp, seen.timestamp));
    }
    window(expected.window, seen.window)?;
    if expected.headers != seen.headers {
        return Err(differs("headers", headers(&expected.headers), headers(&seen.headers)));
    }
    Ok(())
}

/// A key of one column may be written bare or as an object with that column.
fn bare_keys<'a>(expected: &'a Json, seen: &'a Json, types: &Types) -> (&'a Json, &'a Json) {
    let Some(name) = &types.key_name else {
        return (expected, seen);
    };
    let inside = |json: &'a Json| {
        let object = json.as_object().filter(|object| object.len() == 1)?;
        let (field, value) = object.iter().next()?;
        field.eq_ignore_ascii_case(name).then_some(value)
    };
    match (inside(expected), inside(seen)) {
        (Some(bare), None) if !seen.is_object() => (bare, seen),
        (None, Some(bare)) if !expected.is_object() => (expected, bare),
        _ => (expected, seen),
    }
}

fn window(expected: Option<Window>, seen: Option<Window>) -> Same {
    let show = |w: Option<Window>| w.map_or("none".to_owned(), |w| format!("{} to {}", w.start, w.end));
    let same = match (expected, seen) {
        (Some(a), Some(b)) => a.start == b.start && a.end == b.end && a.session == b.session,
        (None, None) => true,
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(differs("window", show(expected), show(seen)))
    }
}

fn headers(all: &[(String, Option<String>)]) -> String {
    let shown: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("null")))
        .collect();
    format!("[{}]", shown.join(", "))
}

fn differs(at: &str, expected: impl fmt::Display, came: impl fmt::Display) -> String {
    format!("{at}: expected {expected}, came {came}")
}

/// Compares two JSON values as the type says. `at` is the way to them.
///
/// # Errors
/// The first difference.
pub fn json(expected: &Json, seen: &Json, sql_type: Option<&SqlType>, at: &str) -> Same {
    match (expected, seen) {
        (Json::Object(wanted), Json::Object(came)) => {
            for (name, value) in wanted {
                let found = came.get(name).or_else(|| came.get(&name.to_uppercase()));
                let Some(found) = found else {
                    return Err(format!("{at}: there is no field {name}, expected {value}"));
                };
                json(value, found, field_type(sql_type, name), &format!("{at}.{name}"))?;
            }
            let extra = |name: &&String| {
                let names = |wanted: &String| wanted == *name || wanted.to_uppercase() == **name;
                !wanted.keys().any(names)
            };
            match came.keys().find(extra) {
                Some(name) => Err(format!("{at}: the field {name} was not expected")),
                None if wanted.len() == came.len() => Ok(()),
                None => Err(differs(
                    at,
                    format!("{} fields", wanted.len()),
                    format!("{}", came.len()),
                )),
            }
        }
        (Json::Array(wanted), Json::Array(came)) => {
            let item_type = match sql_type {
                Some(SqlType::Array(item)) => Some(&**item),
                _ => None,
            };
            for (i, (a, b)) in wanted.iter().zip(came).enumerate() {
                json(a, b, item_type, &format!("{at}[{}]", i + 1))?;
            }
            if wanted.len() == came.len() {
                Ok(())
            } else {
                Err(differs(
                    at,
                    format!("{} items", wanted.len()),
                    format!("{}", came.len()),
                ))
            }
        }
        _ if scalars(expected, seen, sql_type) => Ok(()),
        _ => Err(differs(at, expected, seen)),
    }
}

fn field_type<'a>(sql_type: Option<&'a SqlType>, name: &str) -> Option<&'a SqlType> {
    match sql_type? {
        SqlType::Struct(fields) => {
            let exact = fields.iter().find(|field| &*field.name == name);
            let field = exact.or_else(|| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)));
            field.map(|field| &field.sql_type)
        }
        SqlType::Map(_, value) => Some(value),
        _ => None,
    }
}

fn scalars(expected: &Json, seen: &Json, sql_type: Option<&SqlType>) -> bool {
    match (expected, seen, sql_type) {
        (Json::Number(_) | Json::String(_), Json::Number(_) | Json::String(_), Some(SqlType::Decimal { .. })) => {
            let text = |json: &Json| exact(&super::case::plain(json));
            text(expected).is_some_and(|number| text(seen) == Some(number))
        }
        (Json::Number(a), Json::Number(b), _) => numbers(&a.to_string(), &b.to_string(), sql_type),
        // a delimited line of one number
        (Json::Number(a), Json::String(b), None) => a.to_string() == *b,
        (a, b, _) => a == b,
    }
}

fn numbers(a: &str, b: &str, sql_type: Option<&SqlType>) -> bool {
    let whole = |text: &str| !text.contains(['.', 'e', 'E']);
    let close = || match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => x == y || (x - y).abs() < DOUBLE_TOLERANCE,
        _ => false,
    };
    match sql_type {
        Some(SqlType::Double) => close(),
        None if !(whole(a) && whole(b)) => close(),
        _ => whole(a) && whole(b) && exact(a) == exact(b),
    }
}

/// A number as its sign, its digits and how many of them stand behind the point (fewer than none for `1E3`).
fn exact(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{before}{after}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0').to_owned();
    let scale = i64::try_from(after.len()).ok()?.checked_sub(exponent)?;
    Some((negative && !significant.is_empty(), significant, scale))
}

/// The records of a topic beside the expected ones, the first difference marked; `None` if there is none.
pub fn topic(name: &str, expected: &[&CaseRecord], seen: &[SeenRecord], types: &Types) -> Option<String> {
    let pairs = expected.len().max(seen.len());
    let found: Vec<Same> = (0..pairs)
        .map(|i| match (expected.get(i), seen.get(i)) {
            (Some(wanted), Some(came)) => record(wanted, came, types),
            (Some(_), None) => Err("it did not come".into()),
            _ => Err("it was not expected".into()),
        })
        .collect();
    let first = found.iter().position(Result::is_err)?;
    let mut text = format!("{name}: {} expected, {} came", records(expected.len()), seen.len());
    // what comes long before and long after the first difference tells little
    const BEFORE: usize = 3;
    const AFTER: usize = 8;
    let from = first.saturating_sub(BEFORE);
    if from > 0 {
        text.push_str(&format!("\n      ... {} as expected", records(from)));
    }
    for (i, same) in found.iter().enumerate().skip(from).take(BEFORE + AFTER) {
        let wanted = expected.get(i).map(|r| show_expected(r));
        let came = seen.get(i).map(show_seen);
        let number = i + 1;
        match same {
            Ok(()) => text.push_str(&format!("\n    = {number}  {}", came.unwrap_or_default())),
            Err(why) => {
                let mark = if i == first { '>' } else { ' ' };
                text.push_str(&format!(
                    "\n  {mark} ! {number}  expected  {}\n      {:width$}  came      {}",
                    wanted.unwrap_or_else(|| "nothing".into()),
                    "",
                    came.unwrap_or_else(|| "nothing".into()),
                    width = number.to_string().len(),
                ));
                if i == first {
                    text.push_str(&format!("\n        {why}"));
                }
            }
        }
    }
    if pairs > from + BEFORE + AFTER {
        text.push_str(&format!("\n      ... {} more", pairs - from - BEFORE - AFTER));
    }
    Some(text)
}

fn records(n: usize) -> String {
    format!("{n} {}", if n == 1 { "record" } else { "records" })
}

fn show_expected(record: &CaseRecord) -> String {
    let time = record.timestamp.map_or(String::new(), |t| format!(" @{t}"));
    format!(
        "{} {}{time}{}",
        record.key,
        record.value,
        show_rest(record.window, &record.headers)
    )
}

fn show_seen(record: &SeenRecord) -> String {
    let rest = show_rest(record.window, &record.headers);
    match &record.unreadable {
        Some(why) => format!("unreadable ({why}) @{}{rest}", record.timestamp),
        None => format!("{} {} @{}{rest}", record.key, record.value, record.timestamp),
    }
}

fn show_rest(window: Option<Window>, all: &[(String, Option<String>)]) -> String {
    let window = window.map_or(String::new(), |w| {
        let kind = if w.session { "session" } else { "window" };
        format!(" {kind} {}..{}", w.start, w.end)
    });
    match all {
        [] => window,
        all => format!("{window} headers {}", headers(all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Json {
        serde_json::from_str(text).expect("JSON")
    }

    fn same(expected: &str, seen: &str, sql_type: Option<&SqlType>) -> bool {
        json(&parse(expected), &parse(seen), sql_type, "value").is_ok()
    }

    #[test]
    fn numbers_are_compared_as_their_type_says() {
        let decimal = SqlType::Decimal {
            precision: 30,
            scale: 2,
        };
        for (expected, seen, sql_type, is) in [
            ("1", "1", Some(&SqlType::Bigint), true),
            ("1.0", "1", Some(&SqlType::Bigint), false),
            (
                "9223372036854775807",
                "9223372036854775806",
                Some(&SqlType::Bigint),
                false,
            ),
            ("0.1", "0.10000000001", Some(&SqlType::Double), true),
            ("0.1", "0.1001", Some(&SqlType::Double), false),
            ("1", "1.0", Some(&SqlType::Double), true),
            ("1e300", "1E+300", Some(&SqlType::Double), true),
            ("1.10", "1.1", Some(&decimal), false),
            ("1.10", "1.10", Some(&decimal), true),
            ("\"1.10\"", "1.10", Some(&decimal), true),
            ("-0.00", "0.00", Some(&decimal), true),
            (
                "123456789012345678901.12",
                "123456789012345678901.13",
                Some(&decimal),
                false,
            ),
            ("1", "1.00", Some(&decimal), false),
            ("5", "\"5\"", None, true),
            ("5", "\"5\"", Some(&SqlType::String), false),
        ] {
            assert_eq!(same(expected, seen, sql_type), is, "{expected} {seen} {sql_type:?}");
        }
    }

    #[test]
    fn fields_are_found_in_upper_case_and_counted() {
        assert!(same(r#"{"a": 1, "b": [1, null]}"#, r#"{"A": 1, "b": [1, null]}"#, None));
        for (expected, seen) in [
            (r#"{"a": 1}"#, r#"{"A": 1, "B": null}"#),
            (r#"{"a": 1, "A": 1}"#, r#"{"A": 1}"#),
            (r#"{"A": 1}"#, r#"{"a": 1}"#),
            (r#"{"A": [1]}"#, r#"{"A": [1, 2]}"#),
            (r#"{"A": null}"#, r#"{}"#),
            ("null", "{}"),
        ] {
            assert!(!same(expected, seen, None), "{expected} {seen}");
        }
    }

    #[test]
    fn keys_may_be_bare() {
        let types = Types {
            key: Some(SqlType::Integer),
            key_name: Some("ID".into()),
            value: None,
        };
        let expected = |key: Json| CaseRecord {
            key,
            ..CaseRecord::default()
        };
        let seen = |key: Json| SeenRecord {
            key,
            ..SeenRecord::default()
        };
        assert!(record(&expected(json!({"ID": 1})), &seen(json!(1)), &types).is_ok());
        assert!(record(&expected(json!(1)), &seen(json!({"ID": 1})), &types).is_ok());
        assert!(record(&expected(json!({"X": 1})), &seen(json!(1)), &types).is_err());
    }

    #[test]
    fn the_first_difference_is_marked() {
        let expected = |value: Json| CaseRecord {
            value,
            timestamp: Some(1),
            ..CaseRecord::default()
        };
        let seen = |value: Json| SeenRecord {
            value,
            timestamp: 1,
            ..SeenRecord::default()
        };
        let wanted = [expected(json!({"A": 1})), expected(json!({"A": 2}))];
        let wanted: Vec<&CaseRecord> = wanted.iter().collect();
        let types = Types::default();
        assert_eq!(
            topic("t", &wanted, &[seen(json!({"A": 1})), seen(json!({"A": 2}))], &types),
            None
        );
        assert_eq!(
            topic(
                "t",
                &wanted,
                &[seen(json!({"A": 1})), seen(json!({"A": 3})), seen(json!(null))],
                &types
            )
            .as_deref(),
            Some(
                "t: 2 records expected, 3 came\n    = 1  null {\"A\":1} @1\n  > ! 2  expected  null {\"A\":2} @1\n         \
                 came      null {\"A\":3} @1\n        value.A: expected 2, came 3\n    ! 3  expected  nothing\n         \
                 came      null null @1"
            )
        );
    }
}
