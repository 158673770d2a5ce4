//! Live and ready.

use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::answer::{json_response, ok};
use super::params::Params;
use super::{ApiError, App};
use crate::engine::{PublishedTopology, TaskStatus, TopologyStatus};

pub(super) async fn live() -> Response {
    ok(&json!({"status": "live"}))
}

pub(super) async fn ready(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    let mut reasons: Vec<String> = Vec::new();
    reasons.extend(app.starting());
    let away = app.published().kafka_away();
    reasons.extend(away.map(|reason| format!("Kafka does not answer: {reason}")));
    let topologies = match params.get("topology") {
        Some(name) => vec![super::topologies::find(&app, name)?],
        None => app.published().topologies(),
    };
    for topology in topologies {
        why_not_ready(&topology, &mut reasons);
    }
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    Ok(json_response(
        status,
        json!({"status": word, "reasons": reasons}).to_string().into_bytes(),
    ))
}

fn why_not_ready(topology: &PublishedTopology, reasons: &mut Vec<String>) {
    let name = &topology.topology.name;
    match topology.status() {
        TopologyStatus::Running | TopologyStatus::Paused => {}
        status @ (TopologyStatus::Starting | TopologyStatus::Waiting(_) | TopologyStatus::Stopped(_)) => {
            let reason = status.reason().map_or(String::new(), |reason| format!(": {reason}"));
            reasons.push(format!("topology {name} is {}{reason}", status.word()));
        }
    }
    for task in topology.tasks() {
        match task.status() {
            TaskStatus::Running => {}
            TaskStatus::Opening => reasons.push(format!("topology {name}: task {} is being opened", task.id)),
            TaskStatus::Restoring => {
                let (done, total) = (task.restore.done.load(Relaxed), task.restore.total.load(Relaxed));
                let rate = task.restore.records_per_second.load(Relaxed);
                let id = task.id;
                reasons.push(format!(
                    "topology {name}: task {id} is restoring, {done} of {total} offsets, {rate} records/s"
                ));
            }
        }
    }
}
