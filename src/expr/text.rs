//! The text of a value: what CAST to STRING gives. Collections print as Java prints them, since that is what ksqlDB's texts are.

use super::{display::literal, time_text};
use crate::types::{SqlType, StructField, Value, double_to_string};

/// The text of a value of a type; without the type fields of STRUCTs have no names.
pub(super) fn text_of(value: &Value, sql_type: Option<&SqlType>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(b) => b.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Bigint(n) => n.to_string(),
        Value::Double(x) => double_to_string(*x),
        Value::Decimal(d) => d.to_string(),
        Value::String(s) => s.to_string(),
        Value::Bytes(_) => literal(value),
        Value::Date(days) => time_text::date_to_string(*days),
        Value::Time(ms) => time_text::short_time(*ms),
        Value::Timestamp(ms) => time_text::timestamp_to_string(*ms),
        Value::Array(items) => {
            let item = match sql_type {
                Some(SqlType::Array(item)) => Some(&**item),
                _ => None,
            };
            let items: Vec<String> = items.iter().map(|value| text_of(value, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let (key, item) = match sql_type {
                Some(SqlType::Map(key, item)) => (Some(&**key), Some(&**item)),
                _ => (None, None),
            };
            let entry = |(k, v): &(Value, Value)| format!("{}={}", text_of(k, key), text_of(v, item));
            let entries: Vec<String> = in_hash_order(entries).into_iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Struct(values) => match sql_type {
            Some(SqlType::Struct(fields)) => struct_text(values, fields),
            _ => {
                let values: Vec<String> = values.iter().map(|value| text_of(value, None)).collect();
                format!("Struct{{{}}}", values.join(","))
            }
        },
    }
}

/// Kafka Connect's text of a STRUCT: fields that are NULL are left out.
fn struct_text(values: &[Value], fields: &[StructField]) -> String {
    let given = fields.iter().zip(values).filter(|(_, value)| !value.is_null());
    let shown: Vec<String> = given
        .map(|(field, value)| format!("{}={}", field.name, text_of(value, Some(&field.sql_type))))
        .collect();
    format!("Struct{{{}}}", shown.join(","))
}

/// The entries of a map in the order in which Java's `HashMap` of that size has them: ksqlDB's lists of keys and values, and its texts, come in it.
/// Other keys than texts keep their own order.
pub(super) fn in_hash_order(entries: &[(Value, Value)]) -> Vec<&(Value, Value)> {
    /// Three of four places of the table are taken at most.
    const fn room(places: usize) -> usize {
        places / 4 * 3 + places % 4 * 3 / 4
    }
    let mut places = entries.len().next_power_of_two();
    if entries.len() > room(places) {
        places = places.saturating_mul(2);
    }
    let mut ordered: Vec<&(Value, Value)> = entries.iter().collect();
    ordered.sort_by_key(|(key, _)| match key {
        Value::String(key) => place_of(key, places),
        _ => 0,
    });
    ordered
}

/// `String.hashCode`, spread, in a table of a power of two of places.
fn place_of(key: &str, places: usize) -> usize {
    let hash = key
        .encode_utf16()
        .fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    (hash ^ (hash >> 16)) as usize & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::map_value;

    fn keys(names: &[&str]) -> Vec<String> {
        let Value::Map(entries) = map_value(names.iter().map(|n| ((*n).into(), Value::Null)).collect()) else {
            return Vec::new();
        };
        let ordered = in_hash_order(&entries);
        ordered.into_iter().map(|(key, _)| text_of(key, None)).collect()
    }

    #[test]
    fn maps_have_javas_order() {
        assert_eq!(keys(&["k1", "k2", "k3"]), ["k3", "k1", "k2"]);
        assert_eq!(keys(&["foo", "bar", "baz"]), ["bar", "baz", "foo"]);
        assert_eq!(keys(&["c", "b", "a", "z"]), ["a", "b", "z", "c"]);
        assert_eq!(keys(&["x"]), ["x"]);
        assert_eq!(keys(&[]), Vec::<String>::new());
    }

    #[test]
    fn structs_print_their_fields() {
        let field = |name: &str, sql_type: SqlType| StructField {
            name: name.into(),
            sql_type,
        };
        let inner = SqlType::Struct([field("C", SqlType::String)].into());
        let sql_type = SqlType::Struct(
            [
                field("A", SqlType::Array(inner.into())),
                field("B", SqlType::Integer),
                field("D", SqlType::Double),
            ]
            .into(),
        );
        let c = Value::Struct([Value::from("x")].into());
        let value = Value::Struct([Value::Array([c].into()), Value::Null, 1.0.into()].into());
        assert_eq!(text_of(&value, Some(&sql_type)), "Struct{A=[Struct{C=x}],D=1.0}");
    }
}
