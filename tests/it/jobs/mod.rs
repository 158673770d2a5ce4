//! Both jobs as the real `millstream run` on Apache Kafka, killed again and again while records flow, then compared with the input.
//!
//! Runs where `MILLSTREAM_TEST_KAFKA=HOST:PORT` names a broker (`make test-kafka` starts one) and the feature `failpoints` is on. `KILLS` is
//! how often the process is killed (20): at random moments, and every third time at a fail point inside a commit or a restore.
//!
//! What must hold at the end, read with `read_committed`: counts, sums and joined rows equal those computed from the input; every average that
//! was ever published is that of a prefix of its movie's ratings; bad lines are in the dead-letter topic, each once; no transaction is open; and
//! each start has replayed a tail of the changelogs, not all of them.

mod check;
mod cluster;
mod input;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::cluster::Cluster;
use self::input::{Input, Load};
use self::process::{Killed, Millstream};
use crate::patience::within;

/// How long the last run may take to catch up and agree with the input.
const CATCH_UP: Duration = Duration::from_secs(180);
/// How long a process may take to reach its fail point before it is killed anyway.
const FAILPOINT_WAIT: Duration = Duration::from_secs(20);
const FAILPOINTS: [&str; 5] = [
    "outputs-sent",
    "offsets-sent",
    "committed-not-applied",
    "mid-flush",
    "mid-restore",
];

/// One life of the process.
struct Life {
    killed: Killed,
    lasted: Duration,
    restored: u64,
    rebuilt: usize,
    /// Records that the changelogs held when it ended.
    changelogs: i64,
}

#[test]
fn jobs_survive_kill_minus_nine() {
    let Ok(address) = std::env::var("MILLSTREAM_TEST_KAFKA") else {
        println!("skipped: MILLSTREAM_TEST_KAFKA names no broker; `make test-kafka` starts one");
        return;
    };
    let kills = std::env::var("KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20usize);
    let cluster = Cluster::new(&address);
    let input = Arc::new(Input::default());
    let load = Load::start(&cluster, &input);

    let mut lives = Vec::new();
    for life in 0..kills {
        lives.push(live_and_die(&cluster, life));
        let last = &lives[life];
        println!(
            "kill {:>2}: {:<22} after {:>5.1} s, replayed {:>6} of {:>7} changelog records, {} stores built anew",
            life + 1,
            last.killed.to_string(),
            last.lasted.as_secs_f64(),
            last.restored,
            last.changelogs,
            last.rebuilt
        );
    }
    load.stop();

    let mut last = Millstream::start(&cluster, None);
    let differences = settle(&cluster, &input, &mut last);
    println!("the last run replayed {} changelog records", last.restored());
    assert!(
        differences.is_empty(),
        "the outputs differ from the input:\n{}\n{}",
        differences.join("\n"),
        last.log_tail()
    );
    last.stop();
    let broken = check::broken_prefixes(&cluster, &input);
    assert!(
        broken.is_empty(),
        "averages that are of no prefix of the ratings:\n{}",
        broken.join("\n")
    );
    let open = cluster.open_transactions();
    assert!(open.is_empty(), "transactions were left open in {open:?}");
    judge(&lives, kills);
    println!(
        "{} ratings, {} orders, {} retail lines: all outputs equal the input",
        input.ratings(),
        input.orders(),
        input.retail()
    );
    cluster.clean_up();
}

/// Starts the process and kills it: at a fail point every third time, else at a random moment.
fn live_and_die(cluster: &Cluster, life: usize) -> Life {
    let started = Instant::now();
    let point = (life % 3 == 2).then(|| FAILPOINTS[life / 3 % FAILPOINTS.len()]);
    let random = u64::from(uuid::Uuid::new_v4().as_fields().0);
    let nth = if point == Some("mid-restore") {
        1
    } else {
        1 + random % 30
    };
    let mut process = Millstream::start(cluster, point.map(|name| format!("{name}:{nth}")));
    let killed = match point {
        Some(name) if process.dies_within(FAILPOINT_WAIT) => Killed::At(name),
        _ => {
            // now and then before it has even joined its groups
            process.must_live_for(Duration::from_millis(300 + random % 6000));
            process.kill();
            Killed::Anywhere
        }
    };
    Life {
        killed,
        lasted: started.elapsed(),
        restored: process.restored(),
        rebuilt: process.rebuilt(),
        changelogs: cluster.changelog_records(),
    }
}

/// Waits until the outputs are what the input says; what differs when the time is over.
fn settle(cluster: &Cluster, input: &Input, process: &mut Millstream) -> Vec<String> {
    let mut differences = Vec::new();
    within(CATCH_UP, || {
        process.must_live();
        differences = check::differences(cluster, input);
        differences.is_empty().then_some(())
    });
    differences
}

/// Lives whose changelog records may be replayed: one is killed before its first flush now and then, two in a row hardly.
const RECENT_LIVES: usize = 3;

/// State is resumed, not rebuilt: what is replayed does not grow with the changelogs.
fn judge(lives: &[Life], kills: usize) {
    let rebuilt: usize = lives.iter().map(|life| life.rebuilt).sum();
    assert_eq!(rebuilt, 0, "stores were built anew");
    let at_points = lives.iter().filter(|life| matches!(life.killed, Killed::At(_))).count();
    assert!(
        at_points >= 5.min(kills / 3),
        "only {at_points} kills were at fail points"
    );
    // a store is flushed after each takeover, so that only what the last few lives wrote is replayed
    for lives in lives.windows(RECENT_LIVES + 2) {
        let (first, recent, next) = (&lives[0], &lives[RECENT_LIVES], &lives[RECENT_LIVES + 1]);
        assert!(
            next.restored as i64 <= recent.changelogs - first.changelogs,
            "{} changelog records were replayed, of {}, but the last {RECENT_LIVES} lives wrote from {} on: that is no tail",
            next.restored,
            recent.changelogs,
            first.changelogs
        );
    }
}
