//! Neighbours that hang, are slow, have good copies, or cannot be reached: what needs them says so, and what does not goes on.

use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::cluster::{KIND, beginning, http, rows_of, stranger, town_with};
use super::town::{Town, entry, get, ids, query, settings, table};
use super::*;
use crate::engine::cluster::InstanceRecord;
use crate::types::encode_key;
use crate::views::{Blob, ShareRequest, What};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_for_a_hanging_instance_take_no_place_of_others() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let one = HttpSettings {
        concurrent_queries: 1,
        limits: QueryLimits {
            time: Duration::from_secs(600),
            ..QueryLimits::default()
        },
        ..settings()
    };
    let mut town = town_with(one).await;
    stranger(&mut town, &|_| {
        ASKED.fetch_add(1, SeqCst);
        Vec::new()
    })
    .await;
    let ann = &town.members[0].router;
    let waiting: Vec<_> = ["/v1/views/T/rows", "/v1/views/T/rows/1", "/v1/views/T", ""]
        .into_iter()
        .map(|path| {
            let router = ann.clone();
            tokio::spawn(async move {
                match path {
                    "" => query(&router, "SELECT COUNT(*) FROM t").await,
                    path => get(&router, path).await,
                }
            })
        })
        .collect();
    while ASKED.load(SeqCst) < waiting.len() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // partition 0 is here
    let Value::Bigint(here) = entry(5).0[0] else {
        unreachable!()
    };
    let (status, answer) = town.get(0, &format!("/v1/views/T/rows/{here}")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for read in waiting {
        assert!(!read.is_finished());
        read.abort();
    }
}

/// The whole of a request with a body.
async fn question(socket: &mut tokio::net::TcpStream) -> Option<ShareRequest> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n")
            && let Ok(request) = serde_json::from_slice(&read[end + 4..])
        {
            return Some(request);
        }
        let mut more = [0; 4096];
        let n = socket.read(&mut more).await.ok().filter(|n| *n > 0)?;
        read.extend_from_slice(&more[..n]);
    }
}

fn encoded(id: i64) -> Vec<u8> {
    let mut key = Vec::new();
    encode_key(&entry(id).0, &mut key);
    key
}

/// In place of bob: has these rows, and sends so many of them; then nothing more comes, unless these were all.
async fn slow(town: &mut Town, rows: &'static [(i64, i32)], at_once: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Some(request) = question(&mut socket).await else {
                    return;
                };
                // of 500 ms some are for its way back
                assert!(request.time_ms <= 400, "{}", request.time_ms);
                let after = match request.what {
                    What::Rows { after, .. } => after.map(|(Blob(key), _)| key),
                    What::Point { .. } | What::Select { .. } | What::Count => None,
                };
                let behind = |id: i64| after.as_ref().is_none_or(|after| encoded(id) > *after);
                let rows: Vec<(i64, i32)> = rows.iter().copied().filter(|(id, _)| behind(*id)).collect();
                let whole = rows_of(&rows);
                let sent = match rows.len() > at_once {
                    true => {
                        let some = rows_of(&rows[..at_once]);
                        // without the frame of the end, which is the same for all
                        some[..some.len() - rows_of(&[]).len()].to_vec()
                    }
                    false => whole.clone(),
                };
                let answer = http(KIND, beginning().len() + whole.len(), &[beginning(), sent].concat());
                // whoever has given up hears nothing
                let _ = socket.write_all(&answer).await;
                let _ = socket.read(&mut [0; 16]).await;
            });
        }
    });
    let record = InstanceRecord {
        url: Some(url),
        ..town.members[1].record()
    };
    town.tell_of(record);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_instance_makes_pages_short_and_queries_too_long() {
    const ROWS: &[(i64, i32)] = &[(1, 1), (4, 4), (6, 1), (9, 4), (11, 1), (14, 4), (16, 1)];
    let short = HttpSettings {
        limits: QueryLimits {
            time: Duration::from_millis(500),
            ..QueryLimits::default()
        },
        ..settings()
    };
    let mut whole = table(5);
    whole.put((0..18).map(entry), |key| match key[0] {
        Value::Bigint(n) => (n / 1_000_000_007_000).rem_euclid(5) as i32,
        _ => 0,
    });
    let mut town = Town::new(whole, &["ann", "bob", "cy"], short, None).await;
    town.spread();
    slow(&mut town, ROWS, 3).await;
    // a busy machine may not even hear the beginning in time: then it is asked again
    let mut tries = 0..100;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = town.get(0, &format!("/v1/views/T/rows?limit=1000{cursor}")).await;
        if status != StatusCode::OK {
            assert!(tries.next().is_some(), "{page}");
            continue;
        }
        let before = seen.len();
        seen.extend(ids(&page));
        let Some(next) = page["cursor"].as_str() else { break };
        assert!(seen.len() > before, "each page goes on");
        cursor = format!("&cursor={next}");
    }
    let expected = get(&town.reference, "/v1/views/T/rows?limit=1000").await.1;
    assert_eq!(seen, ids(&expected), "each row once");
    while code(&town.query(0, "SELECT * FROM t").await) != (422, "query_limit") {
        assert!(tries.next().is_some(), "a query is whole or too long");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_judged_by_its_age_and_not_by_what_was_heard_of_it() {
    let mut town = town_with(settings()).await;
    town.drop_everywhere(1);
    // cy has shown all of it a moment ago; what it said of itself is older
    town.follow(1, 2, 0);
    town.members[2].standbys[0].behind_ms = 2_900;
    town.tell();
    let (status, answer) = town.get(0, "/v1/views/T/rows?limit=1000&max-staleness=1h").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut record = town.members[2].record();
    record.topologies[0].standbys[0].behind_ms = 7_200_000;
    town.tell_of(record.clone());
    let (status, answer) = town.get(0, "/v1/views/T/rows?limit=1000&max-staleness=1h").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // one that has never been whole is not asked
    record.topologies[0].standbys[0].behind_ms = i64::MAX;
    town.tell_of(record);
    let answer = town.get(0, "/v1/views/T/rows?limit=1000&max-staleness=1h").await;
    assert_eq!(code(&answer), (503, "not_ready"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_without_an_address_is_said_to_be_one() {
    let mut town = Town::new(table(2), &["ann", "bob"], settings(), None).await;
    town.spread();
    let problems = |answer: (StatusCode, Json)| -> Vec<bool> {
        let instances = answer.1["instances"].as_array().unwrap().clone();
        instances
            .iter()
            .map(|instance| instance["problem"].is_string())
            .collect()
    };
    // this town's members do not tell themselves where they are
    assert_eq!(problems(town.get(0, "/v1/instances").await), [true, false]);
    town.members[1].url = None;
    town.tell();
    let listed = town.get(0, "/v1/instances").await;
    let said = listed.1["instances"][1]["problem"].as_str().unwrap();
    assert!(said.contains("--advertised-url"), "{said}");
    assert_eq!(problems(listed), [true, true]);
    // alone nobody needs to reach it
    let rig = rig();
    assert_eq!(problems(rig.get("/v1/instances").await), [false]);
}
