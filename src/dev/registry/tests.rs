mod kept;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::formats::{RegistryError, SchemaSource, SchemaText};

const INT: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const LONG: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#;
const STRING: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;

fn memory() -> EmbeddedRegistry {
    EmbeddedRegistry::open(Box::new(MemoryLog::default())).unwrap()
}

/// Sends a request; the body, if any, is JSON.
async fn call(registry: &EmbeddedRegistry, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    let request = request
        .body(body.map_or_else(Body::empty, |b| Body::from(b.to_string())))
        .unwrap();
    let response = app(registry.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn get(registry: &EmbeddedRegistry, path: &str) -> Value {
    call(registry, "GET", path, None).await.1
}

async fn put_schema(registry: &EmbeddedRegistry, subject: &str, schema: &str) -> (u16, Value) {
    call(
        registry,
        "POST",
        &format!("/subjects/{subject}/versions"),
        Some(json!({"schema": schema})),
    )
    .await
}

/// The status and error code of a request that fails.
async fn code(registry: &EmbeddedRegistry, method: &str, path: &str, body: Option<Value>) -> (u16, u64) {
    let (status, body) = call(registry, method, path, body).await;
    (
        status,
        body["error_code"]
            .as_u64()
            .unwrap_or_else(|| panic!("{method} {path} succeeded: {body}")),
    )
}

#[tokio::test]
async fn the_same_schema_has_one_id_everywhere() {
    let r = memory();
    assert_eq!(put_schema(&r, "a", INT).await, (200, json!({"id": 1})));
    assert_eq!(
        put_schema(&r, "a", &INT.replace(',', " , ")).await,
        (200, json!({"id": 1}))
    );
    assert_eq!(put_schema(&r, "b", INT).await, (200, json!({"id": 1})));
    assert_eq!(put_schema(&r, "a", LONG).await, (200, json!({"id": 2})));
    assert_eq!(get(&r, "/subjects").await, json!(["a", "b"]));
    assert_eq!(get(&r, "/subjects/a/versions").await, json!([1, 2]));
    let second = json!({"subject": "a", "version": 2, "id": 2, "schema": LONG});
    for version in ["2", "latest", "-1"] {
        assert_eq!(get(&r, &format!("/subjects/a/versions/{version}")).await, second);
    }
    assert_eq!(get(&r, "/subjects/a/versions/2/schema").await.to_string(), LONG);
    assert_eq!(get(&r, "/schemas/ids/2").await, json!({"schema": LONG}));
    assert_eq!(get(&r, "/schemas/ids/1/schema").await.to_string(), INT);
    assert_eq!(get(&r, "/schemas/ids/1/subjects").await, json!(["a", "b"]));
    let versions = json!([{"subject": "a", "version": 1}, {"subject": "b", "version": 1}]);
    assert_eq!(get(&r, "/schemas/ids/1/versions").await, versions);
    assert_eq!(
        get(&r, "/schemas?latestOnly=true&subjectPrefix=a").await,
        json!([second])
    );
    assert_eq!(get(&r, "/schemas/types").await, json!(["JSON", "PROTOBUF", "AVRO"]));
    assert_eq!(get(&r, "/").await, json!({}));
    let looked_up = call(&r, "POST", "/subjects/a", Some(json!({"schema": LONG}))).await;
    assert_eq!(looked_up, (200, second));
}

#[tokio::test]
async fn errors_have_confluents_codes() {
    let r = memory();
    put_schema(&r, "a", INT).await;
    let schema = |s: &str| Some(json!({"schema": s}));
    let cases = [
        ("GET", "/subjects/x/versions", None, (404, 40401)),
        ("GET", "/subjects/x/versions/1", None, (404, 40401)),
        ("GET", "/subjects/a/versions/9", None, (404, 40402)),
        ("GET", "/subjects/a/versions/nine", None, (422, 42202)),
        ("GET", "/subjects/a/versions/0", None, (422, 42202)),
        ("GET", "/schemas/ids/9", None, (404, 40403)),
        ("POST", "/subjects/x", schema(INT), (404, 40401)),
        ("POST", "/subjects/a", schema(LONG), (404, 40403)),
        ("POST", "/subjects/a/versions", schema(STRING), (409, 409)),
        ("POST", "/subjects/a/versions", schema("{"), (422, 42201)),
        (
            "POST",
            "/subjects/a/versions",
            schema(r#"{"type":"nothing"}"#),
            (422, 42201),
        ),
        ("POST", "/subjects/a/versions", Some(json!({})), (422, 42201)),
        (
            "POST",
            "/subjects/a/versions",
            Some(json!({"schema": INT, "schemaType": "XML"})),
            (422, 42201),
        ),
        (
            "POST",
            "/subjects/a/versions",
            Some(json!({"schema": INT, "id": 7})),
            (422, 42205),
        ),
        ("POST", "/subjects/a/versions", Some(json!([])), (400, 400)),
        ("PUT", "/config", Some(json!({"compatibility": "SOME"})), (422, 42203)),
        ("GET", "/config/a", None, (404, 40408)),
        ("DELETE", "/config/a", None, (404, 40401)),
        ("PUT", "/mode", Some(json!({"mode": "SOME"})), (422, 42204)),
        ("PUT", "/mode", Some(json!({"mode": "IMPORT"})), (422, 42205)),
        ("GET", "/mode/a", None, (404, 40409)),
        ("DELETE", "/subjects/x", None, (404, 40401)),
        ("DELETE", "/subjects/a?permanent=true", None, (404, 40405)),
        ("DELETE", "/subjects/a/versions/1?permanent=true", None, (404, 40407)),
        ("DELETE", "/subjects/a/versions/3", None, (404, 40402)),
        (
            "POST",
            "/compatibility/subjects/a/versions/7",
            schema(INT),
            (404, 40402),
        ),
        ("GET", "/nothing", None, (404, 404)),
    ];
    for (method, path, body, expected) in cases {
        assert_eq!(code(&r, method, path, body).await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn deletes_are_soft_first() {
    let r = memory();
    put_schema(&r, "a", INT).await;
    put_schema(&r, "a", LONG).await;
    assert_eq!(
        call(&r, "DELETE", "/subjects/a/versions/1", None).await,
        (200, json!(1))
    );
    assert_eq!(code(&r, "DELETE", "/subjects/a/versions/1", None).await, (404, 40406));
    assert_eq!(get(&r, "/subjects/a/versions").await, json!([2]));
    assert_eq!(get(&r, "/subjects/a/versions?deleted=true").await, json!([1, 2]));
    assert_eq!(
        get(&r, "/schemas/ids/1").await,
        json!({"schema": INT}),
        "records still carry the id"
    );
    assert_eq!(
        call(&r, "DELETE", "/subjects/a/versions/1?permanent=true", None).await,
        (200, json!(1))
    );
    assert_eq!(code(&r, "GET", "/schemas/ids/1", None).await, (404, 40403));
    assert_eq!(call(&r, "DELETE", "/subjects/a", None).await, (200, json!([2])));
    assert_eq!(code(&r, "DELETE", "/subjects/a", None).await, (404, 40404));
    assert_eq!(get(&r, "/subjects").await, json!([]));
    assert_eq!(get(&r, "/subjects?deleted=true").await, json!(["a"]));
    // registered again: a new version with the old id
    assert_eq!(put_schema(&r, "a", LONG).await, (200, json!({"id": 2})));
    assert_eq!(get(&r, "/subjects/a/versions").await, json!([3]));
    call(&r, "DELETE", "/subjects/a", None).await;
    assert_eq!(
        call(&r, "DELETE", "/subjects/a?permanent=true", None).await,
        (200, json!([2, 3]))
    );
    assert_eq!(get(&r, "/subjects?deleted=true").await, json!([]));
    assert_eq!(
        put_schema(&r, "a", STRING).await,
        (200, json!({"id": 3})),
        "an id is never given out again"
    );
    assert_eq!(get(&r, "/subjects/a/versions").await, json!([1]));
}

#[tokio::test]
async fn compatibility_is_checked_at_the_level_that_counts() {
    let r = memory();
    put_schema(&r, "a", LONG).await;
    let check = "/compatibility/subjects/a/versions";
    let schema = |s: &str| Some(json!({"schema": s}));
    assert_eq!(
        call(&r, "POST", check, schema(LONG)).await.1,
        json!({"is_compatible": true})
    );
    let (_, answer) = call(&r, "POST", &format!("{check}/latest?verbose=true"), schema(INT)).await;
    assert_eq!(answer["is_compatible"], false);
    assert!(
        answer["messages"][0]
            .as_str()
            .unwrap()
            .starts_with("TYPE_MISMATCH at /fields/0/type"),
        "{answer}"
    );
    let unknown = "/compatibility/subjects/new/versions/latest";
    assert_eq!(
        call(&r, "POST", unknown, schema(INT)).await.1,
        json!({"is_compatible": true})
    );
    assert_eq!(get(&r, "/config").await, json!({"compatibilityLevel": "BACKWARD"}));
    let forward = Some(json!({"compatibility": "FORWARD"}));
    assert_eq!(
        call(&r, "PUT", "/config/a", forward).await,
        (200, json!({"compatibility": "FORWARD"}))
    );
    assert_eq!(put_schema(&r, "a", INT).await.0, 200);
    assert_eq!(put_schema(&r, "b", LONG).await.0, 200);
    assert_eq!(put_schema(&r, "b", INT).await.0, 409);
    assert_eq!(
        get(&r, "/config/b?defaultToGlobal=true").await,
        json!({"compatibilityLevel": "BACKWARD"})
    );
    call(&r, "PUT", "/config", Some(json!({"compatibility": "none"}))).await;
    assert_eq!(put_schema(&r, "b", INT).await.0, 200);
    assert_eq!(
        call(&r, "DELETE", "/config/a", None).await.1,
        json!({"compatibilityLevel": "FORWARD"})
    );
    assert_eq!(put_schema(&r, "a", STRING).await.0, 200);
}

#[tokio::test]
async fn references_are_kept_and_guarded() {
    let r = memory();
    let customer = r#"{"type":"record","name":"Customer","namespace":"x","fields":[{"name":"id","type":"long"}]}"#;
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"by","type":"x.Customer"}]}"#;
    put_schema(&r, "customers", customer).await;
    assert_eq!(put_schema(&r, "orders", order).await.0, 422);
    let references = json!([{"name": "x.Customer", "subject": "customers", "version": 1}]);
    let body = json!({"schema": order, "references": references});
    assert_eq!(
        call(&r, "POST", "/subjects/orders/versions", Some(body.clone())).await,
        (200, json!({"id": 2}))
    );
    assert_eq!(
        call(&r, "POST", "/subjects/orders/versions", Some(body)).await,
        (200, json!({"id": 2}))
    );
    assert_eq!(get(&r, "/schemas/ids/2").await["references"], references);
    assert_eq!(get(&r, "/subjects/customers/versions/1/referencedby").await, json!([2]));
    assert_eq!(code(&r, "DELETE", "/subjects/customers", None).await, (422, 42206));
    assert_eq!(
        code(&r, "DELETE", "/subjects/customers/versions/1", None).await,
        (422, 42206)
    );
    let missing =
        json!({"schema": order, "references": [{"name": "x.Customer", "subject": "customers", "version": 2}]});
    assert_eq!(
        code(&r, "POST", "/subjects/orders/versions", Some(missing)).await,
        (422, 42201)
    );
    let by_id = r.by_id(2).unwrap();
    assert_eq!(by_id.schema.references[0].resolved.as_ref().unwrap().text, customer);
}

#[tokio::test]
async fn modes_are_kept() {
    let r = memory();
    assert_eq!(get(&r, "/mode").await, json!({"mode": "READWRITE"}));
    let import = Some(json!({"mode": "IMPORT"}));
    assert_eq!(
        call(&r, "PUT", "/mode/a", import).await,
        (200, json!({"mode": "IMPORT"}))
    );
    let imported = json!({"schema": INT, "id": 77, "version": 5});
    assert_eq!(
        call(&r, "POST", "/subjects/a/versions", Some(imported)).await,
        (200, json!({"id": 77}))
    );
    let other = json!({"schema": STRING, "id": 77});
    assert_eq!(
        code(&r, "POST", "/subjects/a/versions", Some(other)).await,
        (422, 42207)
    );
    assert_eq!(get(&r, "/subjects/a/versions").await, json!([5]));
    call(&r, "PUT", "/mode/a", Some(json!({"mode": "READONLY"}))).await;
    for (method, path, body) in [
        ("POST", "/subjects/a/versions", Some(json!({"schema": LONG}))),
        ("DELETE", "/subjects/a", None),
        ("PUT", "/config/a", Some(json!({"compatibility": "NONE"}))),
    ] {
        assert_eq!(code(&r, method, path, body).await, (422, 42205), "{method} {path}");
    }
    assert_eq!(call(&r, "DELETE", "/mode/a", None).await.1, json!({"mode": "READONLY"}));
    assert_eq!(put_schema(&r, "a", LONG).await, (200, json!({"id": 78})));
    assert_eq!(
        get(&r, "/mode/a?defaultToGlobal=true").await,
        json!({"mode": "READWRITE"})
    );
}

#[tokio::test]
async fn other_languages_are_kept_checked_and_compared() {
    let r = memory();
    let proto = |s: &str| Some(json!({"schema": s, "schemaType": "PROTOBUF"}));
    let first = "syntax = \"proto3\"; message A { int32 a = 1; }";
    assert_eq!(
        call(&r, "POST", "/subjects/p/versions", proto(first)).await,
        (200, json!({"id": 1}))
    );
    assert_eq!(
        call(&r, "POST", "/subjects/p/versions", proto(first)).await,
        (200, json!({"id": 1}))
    );
    assert_eq!(
        get(&r, "/schemas/ids/1").await,
        json!({"schemaType": "PROTOBUF", "schema": first})
    );
    let (status, answer) = call(&r, "POST", "/subjects/p/versions", proto("message B {}")).await;
    assert!(
        status == 409 && answer["message"].as_str().unwrap().contains("MESSAGE_REMOVED at #/A"),
        "{answer}"
    );
    call(&r, "PUT", "/config/p", Some(json!({"compatibility": "NONE"}))).await;
    assert_eq!(
        call(&r, "POST", "/subjects/p/versions", proto("message B {}")).await.0,
        200
    );
    assert_eq!(
        code(&r, "POST", "/subjects/p/versions", proto("message { }")).await,
        (422, 42201)
    );
    let json_schema = json!({"schema": "{ \"type\": \"object\" }", "schemaType": "JSON"});
    assert_eq!(call(&r, "POST", "/subjects/j/versions", Some(json_schema)).await.0, 200);
    assert_eq!(
        get(&r, "/subjects/j/versions/1/schema").await,
        json!({"type": "object"})
    );
    let narrower = json!({"schema": "{\"type\": \"string\"}", "schemaType": "JSON"});
    assert_eq!(
        code(&r, "POST", "/subjects/j/versions", Some(narrower)).await,
        (409, 409)
    );
}

#[tokio::test]
async fn references_of_all_languages_are_resolved_and_kept() {
    let r = memory();
    let put = |subject: &'static str, body: Value| {
        let r = r.clone();
        async move { call(&r, "POST", &format!("/subjects/{subject}/versions"), Some(body)).await }
    };
    let event = "syntax = \"proto3\"; message Event { int64 timestamp = 1; }";
    assert_eq!(
        put("event", json!({"schema": event, "schemaType": "PROTOBUF"})).await.0,
        200
    );
    let main = "syntax = \"proto3\"; import \"event.proto\"; message Logistics { Event event = 1; }";
    assert_eq!(
        put("main", json!({"schema": main, "schemaType": "PROTOBUF"})).await.0,
        422
    );
    let references = json!([{"name": "event.proto", "subject": "event", "version": 1}]);
    let with_references = json!({"schema": main, "schemaType": "PROTOBUF", "references": references});
    assert_eq!(put("main", with_references).await, (200, json!({"id": 2})));
    assert_eq!(get(&r, "/schemas/ids/2").await["references"], references);
    assert_eq!(get(&r, "/subjects/event/versions/1/referencedby").await, json!([2]));
    let city = json!({"schema": "{\"type\": \"object\"}", "schemaType": "JSON"});
    assert_eq!(put("city", city).await.0, 200);
    let home = json!({
        "schema": "{\"properties\": {\"home\": {\"$ref\": \"city.json\"}}}", "schemaType": "JSON",
        "references": [{"name": "city.json", "subject": "city", "version": 1}],
    });
    assert_eq!(put("home", home).await.0, 200);
    let lost = json!({"schema": "{\"properties\": {\"home\": {\"$ref\": \"town.json\"}}}", "schemaType": "JSON"});
    assert_eq!(put("lost", lost).await.0, 422);
}
