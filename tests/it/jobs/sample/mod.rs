//! The jobs of `topologies/` as one instance that is killed again and again, every third time at a fail point inside a commit or a restore.
//!
//! What must hold at the end, read with `read_committed`: counts, sums and joined rows equal those computed from the input; every average that
//! was ever published is that of a prefix of its movie's ratings; bad lines are in the dead-letter topic, each once; no transaction is open; and
//! each start has replayed a tail of the changelogs, not all of them.

mod check;
mod ground;
mod input;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::ground::Ground;
use self::input::{Input, Ratings};
use super::crashes::{self, FAILPOINTS};
use super::load::Load;
use super::process::{Killed, Millstream};
use super::random::Random;
use super::{kills, on_kafka};
use crate::patience::{PATIENCE, within};

/// One life of the process.
struct Life {
    killed: Killed,
    lasted: Duration,
    restored: u64,
    rebuilt: usize,
    /// Tasks that ran.
    ran: usize,
    /// Records that the changelogs held when it ended.
    changelogs: i64,
}

#[test]
fn jobs_survive_kill_minus_nine() {
    if !on_kafka() {
        println!("skipped: MILLSTREAM_TEST_KAFKA names no broker; `make test-kafka` starts one");
        return;
    }
    let kills = kills(20, 0);
    let mut random = Random::of_run("sample");
    let cluster = Ground::new();
    let input = Arc::new(Input::default());
    let load = Load::start(Ratings::of(&cluster, &input));

    let mut lives = Vec::new();
    for life in 0..kills {
        lives.push(live_and_die(&cluster, life, &mut random));
        let last = &lives[life];
        println!(
            "sample: kill {:>3}: {:<22} after {:>5.1} s, replayed {:>6} of {:>7} changelog records, {} stores built anew",
            life + 1,
            last.killed.to_string(),
            last.lasted.as_secs_f64(),
            last.restored,
            last.changelogs,
            last.rebuilt
        );
    }
    load.stop();

    let mut last = start(&cluster, None);
    last.wait_until_ready();
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
    cluster.must_end_transactions();
    judge(&lives, kills);
    println!(
        "{} ratings, {} orders, {} retail lines: all outputs equal the input",
        input.ratings(),
        input.orders(),
        input.retail()
    );
    cluster.clean_up();
}

fn start(cluster: &Ground, failpoint: Option<&str>) -> Millstream {
    let arguments = ["--schema-registry".to_owned(), cluster.registry_url.clone()];
    Millstream::start(cluster, "data", &arguments, failpoint)
}

/// Starts the process and kills it: at a fail point every third time, else at a random moment.
fn live_and_die(cluster: &Ground, life: usize, random: &mut Random) -> Life {
    let started = Instant::now();
    let point = (life % 3 == 2).then(|| FAILPOINTS[life / 3 % FAILPOINTS.len()]);
    let setting = point.map(|name| crashes::setting(name, random));
    let mut process = start(cluster, setting.as_deref());
    // now and then before it has even joined its groups
    let killed = crashes::die(&mut process, point, Duration::from_millis(300 + random.below(6000)));
    Life {
        killed,
        lasted: started.elapsed(),
        restored: process.restored(),
        rebuilt: process.rebuilt(),
        ran: process.beginnings(),
        changelogs: cluster.changelog_records(),
    }
}

/// Waits until the outputs are what the input says; what differs when the time is over.
fn settle(cluster: &Ground, input: &Input, process: &mut Millstream) -> Vec<String> {
    let mut differences = Vec::new();
    within(PATIENCE, || {
        process.must_live();
        process.must_not_have_stopped();
        differences = check::differences(cluster, input);
        differences.is_empty().then_some(())
    });
    differences
}

/// Lives that ran all tasks whose changelog records may be replayed: one is killed before its first flush now and then, two in a row hardly.
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
    // a store is flushed after each takeover, so that only what the last few lives wrote is replayed; a life that was too short to take all
    // tasks over counts with the next
    let all = lives.iter().map(|life| life.ran).max().unwrap_or(0);
    for (at, life) in lives.iter().enumerate() {
        let whole = lives[..at].iter().enumerate().rev().filter(|(_, life)| life.ran >= all);
        let Some((oldest, _)) = whole.take(RECENT_LIVES + 1).nth(RECENT_LIVES) else {
            continue;
        };
        let (from, to) = (lives[oldest].changelogs, lives[at - 1].changelogs);
        assert!(
            life.restored as i64 <= to - from,
            "life {at} replayed {} changelog records, of {to}, but the last {RECENT_LIVES} whole lives wrote from {from} on: that is no tail",
            life.restored
        );
    }
}
