//! The network between the program and Kafka: cut, silent, deaf, slow, and connections that nobody says are dead.

use std::time::Duration;

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Log, LogError, OutRecord};

use super::ground::again;
use super::long;
use super::numbers::{EVERY_CHANGE, Load, exact, ground, progress};
use super::proxy::Fault;

/// One call's wait for an answer.
const WAIT: Duration = Duration::from_millis(200);

#[test]
fn a_cut_network_is_waited_for() {
    let ground = ground("cut");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    progress(&ground);
    ground.proxy.fault(Fault::Cut);
    instance.not_ready("waiting");
    ground.proxy.fault(Fault::None);
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    let (before, after) = (["waiting", "Kafka does not answer"], ["goes on", "Kafka answers again"]);
    println!("{}", instance.process.says_one_of(&before));
    // a worker that was inside a call of librdkafka all the time has not said that it waits
    println!("{}", instance.process.says_one_of(&after));
    instance.process.stop();
}

/// Packets that are dropped: no reset, no answer. It outlasts sessions and transactions.
#[test]
fn a_silent_network_is_waited_for() {
    let ground = ground("silent");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    progress(&ground);
    ground.proxy.fault(Fault::Silent);
    println!("{}", instance.not_ready("waiting"));
    ground.proxy.fault(Fault::None);
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}

/// A commit whose answer did not come is given up, as by a member that has lost its tasks meanwhile: its fate is found out, and the producer goes on.
#[test]
fn a_commit_that_was_given_up_does_not_block_its_producer() {
    let ground = ground("given-up");
    let settings = KafkaSettings {
        bootstrap_servers: ground.proxy.address(),
        client_id: "given-up".into(),
        properties: Vec::new(),
    };
    let log = KafkaLog::new(settings).expect("valid settings");
    let mut producer = log.transactional_producer("given-up").expect("a producer");
    again("its identity", || producer.init(WAIT));
    let topic = producer.topic("numbers").expect("a handle");
    for (fault, round) in [(Fault::Silent, "1"), (Fault::Deaf, "2"), (Fault::None, "3")] {
        producer.begin().expect("a new transaction");
        let record = OutRecord {
            topic,
            partition: 0,
            key: None,
            value: Some(round.as_bytes()),
            timestamp: 0,
            headers: &None,
        };
        producer.send(record).expect("taken");
        again("its acknowledgement", || producer.flush(WAIT));
        ground.proxy.fault(fault);
        if fault == Fault::None {
            again("the commit", || producer.commit(WAIT));
            continue;
        }
        assert!(matches!(producer.commit(WAIT), Err(LogError::Unknown(_))));
        assert!(matches!(producer.abort(WAIT), Err(LogError::Unknown(_))));
        ground.proxy.fault(Fault::None);
        again("the end of the transaction", || producer.abort(WAIT));
    }
    ground.all_ended();
    let read = ground.read("numbers").concat();
    assert_eq!(
        read.last().and_then(|last| last.value.as_deref()),
        Some(&b"3"[..]),
        "{read:?}"
    );
}

/// Half open: what is asked happens, and the answers do not come. Commits, too.
#[test]
fn requests_whose_answers_do_not_come_happen_once() {
    if !long("a network that loses answers") {
        return;
    }
    let ground = ground("deaf");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    for _ in 0..4 {
        progress(&ground);
        ground.proxy.fault(Fault::Deaf);
        instance.not_ready("waiting");
        ground.proxy.fault(Fault::None);
        instance.is_ready();
    }
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}

/// The other side has lost its memory: what is sent on the old connections goes nowhere, and nobody says so.
#[test]
fn connections_that_are_dead_in_silence_are_replaced() {
    if !long("dead connections") {
        return;
    }
    let ground = ground("dead");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    for _ in 0..2 {
        progress(&ground);
        let begun = std::time::Instant::now();
        ground.proxy.forget_connections();
        instance.not_ready("waiting");
        instance.is_ready();
        progress(&ground);
        println!("dead connections: processing again after {:?}", begun.elapsed());
    }
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}

#[test]
fn a_slow_network_slows_down_and_loses_nothing() {
    if !long("a slow network") {
        return;
    }
    let ground = ground("slow");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    progress(&ground);
    let aborts = instance.metric("millstream_aborts_total", &[]);
    for (delay_ms, bytes_a_second) in [(20, 1 << 20), (100, 512 << 10), (200, 256 << 10)] {
        let delay = Duration::from_millis(delay_ms);
        ground.proxy.fault(Fault::Slow { delay, bytes_a_second });
        (0..3).for_each(|_| progress(&ground));
    }
    println!(
        "slow network: {} transactions aborted",
        instance.metric("millstream_aborts_total", &[]) - aborts
    );
    ground.proxy.fault(Fault::None);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}
