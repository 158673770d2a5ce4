//! Sources, filters, projections, aggregates, bad records.

use super::*;
use crate::engine::golden::LocalError;
use crate::engine::task::{Reason, TaskError};
use crate::operators::DropReason;

const BOTH: [Emit; 2] = [Emit::HoldUntilCommit, Emit::EveryChange];

#[test]
fn a_stream_is_filtered_and_projected() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT, BIGINT]);
    let s = b.filter(s, greater(0, 10));
    let s = b.project(
        s,
        vec![Expr::Value(1), Expr::Key(0), Expr::Rowtime],
        &[BIGINT, BIGINT, BIGINT],
    );
    b.sink(s, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.put("s", 1, Some(&[11, 5]), 100);
    run.put("s", 2, Some(&[10, 6]), 101);
    run.put("s", 3, None, 102);
    run.put("s", 1, Some(&[12, 7]), 103);
    assert!(run.read("out").is_empty(), "nothing is sent before the commit");
    run.commit();
    assert_eq!(run.read("out"), ["1=5,1,100@100", "1=7,1,103@103"]);
}

#[test]
fn a_row_of_a_table_that_no_longer_passes_is_deleted() {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT]);
    let t = b.filter(t, greater(0, 10));
    b.sink(t, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    for (value, at) in [(5, 1), (11, 2), (11, 3), (6, 4), (7, 5)] {
        run.put("t", 1, Some(&[value]), at);
    }
    run.put("t", 1, None, 6);
    run.put("t", 2, Some(&[20]), 7);
    run.put("t", 2, None, 8);
    run.put("t", 2, None, 9);
    run.put("t", 3, Some(&[30]), 10);
    run.commit();
    // the same row twice is forwarded twice; a deleted row is deleted once
    assert_eq!(
        run.read("out"),
        ["1=11@2", "1=11@3", "1=-@4", "2=20@7", "2=-@8", "3=30@10"]
    );
    assert_eq!(run.view("out"), ["3=30@10"]);
}

#[test]
fn an_aggregate_forwards_each_key_once_a_commit() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    let a = b.aggregate(s, "A", vec![count(), sum(0)]);
    b.sink(a, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.put("s", 1, Some(&[5]), 100);
    run.put("s", 2, Some(&[7]), 90);
    run.put("s", 1, Some(&[6]), 80);
    run.commit();
    assert_eq!(
        run.read("out"),
        ["2=1,7@90", "1=2,11@100"],
        "by timestamp, the larger one of the group"
    );
    run.put("s", 3, Some(&[1]), 90);
    run.put("s", 2, Some(&[1]), 90);
    run.commit();
    assert_eq!(
        run.read("out")[2..],
        ["3=1,1@90", "2=2,8@90"],
        "then by what was written first"
    );
    run.commit();
    assert_eq!(run.read("out").len(), 4, "nothing is forwarded twice");
    assert_eq!(run.view("out"), ["1=2,11@100", "2=2,8@90", "3=1,1@90"]);
}

#[test]
fn in_every_change_mode_each_step_is_forwarded() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    let a = b.aggregate(s, "A", vec![count(), sum(0)]);
    b.sink(a, "out");
    let mut run = b.run(Emit::EveryChange);
    run.put("s", 1, Some(&[5]), 100);
    run.put("s", 1, Some(&[6]), 80);
    run.commit();
    assert_eq!(run.read("out"), ["1=1,5@100", "1=2,11@100"]);
}

fn grouped_table() -> Builder {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT, BIGINT]);
    let t = b.repartition(t, 1, "R", Expr::Value(0));
    let a = b.aggregate(t, "A", vec![count(), sum(1)]);
    b.sink(a, "out");
    b
}

#[test]
fn a_row_that_changes_its_group_leaves_the_old_one() {
    for emit in BOTH {
        let mut run = grouped_table().run(emit);
        run.put("t", 1, Some(&[7, 10]), 1);
        run.put("t", 2, Some(&[7, 20]), 2);
        run.0.settle().unwrap();
        assert_eq!(run.view("out"), ["7=2,30@2"]);
        run.put("t", 1, Some(&[8, 11]), 3);
        run.0.settle().unwrap();
        assert_eq!(run.view("out"), ["7=1,20@3", "8=1,11@3"]);
        run.put("t", 2, None, 4);
        run.put("t", 1, Some(&[8, 12]), 5);
        run.0.settle().unwrap();
        assert_eq!(run.view("out"), ["8=1,12@5"]);
        let all = run.read("out");
        match emit {
            Emit::HoldUntilCommit => assert_eq!(all, ["7=2,30@2", "7=1,20@3", "8=1,11@3", "7=-@4", "8=1,12@5"]),
            Emit::EveryChange => assert_eq!(
                all,
                [
                    "7=1,10@1", "7=2,30@2", "7=1,20@3", "8=1,11@3", "7=-@4", "8=-@5", "8=1,12@5"
                ],
                "taken out, then put in"
            ),
        }
    }
}

#[test]
fn rows_without_group_belong_to_none() {
    let mut run = grouped_table().run(Emit::HoldUntilCommit);
    let key = [Value::Bigint(1)];
    run.send_row("t", Some(&key), Some(&[Value::Null, Value::Bigint(5)]), 1);
    run.send_row("t", Some(&key), Some(&[Value::Bigint(7), Value::Bigint(5)]), 2);
    run.0.settle().unwrap();
    assert_eq!(run.view("out"), ["7=1,5@2"]);
    run.send_row("t", Some(&key), Some(&[Value::Null, Value::Bigint(5)]), 3);
    run.0.settle().unwrap();
    assert!(run.view("out").is_empty());
    let task = run.0.tasks().next().unwrap();
    let drops: Vec<_> = task
        .metrics()
        .dropped()
        .map(|(_, reason, d)| (reason, d.count, d.last))
        .collect();
    // the row without group is passed over when it comes, when it goes, and when it comes again
    assert_eq!(drops, [(DropReason::NullKey, 3, Some((0, 0, 2)))]);
}

#[test]
fn a_stream_without_key_is_not_grouped_but_goes_elsewhere() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    let a = b.aggregate(s, "A", vec![count()]);
    b.sink(a, "counts");
    b.sink(s, "copy");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.send_row("s", None, Some(&[Value::Bigint(5)]), 1);
    run.put("s", 1, None, 2);
    run.commit();
    assert_eq!(run.read("copy"), ["=5@1", "1=-@2"]);
    assert!(run.read("counts").is_empty());
    let task = run.0.tasks().next().unwrap();
    let drops: Vec<_> = task
        .metrics()
        .dropped()
        .map(|(_, reason, d)| (reason, d.count))
        .collect();
    assert_eq!(drops, [(DropReason::NullKey, 1), (DropReason::NullValue, 1)]);
}

fn header(record: &LocalRecord, name: &str) -> String {
    let headers = record.headers.as_ref().expect("headers");
    let value = &headers.iter().find(|(n, _)| &**n == name).expect(name).1;
    String::from_utf8(value.as_deref().unwrap_or_default().to_vec()).unwrap()
}

#[test]
fn a_bad_record_goes_to_the_dead_letters_and_leaves_nothing_behind() {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT]);
    // the row is in the table's store before the overflow is seen
    let one = Expr::Literal(Value::Bigint(1));
    let minus = Expr::Negate(Box::new(Expr::Value(0)));
    let t = b.project(t, vec![minus, one], &[BIGINT, BIGINT]);
    b.sink(t, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.put("t", 1, Some(&[5]), 1);
    let garbage = LocalRecord {
        key: None,
        value: Some(b"garbage".to_vec()),
        timestamp: 2,
        headers: Some(Arc::new(vec![("trace".into(), Some(Arc::from(&b"abc"[..])))])),
    };
    run.0.send("t", None, garbage);
    run.send_row("t", None, Some(&[Value::Bigint(1)]), 3);
    run.put("t", 2, Some(&[6]), 4);
    run.commit();
    assert_eq!(run.read("out"), ["1=-5,1@1", "2=-6,1@4"]);
    let letters: Vec<_> = run.0.topic("millstream.t.dead-letters").collect();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].value.as_deref(), Some(&b"garbage"[..]));
    let told =
        ["topic", "partition", "offset", "timestamp", "node"].map(|n| header(letters[0], &format!("millstream.{n}")));
    assert_eq!(told, ["t", "0", "1", "2", "t"]);
    assert!(
        header(letters[0], "millstream.reason").starts_with("value: "),
        "the word, then the message"
    );
    assert_eq!(header(letters[0], "trace"), "abc");
    assert!(header(letters[1], "millstream.reason").starts_with("null-key: "));
    let metrics = run.0.tasks().next().unwrap().metrics();
    assert_eq!(
        (
            metrics.dead_letters(Reason::Value),
            metrics.dead_letters(Reason::NullKey)
        ),
        (1, 1)
    );
    assert_eq!((metrics.records_in, metrics.records_out), (4, 4));
}

#[test]
fn a_record_that_fails_half_way_is_not_in_the_store() {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT]);
    let a = b.aggregate(t, "A", vec![sum(0)]);
    b.sink(t, "copy");
    b.sink(a, "out");
    let mut run = b.run(Emit::EveryChange);
    run.put("t", 1, Some(&[i64::MAX]), 1);
    // a row of the wrong width: reading it is an error before anything is written
    run.send_row("t", Some(&[Value::Bigint(2)]), Some(&[]), 2);
    run.0.process_all().unwrap();
    run.commit();
    assert_eq!(run.view("copy").len(), 1);
    assert_eq!(run.read("out").len(), 1);
}

#[test]
fn under_the_policy_to_stop_a_bad_record_stops() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    b.sink(s, "out");
    let options = TaskOptions {
        bad_record: BadRecord::Stop,
        ..TaskOptions::default()
    };
    let mut run = b.run_with(options, 1);
    run.put("s", 1, Some(&[5]), 1);
    let record = LocalRecord {
        key: None,
        value: Some(vec![9]),
        timestamp: 2,
        headers: None,
    };
    run.0.send("s", None, record);
    let Err(LocalError::Task(TaskError::Stop(stopped))) = run.0.process_all() else {
        panic!("it went on");
    };
    assert_eq!(
        (stopped.topic.as_str(), stopped.offset, stopped.reason),
        ("s", 1, Reason::Value)
    );
    assert!(
        stopped.to_string().starts_with("bad record s-0@1 at s (value): "),
        "{stopped}"
    );
}

#[test]
fn the_event_time_comes_from_a_column_and_pseudo_columns_from_the_record() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT, BIGINT]);
    let source = b.source_mut(s);
    source.used = vec![1];
    source.timestamp = TimestampFrom::Column(0);
    source.pseudo = vec![PseudoColumn::Partition, PseudoColumn::Offset];
    b.topology.nodes[s].schema.value = columns("V", &[BIGINT, SqlType::Integer, BIGINT]);
    let s = b.project(s, vec![Expr::Value(0), Expr::Value(2)], &[BIGINT, BIGINT]);
    b.sink(s, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.put("s", 1, Some(&[77, 5]), 1);
    run.put("s", 1, Some(&[-1, 5]), 2);
    run.put("s", 1, Some(&[78, 6]), 3);
    run.commit();
    assert_eq!(run.read("out"), ["1=5,0@77", "1=6,2@78"]);
    assert_eq!(
        run.0.tasks().next().unwrap().metrics().dead_letters(Reason::Timestamp),
        1
    );
}

#[test]
fn headers_pass_through_to_sinks_and_repartitions() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    let s = b.repartition(s, 1, "R", Expr::Value(0));
    b.sink(s, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    let mut value = Vec::new();
    encode_row(&[Value::Bigint(4)], &mut value);
    let headers: Headers = Some(Arc::new(vec![("trace".into(), None)]));
    let record = LocalRecord {
        key: None,
        value: Some(value),
        timestamp: 2,
        headers: headers.clone(),
    };
    run.0.send("s", None, record);
    run.0.settle().unwrap();
    assert_eq!(run.read("out"), ["4=4@2"]);
    assert_eq!(run.0.topic("out").next().unwrap().headers, headers);
}

#[test]
fn an_old_row_is_computed_with_its_own_time() {
    for emit in BOTH {
        let mut b = Builder::new();
        let t = b.table(0, "t", &[BIGINT]);
        let t = b.project(t, vec![Expr::Value(0), Expr::Rowtime], &[BIGINT, BIGINT]);
        let t = b.repartition(t, 1, "R", Expr::Value(0));
        let times = b.aggregate(t, "T", vec![sum(1)]);
        // the time of a group, in groups of its count
        let again = b.project(times, vec![Expr::Value(0), Expr::Rowtime], &[BIGINT, BIGINT]);
        let again = b.repartition(again, 2, "R2", Expr::Literal(Value::Bigint(1)));
        let all = b.aggregate(again, "ALL", vec![count(), sum(1)]);
        b.sink(times, "times");
        b.sink(all, "all");
        let mut run = b.run(emit);
        for (key, value, at) in [
            (1, Some(7), 10),
            (2, Some(7), 20),
            (1, Some(8), 31),
            (2, Some(7), 42),
            (1, None, 53),
        ] {
            let value = value.map(|v| [v]);
            run.put("t", key, value.as_ref().map(|v| &v[..]), at);
            run.0.settle().unwrap();
        }
        assert_eq!(run.view("times"), ["7=42@42"]);
        assert_eq!(run.view("all"), ["1=1,42@53"], "{emit:?}");
    }
}

#[test]
fn with_the_registry_away_the_record_is_given_again() {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT]);
    b.source_mut(t).value_format = SerdeSpec::value(Format::Avro);
    b.sink(t, "out");
    let registry = Arc::new(MemoryRegistry::new());
    let text = r#"{"type": "record", "name": "T", "fields": [{"name": "V0", "type": "long"}]}"#;
    let schema = registry
        .register("t-value", &crate::formats::SchemaText::avro(text))
        .unwrap();
    let schemas: Arc<dyn SchemaSource> = registry.clone();
    let mut run = b.run_on(TaskOptions::default(), 1, &schemas);
    let mut key = Vec::new();
    encode_key(&[Value::Bigint(1)], &mut key);
    // magic byte, schema id, 5 in zigzag
    let value = [&[0][..], &schema.id.to_be_bytes(), &[10]].concat();
    let record = LocalRecord {
        key: Some(key),
        value: Some(value),
        timestamp: 1,
        headers: None,
    };
    run.0.send("t", None, record);
    registry.set_away(true);
    for _ in 0..2 {
        let Err(LocalError::Task(TaskError::Retry(why))) = run.0.process_all() else {
            panic!("it went on");
        };
        assert!(why.contains("registry"), "{why}");
        assert!(
            run.0
                .tasks()
                .all(|task| task.is_clean() && task.metrics().records_in == 0)
        );
    }
    registry.set_away(false);
    run.0.process_all().unwrap();
    run.commit();
    assert_eq!(run.read("out"), ["1=5@1"]);
}
