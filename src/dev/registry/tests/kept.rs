//! What is kept over restarts, and other ways in: the engine in process, the HTTP client.

use super::*;

/// A log that outlives the registry.
struct Shared(Arc<MemoryLog>);

impl SchemasLog for Shared {
    fn append(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.0.append(key, value)
    }

    fn read_all(&self) -> Result<Vec<Record>, String> {
        self.0.read_all()
    }
}

/// What compaction leaves: the last record of each key, at its place; tombstones are gone as well.
fn compacted(records: &[Record]) -> Vec<Record> {
    let last = |i: usize| !records[i + 1..].iter().any(|(key, _)| *key == records[i].0);
    let kept = (0..records.len()).filter(|i| last(*i) && records[*i].1.is_some());
    kept.map(|i| records[i].clone()).collect()
}

#[tokio::test]
async fn a_restart_knows_everything_even_after_compaction() {
    let log = Arc::new(MemoryLog::default());
    let r = EmbeddedRegistry::open(Box::new(Shared(log.clone()))).unwrap();
    for (subject, schema) in [
        ("a", INT),
        ("a", LONG),
        ("b", LONG),
        ("c/d", STRING),
        ("gone", "\"float\""),
    ] {
        let path = format!("/subjects/{}/versions", subject.replace('/', "%2F"));
        assert_eq!(call(&r, "POST", &path, Some(json!({"schema": schema}))).await.0, 200);
    }
    call(&r, "PUT", "/config/a", Some(json!({"compatibility": "FULL"}))).await;
    call(&r, "PUT", "/mode/b", Some(json!({"mode": "READONLY"}))).await;
    call(&r, "DELETE", "/subjects/a/versions/1", None).await;
    call(&r, "DELETE", "/subjects/gone", None).await;
    call(&r, "DELETE", "/subjects/gone?permanent=true", None).await;
    let paths = [
        "/subjects?deleted=true",
        "/subjects/a/versions",
        "/subjects/a/versions?deleted=true",
        "/subjects/c%2Fd/versions/latest",
        "/schemas?deleted=true",
        "/config/a",
        "/mode/b",
        "/schemas/ids/4",
    ];
    let mut before = Vec::new();
    for path in paths {
        before.push(get(&r, path).await);
    }
    assert_eq!(before[0], json!(["a", "b", "c/d"]));
    let all = log.read_all().unwrap();
    let first = String::from_utf8(all[0].0.clone()).unwrap();
    assert_eq!(first, r#"{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}"#);
    for records in [all.clone(), compacted(&all)] {
        let copy = MemoryLog::default();
        records.iter().for_each(|(k, v)| copy.append(k, v.as_deref()).unwrap());
        let again = EmbeddedRegistry::open(Box::new(copy)).unwrap();
        for (path, before) in paths.iter().zip(&before) {
            assert_eq!(get(&again, path).await, *before, "{path}");
        }
        assert_eq!(put_schema(&again, "new", "\"int\"").await, (200, json!({"id": 5})));
    }
}

#[tokio::test]
async fn what_confluents_registry_keeps_is_read() {
    let log = MemoryLog::default();
    let records = [
        (r#"{"keytype":"NOOP","magic":0}"#, None),
        (
            r#"{"keytype":"CONFIG","subject":null,"magic":0}"#,
            Some(r#"{"subject":null,"compatibilityLevel":"NONE"}"#),
        ),
        (
            r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#,
            Some(r#"{"subject":"s","version":1,"id":3,"schema":"\"int\"","deleted":false,"ts":1}"#),
        ),
        (
            r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#,
            Some(r#"{"subject":"s","version":1}"#),
        ),
    ];
    records
        .iter()
        .for_each(|(k, v)| log.append(k.as_bytes(), v.map(str::as_bytes)).unwrap());
    let r = EmbeddedRegistry::open(Box::new(log)).unwrap();
    assert_eq!(get(&r, "/config").await, json!({"compatibilityLevel": "NONE"}));
    assert_eq!(get(&r, "/subjects").await, json!([]));
    assert_eq!(get(&r, "/schemas/ids/3").await, json!({"schema": "\"int\""}));
    let bad = MemoryLog::default();
    bad.append(b"not JSON", None).unwrap();
    assert!(EmbeddedRegistry::open(Box::new(bad)).is_err());
}

/// A log that takes nothing.
struct Broken;

impl SchemasLog for Broken {
    fn append(&self, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        Err("the disk is full".into())
    }

    fn read_all(&self) -> Result<Vec<Record>, String> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn what_is_not_kept_is_not_answered() {
    let r = EmbeddedRegistry::open(Box::new(Broken)).unwrap();
    let (status, answer) = put_schema(&r, "a", INT).await;
    assert_eq!((status, &answer["error_code"]), (500, &json!(50001)));
    assert_eq!(get(&r, "/subjects").await, json!([]));
    assert!(r.register("a", &SchemaText::avro(INT)).unwrap_err().is_retryable());
}

#[tokio::test]
async fn the_engine_sees_the_same_registry_and_it_is_served() {
    let r = memory();
    let source: &dyn SchemaSource = &r;
    let registered = source.register("t-value", &SchemaText::avro(INT)).unwrap();
    assert_eq!((registered.id, registered.version), (1, 1));
    assert_eq!(source.latest("t-value").unwrap().unwrap(), registered);
    assert_eq!(source.latest("none").unwrap(), None);
    assert!(
        !source
            .check("t-value", &SchemaText::avro(STRING))
            .unwrap()
            .is_compatible()
    );
    let e = source.register("t-value", &SchemaText::avro(STRING)).unwrap_err();
    assert!(matches!(e, RegistryError::Incompatible(m) if m.len() == 1));
    assert!(matches!(source.by_id(9), Err(RegistryError::NotFound(_))));
    let handle = serve(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), r).unwrap();
    assert_ne!(handle.address().port(), 0);
    handle.stop().await.unwrap();
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn the_http_client_sees_what_the_engine_sees_in_process() {
    use crate::formats::client::{ClientSettings, HttpRegistry};
    use crate::formats::{Compatibility, SchemaReference};

    let r = memory();
    let handle = serve(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), r.clone()).unwrap();
    // the first address is dead; the second one answers
    let urls = format!("http://127.0.0.1:9,http://user:secret@{}", handle.address());
    let http = HttpRegistry::new(&ClientSettings::new(&urls)).unwrap();
    let customer = r#"{"type":"record","name":"Customer","namespace":"x","fields":[{"name":"id","type":"long"}]}"#;
    let registered = http.register("customers", &SchemaText::avro(customer)).unwrap();
    assert_eq!(
        (registered.id, registered.version, &*registered.subject),
        (1, 1, "customers")
    );
    let order = |field: &str| SchemaText {
        text: format!(r#"{{"type":"record","name":"Order","fields":[{{"name":"{field}","type":"x.Customer"}}]}}"#),
        references: vec![SchemaReference {
            name: "x.Customer".into(),
            subject: "customers".into(),
            version: 1,
            resolved: None,
        }],
        ..SchemaText::default()
    };
    assert_eq!(http.register("a/b", &SchemaText::avro(INT)).unwrap().subject, "a/b");
    assert!(!http.check("a/b", &SchemaText::avro(STRING)).unwrap().is_compatible());
    assert_eq!(http.check("orders", &order("by")).unwrap(), Compatibility::Compatible);
    let orders = http.register("orders", &order("by")).unwrap();
    for source in [&http as &dyn SchemaSource, &r] {
        assert_eq!(source.by_id(orders.id).unwrap().schema, orders.schema);
        assert_eq!(source.latest("orders").unwrap().unwrap(), orders);
        assert_eq!(source.version("orders", 1).unwrap(), orders);
        assert_eq!(source.latest("none").unwrap(), None);
        assert!(matches!(source.by_id(99), Err(RegistryError::NotFound(_))));
        assert!(matches!(
            source.register("orders", &SchemaText::avro("{")),
            Err(RegistryError::Invalid(_))
        ));
        let refused = source.check("orders", &order("other")).unwrap();
        assert!(matches!(refused, Compatibility::Incompatible(m) if m[0].contains("the field 'other'")));
        let e = source.register("orders", &order("other")).unwrap_err();
        assert!(matches!(e, RegistryError::Incompatible(_)), "{e}");
    }
    assert_eq!(orders.schema.references[0].resolved.as_ref().unwrap().text, customer);
    handle.stop().await.unwrap();
    assert!(http.by_id(1).unwrap_err().is_retryable());
}
