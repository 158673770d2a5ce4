//! Reading what was written: stage by stage, here and elsewhere, with an end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::{Condvar, Mutex};

use super::town::{Town, entry, get, send, settings};
use super::*;
use crate::engine::{Names, Progress, Published};
use crate::topology::{Node, Op, Repartition, Sink, Source, SourceTopic, SubTopology, TimestampFrom};
use crate::types::SerdeSpec;
use crate::views::{CatchUp, Token, find_view};

const REKEYED: &str = "millstream.town.R.repartition";

/// What a group has committed and where topics end, as the test says.
#[derive(Default)]
struct FakeProgress {
    committed: Mutex<BTreeMap<TopicPartition, i64>>,
    ends: Mutex<BTreeMap<TopicPartition, i64>>,
    asked: AtomicUsize,
}

impl FakeProgress {
    fn commit(&self, topic: &str, partition: i32, next: i64) {
        self.committed
            .lock()
            .insert(TopicPartition::new(topic, partition), next);
    }

    fn end(&self, topic: &str, partition: i32, end: i64) {
        self.ends.lock().insert(TopicPartition::new(topic, partition), end);
    }

    /// Waits until somebody has asked twice more: what was said before was looked at.
    async fn looked_at(&self) {
        let before = self.asked.load(SeqCst);
        while self.asked.load(SeqCst) < before + 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Progress for FakeProgress {
    fn names(&self, topology: &str, generation: u32) -> Names {
        Names::new("millstream", topology, generation)
    }

    fn committed(&self, group: &str, inputs: &[TopicPartition]) -> Result<Vec<Option<i64>>, String> {
        assert_eq!(group, "millstream.town");
        self.asked.fetch_add(1, SeqCst);
        let committed = self.committed.lock();
        Ok(inputs.iter().map(|tp| committed.get(tp).copied()).collect())
    }

    fn end(&self, partition: &TopicPartition) -> Result<i64, String> {
        Ok(self.ends.lock().get(partition).copied().unwrap_or(0))
    }
}

/// Kafka is away: nobody is answered before [`Self::release`].
#[derive(Default)]
struct Silent {
    then: FakeProgress,
    asked: AtomicUsize,
    released: (Mutex<bool>, Condvar),
}

impl Silent {
    fn release(&self) {
        *self.released.0.lock() = true;
        self.released.1.notify_all();
    }
}

impl Progress for Silent {
    fn names(&self, topology: &str, generation: u32) -> Names {
        self.then.names(topology, generation)
    }

    fn committed(&self, group: &str, inputs: &[TopicPartition]) -> Result<Vec<Option<i64>>, String> {
        self.asked.fetch_add(1, SeqCst);
        let mut released = self.released.0.lock();
        while !*released {
            self.released.1.wait(&mut released);
        }
        drop(released);
        self.then.committed(group, inputs)
    }

    fn end(&self, partition: &TopicPartition) -> Result<i64, String> {
        Progress::end(&self.then, partition)
    }
}

fn source(id: usize, sub: usize, topic: SourceTopic) -> Node {
    node(
        id,
        sub,
        Vec::new(),
        Op::Source(Source {
            topic,
            relation: "INCOMING".into(),
            columns: schema(&[], &[]),
            used: Vec::new(),
            pseudo: Vec::new(),
            key_format: SerdeSpec::key(Format::Json),
            value_format: SerdeSpec::value(Format::Json),
            timestamp: TimestampFrom::Record,
            window: None,
            store: None,
            history: None,
        }),
    )
}

fn node(id: usize, sub: usize, inputs: Vec<usize>, op: Op) -> Node {
    Node {
        id,
        name: format!("N{id}").into(),
        op,
        inputs,
        kind: RelationKind::Stream,
        schema: schema(&[], &[]),
        sub,
    }
}

/// View T of sub-topology 0, which reads what sub-topology 1 makes of topic `incoming`; beside it a sink that nothing of ours reads.
fn two_stages() -> Topology {
    let columns = schema(
        &[("ID", SqlType::Bigint)],
        &[
            ("KIND", SqlType::String),
            ("AMOUNT", AMOUNT),
            ("RAW", SqlType::Bytes),
            ("RATE", SqlType::Double),
        ],
    );
    let mut topology = topology("town", "T", columns, TablePlan::Store(0));
    let formats = (Format::Json, Format::Json);
    let incoming = schema(&[], &[("ID", SqlType::Bigint)]);
    topology
        .relations
        .push(relation("INCOMING", RelationKind::Stream, incoming, formats));
    let repartition = Op::Repartition(Repartition {
        name: "R".into(),
        key: Vec::new(),
        value: Vec::new(),
        partitions: None,
    });
    let sink = Op::Sink(Sink {
        relation: "OUT".into(),
        topic: "out".into(),
        key_format: SerdeSpec::key(Format::Json),
        value_format: SerdeSpec::value(Format::Json),
        window: None,
        timestamp: TimestampFrom::Record,
    });
    topology.nodes = vec![
        source(0, 1, SourceTopic::External("INCOMING".into())),
        node(1, 1, vec![0], repartition),
        source(2, 0, SourceTopic::Repartition(1)),
        node(3, 0, vec![2], sink),
    ];
    topology.subs[0].sources = vec![2];
    topology.subs.push(SubTopology {
        id: 1,
        nodes: vec![0, 1],
        sources: vec![0],
        ..SubTopology::default()
    });
    topology
}

#[test]
fn stages_are_waited_for_one_after_the_other() {
    let progress = FakeProgress::default();
    let fake = Fake::reading(two_stages(), vec![2, 3], REKEYED);
    let view = find_view(&fake.published, "T").unwrap();
    let token = Token::parse("incoming:2:4").unwrap();
    let mut stages = CatchUp::new(&fake.published, &progress, &view, &token).unwrap();
    assert_eq!(
        stages.step(&progress).unwrap(),
        ["incoming partition 2 is at offset 0 of 5"]
    );
    progress.commit("incoming", 2, 4);
    assert_eq!(
        stages.step(&progress).unwrap(),
        ["incoming partition 2 is at offset 4 of 5"]
    );
    // once it has passed, what lies in the topic behind it is what has to be passed next, and nothing that comes later
    progress.commit("incoming", 2, 5);
    progress.end(REKEYED, 0, 7);
    assert_eq!(stages.step(&progress).unwrap(), Vec::<String>::new());
    progress.end(REKEYED, 0, 9);
    assert_eq!(stages.step(&progress).unwrap(), Vec::<String>::new());
    let need = stages.need();
    assert_eq!(need.of_partitions(&[0]), [(TopicPartition::new(REKEYED, 0), 7)]);
    assert_eq!(
        need.of_partitions(&[1]),
        [(TopicPartition::new(REKEYED, 1), 0)],
        "nothing lies there"
    );
    let waits = format!("{REKEYED} partition 0 is at offset 6 of 7");
    progress.commit(REKEYED, 0, 6);
    assert_eq!(stages.own(&progress, &[0, 1]).unwrap(), std::slice::from_ref(&waits));
    assert_eq!(view.open().unwrap().behind(&need).len(), 1);

    // a token of something else: our own asks for nothing, one that was typed is a mistake
    let elsewhere = crate::types::Position {
        tp: TopicPartition::new("elsewhere", 0),
        offset: 3,
    };
    let mut stages = CatchUp::new(&fake.published, &progress, &view, &Token::of_records([&elsewhere])).unwrap();
    assert!(stages.step(&progress).unwrap().is_empty() && stages.need().is_empty());
    for typed in ["elsewhere:0:3", "incoming:3:0"] {
        let error = CatchUp::new(&fake.published, &progress, &view, &Token::parse(typed).unwrap())
            .err()
            .unwrap();
        assert!(error.hint().contains("incoming"), "{typed}: {error}");
    }
}

#[test]
fn a_topic_between_topologies_is_a_stage_too() {
    let progress = FakeProgress::default();
    let published = Published::new();
    let first = Fake::reading(two_stages(), vec![2, 3], REKEYED);
    published.insert(first.topology.clone());
    // the second topology reads what the first one writes
    let mut second = topology(
        "town",
        "SECOND",
        schema(&[("A", SqlType::Bigint)], &[]),
        TablePlan::Store(0),
    );
    second.name = "second".into();
    let mut out = relation(
        "OUT",
        RelationKind::Stream,
        schema(&[], &[]),
        (Format::Json, Format::Json),
    );
    out.topic.name = "out".into();
    second.relations.push(out);
    second.nodes = vec![source(0, 0, SourceTopic::External("OUT".into()))];
    second.subs[0].sources = vec![0];
    published.insert(Arc::new(PublishedTopology::new(Arc::new(second), 0, vec![1])));
    let view = find_view(&published, "SECOND").unwrap();
    let token = Token::parse("incoming:0:0").unwrap();
    let mut stages = CatchUp::new(&published, &progress, &view, &token).unwrap();
    assert_eq!(
        stages.step(&progress).unwrap(),
        ["incoming partition 0 is at offset 0 of 1"]
    );
    progress.commit("incoming", 0, 1);
    progress.end(REKEYED, 1, 2);
    let waits = format!("{REKEYED} partition 1 is at offset 0 of 2");
    assert_eq!(stages.step(&progress).unwrap(), [waits]);
    progress.commit(REKEYED, 0, 0);
    progress.commit(REKEYED, 1, 2);
    progress.end("out", 0, 11);
    assert!(stages.step(&progress).unwrap().is_empty());
    assert_eq!(stages.need().of_partitions(&[0]), [(TopicPartition::new("out", 0), 11)]);
}

#[tokio::test]
async fn a_write_gives_a_token() {
    let rig = rig();
    let body = r#"{"records": [{"key": 1, "value": {"COUNT": 1}}, {"key": 2, "value": {"COUNT": 2}}]}"#;
    let (status, written) = rig.post("/v1/streams/INCOMING", body).await;
    assert_eq!(status, StatusCode::OK, "{written}");
    let token = Token::parse(written["token"].as_str().unwrap()).unwrap();
    let next: Vec<_> = token.iter().collect();
    assert_eq!(next, [(TopicPartition::new("incoming", 0), 2)]);
    // without a way to ask for offsets nothing is promised
    let path = format!("/v1/views/orders/rows?after={}", token.encode());
    assert_eq!(code(&rig.get(&path).await), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_its_token_here_and_elsewhere() {
    let progress = Arc::new(FakeProgress::default());
    let whole = Fake::reading(two_stages(), vec![2, 3], REKEYED);
    let mut town = Town::new(whole, &["ann", "bob"], settings(), Some(progress.clone())).await;
    town.spread();
    progress.end(REKEYED, 0, 1);
    progress.end(REKEYED, 1, 2);

    let behind = town.get(0, "/v1/views/T/rows?after=incoming:0:0&timeout=3s").await;
    assert_eq!(code(&behind), (504, "behind"));
    let said = behind.1["error"]["message"].as_str().unwrap();
    assert!(said.contains("incoming partition 0 is at offset 0 of 1"), "{said}");

    // both partitions have work to do: each instance sees only one of them
    let reads: Vec<_> = (0..2)
        .map(|at| {
            let router = town.members[at].router.clone();
            let path = "/v1/views/T/rows?after=incoming:0:0&timeout=60s";
            tokio::spawn(async move { send(&router, Request::get(path).body(Body::empty()).unwrap()).await })
        })
        .collect();
    progress.looked_at().await;
    progress.commit("incoming", 0, 1);
    progress.looked_at().await;
    let rows = [(0, entry(2)), (1, entry(3)), (1, entry(5))];
    for (partition, (key, value)) in rows {
        assert!(
            reads.iter().all(|read| !read.is_finished()),
            "before everything is there"
        );
        town.whole.commit(partition, 1, &[(0, key, Some(value))]);
    }
    // what the group has committed is there already, or a moment later
    progress.commit(REKEYED, 0, 1);
    progress.commit(REKEYED, 1, 2);
    for read in reads {
        let response = read.await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let answer: Json = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, super::town::ids(&answer).len()),
            (StatusCode::OK, 3),
            "{answer}"
        );
    }
    // committed, and not yet shown by its owner: waited for there
    progress.commit(REKEYED, 1, 3);
    progress.end(REKEYED, 1, 3);
    let behind = town.get(0, "/v1/views/T/rows?after=incoming:0:0&timeout=3s").await;
    assert_eq!(code(&behind), (504, "behind"));
    let said = behind.1["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("instance bob") && said.contains("offset 2 of 3"),
        "{said}"
    );
    // a copy that cannot show the token is no answer
    town.follow(1, 0, 5);
    town.drop_everywhere(1);
    let (status, answer) = town
        .get(0, "/v1/views/T/rows?after=incoming:0:0&timeout=1s&max-staleness=1h")
        .await;
    assert_eq!(code(&(status, answer.clone())), (503, "not_ready"));
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(said.contains("does not reflect the token yet"), "{said}");
    let (status, _) = town.get(0, "/v1/views/T/rows?max-staleness=1h").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_read_keeps_to_its_time_while_kafka_is_silent_and_other_reads_go_on() {
    const TOKEN: &str = "/v1/views/T/rows?after=incoming:0:0";
    let progress = Arc::new(Silent::default());
    let whole = Fake::reading(two_stages(), vec![2, 3], REKEYED);
    let mut town = Town::new(whole, &["ann"], settings(), Some(progress.clone())).await;
    town.spread();
    let behind = town.get(0, &format!("{TOKEN}&timeout=100ms")).await;
    assert_eq!(code(&behind), (504, "behind"));
    let said = behind.1["error"]["message"].as_str().unwrap();
    assert!(said.contains("Kafka has not said"), "{said}");

    // all that may wait: the first one's thread still does
    let router = &town.members[0].router;
    let waiting: Vec<_> = (1..super::super::state::MOST_WAITS)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { get(&router, &format!("{TOKEN}&timeout=60s")).await })
        })
        .collect();
    while progress.asked.load(SeqCst) < super::super::state::MOST_WAITS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = town.get(0, &format!("{TOKEN}&timeout=50ms")).await;
    assert_eq!(code(&refused), (503, "busy"));
    for path in ["/v1/views/T/rows", "/v1/views/T"] {
        assert_eq!(town.get(0, path).await.0, StatusCode::OK, "needs no token: {path}");
    }
    assert_eq!(code(&town.get(0, "/v1/views/T/rows/1").await), (404, "row_not_found"));
    assert!(waiting.iter().all(|read| !read.is_finished()));

    progress.then.commit("incoming", 0, 1);
    progress.release();
    for read in waiting {
        assert_eq!(read.await.unwrap().0, StatusCode::OK);
    }
}
