//! Reading while commits go on, and feeds.

use super::*;

/// A transfer moves units between two rows of a partition in one commit: their sum never changes, and the position says how many there were.
#[test]
fn rows_and_positions_come_from_the_same_snapshot_while_commits_go_on() {
    const ACCOUNTS: i64 = 20;
    let mut fake = orders(2);
    let key = |partition: i32, i: i64| row([i64::from(partition).into(), i.into()]);
    let balance = |n: i64| Some(row([n.into()]));
    for partition in 0..2 {
        let rows: Vec<_> = (0..ACCOUNTS).map(|i| (0, key(partition, i), balance(0))).collect();
        fake.commit(partition, 0, &rows);
    }
    let view = view(&fake);
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let writer = std::thread::spawn(move || {
        // record r of a partition takes one unit from account r % 20 and gives it to the next
        let mut balances = [[0i64; ACCOUNTS as usize]; 2];
        for r in 0..4_000i64 {
            let partition = (r % 2) as i32;
            let (from, to) = ((r / 2 % ACCOUNTS) as usize, ((r / 2 + 1) % ACCOUNTS) as usize);
            let own = &mut balances[partition as usize];
            own[from] -= 1;
            own[to] += 1;
            let write = |i: usize| (0, key(partition, i as i64), balance(own[i]));
            fake.commit(partition, 1, &[write(from), write(to)]);
        }
        finished.store(true, SeqCst);
        fake
    });
    // what the accounts of a partition hold after so many records
    let recompute = |records: i64| {
        let mut balances = [0i64; ACCOUNTS as usize];
        for r in 0..records {
            balances[(r % ACCOUNTS) as usize] -= 1;
            balances[((r + 1) % ACCOUNTS) as usize] += 1;
        }
        balances.map(Value::Bigint).to_vec()
    };
    let mut last = [0, 0];
    let mut reads = 0;
    while !done.load(SeqCst) || reads == 0 {
        let request = PageRequest {
            limit: 100,
            ..PageRequest::default()
        };
        let page = page(&view, &view.open().unwrap(), &request, &mut budget()).unwrap();
        let mut by_partition: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
        for row in page.rows {
            by_partition
                .entry(row.key[0].clone())
                .or_default()
                .push(row.value[0].clone());
        }
        for (partition, values) in by_partition {
            let Value::Bigint(p) = partition else {
                panic!("not a BIGINT")
            };
            let records = page.positions.get("input", p as i32).unwrap();
            assert_eq!(values, recompute(records), "partition {p} at {records}");
            assert!(records >= last[p as usize], "went back");
            last[p as usize] = records;
        }
        reads += 1;
    }
    writer.join().unwrap();
}

#[test]
fn a_feed_shows_each_commit_and_nothing_else() {
    let plan = TablePlan::Filter(Box::new(TablePlan::Store(0)), Expr::Value(0));
    let schema = schema(&[("ID", SqlType::Bigint)], &[("GOOD", SqlType::Boolean)]);
    let mut fake = Fake::new(topology("t", "V", schema, plan), 2);
    let put = |id: i64, good: Option<bool>| (0, row([id.into()]), good.map(|g| row([g.into()])));
    fake.commit(0, 1, &[put(1, Some(true)), put(2, Some(false))]);
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = woken.clone();
    let mut feed = Feed::start(
        view(&fake),
        Box::new(move || {
            counter.fetch_add(1, SeqCst);
        }),
    )
    .unwrap();
    let request = PageRequest {
        limit: 10,
        ..PageRequest::default()
    };
    assert_eq!(feed.snapshot_page(&request, &mut budget()).unwrap().rows.len(), 1);
    assert!(feed.next_batch().unwrap().is_none());

    fake.commit(0, 1, &[put(1, None), put(2, Some(true)), put(3, Some(false))]);
    fake.commit(1, 1, &[put(9, Some(false))]);
    fake.commit(1, 1, &[put(9, Some(true))]);
    assert_eq!(woken.load(SeqCst), 3);
    let first = feed.next_batch().unwrap().unwrap();
    assert!(
        matches!(&first.changes[..], [RowChange::Delete(gone), RowChange::Upsert(new)]
        if gone[0] == Value::Bigint(1) && new.key[0] == Value::Bigint(2)),
        "{first:?}"
    );
    assert_eq!(first.positions.to_json(), serde_json::json!({"input": {"0": 2}}));
    let second = feed.next_batch().unwrap().unwrap();
    assert_eq!((second.changes.len(), second.positions.get("input", 1)), (1, Some(2)));
    assert!(feed.next_batch().unwrap().is_none());

    // keys not known, as after a restore: found by comparing
    let task = fake.topology.tasks()[0].clone();
    fake.commit(0, 1, &[]);
    feed.next_batch().unwrap();
    fake.topology
        .watchers
        .committed(task.id, None, &*task.reader().unwrap());
    assert!(feed.next_batch().unwrap().is_none());
    assert!(feed.check(&fake.published).is_ok());
    fake.topology.remove_task(&task);
    assert!(matches!(feed.check(&fake.published), Err(FeedError::Moved(_))));
}

#[test]
fn a_slow_reader_is_told_and_commits_go_on() {
    let mut fake = orders(1);
    let mut feed = Feed::start(view(&fake), Box::new(|| {})).unwrap();
    for i in 0..2_000 {
        let (key, value) = order(i, i);
        fake.commit(0, 1, &[(0, key, Some(value))]);
    }
    assert_eq!(feed.next_batch().unwrap_err(), FeedError::Slow);
    drop(feed);
    fake.commit(0, 1, &[]);
    assert!(
        !fake.topology.watchers.wanted(),
        "a feed that was dropped is still told"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However pages are cut, both ways, over any range: all keys, once, in order.
    #[test]
    fn pages_cover_a_range_exactly(
        keys in proptest::collection::btree_set((0i64..8, -5i64..5), 0..60),
        partitions in 1i32..4,
        limit in 1usize..9,
        from in proptest::option::of(0i64..8),
        to in proptest::option::of(0i64..8),
        descending in any::<bool>(),
    ) {
        let mut fake = orders(partitions);
        fake.put(keys.iter().map(|(c, id)| order(*c, *id)), |key| match key[1] {
            Value::Bigint(n) => n.rem_euclid(i64::from(partitions)) as i32,
            _ => 0,
        });
        let mut range = KeyRange::all();
        if let Some(from) = from {
            range = range.and(KeyRange::at_least(&[from.into()]));
        }
        if let Some(to) = to {
            range = range.and(KeyRange::below(&[to.into()]));
        }
        let mut expected: Vec<Row> = keys
            .iter()
            .filter(|(c, _)| from.is_none_or(|f| *c >= f) && to.is_none_or(|t| *c < t))
            .map(|(c, id)| order(*c, *id).0)
            .collect();
        if descending {
            expected.reverse();
        }
        prop_assert_eq!(read_all(&view(&fake), &range, descending, limit), expected);
    }

    /// Keys come and go between the pages: those that stay are seen exactly once, and the order never goes back.
    #[test]
    fn keys_that_stay_are_neither_skipped_nor_repeated(
        stay in proptest::collection::btree_set(0i64..100, 1..40),
        changes in proptest::collection::vec((0i64..100, any::<bool>()), 0..60),
        limit in 1usize..7,
        descending in any::<bool>(),
    ) {
        let mut fake = orders(2);
        let place = |key: &Row| i32::from(key[0].clone() > Value::Bigint(50));
        fake.put(stay.iter().map(|c| order(*c, 0)), place);
        let view = view(&fake);
        let mut request = PageRequest { limit, descending, ..PageRequest::default() };
        let mut seen: Vec<i64> = Vec::new();
        let mut changes = changes.into_iter();
        loop {
            let page = page(&view, &view.open().unwrap(), &request, &mut budget()).unwrap();
            for row in &page.rows {
                let Value::Bigint(c) = row.key[0] else { panic!("not a BIGINT") };
                let ordered = seen.last().is_none_or(|last| if descending { c < *last } else { c > *last });
                prop_assert!(ordered, "{c} after {seen:?}");
                seen.push(c);
            }
            for (c, put) in changes.by_ref().take(3).filter(|(c, _)| !stay.contains(c)) {
                let (key, value) = order(c, 0);
                fake.commit(place(&key), 1, &[(0, key, put.then_some(value))]);
            }
            let Some(cursor) = page.cursor else { break };
            request.cursor = Some(cursor);
        }
        for key in &stay {
            prop_assert!(seen.contains(key), "{key} was skipped: {seen:?}");
        }
    }

    #[test]
    fn no_cursor_makes_it_panic(text in "[A-Za-z0-9_-]{0,40}") {
        let fake = orders(1);
        let view = view(&fake);
        let request = PageRequest { limit: 1, cursor: Some(text), ..PageRequest::default() };
        let _: Result<Page, ViewError> = page(&view, &view.open().unwrap(), &request, &mut budget());
    }
}
