//! The whole way through sockets and threads: records in by HTTP, a topology compiled from SQL, committed changes out as server-sent events,
//! queries, pause and resume; on the simulated log in real time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::snapshots::SnapshotParts;
use millstream::engine::{Engine, EngineParts, EngineSettings, LogIngest, Startup, threads};
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::http::{App, AppParts, EngineControl, HttpSettings, bind, serve};
use millstream::log::sim::SimLog;
use millstream::sql::{CompileContext, NoSchemas, SourceFile, compile};
use millstream::state::memory::MemoryStores;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::patience::{PATIENCE, RealTime, until};

const SQL: &str = "
CREATE STREAM ratings (movie_id BIGINT, rating DOUBLE, user_id BIGINT)
  WITH (KAFKA_TOPIC = 'ratings', VALUE_FORMAT = 'AVRO', PARTITIONS = 2);
CREATE TABLE movie_ratings WITH (VALUE_FORMAT = 'JSON') AS
  SELECT movie_id, COUNT(*) AS n, SUM(rating) AS total FROM ratings GROUP BY movie_id EMIT CHANGES;
CREATE STREAM orders (customer BIGINT, id BIGINT, amount DECIMAL(18, 3))
  WITH (KAFKA_TOPIC = 'orders', KEY_FORMAT = 'JSON', VALUE_FORMAT = 'JSON', PARTITIONS = 2);
CREATE TABLE customer_orders WITH (KEY_FORMAT = 'JSON') AS
  SELECT customer, id, SUM(amount) AS amount FROM orders GROUP BY customer, id EMIT CHANGES;
";

struct Instance {
    address: SocketAddr,
    _time: RealTime,
    engine: Option<Engine>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn start() -> Instance {
    let log = SimLog::new(7, threads::now()).unwrap();
    for topic in ["ratings", "orders"] {
        log.create_topic(topic, 2, &[]).unwrap();
    }
    let time = RealTime::of(&log);
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::default());
    let parts = EngineParts {
        log: log.process(),
        schemas: schemas.clone(),
        stores: Arc::new(MemoryStores::new()),
        settings: EngineSettings {
            commit_interval: Duration::from_millis(10),
            ..EngineSettings::default()
        },
        instance: "one".into(),
        snapshots: SnapshotParts::default(),
    };
    let file = SourceFile {
        name: "shop.sql".into(),
        text: SQL.into(),
    };
    let topology = compile(&file, &CompileContext { schemas: &NoSchemas }).unwrap();
    let engine = Engine::start(parts.clone(), vec![Arc::new(topology)]).unwrap();
    let state = App::new(AppParts {
        published: engine.published(),
        ingest: Some(Arc::new(LogIngest::start(log.process(), schemas).unwrap())),
        control: Arc::new(EngineControl(parts)),
        app_id: "millstream".into(),
        settings: HttpSettings::default(),
    });
    let (listener, address) = bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let served = tokio::spawn(serve(listener, state.clone(), async move {
        let _: Result<(), _> = stopped.await;
    }));
    let mut seen = engine.startup();
    while seen != Startup::Started {
        seen = tokio::task::block_in_place(|| engine.wait_started(&seen, PATIENCE));
        assert!(!matches!(seen, Startup::Failed(_)), "{seen:?}");
    }
    state.set_deployed();
    Instance {
        address,
        _time: time,
        engine: Some(engine),
        stop: Some(stop),
        served,
    }
}

impl Instance {
    async fn request(&self, method: &str, path: &str, body: &str) -> (u16, Json) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .expect("an answer")
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }

    async fn get(&self, path: &str) -> (u16, Json) {
        self.request("GET", path, "").await
    }

    async fn post(&self, path: &str, body: &Json) -> (u16, Json) {
        self.request("POST", path, &body.to_string()).await
    }

    /// Waits until it is ready.
    async fn ready(&self) {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            until("it to be ready", || {
                runtime.block_on(self.get("/health/ready")).0 == 200
            });
        });
    }
}

/// A feed of a view.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(instance: &Instance, view: &str) -> Self {
        let mut stream = TcpStream::connect(instance.address).await.unwrap();
        let head = format!("GET /v1/views/{view}/changes HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The JSON of the next event.
    async fn next(&mut self) -> Json {
        let event = async {
            let mut line = String::new();
            loop {
                line.clear();
                assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the feed ended");
                if let Some(data) = line.strip_prefix("data:") {
                    return serde_json::from_str(data).unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, event).await.expect("an event")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ratings_go_in_and_views_come_out() {
    let mut instance = start().await;
    instance.ready().await;
    let mut feed = Events::open(&instance, "movie_ratings").await;
    assert_eq!(feed.next().await["rows"], json!([]));

    let rating = |i: i64| json!({"value": {"MOVIE_ID": i % 3, "RATING": (i % 10) as f64, "USER_ID": i}});
    let batch: Vec<Json> = (0..30).map(rating).collect();
    let (status, written) = instance.post("/v1/streams/ratings", &json!({"records": batch})).await;
    assert_eq!(status, 200, "{written}");
    assert_eq!(written["positions"].as_array().unwrap().len(), 30);

    // the events tell when the view has all of them, and every state before was one of a prefix
    let mut counts = [0i64; 3];
    while counts != [10; 3] {
        for change in feed.next().await["changes"].as_array().unwrap() {
            let row = &change["row"];
            let (movie, n) = (row["MOVIE_ID"].as_i64().unwrap(), row["N"].as_i64().unwrap());
            assert!(n > counts[movie as usize], "went back");
            counts[movie as usize] = n;
        }
    }
    let (status, point) = instance.get("/v1/views/movie_ratings/rows/1").await;
    assert_eq!((status, &point["row"]["N"]), (200, &json!(10)));
    let sql =
        json!({"sql": "SELECT movie_id, total FROM movie_ratings WHERE n = 10 ORDER BY total DESC, movie_id LIMIT 2"});
    let (status, answer) = instance.post("/v1/query", &sql).await;
    assert_eq!(
        (status, answer["rows"].as_array().map(Vec::len)),
        (200, Some(2)),
        "{answer}"
    );
    let (_, metrics) = instance.get("/metrics").await;
    let text = metrics.as_str().unwrap();
    assert!(
        text.contains("millstream_records_in_total{topology=\"shop\"} "),
        "{text}"
    );

    // paused, it takes no records and still answers; resumed, it goes on
    let (status, paused) = instance.post("/v1/topologies/shop/pause", &json!({})).await;
    assert_eq!((status, &paused["status"]), (200, &json!("paused")));
    instance.post("/v1/streams/ratings", &rating(0)).await;
    let (status, point) = instance.get("/v1/views/movie_ratings/rows/0").await;
    assert_eq!((status, &point["row"]["N"]), (200, &json!(10)), "{point}");
    let (status, resumed) = instance.post("/v1/topologies/shop/resume", &json!({})).await;
    assert_eq!(status, 200);
    assert_ne!(resumed["status"], json!("paused"));
    instance.ready().await;
    let mut feed = Events::open(&instance, "movie_ratings").await;
    let seen = |event: &Json| event.to_string().contains("\"MOVIE_ID\":0,\"N\":11");
    while !seen(&feed.next().await) {}

    // everything stops within two seconds, feeds included
    let stop = async {
        instance.stop.take().unwrap().send(()).unwrap();
        (&mut instance.served).await.unwrap().unwrap();
    };
    tokio::time::timeout(Duration::from_secs(2), stop)
        .await
        .expect("HTTP stops");
    let engine = instance.engine.take().unwrap();
    tokio::task::spawn_blocking(move || engine.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orders_of_a_customer_newest_first() {
    let instance = start().await;
    instance.ready().await;
    let mut feed = Events::open(&instance, "customer_orders").await;
    feed.next().await;
    let order = |i: i64| json!({"value": {"customer": i % 4, "id": i, "amount": format!("{i}.125")}});
    let batch: Vec<Json> = (0..40).map(order).collect();
    let (status, written) = instance.post("/v1/streams/orders", &json!({"records": batch})).await;
    assert_eq!(status, 200, "{written}");
    let mut rows = 0;
    while rows < 40 {
        rows += feed.next().await["changes"].as_array().unwrap().len();
    }
    let ids = |answer: &Json| {
        answer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["ID"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let (_, page) = instance
        .get("/v1/views/customer_orders/rows?prefix=2&order=desc&limit=3")
        .await;
    assert_eq!(ids(&page), [38, 34, 30], "{page}");
    let cursor = page["cursor"].as_str().unwrap();
    let (_, page) = instance
        .get(&format!(
            "/v1/views/customer_orders/rows?prefix=2&order=desc&limit=3&cursor={cursor}"
        ))
        .await;
    assert_eq!(ids(&page), [26, 22, 18]);
    let sql = json!({"sql": "SELECT id, amount FROM customer_orders WHERE customer = 2 ORDER BY id DESC LIMIT 3"});
    let (_, answer) = instance.post("/v1/query", &sql).await;
    assert_eq!(ids(&answer), [38, 34, 30], "{answer}");
    assert_eq!(answer["rows"][0].to_string(), r#"{"ID":38,"AMOUNT":38.125}"#);
    let (_, wrong) = instance
        .post("/v1/query", &json!({"sql": "SELECT amuont FROM customer_orders"}))
        .await;
    assert!(
        wrong["error"]["message"].as_str().unwrap().contains("query:1:8"),
        "{wrong}"
    );
}
