//! Any instance answers for any key: as one that has everything, and clearly when it cannot.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::town::{Town, entry, get, ids, query, send, settings, table};
use super::*;
use crate::engine::cluster::InstanceRecord;
use crate::engine::{PublishedTopology, TaskId};
use crate::views::{FrameWriter, SharedEnd, SharedPart, SharedParts};

const PARTITIONS: i32 = 5;

/// Three members with a spread table of a few hundred rows.
async fn town() -> Town {
    town_with(settings()).await
}

pub(super) async fn town_with(settings: HttpSettings) -> Town {
    let mut whole = table(PARTITIONS);
    let place = |key: &Row| match key[0] {
        Value::Bigint(n) => (n / 1_000_000_007_000).rem_euclid(i64::from(PARTITIONS)) as i32,
        _ => 0,
    };
    whole.put((-20..300).map(entry), place);
    let mut town = Town::new(whole, &["ann", "bob", "cy"], settings, None).await;
    town.spread();
    town
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_instance_answers_as_one_that_has_everything() {
    let town = town().await;
    let key = |id: i64| entry(id).0[0].clone();
    let Value::Bigint(there) = key(17) else { unreachable!() };
    let paths = [
        format!("/v1/views/T/rows/{there}"),
        format!("/v1/views/t/rows/{there}?numbers=string"),
        "/v1/views/T/rows/5".into(),
        "/v1/views/T/rows".into(),
        "/v1/views/T/rows?limit=7&order=desc".into(),
        "/v1/views/T/rows?limit=10000".into(),
        format!("/v1/views/T/rows?from={there}&limit=3"),
        format!("/v1/views/T/rows?to={there}&order=desc&limit=4"),
        format!("/v1/views/T/rows?key={there}"),
        "/v1/views/T/rows?key=5".into(),
        "/v1/views/T".into(),
    ];
    let queries = [
        "SELECT * FROM t".to_string(),
        "SELECT * FROM t WHERE kind = 'b' ORDER BY id DESC LIMIT 9".into(),
        "SELECT id, amount FROM t ORDER BY amount DESC LIMIT 5".into(),
        "SELECT * FROM t LIMIT 4".into(),
        "SELECT * FROM t LIMIT 0".into(),
        format!("SELECT id, raw, rate FROM t WHERE id = {there}"),
        format!("SELECT id FROM t WHERE id IN ({there}, 5, 0) ORDER BY id DESC"),
        "SELECT kind, COUNT(*) n, SUM(amount) s, MIN(id) low, MAX(id) high FROM t GROUP BY kind".into(),
        "SELECT kind, COUNT(*) n FROM t WHERE rate > 0.3 GROUP BY kind HAVING COUNT(*) > 1 ORDER BY n DESC, kind LIMIT 2"
            .into(),
        "SELECT COUNT(*) n FROM t WHERE id < -99999999999999".into(),
        "SELECT nothing FROM t".into(),
    ];
    for at in 0..3 {
        for path in &paths {
            let expected = get(&town.reference, path).await;
            assert_eq!(town.get(at, path).await, expected, "{path} at {at}");
        }
        for sql in &queries {
            let expected = query(&town.reference, sql).await;
            assert_eq!(town.query(at, sql).await, expected, "{sql} at {at}");
        }
    }
    // and the expectations are not empty
    let (status, all) = get(&town.reference, "/v1/views/T/rows?limit=10000").await;
    assert_eq!((status, ids(&all).len()), (StatusCode::OK, 320));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_without_any_partition_answers_too() {
    let mut town = town().await;
    for partition in 0..PARTITIONS {
        town.give(partition, 1);
    }
    for path in ["/v1/views/T/rows?limit=50", "/v1/views/T"] {
        assert_eq!(town.get(0, path).await, get(&town.reference, path).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_for_gathered_rows() {
    let few = HttpSettings {
        limits: QueryLimits {
            scanned_rows: 100,
            ..QueryLimits::default()
        },
        ..settings()
    };
    let town = town_with(few).await;
    let sum = "SELECT SUM(amount) FROM t";
    assert_eq!(code(&town.query(0, sum).await), (422, "query_limit"));
    // pages end early and go on
    let mut seen = Vec::new();
    let mut path = "/v1/views/T/rows?limit=10000".to_string();
    loop {
        let (status, page) = town.get(1, &path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        assert!(ids(&page).len() <= 301, "bounded");
        seen.extend(ids(&page));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/views/T/rows?limit=10000&cursor={cursor}");
    }
    let Value::Bigint(first) = entry(-20).0[0] else {
        unreachable!()
    };
    assert_eq!((seen.len(), seen[0]), (320, first));
    assert!(seen.is_sorted_by(|a, b| a < b), "each once");
    let bytes = HttpSettings {
        limits: QueryLimits {
            result_bytes: 5_000,
            ..QueryLimits::default()
        },
        ..settings()
    };
    let town = town_with(bytes).await;
    assert_eq!(code(&town.query(2, "SELECT * FROM t").await), (422, "query_limit"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_away_is_named_and_a_copy_answers_for_who_allows_it() {
    let mut town = town().await;
    town.kill(1).await;
    let response = send(
        &town.members[0].router,
        Request::get("/v1/views/T/rows").body(Body::empty()).unwrap(),
    )
    .await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let (status, answer) = town.query(0, "SELECT COUNT(*) FROM t").await;
    assert_eq!(code(&(status, answer.clone())), (503, "not_ready"));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("partition 1") && message.contains("instance bob"),
        "{message}"
    );
    assert!(!message.contains("instance cy"), "{message}");

    // copies: of partition 1 elsewhere, of partition 4 here and too old at first
    town.follow(1, 2, 100);
    town.follow(4, 0, 3_600_000);
    let rows = "/v1/views/T/rows?limit=10000";
    assert_eq!(
        code(&town.get(0, rows).await),
        (503, "not_ready"),
        "not without asking for it"
    );
    let (status, answer) = town.get(0, &format!("{rows}&max-staleness=10m")).await;
    assert_eq!(code(&(status, answer.clone())), (503, "not_ready"));
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("ms behind"),
        "{answer}"
    );

    let expected = get(&town.reference, rows).await.1;
    let asked = Request::get(format!("{rows}&max-staleness=2h"))
        .body(Body::empty())
        .unwrap();
    let response = send(&town.members[0].router, asked).await;
    let named = response.headers()["millstream-standby"].to_str().unwrap().to_string();
    assert!(
        named.contains("partition=1;behind_ms=") && named.contains("partition=4;"),
        "{named}"
    );
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["rows"], expected["rows"]);
    let stated: Vec<i64> = answer["standby"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["partition"].as_i64().unwrap())
        .collect();
    assert_eq!(stated, [1, 4]);
    assert!(
        answer["standby"][1]["behind_ms"].as_i64().unwrap() >= 3_600_000,
        "{answer}"
    );

    // a row of a copy says so, a row of an owner does not, and a row that is nowhere names all of them
    for id in [16, 19] {
        let Value::Bigint(key) = entry(id).0[0] else {
            unreachable!()
        };
        let path = format!("/v1/views/T/rows/{key}");
        assert_eq!(code(&town.get(0, &path).await), (503, "not_ready"));
        let (status, answer) = town.get(0, &format!("{path}?max-staleness=2h")).await;
        assert_eq!(
            (status, answer["standby"].as_array().map(Vec::len)),
            (StatusCode::OK, Some(1)),
            "{answer}"
        );
    }
    let Value::Bigint(key) = entry(15).0[0] else {
        unreachable!()
    };
    let path = format!("/v1/views/T/rows/{key}?max-staleness=2h");
    assert_eq!(town.get(0, &path).await, get(&town.reference, &path).await);
    assert_eq!(
        code(&town.get(0, "/v1/views/T/rows/1?max-staleness=2h").await),
        (404, "row_not_found")
    );
    let sum = "SELECT SUM(amount) s FROM t";
    let (_, summed) = town.query(0, &format!("/v1/query?max-staleness=2h|{sum}")).await;
    assert_eq!(summed["rows"], query(&town.reference, sum).await.1["rows"]);
    assert_eq!(
        code(&town.get(0, "/v1/views/T/rows?max-staleness=soon").await),
        (400, "bad_request")
    );

    // a describe says what it could not count
    let (status, view) = town.get(0, "/v1/views/T").await;
    assert_eq!((status, &view["rows"]["exact"]), (StatusCode::OK, &json!(false)));
    assert!(view["missing"][0].as_str().unwrap().contains("bob"), "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_run_something_else_are_refused_clearly() {
    let mut town = town().await;
    let message = |answer: (StatusCode, Json)| {
        assert_eq!(code(&answer), (503, "not_ready"));
        answer.1["error"]["message"].as_str().unwrap().to_string()
    };
    // the same topology and generation, made by another plan
    let mut other = (*town.whole.topology.topology).clone();
    let TablePlan::Store(0) = other.views[0].plan else {
        unreachable!()
    };
    other.views[0].plan = TablePlan::Filter(
        Box::new(TablePlan::Store(0)),
        crate::expr::Expr::Literal(Value::Boolean(false)),
    );
    let plan = Arc::new(PublishedTopology::new(Arc::new(other), 0, vec![PARTITIONS]));
    let before = town.members[1].topology.clone();
    town.members[1].published.insert(plan);
    let said = message(town.get(0, "/v1/views/T/rows").await);
    assert!(
        said.contains("made by another plan there") || said.contains("another plan here"),
        "{said}"
    );
    // another generation
    let next = Arc::new(PublishedTopology::new(before.topology.clone(), 1, vec![PARTITIONS]));
    town.members[1].published.insert(next);
    let said = message(town.get(0, "/v1/views/T/rows").await);
    assert!(said.contains("generation 1") && said.contains("generation 0"), "{said}");
    // a topology that is gone
    town.members[1].published.remove("town");
    let said = message(town.query(0, "SELECT * FROM t").await);
    assert!(said.contains("no view T of topology town"), "{said}");
    town.members[1].published.insert(before);
    assert_eq!(town.get(0, "/v1/views/T").await.0, StatusCode::OK);
    // an address that has passed to another instance
    let other = town.members[2].url.clone();
    let owner = std::mem::replace(&mut town.members[1].url, other);
    town.tell();
    let said = message(town.get(0, "/v1/views/T/rows").await);
    assert!(
        said.contains("this is instance cy") && said.contains("for bob"),
        "{said}"
    );
    // one that says no address
    town.members[1].url = None;
    town.tell();
    let said = message(town.get(0, "/v1/views/T/rows").await);
    assert!(said.contains("instance bob, which says no address"), "{said}");
    town.members[1].url = owner;
    town.tell();
    // a partition that has moved on while the asker does not know
    let task = town.members[1].topology.task(TaskId { sub: 0, partition: 1 }).unwrap();
    town.members[1].topology.remove_task(&task);
    let said = message(town.get(0, "/v1/views/T/rows").await);
    assert!(
        said.contains("instance bob: partition 1 is not on this instance"),
        "{said}"
    );
}

#[tokio::test]
async fn the_internal_path_is_for_instances_only() {
    let rig = rig();
    assert_eq!(code(&rig.post("/internal/v1/rows", "{}").await), (415, "internal"));
    let question = |body: &str, origin: Option<&str>| {
        let mut request =
            Request::post("/internal/v1/rows").header("content-type", "application/x-millstream-question");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(Body::from(body.to_string())).unwrap()
    };
    for (body, origin, expected) in [
        (r#"{"wire": 1}"#, Some("http://evil.example"), 403),
        ("{", None, 400),
        (r#"{"wire": 1}"#, None, 400),
        (r#"{"wire": 2, "what": {"else": 7}}"#, None, 409),
    ] {
        let (status, text) = rig.text(question(body, origin)).await;
        assert_eq!(status.as_u16(), expected, "{body}: {text}");
    }
}

/// A stranger at an instance's address, who does something to each connection.
pub(super) async fn stranger(town: &mut Town, does: &'static (dyn Fn(usize) -> Vec<u8> + Sync)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut socket, _)) = listener.accept().await else {
                return;
            };
            let answer = does(number);
            tokio::spawn(async move {
                let mut asked = vec![0; 64 << 10];
                let _ = socket.read(&mut asked).await;
                let _ = socket.write_all(&answer).await;
                if answer.is_empty() {
                    // it hangs until the other side gives up
                    let _ = socket.read(&mut asked).await;
                }
            });
        }
    });
    let record = InstanceRecord {
        url: Some(url),
        ..town.members[1].record()
    };
    town.tell_of(record);
}

pub(super) fn http(kind: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// What an honest instance would begin with for partitions 1 and 4.
pub(super) fn beginning() -> Vec<u8> {
    let part = |partition| SharedPart {
        partition,
        position: json!({}),
        behind_ms: None,
    };
    FrameWriter::parts(&SharedParts {
        parts: vec![part(1), part(4)],
        missing: Vec::new(),
    })
}

pub(super) fn rows_of(items: &[(i64, i32)]) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    for (id, partition) in items {
        let (key, value) = entry(*id);
        let mut encoded = Vec::new();
        crate::types::encode_key(&key, &mut encoded);
        let row = crate::views::ViewRow {
            key,
            value,
            timestamp: 0,
        };
        let item = crate::views::Item {
            range: 0,
            key: encoded,
            partition: *partition,
            row: Some(row),
        };
        assert!(writer.row(&item, 1 << 20).unwrap().is_none());
    }
    writer.end(&SharedEnd::default())
}

pub(super) const KIND: &str = "application/x-millstream-rows";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_broken_answers_are_errors_and_never_rows() {
    type Does = &'static (dyn Fn(usize) -> Vec<u8> + Sync);
    let whole = || [beginning(), rows_of(&[(1, 1), (4, 4)])].concat();
    assert!(whole().len() > 100);
    let cases: [(&str, Does); 8] = [
        ("cannot be reached", &|_| b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("no instance of this application", &|_| http("text/html", 5, b"hello")),
        ("does not consist of frames", &|_| http(KIND, 20, &[b'Z'; 20])),
        ("broke off", &|_| {
            http(KIND, 9_999, &[beginning(), rows_of(&[(1, 1)])[..40].to_vec()].concat())
        }),
        ("ends before its end", &|_| http(KIND, beginning().len(), &beginning())),
        ("other partitions", &|_| {
            let other = FrameWriter::parts(&SharedParts::default());
            http(KIND, other.len(), &other)
        }),
        ("that it was not asked for", &|_| {
            let body = [beginning(), rows_of(&[(2, 2)])].concat();
            http(KIND, body.len(), &body)
        }),
        ("not in the order of their keys", &|_| {
            let body = [beginning(), rows_of(&[(6, 1), (1, 1)])].concat();
            http(KIND, body.len(), &body)
        }),
    ];
    for (expected, does) in cases {
        let mut town = town().await;
        stranger(&mut town, does).await;
        for answer in [
            town.get(0, "/v1/views/T/rows?limit=100").await,
            town.query(0, "SELECT * FROM t").await,
        ] {
            assert_eq!(answer.0, StatusCode::SERVICE_UNAVAILABLE, "{expected}: {answer:?}");
            let message = answer.1["error"]["message"].as_str().unwrap();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
    // the same stranger telling the truth is believed
    let mut town = town().await;
    stranger(&mut town, &|_| {
        let body = [beginning(), rows_of(&[(1, 1), (4, 4)])].concat();
        http(KIND, body.len(), &body)
    })
    .await;
    let (status, answer) = town.get(0, "/v1/views/T/rows?limit=10000").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_hangs_is_given_up_at_the_end_of_the_querys_time() {
    let short = HttpSettings {
        limits: QueryLimits {
            time: Duration::from_millis(300),
            ..QueryLimits::default()
        },
        ..settings()
    };
    let mut town = town_with(short).await;
    for partition in [0, 2, 3] {
        town.give(partition, 0);
    }
    stranger(&mut town, &|_| Vec::new()).await;
    for answer in [
        town.get(0, "/v1/views/T/rows").await,
        town.query(0, "SELECT * FROM t").await,
    ] {
        assert_eq!(code(&answer), (503, "not_ready"));
        let message = answer.1["error"]["message"].as_str().unwrap();
        assert!(message.contains("has not answered in time"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_reader_has_shown_of_itself_is_passed_on() {
    use parking_lot::Mutex;
    static SEEN: Mutex<String> = Mutex::new(String::new());
    let mut town = town().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 64 << 10];
        let n = socket.read(&mut asked).await.unwrap();
        *SEEN.lock() = String::from_utf8_lossy(&asked[..n]).into_owned();
        let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}";
        socket.write_all(refusal.as_bytes()).await.unwrap();
    });
    let record = InstanceRecord {
        url: Some(url),
        ..town.members[1].record()
    };
    town.tell_of(record);
    let request = Request::get("/v1/views/T/rows").header("authorization", "Bearer me");
    let response = send(&town.members[0].router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.await.unwrap();
    assert!(SEEN.lock().contains("authorization: Bearer me"), "{}", SEEN.lock());
    town.spread();
}
