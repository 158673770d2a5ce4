//! A table whose rows hold an ARRAY of rows: each of these becomes a row of its own, its place (from 1) behind the key.
//!
//! A new first row moves the others down a place, so one change of the table can be as many as the array is long. A row that stays in its place and
//! as it is is not said again.
//!
//! *Invariant*: of each key, the rows given out and not taken back are those of its newest array.

use crate::types::{Change, Row, Value};

use super::Context;

/// See the module.
pub struct Rank;

impl Rank {
    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) {
        let (old, new) = (rows(change.old.as_ref()), rows(change.new.as_ref()));
        for place in 0..old.len().max(new.len()) {
            let (old, new) = (row(old, place), row(new, place));
            if old == new {
                continue;
            }
            ctx.scratch.clear();
            ctx.scratch.extend_from_slice(&change.key);
            ctx.scratch.push(Value::Bigint(place as i64 + 1));
            ctx.out.push(Change {
                key: Row::take(ctx.scratch),
                old,
                new,
                timestamp: change.timestamp,
                old_timestamp: change.old_timestamp,
                headers: None,
            });
        }
    }
}

/// The rows of an array; none where there is no array.
fn rows(of: Option<&Row>) -> &[Value] {
    match of.and_then(|row| row.first()) {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

fn row(rows: &[Value], place: usize) -> Option<Row> {
    match rows.get(place) {
        Some(Value::Struct(fields)) => Some(fields.clone().into()),
        _ => None,
    }
}
