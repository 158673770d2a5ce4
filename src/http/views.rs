//! Views and queries.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::answer::{ObjectWriter, columns_json, ok};
use super::error::Details;
use super::params::Params;
use super::state::now_ms;
use super::{ApiError, App};
use crate::types::Column;
use crate::views::{
    KeyRange, PageRequest, Positions, ViewError, ViewRef, all_views, compile, count_rows, find_view, page,
    parse_key_text, parse_prefix_text, point, pull,
};

/// Rows of a page unless told otherwise.
const DEFAULT_PAGE: usize = 100;
/// Rows of a page at most.
const MOST_PAGE: usize = 10_000;

pub(super) async fn console() -> impl IntoResponse {
    // nothing from elsewhere can be loaded or run by it
    const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                          img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
    (
        [(header::CONTENT_SECURITY_POLICY, POLICY)],
        Html(include_str!("console.html")),
    )
}

/// Columns of a view's rows: key, then value.
pub(super) fn all_columns(view: &ViewRef) -> Vec<Column> {
    view.view().schema.columns().cloned().collect()
}

fn summary(view: &ViewRef) -> Json {
    let schema = &view.view().schema;
    json!({
        "name": &*view.view().name,
        "topology": &*view.published.topology.name,
        "key": schema.key.iter().map(|c| &*c.name).collect::<Vec<_>>(),
        "columns": columns_json(&all_columns(view)),
    })
}

pub(super) async fn list(State(app): State<App>, _: Params) -> Response {
    let views: Json = all_views(app.published()).iter().map(summary).collect();
    ok(&json!({"views": views}))
}

pub(super) async fn describe(
    State(app): State<App>,
    Path(name): Path<String>,
    _: Params,
) -> Result<Response, ApiError> {
    let view = find_view(app.published(), &name)?;
    let mut body = summary(&view);
    let counting = view.clone();
    let (count, position, missing) = app
        .read(move |budget| {
            let parts = counting.open_available();
            let count = count_rows(&counting, &parts, budget)?;
            Ok((count, parts.positions(), parts.missing))
        })
        .await?;
    body["sql"] = view.sql().into();
    body["generation"] = view.published.generation.into();
    body["partitions"] = view.partitions().into();
    body["rows"] = json!({"count": count.rows, "exact": count.exact});
    body["position"] = position.to_json();
    if !missing.is_empty() {
        body["missing"] = missing.into();
    }
    Ok(ok(&body))
}

/// The keys that the parameters ask for.
fn range_of(params: &Params, columns: &[Column]) -> Result<KeyRange, ViewError> {
    let mut range = KeyRange::all();
    if let Some(text) = params.get("key") {
        range = range.and(KeyRange::columns(&whole_key(text, columns)?));
    }
    if let Some(text) = params.get("prefix") {
        range = range.and(parse_prefix_text(text, columns)?);
    }
    if let Some(text) = params.get("from") {
        range = range.and(KeyRange::at_least(&parse_key_text(text, columns)?));
    }
    if let Some(text) = params.get("to") {
        range = range.and(KeyRange::below(&parse_key_text(text, columns)?));
    }
    Ok(range)
}

fn whole_key(text: &str, columns: &[Column]) -> Result<crate::types::Row, ViewError> {
    let key = parse_key_text(text, columns)?;
    if key.len() == columns.len() {
        return Ok(key);
    }
    let names: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
    Err(ViewError::bad(
        format!(
            "the key has {} columns ({}), {} given",
            columns.len(),
            names.join(", "),
            key.len()
        ),
        "Give all of them, or ask for ?prefix=",
    ))
}

pub(super) async fn rows(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let view = find_view(app.published(), &name)?;
    let request = PageRequest {
        range: range_of(&params, &view.view().schema.key)?,
        descending: params.choice("order", &[("asc", false), ("desc", true)])?,
        limit: params.count("limit", DEFAULT_PAGE, MOST_PAGE)?,
        cursor: params.get("cursor").map(str::to_string),
    };
    let numbers = params.numbers()?;
    let columns = all_columns(&view);
    let page = app
        .read(move |budget| page(&view, &view.open()?, &request, budget))
        .await?;
    Ok(ObjectWriter::new()
        .view_rows("rows", &page.rows, &columns, numbers)
        .json("cursor", &page.cursor.into())
        .position(&page.positions)
        .ok())
}

pub(super) async fn row(
    State(app): State<App>,
    Path((name, key)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let view = find_view(app.published(), &name)?;
    let numbers = params.numbers()?;
    let values = whole_key(&key, &view.view().schema.key)?;
    let columns = all_columns(&view);
    let shown = view.view().name.clone();
    let found = app.read(move |_| point(&view, &values)).await?;
    match found.row {
        Some(row) => Ok(ObjectWriter::new()
            .row("row", &row, &columns, numbers)
            .position(&found.positions)
            .ok()),
        None => Err(no_row(&shown, &key, found.positions)),
    }
}

fn no_row(view: &str, key: &str, positions: Positions) -> ApiError {
    let mut error = ApiError::not_found(
        "row_not_found",
        format!("view {view} has no row of key {key}"),
        "The position says up to which input offsets this is so; the record may not have been processed yet.",
    );
    error.details = Some(Box::new(Details {
        problems: Vec::new(),
        position: Some(positions),
    }));
    error
}

/// A body as JSON.
pub(super) fn parse_body(body: Result<Bytes, BytesRejection>, app: &App) -> Result<Json, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {} bytes", app.settings().body_bytes),
            "Send several smaller requests.",
        ),
        _ => ApiError::bad(rejection.body_text(), "Send the whole body."),
    })?;
    serde_json::from_slice(&body)
        .map_err(|e| ApiError::bad(format!("the body is not JSON: {e}"), "See GET /openapi.json."))
}

pub(super) async fn query(
    State(app): State<App>,
    params: Params,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let numbers = params.numbers()?;
    let body = parse_body(body, &app)?;
    let sql = match &body {
        Json::Object(members) if members.len() == 1 => members.get("sql").and_then(Json::as_str),
        _ => None,
    };
    let Some(sql) = sql.map(str::to_string) else {
        return Err(ApiError::bad(
            "the body must be an object with the text sql",
            r#"{"sql": "SELECT ..."}"#,
        ));
    };
    let published = app.published().clone();
    let result = app
        .read(move |budget| {
            let (view, query) = compile(&published, &sql)?;
            pull(&view, &view.open()?, &query, now_ms(), budget)
        })
        .await?;
    Ok(ObjectWriter::new()
        .json("columns", &columns_json(&result.columns))
        .rows("rows", &result.rows, &result.columns, numbers)
        .position(&result.positions)
        .ok())
}
