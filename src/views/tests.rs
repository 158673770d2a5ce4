//! Reading views: points, pages, queries, feeds; against recomputation, and during commits.

mod live;
mod share;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use proptest::prelude::*;

use super::fake::{Fake, row, schema, topology};
use super::*;
use crate::engine::{PublishedTask, TaskStatus};
use crate::expr::Expr;
use crate::sql::PullQuery;
use crate::state::StoreReader;
use crate::topology::{JoinKind, TablePlan};
use crate::types::{Row, SqlType, Value};

fn forever() -> bool {
    false
}

fn budget() -> Budget<'static> {
    Budget::new(QueryLimits::default(), &forever)
}

fn orders(partitions: i32) -> Fake {
    let schema = schema(
        &[("CUSTOMER", SqlType::Bigint), ("ID", SqlType::Bigint)],
        &[("AMOUNT", SqlType::Bigint)],
    );
    Fake::new(topology("orders", "ORDERS", schema, TablePlan::Store(0)), partitions)
}

fn order(customer: i64, id: i64) -> (Row, Row) {
    (row([customer.into(), id.into()]), row([(customer * 1000 + id).into()]))
}

fn view(fake: &Fake) -> ViewRef {
    all_views(&fake.published).remove(0)
}

fn read_all(view: &ViewRef, range: &KeyRange, descending: bool, limit: usize) -> Vec<Row> {
    let mut request = PageRequest {
        range: range.clone(),
        descending,
        limit,
        cursor: None,
    };
    let mut keys = Vec::new();
    loop {
        let page = page(view, &view.open().unwrap(), &request, &mut budget()).unwrap();
        keys.extend(page.rows.into_iter().map(|row| row.key));
        match page.cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return keys,
        }
    }
}

#[test]
fn a_point_read_finds_the_row_and_names_its_position() {
    let mut fake = orders(3);
    fake.put((0..9).map(|i| order(i, i)), |key| match key[0] {
        Value::Bigint(n) => (n % 3) as i32,
        _ => 0,
    });
    let view = view(&fake);
    let key = parse_key_text("4,4", &view.view().schema.key).unwrap();
    let found = point(&view, &key).unwrap();
    assert_eq!(found.row.unwrap().value[0], Value::Bigint(4004));
    assert_eq!(found.positions.to_json(), serde_json::json!({"input": {"1": 3}}));
    let missing = point(&view, &row([4.into(), 5.into()])).unwrap();
    assert!(missing.row.is_none());
    assert_eq!(
        missing.positions.to_json()["input"].as_object().unwrap().len(),
        3,
        "all partitions were asked"
    );

    // another partition away does not hide a row that is here, and is not taken for an absent row
    let task = fake.topology.tasks()[2].clone();
    task.set_status(TaskStatus::Restoring);
    assert!(point(&view, &key).unwrap().row.is_some());
    let error = point(&view, &row([5.into(), 5.into()])).unwrap_err();
    assert!(
        matches!(&error, ViewError::NotReady { reasons, .. } if reasons[0].contains("partition 2 is restoring")),
        "{error}"
    );
    assert!(view.open().is_err());
}

#[test]
fn the_orders_of_a_customer_newest_first_without_a_full_scan() {
    let mut fake = orders(2);
    fake.put((0..50).flat_map(|c| (0..40).map(move |id| order(c, id))), |key| {
        (key[1].clone() == Value::Bigint(7)).into()
    });
    let view = view(&fake);
    let range = parse_prefix_text("17", &view.view().schema.key).unwrap();
    let request = PageRequest {
        range,
        descending: true,
        limit: 5,
        cursor: None,
    };
    let mut used = budget();
    let page = page(&view, &view.open().unwrap(), &request, &mut used).unwrap();
    let ids: Vec<Value> = page.rows.iter().map(|r| r.key[1].clone()).collect();
    assert_eq!(ids, [39, 38, 37, 36, 35].map(|n: i64| Value::Bigint(n)));
    assert_eq!(used.scanned(), 5);

    // and the same as a query: the key's order is recognized behind the fixed column
    let text = "SELECT amount FROM orders WHERE customer = 17 ORDER BY id DESC LIMIT 5";
    let (_, plan) = compile(&fake.published, text).unwrap();
    let mut used = budget();
    let result = pull(&view, &view.open().unwrap(), &plan, 0, &mut used).unwrap();
    assert_eq!(result.rows[0][0], Value::Bigint(17_039));
    assert_eq!((result.rows.len(), result.scanned), (5, 5));
}

#[test]
fn a_query_sorts_by_a_bounded_heap_and_stops_at_its_limits() {
    let mut fake = orders(3);
    let amounts: Vec<i64> = (0..500).map(|i| (i * 7919) % 503).collect();
    for (i, amount) in amounts.iter().enumerate() {
        let key = row([(i as i64).into(), 0i64.into()]);
        fake.commit(i as i32 % 3, 1, &[(0, key, Some(row([(*amount).into()])))]);
    }
    let view = view(&fake);
    let query = "SELECT * FROM orders ORDER BY amount DESC LIMIT 10";
    let (_, mut plan) = compile(&fake.published, query).unwrap();
    let parts = view.open().unwrap();
    let top = |plan: &PullQuery, limits: QueryLimits| pull(&view, &parts, plan, 0, &mut Budget::new(limits, &forever));
    // ten rows of memory are enough for the top ten of five hundred
    let small = QueryLimits {
        result_bytes: 4_000,
        ..QueryLimits::default()
    };
    let result = top(&plan, small).unwrap();
    let mut expected = amounts.clone();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let got: Vec<Value> = result.rows.iter().map(|r| r[2].clone()).collect();
    assert_eq!(
        got,
        expected[..10].iter().map(|n| Value::Bigint(*n)).collect::<Vec<_>>()
    );

    let few = QueryLimits {
        scanned_rows: 499,
        ..QueryLimits::default()
    };
    let error = top(&plan, few).unwrap_err();
    assert!(
        matches!(
            error,
            ViewError::Limit {
                which: Limit::ScannedRows,
                limit: 499
            }
        ),
        "{error}"
    );
    assert!(error.hint().contains("query-max-rows"));
    plan.limit = None;
    assert!(matches!(
        top(&plan, small),
        Err(ViewError::Limit {
            which: Limit::ResultBytes,
            ..
        })
    ));
    let over = || true;
    let error = pull(&view, &parts, &plan, 0, &mut Budget::new(QueryLimits::default(), &over)).unwrap_err();
    assert!(matches!(error, ViewError::Limit { which: Limit::Time, .. }), "{error}");
    plan.filter = Some(Expr::Literal(Value::Null));
    assert!(top(&plan, small).unwrap().rows.is_empty(), "NULL is not TRUE");
}

#[test]
fn groups_are_aggregated_within_the_budget() {
    let mut fake = orders(2);
    fake.put((0..60).map(|i| order(i % 3, i)), |key| {
        i32::from(key[0] == Value::Bigint(1))
    });
    let view = view(&fake);
    let run = |text: &str, limits: QueryLimits| {
        let (_, plan) = compile(&fake.published, text)?;
        pull(&view, &view.open()?, &plan, 0, &mut Budget::new(limits, &forever))
    };
    let text = "SELECT customer, COUNT(*) n, MAX(id) m FROM orders WHERE id < 59 GROUP BY customer HAVING COUNT(*) > 0 ORDER BY n, customer LIMIT 2";
    let result = run(text, QueryLimits::default()).unwrap();
    let expected = [(2, 19, 56), (0, 20, 57)].map(|(c, n, m): (i64, i64, i64)| row([c.into(), n.into(), m.into()]));
    assert_eq!(result.rows, expected);
    let none = run("SELECT COUNT(*) FROM orders WHERE id < 0", QueryLimits::default()).unwrap();
    assert_eq!(none.rows, [row([0i64.into()])]);
    let small = QueryLimits {
        result_bytes: 1_000,
        ..QueryLimits::default()
    };
    let error = run("SELECT id, COUNT(*) FROM orders GROUP BY id", small).unwrap_err();
    assert!(
        matches!(
            error,
            ViewError::Limit {
                which: Limit::ResultBytes,
                ..
            }
        ),
        "{error}"
    );
    let error = run("SELECT amuont FROM orders", small).unwrap_err();
    assert!(
        matches!(&error, ViewError::Sql(text) if text.contains("query:1:8") && text.contains("AMOUNT")),
        "{error}"
    );
}

#[test]
fn a_page_that_runs_out_of_budget_goes_on_by_its_cursor() {
    let plan = TablePlan::Filter(Box::new(TablePlan::Store(0)), Expr::Value(0));
    let schema = schema(&[("ID", SqlType::Bigint)], &[("GOOD", SqlType::Boolean)]);
    let mut fake = Fake::new(topology("t", "V", schema, plan), 2);
    fake.put(
        (0..300i64).map(|i| (row([i.into()]), row([(i % 50 == 49).into()]))),
        |_| 1,
    );
    let view = view(&fake);
    let limits = QueryLimits {
        scanned_rows: 20,
        ..QueryLimits::default()
    };
    let mut request = PageRequest {
        limit: 4,
        ..PageRequest::default()
    };
    let mut found = Vec::new();
    for round in 0.. {
        assert!(round < 20, "no progress");
        let page = page(
            &view,
            &view.open().unwrap(),
            &request,
            &mut Budget::new(limits, &forever),
        )
        .unwrap();
        found.extend(page.rows.into_iter().map(|r| r.key[0].clone()));
        let Some(cursor) = page.cursor else { break };
        request.cursor = Some(cursor);
    }
    assert_eq!(found, [49, 99, 149, 199, 249, 299].map(|n: i64| Value::Bigint(n)));
    let mut other = request.clone();
    other.descending = true;
    let error = page(&view, &view.open().unwrap(), &other, &mut budget()).unwrap_err();
    assert!(error.to_string().contains("another request"), "{error}");
    other.cursor = Some("nonsense".into());
    assert!(page(&view, &view.open().unwrap(), &other, &mut budget()).is_err());
}

#[test]
fn a_full_join_has_the_keys_of_both_sides_once() {
    let side = |id| Box::new(TablePlan::Store(id));
    let plan = TablePlan::Join(side(0), side(1), JoinKind::Full, 1, 1);
    let schema = schema(
        &[("ID", SqlType::Bigint)],
        &[("A", SqlType::Bigint), ("B", SqlType::Bigint)],
    );
    let mut fake = Fake::new(topology("t", "V", schema, plan), 1);
    for (store, ids) in [(0, 0..6i64), (1, 4..9i64)] {
        for id in ids {
            fake.commit(0, 1, &[(store, row([id.into()]), Some(row([id.into()])))]);
        }
    }
    let view = view(&fake);
    for descending in [false, true] {
        let mut keys = read_all(&view, &KeyRange::all(), descending, 2);
        if descending {
            keys.reverse();
        }
        assert_eq!(keys, (0..9i64).map(|i| row([i.into()])).collect::<Vec<_>>());
    }
    let only_right = point(&view, &[8i64.into()]).unwrap().row.unwrap();
    assert_eq!(only_right.value, row([Value::Null, 8i64.into()]));
    let counted = count_rows(&view, &view.open().unwrap(), &mut budget()).unwrap();
    assert_eq!(counted, Count { rows: 9, exact: true });
}

#[test]
fn keys_are_read_from_text() {
    let columns = schema(
        &[
            ("A", SqlType::String),
            ("B", SqlType::Decimal { precision: 5, scale: 2 }),
        ],
        &[],
    )
    .key;
    let decimal = |s: &str| Value::Decimal(s.parse().unwrap());
    assert_eq!(
        parse_key_text("x,1.5", &columns).unwrap(),
        row(["x".into(), decimal("1.50")])
    );
    assert_eq!(
        parse_key_text(r#"["a,b",1.25]"#, &columns).unwrap(),
        row(["a,b".into(), decimal("1.25")])
    );
    assert_eq!(parse_key_text("x", &columns).unwrap().len(), 1);
    for bad in ["x,y", "a,1,2", "[1", r#"[{"a":1}]"#, "x,1234.5"] {
        let error = parse_key_text(bad, &columns).unwrap_err();
        assert!(!error.hint().is_empty(), "{bad}");
    }
    let one = schema(&[("A", SqlType::String)], &[]).key;
    assert_eq!(parse_key_text("[a,b", &one).unwrap(), row(["[a,b".into()]));
    let time = value_from_text("2020-02-29T12:00:00Z", &SqlType::Timestamp).unwrap();
    assert_eq!(time, Value::Timestamp(1_582_977_600_000));
}

#[test]
fn views_are_found_by_name() {
    let fake = orders(1);
    let other = topology(
        "more",
        "orders",
        schema(&[("A", SqlType::String)], &[]),
        TablePlan::Store(0),
    );
    let found = |name: &str| find_view(&fake.published, name);
    assert_eq!(&*found("orders").unwrap().view().name, "ORDERS");
    assert!(matches!(found("nothing"), Err(ViewError::UnknownView { known, .. }) if known == ["ORDERS"]));
    let more = crate::engine::PublishedTopology::new(Arc::new(other), 0, vec![1]);
    fake.published.insert(Arc::new(more));
    assert_eq!(
        &*found("orders").unwrap().published.topology.name,
        "more",
        "the exact name wins"
    );
    assert!(matches!(found("Orders"), Err(ViewError::AmbiguousView { .. })));
    assert_eq!(&*found("orders.orders").unwrap().view().name, "ORDERS");
}

/// A store whose owner comes in between: the picture is taken, and before it is used something happens.
struct Preempted {
    store: Arc<dyn StoreReader>,
    meanwhile: Box<dyn Fn() + Send + Sync>,
}

impl StoreReader for Preempted {
    fn snapshot(&self) -> crate::state::StoreResult<Arc<dyn crate::state::Snapshot>> {
        let snapshot = self.store.snapshot();
        (self.meanwhile)();
        snapshot
    }
}

#[test]
fn a_picture_of_a_store_that_is_cleared_meanwhile_is_not_shown() {
    type Meanwhile = fn(&PublishedTask, &Arc<dyn StoreReader>);
    let cases: [(&str, Meanwhile); 3] = [
        ("restoring", |task, _| task.set_status(TaskStatus::Restoring)),
        ("being opened", |task, _| task.set_reader(None)),
        ("being opened", |task, store| task.set_reader(Some(store.clone()))),
    ];
    for (expected, meanwhile) in cases {
        let mut fake = orders(2);
        fake.put([order(1, 1)], |_| 1);
        let view = view(&fake);
        let task = fake.topology.tasks().remove(1);
        let store = task.reader().unwrap();
        let (shown, there) = (task.clone(), store.clone());
        task.set_reader(Some(Arc::new(Preempted {
            store: store.clone(),
            meanwhile: Box::new(move || meanwhile(&shown, &there)),
        })));
        let error = view.open().err().unwrap();
        assert!(matches!(error, ViewError::NotReady { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        // and when it is over, it is
        task.set_status(TaskStatus::Running);
        task.set_reader(Some(store));
        assert!(view.open().is_ok());
    }
}
