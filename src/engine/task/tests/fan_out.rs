//! A right row of a foreign-key join with more subscribers than one record or transaction should tell.

use super::join_oracle::{AT, Made};
use super::oracle::{final_rows, options};
use super::*;

const SUBSCRIBERS: i64 = 500;
const CHUNK: usize = 20;

/// `l` has so many rows that all ask for row 1 of `r`; the topic of the answers.
fn many() -> (Local, String) {
    asking_for(|_| 1)
}

/// As [`many`], where each row asks for a row of its own choice.
fn asking_for(row: impl Fn(i64) -> i64) -> (Local, String) {
    let mut made = Made::new();
    let (l, r) = (made.table("l"), made.table("r"));
    let width = made.0.schema(l).value.len();
    let join = made
        .0
        .foreign_key_join(AT, (l, r), JoinKind::Left, vec![Expr::Value(0)]);
    let schema = RelationSchema {
        key: made.0.schema(join).key.clone(),
        value: ["L", "R"].map(|name| Column::new(name, BIGINT)).to_vec(),
    };
    let two = made
        .0
        .project("out", "two", join, schema, vec![Expr::Value(1), Expr::Value(width + 1)]);
    let options = TaskOptions {
        fan_out: CHUNK,
        ..options(Emit::EveryChange, 0)
    };
    let mut run = made.run(two, &["L", "R"], options, 1);
    for key in 0..SUBSCRIBERS {
        run.send("l", key, Some(&[row(key), key]), key);
    }
    run.0.settle().unwrap();
    (
        run,
        crate::engine::Names::new("millstream", "t", 0).repartition("out-join-answers"),
    )
}

fn answers(run: &Local, topic: &str) -> usize {
    run.0.topic(topic).count()
}

#[test]
fn a_change_tells_its_subscribers_in_chunks_over_several_commits() {
    let (mut run, topic) = many();
    let before = answers(&run, &topic);
    run.send("r", 1, Some(&[0, 7]), 1000);
    let mut largest = 0;
    loop {
        let at = answers(&run, &topic);
        // one record, or one piece of the work that it has left, a commit
        let done = run.0.process_some(1).unwrap();
        run.commit();
        largest = largest.max(answers(&run, &topic) - at);
        if done == 0 {
            break;
        }
    }
    assert_eq!(largest, CHUNK);
    assert_eq!(answers(&run, &topic) - before, SUBSCRIBERS as usize);
    let rows = final_rows(&run, "out");
    assert!(rows.iter().all(|(key, row)| *row == [Some(*key), Some(7)]), "{rows:?}");
    assert_eq!(rows.len(), SUBSCRIBERS as usize);
}

#[test]
fn a_crash_goes_on_behind_the_last_one_told_and_a_later_change_comes_around() {
    let (mut run, topic) = many();
    let before = answers(&run, &topic);
    run.send("r", 1, Some(&[0, 7]), 1000);
    for _ in 0..10 {
        run.0.process_some(1).unwrap();
        run.commit();
        run.0.crash().unwrap();
        // not committed, and done again
        run.0.process_some(1).unwrap();
        run.0.abort();
    }
    let told = answers(&run, &topic) - before;
    assert!((CHUNK..SUBSCRIBERS as usize / 2).contains(&told), "{told}");
    run.send("r", 1, None, 1001);
    run.0.process_some(1).unwrap();
    run.commit();
    run.0.crash().unwrap();
    run.0.settle().unwrap();
    // those behind the place of the second change hear of it only, those before of both
    let all = answers(&run, &topic) - before;
    assert_eq!(all, SUBSCRIBERS as usize + told);
    let rows = final_rows(&run, "out");
    assert!(rows.iter().all(|(key, row)| *row == [Some(*key), None]), "{rows:?}");
}

#[test]
fn rows_that_keep_changing_do_not_keep_those_behind_them_from_their_turn() {
    const ROWS: i64 = 20;
    /// As many as go on side by side.
    const BUSY: i64 = 16;
    let (mut run, _) = asking_for(|key| key % ROWS);
    for row in 0..ROWS {
        run.send("r", row, Some(&[0, 1]), 1000);
    }
    run.0.settle().unwrap();
    let told = |run: &Local| {
        let rows = final_rows(run, "out");
        rows.iter()
            .filter(|(key, row)| *key % ROWS >= BUSY && row[1] == Some(2))
            .count()
    };
    (BUSY..ROWS).for_each(|row| run.send("r", row, Some(&[0, 2]), 1001));
    for time in 1002..1102 {
        // changes come before what is left of those before them
        (0..BUSY).for_each(|row| run.send("r", row, Some(&[0, time]), time));
        run.0.process_some(1 + ROWS as usize * 2).unwrap();
        run.commit();
    }
    assert_eq!(
        told(&run),
        (ROWS - BUSY) as usize * SUBSCRIBERS as usize / ROWS as usize
    );
    run.0.settle().unwrap();
    let rows = final_rows(&run, "out");
    assert!(
        rows.iter()
            .all(|(key, row)| row[1] == Some(if *key % ROWS < BUSY { 1101 } else { 2 }))
    );
}
