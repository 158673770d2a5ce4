//! The instances of the application, as far as this one knows.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::App;
use super::answer::ok;
use super::params::Params;
use crate::engine::cluster::{InstanceRecord, StandbyRecord, TopologyRecord};
use crate::engine::threads::moment;

pub(super) async fn list(State(app): State<App>, _: Params) -> Response {
    let cluster = app.published().cluster();
    let instances = cluster.instances(moment());
    let instances: Json = instances
        .iter()
        .map(|record| instance_json(record, cluster.instance(), instances.len() > 1))
        .collect();
    ok(&json!({"instances": instances}))
}

/// Of one that others cannot ask.
const NO_ADDRESS: &str = "it says no address, so the others cannot ask it for its rows; give its --http an address that they reach, or say --advertised-url";

fn instance_json(record: &InstanceRecord, own: &str, has_others: bool) -> Json {
    let mut json = json!({
        "instance": record.instance,
        "url": record.url,
        "self": record.instance == own,
        "topologies": record.topologies.iter().map(topology_json).collect::<Json>(),
    });
    if record.url.is_none() && has_others {
        json["problem"] = NO_ADDRESS.into();
    }
    json
}

fn topology_json(record: &TopologyRecord) -> Json {
    json!({
        "topology": record.topology,
        "generation": record.generation,
        "tasks": record.tasks.iter().map(|task| task.id().to_string()).collect::<Json>(),
        "standbys": record.standbys.iter().map(standby_json).collect::<Json>(),
    })
}

fn standby_json(standby: &StandbyRecord) -> Json {
    json!({
        "task": standby.id().to_string(),
        // what is not known yet is no number
        "lag": (standby.lag != u64::MAX).then_some(standby.lag),
        "behind_ms": (standby.behind_ms != i64::MAX).then_some(standby.behind_ms),
    })
}
