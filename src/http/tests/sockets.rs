//! Feeds and the shutdown, through a socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::town::{Town, json_of, send, settings, table};
use super::*;

/// An event of a stream: its name and JSON.
async fn next_event(stream: &mut TcpStream, read: &mut String) -> (String, Json) {
    loop {
        if let Some(end) = read.find("\n\n") {
            let event: String = read.drain(..end + 2).collect();
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|l| l.strip_prefix(name))
                    .map(|v| v.trim().to_string())
            };
            if let (Some(kind), Some(data)) = (field("event:"), field("data:")) {
                return (kind, serde_json::from_str(&data).unwrap());
            }
            continue;
        }
        let mut bytes = [0; 4096];
        let n = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "the stream ended: {read}");
        // chunk sizes stand on lines of their own, between events
        read.push_str(&String::from_utf8_lossy(&bytes[..n]).replace('\r', ""));
    }
}

async fn listen(
    rig: &Rig,
) -> (
    std::net::SocketAddr,
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let (listener, address) = bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, rig.app.clone(), async move {
        let _: Result<(), _> = stopped.await;
    }));
    (address, stop, served)
}

#[tokio::test]
async fn changes_are_pushed_and_a_shutdown_ends_the_feed() {
    let mut rig = rig();
    let (address, stop, served) = listen(&rig).await;
    let taken = bind(&address.to_string()).await.unwrap_err();
    assert!(taken.contains("in use") && taken.contains("--http"), "{taken}");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /v1/views/orders/changes HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut read = String::new();
    let (kind, first) = next_event(&mut stream, &mut read).await;
    assert_eq!(
        (
            kind.as_str(),
            first["rows"].as_array().unwrap().len(),
            &first["complete"]
        ),
        ("snapshot", 4, &json!(true))
    );
    assert_eq!(first["position"], json!({"input": {"0": 3, "1": 1}}));
    let (key, value) = order("dee", 4, "1.000", "CREATED");
    rig.fake.commit(
        1,
        1,
        &[(0, key, Some(value)), (0, row(["cy".into(), 3i64.into()]), None)],
    );
    let (kind, change) = next_event(&mut stream, &mut read).await;
    assert_eq!(kind, "changes");
    assert_eq!(
        change,
        json!({"changes": [
            {"op": "delete", "key": {"CUSTOMER": "cy", "ID": 3}},
            {"op": "upsert", "row": {"CUSTOMER": "dee", "ID": 4, "AMOUNT": serde_json::from_str::<Json>("1.000").unwrap(), "STATE": "CREATED"}}],
            "position": {"input": {"1": 2}}})
    );
    stop.send(()).unwrap();
    let (kind, last) = next_event(&mut stream, &mut read).await;
    assert_eq!((kind.as_str(), &last["error"]["code"]), ("error", &json!("stopping")));
    tokio::time::timeout(Duration::from_secs(2), served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_websocket_gets_the_same() {
    let mut rig = rig();
    let (address, _stop, _served) = listen(&rig).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let handshake = "GET /v1/views/orders/ws?snapshot=false HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    rig.fake.commit(0, 1, &[(0, row(["ann".into(), 1i64.into()]), None)]);
    // a short text frame from a server: 0x81, then its length (126: two bytes follow), unmasked
    assert_eq!(stream.read_u8().await.unwrap(), 0x81);
    let length = match stream.read_u8().await.unwrap() {
        126 => usize::from(stream.read_u16().await.unwrap()),
        short => usize::from(short),
    };
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.unwrap();
    let message: Json = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        message,
        json!({"type": "changes", "changes": [{"op": "delete", "key": {"CUSTOMER": "ann", "ID": 1}}], "position": {"input": {"0": 4}}})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_of_rows_that_other_instances_have_is_refused_for_good() {
    let mut town = Town::new(table(3), &["ann", "bob"], settings(), None).await;
    town.spread();
    let asked = Request::get("/v1/views/T/changes").body(Body::empty()).unwrap();
    let response = send(&town.members[0].router, asked).await;
    // trying again helps nobody
    assert!(!response.headers().contains_key(header::RETRY_AFTER));
    let refused = json_of(response).await;
    assert_eq!(code(&refused), (409, "spread_view"));
    let (message, hint) = (&refused.1["error"]["message"], &refused.1["error"]["hint"]);
    let (message, hint) = (message.as_str().unwrap(), hint.as_str().unwrap());
    assert!(
        message.contains("partition 1") && message.contains("instance bob"),
        "{message}"
    );
    assert!(
        !message.contains("partition 2") && hint.contains("/rows"),
        "{message} {hint}"
    );
    // what nobody has may come yet
    town.drop_everywhere(1);
    assert_eq!(code(&town.get(0, "/v1/views/T/changes").await), (503, "not_ready"));
}
