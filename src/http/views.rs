//! Views and queries.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::answer::{ObjectWriter, columns_json, ok};
use super::error::Details;
use super::gather::{ReadOptions, find_row, gather};
use super::params::Params;
use super::reading::{self, Sender};
use super::state::now_ms;
use super::{ApiError, App};
use crate::types::Column;
use crate::views::{
    Blob, KeyRange, Need, PageRequest, Positions, ViewError, ViewRef, What, all_views, compile, count_rows, find_view,
    page_start, page_with, parse_key_text, parse_prefix_text, pull_with, sent_range,
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
    sender: Sender,
) -> Result<Response, ApiError> {
    let view = find_view(app.published(), &name)?;
    let mut body = summary(&view);
    let mut turn = app.turn().await?;
    let options = ReadOptions {
        max_staleness_ms: 0,
        need: Need::default(),
        need_by: tokio::time::Instant::now(),
        authorization: sender.into_header(),
    };
    let mut gathered = gather(&app, &mut turn, &view, &options, What::Count).await?;
    let (missing, positions) = (std::mem::take(&mut gathered.missing), gathered.positions());
    let parts = std::mem::take(&mut gathered.parts);
    let (elsewhere, others_exact) = gathered.counted().await?;
    let counting = view.clone();
    let count = app
        .read_in(&mut turn, move |budget| count_rows(&counting, &parts, budget))
        .await?;
    let exact = count.exact && others_exact && missing.is_empty();
    body["sql"] = view.sql().into();
    body["generation"] = view.published.generation.into();
    body["partitions"] = view.partitions().into();
    body["rows"] = json!({"count": count.rows + elsewhere, "exact": exact});
    body["position"] = positions.to_json();
    if !missing.is_empty() {
        body["missing"] = missing.into_values().collect::<Vec<_>>().into();
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
    sender: Sender,
) -> Result<Response, ApiError> {
    let view = find_view(app.published(), &name)?;
    let request = PageRequest {
        range: range_of(&params, &view.view().schema.key)?,
        descending: params.choice("order", &[("asc", false), ("desc", true)])?,
        limit: params.count("limit", DEFAULT_PAGE, MOST_PAGE)?,
        cursor: params.get("cursor").map(str::to_string),
    };
    let numbers = params.numbers()?;
    let after = page_start(&view, &request)?;
    let options = reading::options(&app, &view, &params, sender).await?;
    let (from, to) = sent_range(&request.range);
    let what = What::Rows {
        from,
        to,
        descending: request.descending,
        after: after.map(|after| (Blob(after.key), after.partition)),
        limit: request.limit as u64,
    };
    let mut turn = options.turn(&app).await?;
    let gathered = gather(&app, &mut turn, &view, &options, what).await?.whole(&view)?;
    let standbys = gathered.standbys();
    let columns = all_columns(&view);
    let (parts, remote) = gathered.streams(&app, true);
    let page = app
        .read_in(&mut turn, move |budget| {
            page_with(&view, &parts, remote.remote(), &request, budget)
        })
        .await?;
    let body = ObjectWriter::new()
        .view_rows("rows", &page.rows, &columns, numbers)
        .json("cursor", &page.cursor)
        .position(&page.positions);
    Ok(reading::answer(body, &standbys))
}

pub(super) async fn row(
    State(app): State<App>,
    Path((name, key)): Path<(String, String)>,
    params: Params,
    sender: Sender,
) -> Result<Response, ApiError> {
    let view = find_view(app.published(), &name)?;
    let numbers = params.numbers()?;
    let values = whole_key(&key, &view.view().schema.key)?;
    let options = reading::options(&app, &view, &params, sender).await?;
    let mut turn = options.turn(&app).await?;
    let found = find_row(&app, &mut turn, &view, &options, values.to_vec()).await?;
    match found.point.row {
        Some(row) => {
            let body = ObjectWriter::new()
                .row("row", &row, view.view().schema.columns(), numbers)
                .position(&found.point.positions);
            Ok(reading::answer(body, &found.standbys))
        }
        None => Err(no_row(&view.view().name, &key, found.point.positions)),
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
    sender: Sender,
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
    let text = sql.clone();
    let compiled = tokio::task::spawn_blocking(move || compile(&published, &text)).await;
    let (view, query) = compiled.map_err(ApiError::internal)??;
    let options = reading::options(&app, &view, &params, sender).await?;
    let mut turn = options.turn(&app).await?;
    let now = now_ms();
    let what = What::Select { sql, now };
    let gathered = gather(&app, &mut turn, &view, &options, what).await?.whole(&view)?;
    let standbys = gathered.standbys();
    let (parts, remote) = gathered.streams(&app, false);
    let result = app
        .read_in(&mut turn, move |budget| {
            pull_with(&view, &parts, remote.remote(), &query, now, budget)
        })
        .await?;
    let body = ObjectWriter::new()
        .json("columns", &columns_json(&result.columns))
        .rows("rows", &result.rows, &result.columns, numbers)
        .position(&result.positions);
    Ok(reading::answer(body, &standbys))
}
