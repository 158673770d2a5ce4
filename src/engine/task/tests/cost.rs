//! What a record costs. Not a test of anything: run it with `--ignored --nocapture`, optimised.

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;
use crate::engine::task::{InputRecord, Task, TaskPlan};
use crate::log::HeadersRef;
use crate::state::StorePosition;
use crate::state::memory::MemoryStore;

const RECORDS: usize = 2_000_000;
const KEYS: i64 = 10_000;
const A_COMMIT: usize = 100_000;

#[test]
#[ignore = "measures"]
fn a_record_counted_and_summed() {
    let mut b = Builder::new();
    let s = b.stream(0, "s", &[SqlType::Double]);
    let sum = AggregateCall::new("SUM", vec![(Expr::Value(0), SqlType::Double)]).unwrap();
    let a = b.aggregate(s, "A", vec![count(), sum]);
    b.sink(a, "out");
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let plan = TaskPlan::new(b.topology(), 0, TaskOptions::default(), schemas, BTreeMap::new()).unwrap();
    let mut task = Task::new(plan, 0, Box::new(MemoryStore::detached())).unwrap();
    let records: Vec<(Vec<u8>, Vec<u8>)> = (0..100_000i64)
        .map(|i| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            encode_key(&[Value::Bigint(i * i * 31 % KEYS)], &mut key);
            encode_row(&[Value::Double(i as f64)], &mut value);
            (key, value)
        })
        .collect();
    let (mut processing, mut committing) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    for batch in 0..RECORDS / A_COMMIT {
        let started = Instant::now();
        for (i, (key, value)) in records.iter().enumerate() {
            let record = InputRecord {
                topic: "s",
                partition: 0,
                offset: (batch * A_COMMIT + i) as i64,
                timestamp: i as i64,
                key: Some(key),
                value: Some(value),
                headers: HeadersRef::None,
            };
            task.process(0, &record, 0).unwrap();
        }
        processing += started.elapsed();
        let started = Instant::now();
        task.prepare_commit(0).unwrap();
        task.committed(&StorePosition::default()).unwrap();
        committing += started.elapsed();
    }
    let ns = |d: std::time::Duration, n: usize| d.as_nanos() as usize / n;
    let dirty = task.metrics().changelog_out as usize;
    println!(
        "{} ns a record, {} ns a key committed ({dirty} keys)",
        ns(processing, RECORDS),
        ns(committing, dirty)
    );
}
