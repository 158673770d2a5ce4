//! Topologies: status, plan, tasks; pause and resume.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::answer::ok;
use super::control::{Control, ControlError};
use super::params::Params;
use super::{ApiError, App};
use crate::engine::{Names, PublishedTask, PublishedTopology, TaskStatus, TopologyStatus};
use crate::topology::explain;

/// A topology by name.
pub(super) fn find(app: &App, name: &str) -> Result<Arc<PublishedTopology>, ApiError> {
    app.published().topology(name).ok_or_else(|| {
        let names: Vec<String> = app
            .published()
            .topologies()
            .iter()
            .map(|t| t.topology.name.to_string())
            .collect();
        let hint = match names.is_empty() {
            true => "None runs here yet.".to_string(),
            false => format!("Known topologies: {}.", names.join(", ")),
        };
        ApiError::not_found("unknown_topology", format!("there is no topology {name}"), hint)
    })
}

fn summary(topology: &PublishedTopology) -> Json {
    let status = topology.status();
    let mut body = json!({
        "name": &*topology.topology.name,
        "status": status.word(),
        "generation": topology.generation,
        "lag": topology.tasks().iter().map(|t| t.lag()).sum::<i64>(),
        "views": topology.topology.views.iter().map(|v| &*v.name).collect::<Vec<_>>(),
    });
    if let Some(reason) = status.reason() {
        body["reason"] = reason.into();
    }
    body
}

pub(super) async fn list(State(app): State<App>, _: Params) -> Response {
    let topologies: Json = app.published().topologies().iter().map(|t| summary(t)).collect();
    ok(&json!({"topologies": topologies}))
}

pub(super) async fn describe(
    State(app): State<App>,
    Path(name): Path<String>,
    _: Params,
) -> Result<Response, ApiError> {
    let published = find(&app, &name)?;
    let topology = &published.topology;
    let mut body = summary(&published);
    let subs = topology.subs.iter().map(|sub| {
        json!({
            "id": sub.id,
            "partitions": published.partitions.get(sub.id),
            "nodes": sub.nodes.iter().filter_map(|id| topology.nodes.get(*id)).map(|n| &*n.name).collect::<Vec<_>>(),
            "stores": sub.stores.iter().filter_map(|id| topology.stores.iter().find(|s| s.id == *id)).map(|s| &*s.name).collect::<Vec<_>>(),
        })
    });
    body["sub_topologies"] = subs.collect();
    let relation = |r: &crate::topology::Relation| json!({"name": &*r.name, "kind": r.kind.to_string(), "topic": &*r.topic.name, "sql": &*r.sql});
    let names = Names::new(app.app_id(), &topology.name, published.generation);
    body["explain"] = explain(topology, &names).into();
    body["relations"] = topology.relations.iter().map(relation).collect();
    body["tasks"] = published.tasks().iter().map(|t| task_json(t)).collect();
    let metrics = &published.metrics;
    body["records"] = metrics.records.load(Relaxed).into();
    body["dead_letters"] = json!({
        "count": metrics.dead_letters.load(Relaxed),
        "reasons": metrics.dead_letter_reasons.read().clone(),
    });
    if let Some(replay) = &*published.replay.read() {
        body["replay"] = json!({
            "generation": replay.generation,
            "done": replay.done,
            "total": replay.total,
            "per_second": replay.per_second,
        });
    }
    Ok(ok(&body))
}

fn task_json(task: &PublishedTask) -> Json {
    let inputs: Json = task
        .inputs
        .iter()
        .map(|input| {
            json!({
                "topic": &*input.topic,
                "partition": input.partition,
                "position": input.position.load(Relaxed),
                "committed": input.committed.load(Relaxed),
                "end": input.end.load(Relaxed),
                "lag": input.lag(),
            })
        })
        .collect();
    let mut body = json!({
        "id": task.id.to_string(),
        "sub_topology": task.id.sub,
        "partition": task.id.partition,
        "status": status_word(task.status()),
        "inputs": inputs,
        "store": {"bytes": task.store_bytes.load(Relaxed), "keys": task.store_keys.load(Relaxed)},
    });
    if task.status() == TaskStatus::Restoring {
        body["restore"] = json!({
            "done": task.restore.done.load(Relaxed),
            "total": task.restore.total.load(Relaxed),
            "records": task.restore.records.load(Relaxed),
            "per_second": task.restore.records_per_second.load(Relaxed),
        });
    }
    body
}

pub(super) fn status_word(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Opening => "opening",
        TaskStatus::Restoring => "restoring",
        TaskStatus::Running => "running",
    }
}

/// How long an answer waits for what it has asked for; the instance looks at the control topic ten times a second.
const FOLLOW: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn pause(State(app): State<App>, Path(name): Path<String>, _: Params) -> Result<Response, ApiError> {
    control(app, name, true, |control, name| control.pause(name)).await
}

pub(super) async fn resume(State(app): State<App>, Path(name): Path<String>, _: Params) -> Result<Response, ApiError> {
    control(app, name, false, |control, name| control.resume(name)).await
}

/// Asks for it and waits until it is so. The answer shows the status at that moment, whatever it is.
async fn control(
    app: App,
    name: String,
    paused: bool,
    act: impl FnOnce(&dyn Control, &str) -> Result<(), ControlError> + Send + 'static,
) -> Result<Response, ApiError> {
    find(&app, &name)?;
    let control = app.control().clone();
    let asked = name.clone();
    let done = tokio::task::spawn_blocking(move || act(&*control, &asked)).await;
    done.map_err(ApiError::internal)??;
    let follows = async {
        while app
            .published()
            .topology(&name)
            .is_some_and(|t| (t.status() == TopologyStatus::Paused) != paused)
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    // a time-out is no error: other instances follow in their own time, too
    let _: Result<(), _> = tokio::time::timeout(FOLLOW, follows).await;
    Ok(ok(&summary(&*find(&app, &name)?)))
}
