//! What instances know of each other.

use std::sync::Arc;
use std::time::Duration;

use super::agent::Agent;
use super::placement::Role;
use super::*;
use crate::engine::EngineSettings;
use crate::log::Log;
use crate::log::sim::{Part, SimLog};
use crate::types::TopicPartition;

const NOW: Moment = Moment::of(1_700_000_000_000);

fn task(partition: i32) -> TaskId {
    TaskId { sub: 0, partition }
}

/// What an instance says that owns some tasks and follows others, with their lag.
fn record(instance: &str, tasks: &[i32], standbys: &[(i32, u64)]) -> InstanceRecord {
    let tasks = tasks.iter().map(|partition| TaskRecord {
        sub: 0,
        partition: *partition,
    });
    let standbys = standbys.iter().map(|(partition, lag)| StandbyRecord {
        sub: 0,
        partition: *partition,
        lag: *lag,
        behind_ms: 0,
    });
    InstanceRecord {
        instance: instance.into(),
        url: Some(format!("http://{instance}:8080/")),
        written_at: 0,
        topologies: vec![TopologyRecord {
            topology: "t".into(),
            generation: 0,
            tasks: tasks.collect(),
            standbys: standbys.collect(),
        }],
    }
}

fn owner(cluster: &Cluster, partition: i32, now: Moment) -> Option<String> {
    cluster.owner("t", 0, task(partition), now).map(|peer| peer.instance)
}

#[test]
fn the_later_claim_of_a_task_counts_and_a_silent_instance_is_not_live() {
    let cluster = Cluster::alone("me");
    assert_eq!(owner(&cluster, 0, NOW), None);
    cluster.learn(record("a", &[], &[]), NOW);
    cluster.learn(record("b", &[0, 1], &[]), NOW);
    cluster.learn(record("a", &[0], &[]), NOW + 1);
    // b repeats what it said before it knew that the task has moved
    cluster.learn(record("b", &[0, 1], &[]), NOW + 2);
    assert_eq!(owner(&cluster, 0, NOW + 3).as_deref(), Some("a"));
    assert_eq!(owner(&cluster, 1, NOW + 3).as_deref(), Some("b"));
    assert_eq!(cluster.owner("t", 0, task(1), NOW).unwrap().url, "http://b:8080");
    assert_eq!(cluster.owner("t", 1, task(1), NOW), None, "another generation");
    cluster.learn(record("b", &[0, 1], &[]), NOW + LIVE_MS);
    assert_eq!(
        owner(&cluster, 0, NOW + LIVE_MS + 2).as_deref(),
        Some("b"),
        "a is silent"
    );
    cluster.forget("b");
    assert_eq!(owner(&cluster, 0, NOW + LIVE_MS + 2), None);
    assert_eq!(cluster.instances(NOW + LIVE_MS + 2).len(), 1, "only this one");
}

#[test]
fn standbys_with_the_least_lag_come_first_and_this_instance_is_none_of_the_others() {
    let cluster = Cluster::alone("me");
    cluster.learn(record("a", &[], &[(0, 7)]), NOW);
    cluster.learn(record("b", &[], &[(0, 3), (1, 0)]), NOW);
    cluster.learn(record("me", &[0], &[(1, 0)]), NOW);
    let mut hidden = record("c", &[1], &[(0, 0)]);
    hidden.url = None;
    cluster.learn(hidden, NOW);
    let found = cluster.standbys("t", 0, task(0), NOW);
    let names: Vec<(&str, u64)> = found.iter().map(|(peer, s)| (&*peer.instance, s.lag)).collect();
    assert_eq!(names, [("b", 3), ("a", 7)], "c cannot be reached");
    assert_eq!(owner(&cluster, 0, NOW), None);
    assert_eq!(owner(&cluster, 1, NOW), None, "its owner cannot be reached");
    let all: Vec<String> = cluster.instances(NOW).into_iter().map(|r| r.instance).collect();
    assert_eq!(all, ["a", "b", "c", "me"]);
}

/// Instances over one simulated log.
struct Rig {
    log: SimLog,
    process: Arc<dyn Log>,
}

impl Rig {
    fn new() -> Self {
        let log = SimLog::new(1, NOW.wall).unwrap();
        let process = log.process();
        Self { log, process }
    }

    fn now(&self) -> Moment {
        Moment::of(self.log.now())
    }

    fn instance(&self, name: &str) -> (Arc<Cluster>, Agent) {
        let cluster = Arc::new(Cluster::default());
        cluster.name(name, Some(format!("http://{name}")));
        let agent = Agent::new(self.process.clone(), cluster.clone(), &EngineSettings::default());
        (cluster, agent)
    }

    fn run(&self, agents: &mut [&mut Agent], ms: i64) {
        let end = self.log.now() + ms;
        while self.log.now() < end {
            self.log.advance(50);
            for agent in &mut *agents {
                agent.step(self.now(), Duration::ZERO);
            }
        }
    }
}

#[test]
fn instances_hear_of_each_other_and_of_their_ends() {
    let rig = Rig::new();
    let (a, mut agent_a) = rig.instance("a");
    let (b, mut agent_b) = rig.instance("b");
    rig.run(&mut [&mut agent_a, &mut agent_b], 500);
    let live = |cluster: &Cluster| cluster.instances(rig.now()).len();
    assert_eq!((live(&a), live(&b)), (2, 2));
    rig.run(&mut [&mut agent_a, &mut agent_b], 4 * LIVE_MS);
    assert_eq!((live(&a), live(&b)), (2, 2), "heartbeats");
    rig.run(&mut [&mut agent_b], LIVE_MS + HEARTBEAT_MS);
    assert_eq!(live(&b), 1, "a is silent");
    rig.run(&mut [&mut agent_a, &mut agent_b], HEARTBEAT_MS);
    assert_eq!(live(&b), 2);
    agent_a.leave(rig.now());
    rig.run(&mut [&mut agent_b], 100);
    assert_eq!(live(&b), 1, "a has said that it stops");
}

#[test]
fn records_of_instances_that_are_long_dead_bring_nobody_to_life() {
    let rig = Rig::new();
    let (_, mut agent_a) = rig.instance("a");
    rig.run(&mut [&mut agent_a], 500);
    rig.log.advance(3 * LIVE_MS);
    let (b, mut agent_b) = rig.instance("b");
    rig.run(&mut [&mut agent_b], 100);
    assert!(b.is_known());
    assert_eq!(b.instances(rig.now()).len(), 1);
}

#[test]
fn what_is_no_record_of_an_instance_is_passed_over() {
    let rig = Rig::new();
    let (a, mut agent_a) = rig.instance("a");
    rig.run(&mut [&mut agent_a], 500);
    let tp = TopicPartition::new("millstream.instances", 0);
    let other = serde_json::to_vec(&record("c", &[0], &[])).unwrap();
    for (key, value) in [
        (Some(&b"b"[..]), Some(&b"{"[..])),
        (Some(&b"\xff"[..]), Some(&b"{}"[..])),
        (Some(&b"b"[..]), Some(&other[..])),
    ] {
        rig.log.append(&tp, key, value, rig.log.now()).unwrap();
    }
    rig.run(&mut [&mut agent_a], 500);
    assert_eq!(a.instances(rig.now()).len(), 1);
}

/// The instances that are to follow a task, as each of them sees it by itself.
fn followers(records: &[InstanceRecord], partition: i32, standbys: usize) -> Vec<String> {
    let view = |own: &InstanceRecord| {
        let cluster = Cluster::alone(&own.instance);
        records.iter().for_each(|record| cluster.learn(record.clone(), NOW));
        cluster.role("t", 0, task(partition), standbys, NOW)
    };
    let others = records
        .iter()
        .filter(|own| own.topologies[0].tasks.iter().all(|t| t.partition != partition));
    others
        .filter(|own| view(own) == Role::Follow)
        .map(|own| own.instance.clone())
        .collect()
}

#[test]
fn each_task_has_as_many_followers_as_wanted_and_a_newcomer_takes_only_its_share() {
    let owned: Vec<i32> = (0..60).collect();
    let mut records = vec![
        record("a", &owned, &[]),
        record("b", &[], &[]),
        record("c", &[], &[]),
        record("d", &[], &[]),
    ];
    for standbys in [1, 2, 3, 9] {
        for partition in [0, 7, 59] {
            let found = followers(&records, partition, standbys);
            assert_eq!(
                found.len(),
                standbys.min(3),
                "{standbys} of task {partition}: {found:?}"
            );
        }
    }
    let before: Vec<_> = owned.iter().map(|p| followers(&records, *p, 1)).collect();
    records.push(record("e", &[], &[]));
    let after: Vec<_> = owned.iter().map(|p| followers(&records, *p, 1)).collect();
    let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert!(moved.iter().all(|(_, now)| **now == ["e"]), "{moved:?}");
    assert!((5..30).contains(&moved.len()), "{} of 60 tasks moved", moved.len());
}

#[test]
fn a_copy_is_kept_until_those_have_one_that_are_to_have_it() {
    // a hash decides: look for a task of a that b is to follow, not c
    let all = [
        record("a", &(0..20).collect::<Vec<_>>(), &[]),
        record("b", &[], &[]),
        record("c", &[], &[]),
    ];
    let chosen = (0..20).find(|p| followers(&all, *p, 1) == ["b"]).unwrap();
    let c = Cluster::alone("c");
    let role = |now: Moment| c.role("t", 0, task(chosen), 1, now);
    assert_eq!(role(NOW), Role::Keep, "nobody is known to own it");
    c.learn(all[0].clone(), NOW);
    assert_eq!(role(NOW), Role::Follow, "there is nobody else");
    c.learn(all[1].clone(), NOW);
    assert_eq!(role(NOW), Role::Keep, "b has none yet");
    c.learn(record("b", &[], &[(chosen, 1_000_000)]), NOW);
    assert_eq!(role(NOW), Role::Keep, "b is far behind");
    c.learn(record("b", &[], &[(chosen, 3)]), NOW);
    assert_eq!(role(NOW), Role::Leave);
    assert_eq!(c.role("t", 0, task(chosen), 0, NOW), Role::Leave);
    c.forget("b");
    assert_eq!(role(NOW), Role::Keep, "b restarts: its place is kept");
    let later = NOW + placement::PLACE_MS + 1;
    c.learn(all[0].clone(), later);
    assert_eq!(role(later), Role::Follow, "b does not come back");
}

/// An hour, which clocks are put back by.
const HOUR: i64 = 3_600_000;

/// The moment so long after another one at which the clock was put back by an hour.
fn put_back(from: Moment, later: i64) -> Moment {
    Moment {
        wall: from.wall - HOUR + later,
        steady: from.steady + later,
    }
}

#[test]
fn an_instance_whose_clock_was_put_back_while_kafka_was_away_speaks_again() {
    let rig = Rig::new();
    let (_, mut agent_a) = rig.instance("a");
    let (b, mut agent_b) = rig.instance("b");
    rig.log.go_away(Part::Cluster, i64::MAX);
    let away = rig.now();
    assert!(!agent_a.step(away, Duration::ZERO), "Kafka is away");
    rig.log.come_back();
    rig.run(&mut [&mut agent_b], 2_000);
    assert!(agent_a.step(put_back(away, 2_000), Duration::ZERO));
    rig.run(&mut [&mut agent_b], 500);
    assert_eq!(b.instances(rig.now()).len(), 2, "a is heard");
    // and it goes on, its clock an hour behind
    rig.log.advance(HEARTBEAT_MS);
    let at = |rig: &Rig| put_back(away, rig.log.now() - away.wall);
    assert!(agent_a.step(at(&rig), Duration::ZERO));
    agent_a.leave(at(&rig));
    rig.run(&mut [&mut agent_b], 500);
    assert_eq!(b.instances(rig.now()).len(), 1, "its last word is heard, too");
}

#[test]
fn who_dies_around_a_clock_that_is_put_back_is_not_live_for_an_hour() {
    let cluster = Cluster::alone("me");
    cluster.learn(record("a", &[0], &[]), NOW);
    cluster.learn(record("b", &[1], &[(0, 3)]), NOW);
    assert_eq!(owner(&cluster, 0, put_back(NOW, LIVE_MS)).as_deref(), Some("a"));
    cluster.learn(record("b", &[1], &[(0, 3)]), put_back(NOW, LIVE_MS));
    let later = put_back(NOW, LIVE_MS + 1);
    assert_eq!(owner(&cluster, 0, later), None, "a is silent");
    assert_eq!(cluster.standbys("t", 0, task(0), later).len(), 1, "b is not");
    assert_eq!(cluster.instances(later).len(), 2);
    // nor does it keep its places for longer than a minute
    let later = put_back(NOW, placement::PLACE_MS + 1);
    cluster.learn(record("b", &[0, 1], &[]), later);
    assert_eq!(cluster.role("t", 0, task(0), 1, later), Role::Follow);
}

#[test]
fn a_clock_that_is_put_forward_makes_nobody_dead() {
    let cluster = Cluster::alone("me");
    cluster.learn(record("b", &[], &[]), NOW);
    cluster.learn(record("a", &[0], &[]), NOW);
    cluster.learn(record("b", &[0], &[]), NOW);
    let forward = Moment {
        wall: NOW.wall + HOUR,
        ..NOW
    };
    assert_eq!(owner(&cluster, 0, forward).as_deref(), Some("b"));
    cluster.learn(record("a", &[0], &[]), forward);
    assert_eq!(
        owner(&cluster, 0, forward).as_deref(),
        Some("b"),
        "claims keep their order"
    );
}

#[test]
fn a_zombie_that_wakes_up_does_not_take_a_task_from_its_owner() {
    for silent in [LIVE_MS + 1, 130_000] {
        let cluster = Cluster::alone("me");
        cluster.learn(record("a", &[0], &[]), NOW);
        cluster.learn(record("b", &[0], &[]), NOW);
        for ms in (0..=silent).step_by(1_000) {
            cluster.learn(record("b", &[0], &[]), NOW + ms);
        }
        let woken = NOW + silent;
        cluster.learn(record("a", &[0], &[]), woken);
        assert_eq!(owner(&cluster, 0, woken).as_deref(), Some("b"), "{silent}");
        // what it claims anew is as doubtful, as long as b claims it
        cluster.learn(record("c", &[0], &[]), woken);
        cluster.learn(record("b", &[0], &[]), woken + 1);
        assert_eq!(owner(&cluster, 0, woken + 1).as_deref(), Some("b"), "{silent}");
        cluster.learn(record("b", &[], &[]), woken + 2);
        assert_eq!(
            owner(&cluster, 0, woken + 2).as_deref(),
            Some("a"),
            "{silent}: b has let go"
        );
        // who is known and live takes it over at once
        cluster.learn(record("b", &[0], &[]), woken + 3);
        assert_eq!(owner(&cluster, 0, woken + 3).as_deref(), Some("b"), "{silent}");
    }
}

#[test]
fn senseless_times_of_records_neither_panic_nor_make_anybody_immortal() {
    for written_at in [i64::MIN, -1, 0, NOW.wall + HOUR, i64::MAX] {
        let rig = Rig::new();
        let (_, mut agent_a) = rig.instance("a");
        rig.run(&mut [&mut agent_a], 500);
        let said = InstanceRecord {
            written_at,
            ..record("z", &[0], &[])
        };
        let value = serde_json::to_vec(&said).unwrap();
        let tp = TopicPartition::new("millstream.instances", 0);
        rig.log.append(&tp, Some(b"z"), Some(&value), rig.log.now()).unwrap();
        // it stands in the topic when b begins to listen
        let (b, mut agent_b) = rig.instance("b");
        rig.run(&mut [&mut agent_a, &mut agent_b], 200);
        let known = owner(&b, 0, rig.now());
        assert_eq!(known.is_some(), written_at > NOW.wall, "{written_at}: {known:?}");
        rig.run(&mut [&mut agent_a, &mut agent_b], LIVE_MS);
        assert_eq!(owner(&b, 0, rig.now()), None, "{written_at}");
        assert_eq!(b.instances(rig.now()).len(), 2, "a and b");
    }
}
