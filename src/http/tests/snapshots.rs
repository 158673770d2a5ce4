//! Snapshots for other instances: for them only, and nothing of them stays when the asker has gone.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::engine::OpenStores;
use crate::engine::snapshots::{Manifest, Offers, QUESTION_TYPE};
use crate::state::memory::MemoryStores;
use crate::state::{ChangelogPosition, Store, StorePosition};

const PATH: &str = "/internal/v1/snapshots/shop/0/0_3";

/// An instance that serves a task's state, and the directory of its checkpoints.
struct Serving {
    rig: Rig,
    directory: PathBuf,
    _stores: Arc<OpenStores>,
    _store: Box<dyn Store>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

impl Serving {
    fn new(keep: Duration) -> Self {
        let directory = std::env::temp_dir().join(format!("millstream-offers-{}", uuid::Uuid::new_v4()));
        let stores = Arc::new(OpenStores::new(Arc::new(MemoryStores::new())));
        let mut store = stores.take("shop/g0/0_3").unwrap().unwrap();
        let position = StorePosition {
            changelogs: vec![ChangelogPosition {
                topic: "changelog".into(),
                topic_id: "id".into(),
                offset: 7,
            }],
            ..StorePosition::default()
        };
        let mut rows = [(vec![0, 0, 1], Some(vec![7; 100]))].into_iter();
        store.apply(&mut rows, &position).unwrap();
        let offers = Offers::new(directory.clone()).unwrap().keep(keep);
        offers.serve(&stores);
        let rig = rig();
        rig.app.serve_snapshots(Arc::new(offers));
        Self {
            rig,
            directory,
            _stores: stores,
            _store: store,
        }
    }

    fn checkpoints(&self) -> usize {
        std::fs::read_dir(&self.directory).map_or(0, Iterator::count)
    }
}

fn ask() -> axum::http::request::Builder {
    Request::post(PATH).header("content-type", QUESTION_TYPE)
}

#[tokio::test]
async fn a_snapshot_is_made_for_instances_only() {
    let serving = Serving::new(Duration::from_secs(3_600));
    let rig = &serving.rig;
    assert_eq!(
        rig.get(PATH).await.0,
        StatusCode::METHOD_NOT_ALLOWED,
        "as a page's image asks"
    );
    assert_eq!(code(&rig.post(PATH, "").await), (415, "internal"));
    let of_a_page = ask().header("origin", "http://evil.example");
    let (status, _) = rig.text(of_a_page.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(serving.checkpoints(), 0);
    let (status, text) = rig.text(ask().body(Body::empty()).unwrap()).await;
    assert_eq!((status, serving.checkpoints()), (StatusCode::OK, 1), "{text}");
    let answer: Json = serde_json::from_str(&text).unwrap();
    let manifest = Manifest::parse(answer["manifest"].to_string().as_bytes()).unwrap();
    let snapshot = format!("/internal/v1/snapshots/{}", answer["id"].as_str().unwrap());
    for file in &manifest.files {
        let request = Request::get(format!("{snapshot}/{}", file.name))
            .body(Body::empty())
            .unwrap();
        let bytes = axum::body::to_bytes(rig.send(request).await.into_body(), usize::MAX).await;
        assert_eq!(bytes.unwrap().len() as u64, file.size, "{}", file.name);
    }
    let close = Request::delete(&snapshot).body(Body::empty()).unwrap();
    assert_eq!(rig.text(close).await.0, StatusCode::NO_CONTENT);
    assert_eq!(serving.checkpoints(), 0);
    let elsewhere = Request::post("/internal/v1/snapshots/shop/0/0_4").header("content-type", QUESTION_TYPE);
    let (status, text) = rig.text(elsewhere.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
}

#[tokio::test]
async fn nothing_stays_of_a_snapshot_whose_asker_has_gone() {
    let serving = Serving::new(Duration::ZERO);
    let (listener, address) = bind("127.0.0.1:0").await.unwrap();
    let server = tokio::spawn(serve(listener, serving.rig.app.clone(), std::future::pending()));
    for reads in [0, 1] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let question = format!(
            "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {QUESTION_TYPE}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(question.as_bytes()).await.unwrap();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte[..reads]).await.unwrap();
    }
    let begun = std::time::Instant::now();
    // the last request may not have been taken up yet: what counts is the end
    while serving.checkpoints() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(180), "the checkpoints stay");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.abort();
}
