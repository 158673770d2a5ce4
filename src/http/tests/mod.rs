//! Every route without a socket, over a topology made by hand; the feed and the shutdown through one.

mod cluster;
mod neighbours;
mod pages;
mod paging;
mod snapshots;
mod sockets;
mod tokens;
mod town;
mod windows;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use super::*;
use crate::engine::{Ingest, IngestError, NewRecord, PublishedTopology, TaskStatus, TopologyStatus};
use crate::topology::{Relation, TablePlan, Topology};
use crate::types::{Decimal, Format, Position, RelationKind, Row, SqlType, TopicPartition, Value};
use crate::views::QueryLimits;
use crate::views::fake::{Fake, relation, row, schema, topology};

const AMOUNT: SqlType = SqlType::Decimal {
    precision: 18,
    scale: 3,
};

/// Records what it is given; topic `full` is too small.
#[derive(Default)]
struct FakeIngest {
    written: Mutex<Vec<NewRecord>>,
    offset: AtomicU64,
}

impl Ingest for FakeIngest {
    fn write(&self, relation: &Relation, records: Vec<NewRecord>) -> Result<Vec<Position>, IngestError> {
        if &*relation.topic.name == "down" {
            return Err(IngestError::Unavailable("the broker is away".into()));
        }
        let position = |_: &NewRecord| Position {
            tp: TopicPartition::new(relation.topic.name.clone(), 0),
            offset: self.offset.fetch_add(1, SeqCst) as i64,
        };
        let positions = records.iter().map(position).collect();
        self.written.lock().extend(records);
        Ok(positions)
    }
}

struct FakeControl(Arc<PublishedTopology>);

impl Control for FakeControl {
    fn pause(&self, _: &str) -> Result<(), ControlError> {
        if self.0.status() == TopologyStatus::Paused {
            return Err(ControlError::Refused("it is paused already".into()));
        }
        self.0.set_status(TopologyStatus::Paused);
        Ok(())
    }

    fn resume(&self, _: &str) -> Result<(), ControlError> {
        self.0.set_status(TopologyStatus::Running);
        Ok(())
    }
}

struct Rig {
    fake: Fake,
    app: App,
    router: Router,
    ingest: Arc<FakeIngest>,
}

/// View ORDERS (CUSTOMER, ID) -> AMOUNT, STATE; streams INCOMING, DOWN and table PEOPLE.
fn shop() -> Topology {
    let orders = schema(
        &[("CUSTOMER", SqlType::String), ("ID", SqlType::Bigint)],
        &[("AMOUNT", AMOUNT), ("STATE", SqlType::String)],
    );
    let mut topology = topology("shop", "ORDERS", orders, TablePlan::Store(0));
    let formats = (Format::Kafka, Format::Json);
    let incoming = schema(
        &[("ID", SqlType::Bigint)],
        &[
            ("AMOUNT", AMOUNT),
            ("COUNT", SqlType::Integer),
            ("TAGS", SqlType::Array(SqlType::String.into())),
            ("AT", SqlType::Timestamp),
        ],
    );
    topology
        .relations
        .push(relation("INCOMING", RelationKind::Stream, incoming.clone(), formats));
    topology
        .relations
        .push(relation("DOWN", RelationKind::Stream, incoming, formats));
    let people = schema(&[("ID", SqlType::Bigint)], &[("NAME", SqlType::String)]);
    topology
        .relations
        .push(relation("PEOPLE", RelationKind::Table, people, formats));
    topology
}

fn order(customer: &str, id: i64, amount: &str, state: &str) -> (Row, Row) {
    let amount = Value::Decimal(amount.parse::<Decimal>().unwrap());
    (row([customer.into(), id.into()]), row([amount, state.into()]))
}

fn rig() -> Rig {
    rig_with(HttpSettings::default())
}

fn rig_with(settings: HttpSettings) -> Rig {
    let mut fake = Fake::new(shop(), 2);
    let orders = [
        order("ann", 1, "10.500", "CREATED"),
        order("ann", 9_007_199_254_740_993, "0.001", "SHIPPED"),
        order("bob,jr", 2, "123456789012345.678", "CREATED"),
        order("cy", 3, "-7.000", "FAILED"),
    ];
    fake.put(orders, |key| i32::from(key[0] == Value::from("cy")));
    let ingest = Arc::new(FakeIngest::default());
    let app = App::new(AppParts {
        published: fake.published.clone(),
        ingest: Some(ingest.clone()),
        control: Arc::new(FakeControl(fake.topology.clone())),
        app_id: "millstream".into(),
        settings,
    });
    app.set_deployed();
    Rig {
        fake,
        router: super::app(app.clone()),
        app,
        ingest,
    }
}

impl Rig {
    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn text(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.send(request).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Json) {
        let (status, text) = self.text(Request::get(path).body(Body::empty()).unwrap()).await;
        (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, Json) {
        let (status, text) = self
            .text(Request::post(path).body(Body::from(body.to_string())).unwrap())
            .await;
        (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
    }
}

fn code(answer: &(StatusCode, Json)) -> (u16, &str) {
    let error = &answer.1["error"];
    assert!(
        error["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
        "no hint: {answer:?}"
    );
    (answer.0.as_u16(), error["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn views_are_listed_and_described() {
    let rig = rig();
    let (status, list) = rig.get("/v1/views").await;
    assert_eq!(
        (status, list["views"][0]["name"].clone()),
        (StatusCode::OK, json!("ORDERS"))
    );
    assert_eq!(list["views"][0]["key"], json!(["CUSTOMER", "ID"]));
    assert_eq!(
        list["views"][0]["columns"][2],
        json!({"name": "AMOUNT", "type": "DECIMAL(18, 3)"})
    );
    let (_, view) = rig.get("/v1/views/orders").await;
    assert_eq!(view["rows"], json!({"count": 4, "exact": true}));
    assert_eq!(
        (view["partitions"].clone(), view["topology"].clone()),
        (json!(2), json!("shop"))
    );
    assert!(view["sql"].as_str().unwrap().starts_with("CREATE TABLE ORDERS"));
    assert_eq!(view["position"], json!({"input": {"0": 3, "1": 1}}));
    assert_eq!(code(&rig.get("/v1/views/nothing").await), (404, "unknown_view"));
}

#[tokio::test]
async fn a_row_is_read_by_its_key_with_exact_numbers() {
    let rig = rig();
    let path = "/v1/views/ORDERS/rows/ann,9007199254740993";
    let (status, text) = rig.text(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        r#"{"row":{"CUSTOMER":"ann","ID":9007199254740993,"AMOUNT":0.001,"STATE":"SHIPPED"},"position":{"input":{"0":3}}}"#
    );
    let (_, strings) = rig
        .get("/v1/views/ORDERS/rows/%5B%22bob,jr%22,2%5D?numbers=string")
        .await;
    assert_eq!(strings["row"]["AMOUNT"], json!("123456789012345.678"));
    let missing = rig.get("/v1/views/ORDERS/rows/ann,2").await;
    assert_eq!(code(&missing), (404, "row_not_found"));
    assert_eq!(missing.1["position"], json!({"input": {"0": 3, "1": 1}}), "{missing:?}");
    assert_eq!(code(&rig.get("/v1/views/ORDERS/rows/ann").await), (400, "bad_request"));
    assert_eq!(
        code(&rig.get("/v1/views/ORDERS/rows/ann,x").await),
        (400, "bad_request")
    );
    assert_eq!(
        code(&rig.get("/v1/views/ORDERS/rows/ann,1?nunbers=string").await),
        (400, "bad_request")
    );
}

#[tokio::test]
async fn rows_are_read_by_range_and_page() {
    let rig = rig();
    let ids = |answer: &Json| {
        answer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["CUSTOMER"].clone())
            .collect::<Vec<_>>()
    };
    let (_, first) = rig.get("/v1/views/orders/rows?limit=2&order=desc").await;
    assert_eq!(ids(&first), ["cy", "bob,jr"]);
    let cursor = first["cursor"].as_str().unwrap();
    let (_, second) = rig
        .get(&format!("/v1/views/orders/rows?limit=2&order=desc&cursor={cursor}"))
        .await;
    assert_eq!(
        (ids(&second), second["cursor"].clone()),
        (vec![json!("ann"), json!("ann")], Json::Null)
    );
    let (_, of_ann) = rig.get("/v1/views/orders/rows?prefix=ann").await;
    assert_eq!(of_ann["rows"].as_array().unwrap().len(), 2);
    let (_, range) = rig.get("/v1/views/orders/rows?from=ann,2&to=cy").await;
    assert_eq!(ids(&range), ["ann", "bob,jr"]);
    let (_, one) = rig.get("/v1/views/orders/rows?key=cy,3").await;
    assert_eq!(ids(&one), ["cy"]);
    let (_, none) = rig.get("/v1/views/orders/rows?key=cy,4").await;
    assert_eq!(none["rows"], json!([]));
    for wrong in [
        "limit=0",
        "limit=10001",
        "order=up",
        "numbers=roman",
        "cursor=x",
        &format!("cursor={cursor}"),
        "key=a",
    ] {
        assert_eq!(
            code(&rig.get(&format!("/v1/views/orders/rows?{wrong}")).await),
            (400, "bad_request"),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_partition_that_restores_makes_it_say_so() {
    let rig = rig();
    assert_eq!(
        rig.get("/health/ready").await,
        (StatusCode::OK, json!({"status": "ready", "reasons": []}))
    );
    rig.fake.topology.tasks()[1].set_status(TaskStatus::Restoring);
    assert_eq!(code(&rig.get("/v1/views/orders/rows").await), (503, "not_ready"));
    assert_eq!(
        rig.get("/v1/views/orders/rows/ann,1").await.0,
        StatusCode::OK,
        "its partition is here"
    );
    let (status, ready) = rig.get("/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        ready["reasons"][0].as_str().unwrap().contains("task 0_1 is restoring"),
        "{ready}"
    );
    assert_eq!(
        rig.get("/health/ready?topology=shop").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        code(&rig.get("/health/ready?topology=x").await),
        (404, "unknown_topology")
    );
    assert_eq!(rig.get("/health/live").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_query_is_answered_with_columns_rows_and_position() {
    let rig = rig();
    let (status, answer) = rig
        .post(
            "/v1/query?numbers=string",
            r#"{"sql": "SELECT * FROM orders ORDER BY amount DESC LIMIT 3"}"#,
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["columns"][1], json!({"name": "ID", "type": "BIGINT"}));
    let amounts: Vec<&Json> = answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["AMOUNT"])
        .collect();
    assert_eq!(amounts, ["123456789012345.678", "10.500", "0.001"]);
    assert_eq!(answer["position"], json!({"input": {"0": 3, "1": 1}}));
    assert_eq!(code(&rig.post("/v1/query", r#"{"sql": "DROP"}"#).await), (400, "sql"));
    for wrong in ["", "[]", r#"{"sql": 1}"#, r#"{"sql": "SELECT", "x": 1}"#, "{"] {
        assert_eq!(
            code(&rig.post("/v1/query", wrong).await),
            (400, "bad_request"),
            "{wrong}"
        );
    }
    let few = QueryLimits {
        scanned_rows: 2,
        ..QueryLimits::default()
    };
    let small = rig_with(HttpSettings {
        limits: few,
        body_bytes: 100,
        ..HttpSettings::default()
    });
    assert_eq!(
        code(
            &small
                .post(
                    "/v1/query",
                    r#"{"sql": "SELECT * FROM orders ORDER BY amount DESC LIMIT 3"}"#
                )
                .await
        ),
        (422, "query_limit")
    );
    assert_eq!(
        code(&small.post("/v1/query", &" ".repeat(101)).await),
        (413, "too_large")
    );
}

#[tokio::test]
async fn topologies_are_shown_paused_and_resumed() {
    let rig = rig();
    let (_, list) = rig.get("/v1/topologies").await;
    assert_eq!(list["topologies"][0]["status"], json!("running"));
    let (_, one) = rig.get("/v1/topologies/shop").await;
    assert_eq!(one["tasks"][1]["id"], json!("0_1"));
    assert_eq!(one["tasks"][0]["inputs"][0]["topic"], json!("input"));
    assert_eq!(
        rig.post("/v1/topologies/shop/pause", "").await.1["status"],
        json!("paused")
    );
    assert_eq!(code(&rig.post("/v1/topologies/shop/pause", "").await), (409, "refused"));
    assert_eq!(
        rig.get("/health/ready").await.0,
        StatusCode::OK,
        "a paused topology answers"
    );
    assert_eq!(
        rig.post("/v1/topologies/shop/resume", "").await.1["status"],
        json!("running")
    );
    assert_eq!(
        code(&rig.post("/v1/topologies/x/pause", "").await),
        (404, "unknown_topology")
    );
    rig.fake
        .topology
        .set_status(TopologyStatus::Stopped("bad record".into()));
    let (_, list) = rig.get("/v1/topologies").await;
    assert_eq!(list["topologies"][0]["reason"], json!("bad record"));
    assert_eq!(rig.get("/health/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn metrics_have_help_type_and_samples() {
    let rig = rig();
    rig.get("/v1/views").await;
    rig.get("/nowhere").await;
    rig.fake.topology.note_commit(Duration::from_millis(3));
    let (_, text) = rig.text(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    for metric in METRICS {
        assert!(
            text.contains(&format!("# HELP {} ", metric.name)) && text.contains(&format!("# TYPE {} ", metric.name))
        );
    }
    for line in [
        "millstream_topology_status{topology=\"shop\",status=\"running\"} 1",
        "millstream_commit_seconds_bucket{topology=\"shop\",le=\"0.005\"} 1",
        "millstream_commit_seconds_count{topology=\"shop\"} 1",
        "millstream_lag_records{topology=\"shop\",sub=\"0\",partition=\"1\",topic=\"input\"} 0",
        "millstream_http_requests_total{method=\"GET\",route=\"/v1/views\",status=\"2xx\"} 1",
        "millstream_http_requests_total{method=\"\",route=\"other\",status=\"4xx\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
    }
}
