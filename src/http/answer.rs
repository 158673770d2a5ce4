//! Bodies of answers, written straight into bytes: numbers stay exact, and rows are not copied into trees first.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use super::json_out::{Numbers, write_row, write_text};
use crate::types::{Column, Row};
use crate::views::{Positions, RowChange, ViewRow};

/// A JSON answer that nobody caches.
pub(super) fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 with JSON.
pub(super) fn ok(body: &serde_json::Value) -> Response {
    json_response(StatusCode::OK, body.to_string().into_bytes())
}

/// `[{"name": "ID", "type": "BIGINT"}, ...]`.
pub(super) fn columns_json(columns: &[Column]) -> serde_json::Value {
    let column = |c: &Column| serde_json::json!({"name": &*c.name, "type": c.sql_type.to_string()});
    columns.iter().map(column).collect()
}

/// Writes `{...}` member by member.
pub(super) struct ObjectWriter {
    out: Vec<u8>,
}

impl ObjectWriter {
    pub fn new() -> Self {
        Self { out: vec![b'{'] }
    }

    fn name(&mut self, name: &str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        write_text(name, &mut self.out);
        self.out.push(b':');
    }

    /// A small member.
    pub fn json(mut self, name: &str, value: &impl Serialize) -> Self {
        self.name(name);
        // memory takes everything, and what is written here has only texts and numbers for names
        let _: serde_json::Result<()> = serde_json::to_writer(&mut self.out, value);
        self
    }

    /// The offsets that the answer reflects: [`Positions::to_json`].
    pub fn position(self, positions: &Positions) -> Self {
        self.json("position", positions)
    }

    /// A row of a view.
    pub fn row<'a>(
        mut self,
        name: &str,
        row: &ViewRow,
        columns: impl IntoIterator<Item = &'a Column>,
        numbers: Numbers,
    ) -> Self {
        self.name(name);
        write_view_row(row, columns, numbers, &mut self.out);
        self
    }

    /// An array of rows of a view.
    pub fn view_rows(mut self, name: &str, rows: &[ViewRow], columns: &[Column], numbers: Numbers) -> Self {
        self.name(name);
        self.list(rows, |row, out| write_view_row(row, columns, numbers, out));
        self
    }

    /// An array of rows.
    pub fn rows(mut self, name: &str, rows: &[Row], columns: &[Column], numbers: Numbers) -> Self {
        self.name(name);
        self.list(rows, |row, out| write_row(columns, row.iter(), numbers, out));
        self
    }

    /// An array of changes: `{"op": "upsert", "row": {...}}` or `{"op": "delete", "key": {...}}`.
    pub fn changes(mut self, name: &str, changes: &[RowChange], columns: &[Column], numbers: Numbers) -> Self {
        self.name(name);
        self.list(changes, |change, out| match change {
            RowChange::Upsert(row) => {
                out.extend_from_slice(br#"{"op":"upsert","row":"#);
                write_view_row(row, columns, numbers, out);
                out.push(b'}');
            }
            RowChange::Delete(key) => {
                out.extend_from_slice(br#"{"op":"delete","key":"#);
                write_row(&columns[..key.len().min(columns.len())], key.iter(), numbers, out);
                out.push(b'}');
            }
        });
        self
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
        self.out.push(b'[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            write(item, &mut self.out);
        }
        self.out.push(b']');
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    /// 200 with the object.
    pub fn ok(self) -> Response {
        json_response(StatusCode::OK, self.finish())
    }
}

fn write_view_row<'a>(
    row: &ViewRow,
    columns: impl IntoIterator<Item = &'a Column>,
    numbers: Numbers,
    out: &mut Vec<u8>,
) {
    write_row(columns, row.key.iter().chain(row.value.iter()), numbers, out);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::ObjectWriter;
    use crate::views::Positions;

    #[test]
    fn a_position_is_written_as_its_json() {
        let mut positions = Positions::default();
        for (topic, partition) in [("ratings", 11), ("ratings", 2), ("a \"b\"", 0)] {
            positions.add_input(&Arc::from(topic), partition);
        }
        for positions in [Positions::default(), positions] {
            let written = ObjectWriter::new().position(&positions).finish();
            let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
            assert_eq!(written["position"], positions.to_json());
        }
    }
}
