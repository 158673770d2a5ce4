//! Paging while partitions move: whatever moves between the pages, and whoever is asked, a key that does not change comes exactly once, in order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::town::{Town, entry, ids, settings, table};
use super::*;

const PARTITIONS: i32 = 4;
const MEMBERS: usize = 3;

/// What happens between two pages.
#[derive(Clone, Debug)]
enum Step {
    /// A partition goes to a member.
    Move(i32, usize),
    /// A key that no one counts on is written.
    Write(i64),
    /// Or deleted.
    Delete(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..PARTITIONS, 0..MEMBERS).prop_map(|(partition, member)| Step::Move(partition, member)),
        (0..60i64).prop_map(Step::Write),
        (0..60i64).prop_map(Step::Delete),
    ]
}

/// Even ones stay, odd ones come and go.
fn id(n: i64, stays: bool) -> i64 {
    n * 2 + i64::from(!stays)
}

#[derive(Clone, Debug)]
struct Walk {
    /// Keys that stay, each with its partition.
    keys: BTreeMap<i64, i32>,
    /// Before each page: what happens, and who is asked for how many rows.
    pages: Vec<(Vec<Step>, usize, usize)>,
    descending: bool,
}

fn walks() -> impl Strategy<Value = Walk> {
    let keys = proptest::collection::btree_map(0..60i64, 0..PARTITIONS, 0..40);
    let page = (proptest::collection::vec(step(), 0..4), 0..MEMBERS, 1..9usize);
    (keys, proptest::collection::vec(page, 1..6), any::<bool>()).prop_map(|(keys, pages, descending)| Walk {
        keys,
        pages,
        descending,
    })
}

async fn run(walk: &Walk) {
    let mut whole = table(PARTITIONS);
    for (n, partition) in &walk.keys {
        let (key, value) = entry(id(*n, true));
        whole.commit(*partition, 1, &[(0, key, Some(value))]);
    }
    let mut town = Town::new(whole, &["ann", "bob", "cy"], settings(), None).await;
    town.spread();
    let order = if walk.descending { "desc" } else { "asc" };
    let mut seen: Vec<i64> = Vec::new();
    let mut cursor: Option<String> = None;
    for (number, (steps, member, limit)) in walk.pages.iter().cycle().enumerate() {
        assert!(number < 400, "no progress");
        for step in steps {
            match step {
                Step::Move(partition, member) => town.give(*partition, *member),
                Step::Write(n) => {
                    let (key, value) = entry(id(*n, false));
                    town.whole.commit((n % 3) as i32, 1, &[(0, key, Some(value))]);
                }
                Step::Delete(n) => {
                    let (key, _) = entry(id(*n, false));
                    town.whole.commit((n % 3) as i32, 1, &[(0, key, None)]);
                }
            }
        }
        let at = cursor
            .as_ref()
            .map_or(String::new(), |cursor| format!("&cursor={cursor}"));
        let path = format!("/v1/views/T/rows?limit={limit}&order={order}{at}");
        let (status, page) = town.get(*member, &path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        assert!(ids(&page).len() <= *limit);
        seen.extend(ids(&page));
        cursor = page["cursor"].as_str().map(str::to_string);
        if cursor.is_none() {
            break;
        }
    }
    if walk.descending {
        seen.reverse();
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "in order, each once: {seen:?}");
    let of = |n: i64| match entry(n).0[0] {
        Value::Bigint(key) => key,
        _ => unreachable!(),
    };
    let stayed: Vec<i64> = seen.into_iter().filter(|key| (key / of(1)) % 2 == 0).collect();
    let expected: Vec<i64> = walk.keys.keys().map(|n| of(id(*n, true))).collect();
    assert_eq!(stayed, expected, "what stays is neither skipped nor repeated");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_walk_over_moving_partitions_sees_what_stays_once_and_in_order(walk in walks()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(&walk));
        runtime.shutdown_background();
    }
}
