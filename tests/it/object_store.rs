//! Snapshots in an object store: the requests of S3, answered by a small imitation that keeps objects in memory and wants every request signed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use millstream::engine::snapshots::{Bucket, ObjectBucket};
use parking_lot::Mutex;

const DATE: &str = "Sat, 21 Nov 2026 10:00:00 GMT";

#[derive(Clone, Default)]
struct Store(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let parts = text.split(before).skip(1);
    parts
        .filter_map(|part| part.split_once(after).map(|(found, _)| found))
        .collect()
}

fn unescaped(text: &str) -> String {
    text.replace("%2F", "/")
}

async fn answer(State(store): State<Store>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !signed.is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256 Credential=key/") && text.contains("Signature=")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(key) = uri.path().strip_prefix("/bucket") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let key = unescaped(key.trim_start_matches('/'));
    let query = unescaped(uri.query().unwrap_or_default());
    let mut objects = store.0.lock();
    let tag = [(header::ETAG, "\"tag\""), (header::LAST_MODIFIED, DATE)];
    match method {
        Method::PUT => {
            objects.insert(key, body.to_vec());
            (tag, "").into_response()
        }
        Method::GET if query.contains("list-type=2") => {
            let prefix = between(&format!("&{query}&"), "&prefix=", "&").concat();
            let mut xml = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
            for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                let size = bytes.len();
                let object = format!(
                    "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>tag</ETag>\
                     <LastModified>2026-11-21T10:00:00.000Z</LastModified></Contents>"
                );
                xml.push_str(&object);
            }
            xml.push_str("</ListBucketResult>");
            xml.into_response()
        }
        Method::GET => match objects.get(&key) {
            Some(bytes) => (tag, bytes.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Method::DELETE => {
            objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        Method::POST if query.starts_with("delete") => {
            let text = String::from_utf8_lossy(&body);
            let mut xml = "<DeleteResult>".to_owned();
            for key in between(&text, "<Key>", "</Key>") {
                objects.remove(key);
                let _ = write!(xml, "<Deleted><Key>{key}</Key></Deleted>");
            }
            xml.push_str("</DeleteResult>");
            xml.into_response()
        }
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

fn read(bucket: &dyn Bucket, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    bucket.read(name, &mut |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(bytes)
}

#[test]
fn an_object_store_keeps_what_was_put() {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(1).enable_all().build().expect("threads");
    let store = Store::default();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = Router::new().fallback(answer).with_state(store.clone());
    runtime.spawn(async move { axum::serve(listener, app).await });
    let options = [
        ("aws_endpoint", url.as_str()),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "key"),
        ("aws_secret_access_key", "secret"),
    ];
    let bucket = ObjectBucket::with_options("s3://bucket/some/prefix/", &options).expect("a bucket");
    assert_eq!(bucket.list("app/t").expect("listed"), vec![]);
    let file = std::env::temp_dir().join(format!("millstream-object-{}", uuid::Uuid::new_v4()));
    let content: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    std::fs::write(&file, &content).expect("written");
    bucket.put("app/t/files/abc", &file).expect("put");
    std::fs::remove_file(&file).expect("removed");
    bucket.put_bytes("app/t/manifests/1.json", b"{}".to_vec()).expect("put");
    bucket.put_bytes("app/u/files/x", b"y".to_vec()).expect("put");
    let names: Vec<String> = store.0.lock().keys().cloned().collect();
    assert_eq!(names[0], "some/prefix/app/t/files/abc");
    let listed = bucket.list("app/t").expect("listed");
    let listed: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
    assert_eq!(listed, [("app/t/files/abc", 300_000), ("app/t/manifests/1.json", 2)]);
    assert_eq!(read(&bucket, "app/t/files/abc").expect("read"), content);
    assert!(
        bucket
            .read("app/t/files/abc", &mut |_| Err("enough".into()))
            .unwrap_err()
            .contains("enough")
    );
    bucket.delete("app/t/files/abc").expect("deleted");
    bucket.delete("app/t/files/abc").expect("deleted again");
    assert!(read(&bucket, "app/t/files/abc").is_err());
    for wrong in ["s3://", "s3:///prefix", "bucket"] {
        assert!(ObjectBucket::with_options(wrong, &options).is_err(), "{wrong}");
    }
}
