//! What is there beside the views: the page, the documents, who is kept out, and what is answered before there is anything.

use super::*;

#[tokio::test]
async fn pages_of_other_sites_are_kept_out() {
    let rig = rig();
    let request = |method: &str, host: &str, origin: Option<&str>| {
        let mut request = Request::builder()
            .method(method)
            .uri("/v1/query")
            .header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        request
            .body(Body::from(
                r#"{"sql": "SELECT * FROM orders ORDER BY amount DESC LIMIT 3"}"#,
            ))
            .unwrap()
    };
    for (host, origin, status) in [
        ("localhost:8080", None, 200),
        ("localhost:8080", Some("http://localhost:8080"), 200),
        ("localhost:8080", Some("http://evil.example"), 403),
        ("localhost:8080", Some("null"), 403),
        ("evil.example", Some("http://evil.example"), 403),
        ("127.0.0.1:8080", None, 200),
    ] {
        assert_eq!(
            rig.send(request("POST", host, origin)).await.status(),
            status,
            "{host} {origin:?}"
        );
    }
    let open = rig_with(HttpSettings {
        local_only: false,
        ..HttpSettings::default()
    });
    assert_eq!(
        open.send(request("POST", "millstream.example", None)).await.status(),
        200
    );
}

#[tokio::test]
async fn the_console_and_unknown_paths() {
    let rig = rig();
    let (status, page) = rig.text(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<title>Millstream</title>"));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it loads nothing from elsewhere"
    );
    assert_eq!(code(&rig.get("/v2/views").await), (404, "unknown_path"));
    assert_eq!(code(&rig.post("/v1/views", "").await), (405, "method_not_allowed"));
    assert_eq!(code(&rig.get("/v1/views/orders/ws").await), (426, "not_a_websocket"));
}

#[tokio::test]
async fn the_openapi_document_and_the_reference_are_the_committed_ones() {
    let rig = rig();
    let (_, served) = rig.get("/openapi.json").await;
    assert_eq!(served, openapi());
    for route in ROUTES {
        for text in [route.body, route.example].into_iter().flatten() {
            assert!(serde_json::from_str::<Json>(text).is_ok(), "{}: {text}", route.path);
        }
    }
    let openapi = format!("{:#}\n", openapi());
    for (name, now) in [("docs/openapi.json", openapi), ("docs/http.md", reference())] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == now,
            "{name} is not what the routes say; run this test with MILLSTREAM_BLESS=1"
        );
    }
}

#[tokio::test]
async fn until_the_topologies_are_deployed_only_its_health_is_answered() {
    let rig = rig();
    rig.app.set_starting("the schema registry is away");
    assert_eq!(rig.get("/health/live").await.0, StatusCode::OK);
    let (status, ready) = rig.get("/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready["reasons"][0], "the schema registry is away");
    for path in ["/", "/v1/views", "/v1/streams", "/metrics", "/nothing"] {
        let (status, answer) = rig.get(path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("the schema registry is away"), "{path}: {message}");
    }
    rig.app.set_deployed();
    assert_eq!(rig.get("/v1/views").await.0, StatusCode::OK);
}
