//! What an instance that joins, leaves, restarts or dies does to the others: only tasks that move stop, a restart ends with the same owners and replays
//! no more than a tail, a dead instance's tasks run elsewhere after its session. Every input has its one output through all of it.
//!
//! How long all that took is measured (by the broker's clock) and printed. That tasks go on during a rebalance is shown by holding it: the instance that has
//! just been given its tasks is frozen until all others have committed again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millstream::engine::threads;
use millstream::types::Timestamp;

use super::aggregates::Aggregates;
use super::cluster::Cluster;
use super::fleet::Fleet;
use super::timeline::Timeline;
use super::{lacks_consumer_protocol, on_kafka};
use crate::patience::until;

const TOPOLOGY: &str = "aggregates";
const TASKS: usize = 6;
/// Inputs before anything happens, so that a changelog is much longer than a tail.
const PRELOAD: i64 = 2_000;
/// Well within a session: who was away for longer may find its tasks elsewhere.
const WITHIN_SESSION: Duration = Duration::from_secs(6);

/// Owners of tasks.
type Owners = BTreeMap<String, usize>;

/// Something that happened, to be told with its pauses.
struct Span {
    what: String,
    from: Timestamp,
    to: Timestamp,
    /// Partitions of the tasks that it stopped.
    touched: Vec<i32>,
    others: Vec<i32>,
}

struct Moves<'c> {
    cluster: &'c Cluster,
    fleet: Fleet<'c>,
    protocol: &'static str,
    spans: Vec<Span>,
}

fn partition(task: &str) -> i32 {
    let (_, partition) = task.split_once('_').expect("sub-topology and partition");
    partition.parse().expect("a number")
}

impl Moves<'_> {
    /// Waits until all tasks run, each instance having its share.
    fn balanced(&mut self) -> Owners {
        let share = TASKS / self.fleet.running().len();
        self.fleet.settled(TOPOLOGY, TASKS, share)
    }

    fn committed(&self) -> BTreeMap<i32, i64> {
        self.cluster.committed(TOPOLOGY, "pairs")
    }

    /// Waits until all tasks that these instances have at that time have committed since.
    fn advance(&mut self, instances: &[usize]) {
        let before = self.committed();
        until("the others to go on", || {
            self.fleet.must_live();
            let committed = self.committed();
            let tasks = instances.iter().flat_map(|at| self.fleet.process(*at).tasks(TOPOLOGY));
            let partitions: Vec<i32> = tasks
                .collect::<Vec<_>>()
                .iter()
                .map(|task| partition(&task.id))
                .collect();
            !partitions.is_empty() && partitions.iter().all(|p| committed[p] > before[p])
        });
    }

    /// Notes what has happened to the tasks of these owners, for the end.
    fn note(&mut self, what: String, from: Timestamp, tasks: &Owners, touched: impl Fn(&str, usize) -> bool) {
        let is_touched = |pair: &(&String, &usize)| touched(pair.0, *pair.1);
        let numbers = |pairs: Vec<(&String, &usize)>| pairs.into_iter().map(|(task, _)| partition(task)).collect();
        let (touched, others): (Vec<_>, Vec<_>) = tasks.iter().partition(is_touched);
        self.spans.push(Span {
            what,
            from,
            to: threads::now(),
            touched: numbers(touched),
            others: numbers(others),
        });
    }

    fn beginnings(&mut self, instances: &[usize]) -> usize {
        instances.iter().map(|at| self.fleet.process(*at).beginnings()).sum()
    }

    /// One joins, and is frozen as soon as it has been given tasks: those of the others go on, and stay where they are.
    fn join(&mut self, at: usize) {
        let before = self.balanced();
        let others = self.fleet.running();
        let begun = self.beginnings(&others);
        let (from, began) = (threads::now(), Instant::now());
        self.fleet.start(at);
        until("tasks for the new one", || {
            self.fleet.must_live();
            !self.fleet.process(at).tasks(TOPOLOGY).is_empty()
        });
        self.fleet.process(at).freeze();
        let frozen = Instant::now();
        self.advance(&others);
        let held = frozen.elapsed();
        self.fleet.process(at).go_on();
        let after = self.balanced();
        let moved = |task: &str, owner| after[task] != owner;
        self.note(
            format!("instance {at} joins, frozen for {held:.1?} meanwhile"),
            from,
            &before,
            moved,
        );
        let moved = after.iter().filter(|(task, owner)| before[*task] != **owner).count();
        if held < WITHIN_SESSION {
            assert_eq!(
                moved,
                TASKS / after.values().collect::<BTreeSet<_>>().len(),
                "{before:?} -> {after:?}"
            );
        }
        let again = self.beginnings(&others) - begun;
        println!(
            "{}: instance {at} joined in {:.1?}, {moved} of {TASKS} tasks moved, {again} of the others were taken over again",
            self.protocol,
            began.elapsed()
        );
    }

    /// Each is stopped and started again, under load: the same owners, and no more than tails to replay.
    fn roll(&mut self, round: usize) {
        let before = self.balanced();
        let (from, changelogs) = (threads::now(), self.cluster.changelog_records());
        let (mut restored, mut longest) = (0, Duration::ZERO);
        for at in self.fleet.running() {
            let began = Instant::now();
            self.fleet.stop(at);
            self.fleet.start(at);
            self.fleet.process(at).wait_until_ready();
            self.balanced();
            longest = longest.max(began.elapsed());
            restored += self.fleet.process(at).restored();
        }
        let after = self.balanced();
        self.note(format!("rolling restart {round}"), from, &before, |_, _| true);
        let written = self.cluster.changelog_records() - changelogs;
        println!(
            "{}: rolling restart {round}: at most {longest:.1?} an instance, {restored} records replayed, the changelogs held {changelogs} and gained {written}",
            self.protocol
        );
        if longest < WITHIN_SESSION {
            assert_eq!(before, after, "a rolling restart ends with the same owners");
        }
        // in the first round all that was written before may not have been flushed yet
        assert!(
            round == 1 || restored as i64 <= written,
            "{restored} records are no tail: {written} were written"
        );
    }

    /// One is killed, and started again at once: its tasks are its own still.
    fn resume(&mut self, at: usize) {
        let before = self.balanced();
        let (from, began) = (threads::now(), Instant::now());
        self.fleet.kill(at);
        self.fleet.start(at);
        self.fleet.process(at).wait_until_ready();
        let started = began.elapsed();
        let after = self.balanced();
        let what = format!("instance {at} killed and started at once");
        self.note(what, from, &before, |_, owner| owner == at);
        println!(
            "{}: instance {at} was killed and started at once: up after {started:.1?}, all tasks run after {:.1?}",
            self.protocol,
            began.elapsed()
        );
        if began.elapsed() < WITHIN_SESSION {
            assert_eq!(before, after, "a restarted instance has its tasks again");
        }
    }

    /// One goes and does not come back: the others go on meanwhile, and have its tasks after its session.
    fn go(&mut self, at: usize, killed: bool) {
        let before = self.balanced();
        let (from, began) = (threads::now(), Instant::now());
        match killed {
            true => self.fleet.kill(at),
            false => self.fleet.stop(at),
        }
        let how = if killed { "dies" } else { "is stopped" };
        let others = self.fleet.running();
        self.advance(&others);
        let went_on = began.elapsed();
        let after = self.balanced();
        self.note(format!("instance {at} {how}"), from, &before, |_, owner| owner == at);
        println!(
            "{}: instance {at} {how}: the others went on within {went_on:.1?}, its tasks run elsewhere after {:.1?}",
            self.protocol,
            began.elapsed()
        );
        let stays = |(task, owner): &(&String, &usize)| **owner == at || after[*task] == **owner;
        assert!(
            before.iter().all(|pair| stays(&pair)),
            "only its tasks move: {before:?} -> {after:?}"
        );
    }

    /// The pauses, by the times of the results.
    fn tell(&self) {
        let timeline = Timeline::of(self.cluster, "sums");
        for span in &self.spans {
            let pause = |partitions: &[i32]| timeline.longest(partitions.iter().copied(), (span.from, span.to));
            println!(
                "{}: {}: longest pause of its {} tasks {} ms, of the {} others {} ms",
                self.protocol,
                span.what,
                span.touched.len(),
                pause(&span.touched),
                span.others.len(),
                pause(&span.others)
            );
        }
    }
}

fn moves(protocol: &'static str) {
    let cluster = Cluster::new("moves");
    let aggregates = Aggregates::prepare(&cluster, TASKS as i32, false);
    let arguments = ["--emit", "every-change", "--group-protocol", protocol];
    let mut fleet = Fleet::new(&cluster, "moves", 3, &arguments);
    let load = aggregates.load(&cluster, fleet.random().fork());
    let mut moves = Moves {
        cluster: &cluster,
        fleet,
        protocol,
        spans: Vec::new(),
    };
    moves.fleet.start(0);
    moves.fleet.start(1);
    moves.balanced();
    if on_kafka() {
        cluster.wait_for(TOPOLOGY, "pairs", PRELOAD);
    }
    moves.join(2);
    if on_kafka() {
        moves.roll(1);
        moves.roll(2);
    }
    // with KIP-848 the place of a member that was killed is free again after its session only
    if on_kafka() || protocol == "classic" {
        moves.resume(0);
    }
    if on_kafka() {
        moves.go(1, true);
        moves.join(1);
        moves.go(2, false);
    }
    moves.fleet.all_up();
    load.stop();
    aggregates.wait(&cluster, || moves.fleet.must_live());
    moves.fleet.all_down();
    let differences = aggregates.differences(&cluster, true);
    assert!(differences.is_empty(), "{differences:#?}");
    cluster.must_end_transactions();
    moves.tell();
    cluster.clean_up();
}

#[test]
fn only_tasks_that_move_stop_with_the_classic_protocol() {
    moves("classic");
}

#[test]
fn only_tasks_that_move_stop_with_the_consumer_protocol() {
    if let Some(reason) = lacks_consumer_protocol() {
        println!("skipped: {reason}");
        return;
    }
    moves("consumer");
}
