//! The outputs against the input: the last row a key of every derived table, and every average ever published.

use std::collections::BTreeMap;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

use super::ground::Ground;
use super::input::{CUSTOMERS, Input, MOVIES, STATES, Sent};

/// A row as texts, by the upper-case names of its fields.
type Row = BTreeMap<String, String>;
/// A table by its key as text.
type Table = BTreeMap<String, Row>;

/// How many differences of a table are told.
const TOLD: usize = 3;

/// How a table's keys are written.
#[derive(Clone, Copy)]
enum Key {
    Number,
    Text,
}

/// What differs between the outputs and the input; nothing when all is well.
pub fn differences(cluster: &Ground, input: &Input) -> Vec<String> {
    let expected = input.with(|sent| {
        [
            ("rating-counts", Key::Number, rating_counts(sent)),
            ("rated-movies", Key::Number, rated_movies(sent)),
            ("orders-by-state", Key::Text, orders_by_state(sent)),
            ("customer-orders", Key::Number, customer_orders(sent)),
            ("paid-orders", Key::Number, paid_orders(sent)),
            ("retail-totals", Key::Text, retail_totals(sent)),
        ]
    });
    let mut found = Vec::new();
    for (topic, key, expected) in expected {
        compare(topic, &expected, &table(cluster, topic, key), &mut found);
    }
    let dead = cluster.read(&format!("{}.ratings.dead-letters", cluster.app)).len();
    let bad = input.with(|sent| sent.bad_lines);
    if dead != bad {
        found.push(format!("dead letters: {dead}, bad lines: {bad}"));
    }
    found
}

/// Averages in `rated-movies` that are not the average of a prefix of their movie's ratings, or of a shorter prefix than one before.
pub fn broken_prefixes(cluster: &Ground, input: &Input) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut broken = Vec::new();
    let schema = cluster.schema("rated-movies").1;
    for record in cluster.read(&cluster.topic("rated-movies")) {
        let key = key_text(Key::Number, record.key.as_deref());
        let Some(row) = record.value.as_deref().map(|value| row(&schema, value)) else {
            broken.push(format!("movie {key}: deleted"));
            continue;
        };
        let movie: i64 = key.parse().expect("a number");
        let from = seen.get(&key).copied().unwrap_or(0);
        let position = input.with(|sent| {
            let ratings = sent.ratings.get(&movie).map_or(&[][..], Vec::as_slice);
            let mut sum = 0.0;
            ratings.iter().enumerate().position(|(i, rating)| {
                sum += rating;
                i >= from && row["RATING"] == text(&Value::Double(sum / (i + 1) as f64))
            })
        });
        match position {
            Some(position) => drop(seen.insert(key, position)),
            None => broken.push(format!("movie {key}: {} after {from} ratings", row["RATING"])),
        }
    }
    broken
}

fn compare(topic: &str, expected: &Table, found: &Table, differences: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    // columns that are not said do not matter
    let differs = |key: &&&String| match (expected.get(**key), found.get(**key)) {
        (Some(expected), Some(found)) => expected.iter().any(|(name, value)| found.get(name) != Some(value)),
        (expected, found) => expected.is_some() || found.is_some(),
    };
    let wrong: Vec<&&String> = keys.iter().filter(differs).collect();
    for key in wrong.iter().take(TOLD) {
        differences.push(format!(
            "{topic} {key}: expected {:?}, found {:?}",
            expected.get(**key),
            found.get(**key)
        ));
    }
    if wrong.len() > TOLD {
        differences.push(format!("{topic}: {} of {} rows differ", wrong.len(), keys.len()));
    }
}

/// The last row of every key.
fn table(cluster: &Ground, topic: &str, key: Key) -> Table {
    let mut rows = Table::new();
    let records = cluster.read(&cluster.topic(topic));
    if records.is_empty() {
        return rows;
    }
    let schema = cluster.schema(topic).1;
    for record in records {
        let key = key_text(key, record.key.as_deref());
        match record.value {
            Some(value) => drop(rows.insert(key, row(&schema, &value))),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

fn key_text(key: Key, bytes: Option<&[u8]>) -> String {
    let bytes = bytes.expect("a key");
    match key {
        Key::Number => i64::from_be_bytes(bytes.try_into().expect("eight bytes")).to_string(),
        Key::Text => String::from_utf8(bytes.to_vec()).expect("text"),
    }
}

fn row(schema: &apache_avro::Schema, bytes: &[u8]) -> Row {
    let datum = GenericDatumReader::builder(schema)
        .build()
        .expect("a reader")
        .read_value(&mut &bytes[5..])
        .expect("a record of the schema");
    let Value::Record(fields) = datum else {
        panic!("no record")
    };
    fields
        .iter()
        .map(|(name, value)| (name.to_uppercase(), text(value)))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Union(_, inner) => text(inner),
        Value::Null => "null".into(),
        Value::Int(n) => n.to_string(),
        Value::Long(n) => n.to_string(),
        Value::Double(x) => format!("{x:?}"),
        Value::String(s) | Value::Enum(_, s) => s.clone(),
        Value::Decimal(decimal) => {
            let bytes = Vec::<u8>::try_from(decimal).expect("bytes");
            bytes
                .iter()
                .enumerate()
                .fold(0i128, |n, (i, b)| {
                    if i == 0 {
                        i128::from(*b as i8)
                    } else {
                        n << 8 | i128::from(*b)
                    }
                })
                .to_string()
        }
        other => format!("{other:?}"),
    }
}

fn make_row<const N: usize>(fields: [(&str, String); N]) -> Row {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn rating_counts(sent: &Sent) -> Table {
    let of_movie = |(movie, ratings): (&i64, &Vec<f64>)| {
        let sum = ratings.iter().sum::<f64>();
        (
            movie.to_string(),
            make_row([("COUNT", ratings.len().to_string()), ("SUM", format!("{sum:?}"))]),
        )
    };
    sent.ratings.iter().map(of_movie).collect()
}

fn rated_movies(sent: &Sent) -> Table {
    let of_movie = |(movie, ratings): (&i64, &Vec<f64>)| {
        let average = ratings.iter().sum::<f64>() / ratings.len() as f64;
        let fields = [
            ("MOVIE_ID", movie.to_string()),
            ("TITLE", format!("Movie {movie}")),
            ("RELEASE_YEAR", (1950 + movie).to_string()),
            ("RATING", format!("{average:?}")),
        ];
        (movie.to_string(), make_row(fields))
    };
    sent.ratings
        .iter()
        .filter(|(movie, _)| **movie <= MOVIES)
        .map(of_movie)
        .collect()
}

fn orders_by_state(sent: &Sent) -> Table {
    let mut states: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for order in sent.orders.values() {
        let state = states.entry(STATES[order.state]).or_default();
        *state = (state.0 + 1, state.1 + order.amount);
    }
    let of_state = |(state, (count, amount)): (&str, (i64, i64))| {
        (
            state.to_owned(),
            make_row([("ORDERS", count.to_string()), ("AMOUNT", amount.to_string())]),
        )
    };
    states.into_iter().map(of_state).collect()
}

fn customer_orders(sent: &Sent) -> Table {
    let mut customers: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for order in sent.orders.values().filter(|order| order.customer < CUSTOMERS) {
        let customer = customers.entry(order.customer).or_default();
        *customer = (customer.0 + 1, customer.1 + order.amount);
    }
    let of_customer = |(customer, (count, amount)): (i64, (i64, i64))| {
        let fields = [
            ("NAME", format!("Customer {customer}")),
            ("LEVEL", "gold".to_owned()),
            ("ORDERS", count.to_string()),
            ("AMOUNT", amount.to_string()),
        ];
        (customer.to_string(), make_row(fields))
    };
    customers.into_iter().map(of_customer).collect()
}

fn paid_orders(sent: &Sent) -> Table {
    let of_order = |(id, order): (&i64, &super::input::Order)| {
        let payment = sent.payments.get(id);
        let or_null = |value: Option<i64>| value.map_or("null".to_owned(), |n| n.to_string());
        let fields = [
            ("CUSTOMER_ID", order.customer.to_string()),
            ("AMOUNT", order.amount.to_string()),
            ("STATE", STATES[order.state].to_owned()),
            ("PAYMENT_ID", or_null(payment.map(|p| p.0))),
            ("PAID", or_null(payment.map(|p| p.1))),
        ];
        (id.to_string(), make_row(fields))
    };
    sent.orders.iter().map(of_order).collect()
}

fn retail_totals(sent: &Sent) -> Table {
    let of_customer = |(customer, (lines, pieces, total)): (&String, &super::input::Totals)| {
        let fields = [
            ("LINES", lines.to_string()),
            ("PIECES", pieces.to_string()),
            ("TOTAL", total.to_string()),
        ];
        (customer.clone(), make_row(fields))
    };
    sent.retail.iter().map(of_customer).collect()
}
