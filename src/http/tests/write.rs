//! Records in: what is taken, and every problem of what is not.

use super::*;

#[tokio::test]
async fn records_are_checked_and_written() {
    let rig = rig();
    let (_, streams) = rig.get("/v1/streams").await;
    assert_eq!(streams["streams"][0]["writable"], json!(false));
    assert_eq!(
        streams["streams"][1]["formats"],
        json!({"key": "KAFKA", "value": "JSON"})
    );
    let one = r#"{"key": 7, "value": {"amount": "1.5", "COUNT": 2, "tags": ["x", null], "at": "1970-01-01T00:00:01Z"},
                  "timestamp": 12, "headers": {"a": "b", "c": {"base64": "AP8="}, "d": null}}"#;
    let (status, answer) = rig.post("/v1/streams/incoming", one).await;
    assert_eq!(
        (status, &answer["positions"]),
        (
            StatusCode::OK,
            &json!([{"topic": "incoming", "partition": 0, "offset": 0}])
        )
    );
    let record = rig.ingest.written.lock()[0].clone();
    assert_eq!(record.key, Some(row([7i64.into()])));
    let tags = Value::Array(vec!["x".into(), Value::Null].into());
    let amount = Value::Decimal("1.500".parse().unwrap());
    assert_eq!(
        record.value,
        Some(row([amount, 2.into(), tags, Value::Timestamp(1000)]))
    );
    assert_eq!((record.timestamp, record.headers.unwrap().len()), (12, 3));

    // a batch; the key among the value's columns; a table's row deleted
    let batch = r#"{"records": [{"value": {"ID": 1}}, {"key": {"id": "2"}, "value": {}}, {"value": {}}]}"#;
    let (_, answer) = rig.post("/v1/streams/shop.INCOMING", batch).await;
    assert_eq!(answer["positions"][2]["offset"], json!(3), "{answer}");
    let keys: Vec<_> = rig.ingest.written.lock()[1..].iter().map(|r| r.key.clone()).collect();
    assert_eq!(keys, [Some(row([1i64.into()])), Some(row([2i64.into()])), None]);
    assert_eq!(
        rig.post("/v1/streams/people", r#"{"key": 5, "value": null}"#).await.0,
        StatusCode::OK
    );
    assert_eq!(rig.ingest.written.lock().last().unwrap().value, None);
}

#[tokio::test]
async fn every_problem_of_a_batch_is_named_and_nothing_is_written() {
    let rig = rig();
    let batch = r#"{"records": [
        {"value": {"COUNT": 2147483648, "AMOUNT": 1.2345, "NOPE": 1, "TAGS": [1]}},
        {"value": null},
        {"key": "x", "value": {"AT": "tomorrow"}, "timestamp": -1, "headers": {"h": 1}, "extra": 1},
        7]}"#;
    let answer = rig.post("/v1/streams/incoming", batch).await;
    assert_eq!(code(&answer), (422, "invalid_record"));
    let problems = answer.1["error"]["problems"].as_array().unwrap();
    let paths: Vec<&str> = problems.iter().map(|p| p["path"].as_str().unwrap()).collect();
    for path in [
        "$.records[0].value.COUNT",
        "$.records[0].value.AMOUNT",
        "$.records[0].value.NOPE",
        "$.records[0].value.TAGS[0]",
        "$.records[1].value",
        "$.records[2].key",
        "$.records[2].value.AT",
        "$.records[2].timestamp",
        "$.records[2].headers.h",
        "$.records[2].extra",
        "$.records[3]",
    ] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    assert!(rig.ingest.written.lock().is_empty());

    assert_eq!(
        code(&rig.post("/v1/streams/people", r#"{"value": {"NAME": "x"}}"#).await),
        (422, "invalid_record")
    );
    assert_eq!(
        code(&rig.post("/v1/streams/orders", r#"{"value": {}}"#).await),
        (409, "derived")
    );
    assert_eq!(
        code(&rig.post("/v1/streams/nothing", r#"{"value": {}}"#).await),
        (404, "unknown_stream")
    );
    assert_eq!(
        code(&rig.post("/v1/streams/down", r#"{"value": {}}"#).await),
        (503, "log_unavailable")
    );
    assert_eq!(
        code(&rig.post("/v1/streams/incoming", r#"{"records": []}"#).await),
        (413, "too_many_records")
    );
    assert_eq!(
        code(&rig.post("/v1/streams/incoming", "[1]").await),
        (400, "bad_request")
    );
    let deep = format!(r#"{{"value": {{"TAGS": {}}}}}"#, "[".repeat(5_000));
    assert_eq!(
        code(&rig.post("/v1/streams/incoming", &deep).await),
        (400, "bad_request")
    );
}
