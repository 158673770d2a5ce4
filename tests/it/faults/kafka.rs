//! Kafka itself: killed, stopped and started, frozen, and with a full disk.

use super::long;
use super::numbers::{EVERY_CHANGE, Load, exact, ground, progress};
use crate::patience::until;

#[test]
fn kafka_killed_under_load_comes_back_and_nothing_is_lost() {
    let mut ground = ground("kafka-killed");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    let rounds = if long("killing Kafka more than once") { 5 } else { 1 };
    for _ in 0..rounds {
        progress(&ground);
        ground.broker.kill();
        println!("{}", instance.not_ready("Kafka does not answer"));
        ground.restart_broker();
        instance.is_ready();
    }
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}

#[test]
fn kafka_restarted_under_load_is_not_noticed_in_the_outputs() {
    if !long("restarting Kafka") {
        return;
    }
    let mut ground = ground("kafka-restarted");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    for _ in 0..5 {
        progress(&ground);
        ground.broker.stop();
        ground.restart_broker();
    }
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}

/// A broker that hangs (a long pause of its memory's collection, a stopped virtual machine) for longer than sessions and transactions last.
#[test]
fn kafka_frozen_and_thawed_goes_on() {
    if !long("freezing Kafka") {
        return;
    }
    let ground = ground("kafka-frozen");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    let load = Load::start(&ground);
    for _ in 0..2 {
        progress(&ground);
        ground.broker.signal(libc::SIGSTOP);
        println!("{}", instance.not_ready("waiting"));
        ground.broker.signal(libc::SIGCONT);
        instance.is_ready();
    }
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}

/// Kafka takes nothing for as long as its disk is full, markers of transactions included. That is no record's fault: none may be put aside.
#[test]
fn kafkas_full_disk_is_no_records_fault() {
    let ground = ground("kafka-full");
    let mut instance = ground.start(
        "one",
        &[
            &EVERY_CHANGE[..],
            &["--kafka-property", "producer.message.timeout.ms=400"],
        ]
        .concat(),
    );
    let load = Load::start(&ground);
    progress(&ground);
    ground.broker.limit_files(Some(0));
    println!("{}", ground.broker.says("the log cannot be written"));
    println!("{}", instance.not_ready("waiting"));
    // more often than a record is given before it is suspected
    let often = if long("a long time without room at Kafka") {
        500
    } else {
        20
    };
    until("refusals", || {
        instance.process.must_live();
        ground.broker.lines("the log cannot be written").len() >= often
    });
    ground.broker.limit_files(None);
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}
