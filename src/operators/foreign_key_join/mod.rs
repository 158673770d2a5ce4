//! Two tables, where columns of the left one are the key of the right one.
//!
//! The tables are partitioned by different keys, so the join is three operators in two places:
//!
//! - `subscribe`, at the left table, keeps each left row with a *version* and sends it to the task of its foreign key; where the foreign key
//!   changed or the row is gone, it takes the subscription at the old one back;
//! - `answer`, at the right table, keeps who subscribed to which key, and answers with the right row: at once, and to all subscribers
//!   whenever the row changes;
//! - `join`, at the left table again, puts the answer beside the left row. An answer carries the version that it is for, and counts only while
//!   that is the newest: so whatever order answers of different tasks come in, the last one that counts was made by the right row that the
//!   newest left row asks for.
//!
//! A left row without foreign key, or a deleted one, needs no answer: its result is made at once, and in place of an older answer's, so that a
//! row never has a moment without partner only because its foreign key changes (KAFKA-16394).

pub(super) mod answer;
pub(super) mod join;
pub(super) mod subscribe;

use crate::types::{Row, Value};

/// A number of a stored or sent row.
fn number(row: &Row, at: usize) -> i64 {
    match row.get(at) {
        Some(Value::Bigint(n)) => *n,
        _ => 0,
    }
}

fn is_true(row: &Row, at: usize) -> bool {
    matches!(row.get(at), Some(Value::Boolean(true)))
}

/// The columns `from..to` as a row of their own; none where the row is shorter.
fn part(row: &Row, from: usize, to: usize) -> Row {
    row.get(from..to).unwrap_or_default().iter().cloned().collect()
}
