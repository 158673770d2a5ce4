//! Shares: only the rows that the asker can need are sent, and no limit of a question is too small.

use super::*;

/// The rows of a share, and its end.
fn shared(fake: &Fake, what: What) -> (usize, SharedEnd) {
    let view = view(fake);
    let parts = view.open().unwrap();
    let request = ShareRequest {
        wire: WIRE_VERSION,
        instance: String::new(),
        topology: "orders".into(),
        generation: 0,
        view: "ORDERS".into(),
        fingerprint: crate::engine::view_fingerprint(&view.published.topology, view.view()),
        partitions: vec![0, 1],
        what,
        max_staleness_ms: 0,
        need: Vec::new(),
        need_ms: 0,
        max_rows: 1_000,
        max_frame: 1 << 20,
        time_ms: 1_000,
    };
    assert!(shared_view(&fake.published, "", &request).is_ok());
    let mut bytes = Vec::new();
    let mut send = |frame: Vec<u8>| {
        bytes.extend(frame);
        Ok(())
    };
    share(&fake.published, &view, &parts, &request, &mut budget(), &mut send).unwrap();
    let mut reader = FrameReader::new(1 << 20);
    reader.push(&bytes);
    let mut rows = 0;
    loop {
        match reader.take().unwrap() {
            Some(Frame::Rows(more)) => rows += more.len(),
            Some(Frame::End(end)) => return (rows, end),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_share_is_what_the_asker_can_need() {
    let mut fake = orders(2);
    fake.put((0..40).map(|i| order(i % 7, i)), |key| {
        i32::from(key[0] == Value::Bigint(1))
    });
    let select = |sql: &str| What::Select {
        sql: sql.into(),
        now: 0,
    };
    let rows = |limit: u64| What::Rows {
        from: Blob::default(),
        to: None,
        descending: false,
        after: None,
        limit,
    };
    for (what, count, cut) in [
        (rows(0), 0, false),
        (rows(3), 3, true),
        (rows(40), 40, false),
        (select("SELECT * FROM orders LIMIT 0"), 0, false),
        (select("SELECT * FROM orders ORDER BY amount LIMIT 0"), 0, false),
        (select("SELECT * FROM orders ORDER BY customer LIMIT 4"), 4, true),
        (select("SELECT * FROM orders ORDER BY amount DESC LIMIT 4"), 4, false),
        (select("SELECT * FROM orders ORDER BY amount DESC"), 40, false),
        (
            select("SELECT customer, COUNT(*) FROM orders GROUP BY customer LIMIT 1"),
            40,
            false,
        ),
        (select("SELECT * FROM orders WHERE customer = 3"), 6, false),
    ] {
        let shown = format!("{what:?}");
        let (got, end) = shared(&fake, what);
        assert_eq!((got, end.cut.is_some()), (count, cut), "{shown}");
    }
}
