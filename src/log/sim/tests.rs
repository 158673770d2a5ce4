use super::*;
use crate::log::{Fetched, MembershipEvent, OutRecord};
use std::time::Duration;

const NO_WAIT: Duration = Duration::ZERO;

fn cluster() -> SimLog {
    let log = SimLog::new(1, 1_000_000).unwrap();
    log.create_topic("in", 1, &[]).unwrap();
    log.create_topic("tasks", 4, &[]).unwrap();
    log
}

fn send(producer: &mut dyn TransactionalProducer, value: &str) {
    let topic = producer.topic("in").unwrap();
    let record = OutRecord {
        topic,
        partition: 0,
        key: None,
        value: Some(value.as_bytes()),
        timestamp: 1,
        headers: &None,
    };
    producer.send(record).unwrap();
}

fn values(log: &SimLog) -> Vec<String> {
    let records = log.read(&TopicPartition::new("in", 0), true).unwrap();
    records
        .into_iter()
        .map(|r| String::from_utf8(r.value.unwrap()).unwrap())
        .collect()
}

#[test]
fn an_aborted_transaction_is_not_seen_and_a_second_producer_fences_the_first() {
    let log = cluster();
    let process = log.process();
    let mut first = process.transactional_producer("t").unwrap();
    first.init(NO_WAIT).unwrap();
    first.begin().unwrap();
    send(&mut *first, "aborted");
    first.flush(NO_WAIT).unwrap();
    first.abort(NO_WAIT).unwrap();
    first.begin().unwrap();
    send(&mut *first, "committed");
    assert_eq!(first.flush(NO_WAIT).unwrap()[0].2, 2);
    first.commit(NO_WAIT).unwrap();
    assert_eq!(values(&log), ["committed"]);
    first.begin().unwrap();
    let mut second = process.transactional_producer("t").unwrap();
    second.init(NO_WAIT).unwrap();
    send(&mut *first, "zombie");
    assert!(matches!(first.flush(NO_WAIT), Err(LogError::Fenced(_))));
    assert_eq!(log.open_transactions(), Vec::<String>::new());
}

#[test]
fn a_lost_commit_is_repeated_until_its_fate_is_known() {
    let log = cluster();
    let process = log.process();
    let mut producer = process.transactional_producer("t").unwrap();
    producer.init(NO_WAIT).unwrap();
    producer.begin().unwrap();
    send(&mut *producer, "once");
    producer.flush(NO_WAIT).unwrap();
    log.set_faults(Faults {
        lost_answer: 1_000,
        ..Faults::default()
    });
    assert!(matches!(producer.commit(NO_WAIT), Err(LogError::Unknown(_))));
    log.set_faults(Faults::default());
    producer.commit(NO_WAIT).unwrap();
    assert_eq!(values(&log), ["once"]);
}

#[test]
fn the_end_is_reported_once_and_positions_pass_markers() {
    let log = cluster();
    let process = log.process();
    let mut producer = process.transactional_producer("t").unwrap();
    producer.init(NO_WAIT).unwrap();
    producer.begin().unwrap();
    send(&mut *producer, "x");
    producer.flush(NO_WAIT).unwrap();
    let mut fetcher = process
        .fetcher(&FetcherConfig {
            committed_only: true,
            buffer_bytes: 1 << 20,
        })
        .unwrap();
    fetcher.assign(7, &TopicPartition::new("in", 0), 0).unwrap();
    let poll = |fetcher: &mut dyn Fetcher| {
        let mut seen = Vec::new();
        fetcher
            .poll(10, NO_WAIT, &mut |f| match f {
                Fetched::Record(r) => seen.push(format!("{}@{}", r.slot, r.offset)),
                Fetched::End { slot } => seen.push(format!("end {slot}")),
                Fetched::Ahead { .. } => {}
            })
            .unwrap();
        seen
    };
    assert_eq!(poll(&mut *fetcher), ["end 7"], "an open transaction is not read");
    assert!(poll(&mut *fetcher).is_empty());
    producer.commit(NO_WAIT).unwrap();
    assert_eq!(poll(&mut *fetcher), ["7@0"]);
    assert_eq!(poll(&mut *fetcher), ["end 7"]);
    assert_eq!(fetcher.position(7).unwrap(), Some(2));
    fetcher.unassign(7).unwrap();
    fetcher.assign(7, &TopicPartition::new("in", 0), 9).unwrap();
    let error = fetcher.poll(1, NO_WAIT, &mut |_| {}).unwrap_err();
    assert!(
        matches!(
            error,
            LogError::OutOfRange {
                low: 0,
                high: 2,
                offset: 9,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn tasks_move_only_after_they_are_released_and_a_dead_member_is_replaced() {
    let log = cluster();
    let config = |n: usize| MembershipConfig {
        group: "g".into(),
        tasks_topic: "tasks".into(),
        instance_id: Some(format!("worker-{n}")),
    };
    let (one, two) = (log.process(), log.process());
    let mut first = one.membership(&config(1)).unwrap();
    assert_eq!(first.poll().unwrap(), [MembershipEvent::Assigned(vec![0, 1, 2, 3])]);
    let mut second = two.membership(&config(2)).unwrap();
    assert_eq!(second.poll().unwrap(), []);
    log.advance(1_000);
    let events = first.poll().unwrap();
    let [MembershipEvent::Revoked(gone)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(gone.len(), 2);
    log.advance(1_000);
    assert_eq!((first.poll().unwrap(), second.poll().unwrap()), (vec![], vec![]));
    first.release(gone).unwrap();
    assert_eq!(first.poll().unwrap(), []);
    log.advance(1_000);
    assert_eq!(second.poll().unwrap(), [MembershipEvent::Assigned(gone.clone())]);
    one.kill();
    assert!(first.poll().is_err());
    let mut all = gone.clone();
    for _ in 0..15 {
        log.advance(1_000);
        for event in second.poll().unwrap() {
            let MembershipEvent::Assigned(new) = event else {
                panic!("{event:?}")
            };
            all.extend(new);
        }
    }
    all.sort();
    assert_eq!(all, [0, 1, 2, 3]);
}
