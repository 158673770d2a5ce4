//! Joins in a running task.

use super::*;

#[test]
fn a_stream_meets_the_newest_row_of_the_table() {
    for (kind, expected) in [
        (JoinKind::Inner, vec!["1=10,5@2", "1=11,6@4"]),
        (
            JoinKind::Left,
            vec!["1=9,null@0", "1=10,5@2", "1=11,6@4", "1=12,null@6", "=1,null@8"],
        ),
    ] {
        let mut b = Builder::new();
        let s = b.stream(0, "s", &[BIGINT]);
        let t = b.table(0, "t", &[BIGINT]);
        let t = b.filter(t, greater(0, 0));
        let j = b.stream_table_join(s, t, kind);
        b.sink(j, "out");
        let mut run = b.run(Emit::HoldUntilCommit);
        run.put("s", 1, Some(&[9]), 0);
        run.put("t", 1, Some(&[5]), 1);
        run.put("s", 1, Some(&[10]), 2);
        run.put("t", 1, Some(&[6]), 3);
        run.put("s", 1, Some(&[11]), 4);
        run.put("t", 1, Some(&[-1]), 5);
        run.put("s", 1, Some(&[12]), 6);
        run.put("s", 1, None, 7);
        run.send_row("s", None, Some(&[Value::Bigint(1)]), 8);
        run.0.process_all().unwrap();
        run.commit();
        assert_eq!(run.read("out"), expected, "{kind:?}");
    }
}

/// The calls of Kafka Streams' `KTableKTable*JoinTest`: left, right, tombstones.
fn two_tables(kind: JoinKind) -> Vec<String> {
    let mut b = Builder::new();
    let l = b.table(0, "l", &[BIGINT]);
    let r = b.table(0, "r", &[BIGINT]);
    let j = b.table_table_join(l, r, kind);
    b.sink(j, "out");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.put("l", 1, Some(&[10]), 5);
    run.put("r", 1, Some(&[20]), 3);
    run.put("l", 1, Some(&[11]), 6);
    run.put("r", 1, None, 7);
    run.put("r", 2, Some(&[30]), 8);
    run.put("l", 2, None, 9);
    run.put("l", 1, None, 10);
    run.commit();
    let rows = run.view("out");
    let mut newest: Vec<String> = run
        .read("out")
        .into_iter()
        .filter(|r| !r.contains('-') && r.starts_with('2'))
        .collect();
    assert_eq!(newest.pop(), rows.first().cloned(), "the view shows what was sent last");
    run.read("out")
}

#[test]
fn tables_join_as_kafka_streams_tables_do() {
    assert_eq!(two_tables(JoinKind::Inner), ["1=10,20@5", "1=11,20@6", "1=-@7"]);
    assert_eq!(
        two_tables(JoinKind::Left),
        ["1=10,null@5", "1=10,20@5", "1=11,20@6", "1=11,null@7", "1=-@10"]
    );
    assert_eq!(
        two_tables(JoinKind::Right),
        ["1=10,20@5", "1=11,20@6", "1=-@7", "2=null,30@8"]
    );
    assert_eq!(
        two_tables(JoinKind::Full),
        [
            "1=10,null@5",
            "1=10,20@5",
            "1=11,20@6",
            "1=11,null@7",
            "2=null,30@8",
            "1=-@10"
        ]
    );
}

/// Counts and sums of one stream in two tables, joined: the shape of KAFKA-7595.
fn diamond() -> Builder {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    let c = b.aggregate(s, "C", vec![count()]);
    let a = b.aggregate(s, "S", vec![sum(0)]);
    let j = b.table_table_join(c, a, JoinKind::Inner);
    b.sink(j, "out");
    b
}

#[test]
fn a_join_of_two_aggregates_never_pairs_new_with_old() {
    let mut run = diamond().run(Emit::HoldUntilCommit);
    run.put("s", 1, Some(&[5]), 1);
    run.put("s", 1, Some(&[7]), 2);
    run.commit();
    run.put("s", 1, Some(&[1]), 3);
    run.put("s", 2, Some(&[9]), 0);
    run.commit();
    assert_eq!(run.read("out"), ["1=2,12@2", "2=1,9@0", "1=3,13@3"]);
    let mut every = diamond().run(Emit::EveryChange);
    every.put("s", 1, Some(&[5]), 1);
    every.put("s", 1, Some(&[7]), 2);
    every.commit();
    // what Kafka Streams does as well: the count is a step ahead for a moment
    assert_eq!(every.read("out"), ["1=1,5@1", "1=2,5@2", "1=2,12@2"]);
}

#[test]
fn a_table_joined_with_an_aggregate_is_forwarded_with_it() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[BIGINT]);
    let a = b.aggregate(s, "A", vec![sum(0)]);
    let t = b.table(0, "t", &[BIGINT]);
    let j = b.table_table_join(t, a, JoinKind::Left);
    let again = b.repartition(j, 1, "R", Expr::Value(0));
    let total = b.aggregate(again, "T", vec![count(), sum(1)]);
    b.sink(j, "joined");
    b.sink(total, "totals");
    let mut run = b.run(Emit::HoldUntilCommit);
    run.put("t", 1, Some(&[100]), 1);
    run.put("s", 1, Some(&[5]), 2);
    run.put("t", 1, Some(&[101]), 3);
    run.put("t", 2, Some(&[101]), 4);
    run.0.settle().unwrap();
    assert_eq!(run.read("joined"), ["1=101,5@3", "2=101,null@4"]);
    assert_eq!(run.view("totals"), ["101=2,5@4"]);
    run.put("s", 2, Some(&[1]), 5);
    run.put("t", 1, None, 6);
    run.0.settle().unwrap();
    assert_eq!(run.read("joined")[2..], ["2=101,1@5", "1=-@6"]);
    assert_eq!(run.view("totals"), ["101=1,1@6"]);
}

#[test]
fn a_table_joined_with_itself_is_taken_back_whole() {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT]);
    let positive = b.filter(t, greater(0, 0));
    let j = b.table_table_join(t, positive, JoinKind::Left);
    let again = b.repartition(j, 1, "R", Expr::Literal(Value::Bigint(1)));
    let total = b.aggregate(again, "T", vec![count(), sum(0), sum(1)]);
    b.sink(j, "joined");
    b.sink(total, "total");
    let mut run = b.run(Emit::HoldUntilCommit);
    for value in [5, -3, 8] {
        run.put("t", 1, Some(&[value]), value.abs());
        run.0.settle().unwrap();
    }
    assert_eq!(run.read("joined"), ["1=5,5@5", "1=-3,null@3", "1=8,8@8"]);
    assert_eq!(run.view("total"), ["1=1,8,8@8"]);
}
