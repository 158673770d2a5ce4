//! Standbys, warm-up and moving tasks among several instances: a copy is what was committed, whatever fails; a take-over replays the tail only; what does not move
//! goes on.

mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::engine::cluster::placement::PLACE_MS;
use millstream::engine::{EngineSettings, TaskId};
use millstream::log::sim::{Faults, Part};
use millstream::log::{Log, OutRecord};
use millstream::types::TopicPartition;

use rig::{Rig, rows};

/// Seeds in every `make test`; `MILLSTREAM_STANDBY_SEEDS` says otherwise.
const SEEDS: u64 = 4;

fn settings(standbys: usize) -> EngineSettings {
    EngineSettings {
        standbys,
        ..EngineSettings::default()
    }
}

/// Two instances of which each follows the tasks of the other, all copies whole.
fn pair(seed: u64) -> Rig {
    let mut rig = Rig::new(seed, 2, 2, settings(1));
    rig.balance(2);
    for _ in 0..40 {
        rig.rate(12);
        rig.run(150);
    }
    rig.settle();
    until_followed(&mut rig, 1);
    rig
}

#[track_caller]
fn until_followed(rig: &mut Rig, copies: usize) {
    rig.until("copies of all tasks", |rig| {
        rig.stateful().iter().all(|task| rig.followers(*task).len() == copies)
    });
}

/// What a task's copy shows that is whole as of now.
fn whole(rig: &mut Rig, at: usize, task: TaskId) -> rig::Rows {
    let since = rig.log.now();
    rig.until("a whole copy", |rig| {
        let standby = rig.alive(at).shared.published.standby(task);
        standby.is_some_and(|standby| standby.behind_ms(rig.now()) < rig.log.now() - since)
    });
    let standby = rig.alive(at).shared.published.standby(task).unwrap();
    rows(&*standby.reader().snapshot().unwrap())
}

#[test]
fn copies_are_what_was_committed_whatever_fails() {
    let only: Option<u64> = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("MILLSTREAM_STANDBY_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut seen = (0, 0);
    for seed in (0..count.unwrap_or(SEEDS)).filter(|seed| only.is_none_or(|only| only == *seed)) {
        let outcome = std::panic::catch_unwind(|| chaos(seed));
        match outcome {
            Ok((crashes, copies)) => seen = (seen.0 + crashes, seen.1 + copies),
            Err(_) => panic!("the simulation fails with seed {seed}; repeat it with MILLSTREAM_SEED={seed}"),
        }
    }
    if only.is_none() {
        assert!(seen.0 > 0 && seen.1 > 0, "crashes and looks at copies: {seen:?}");
    }
}

/// Crashes, and looks at copies that found some.
fn chaos(seed: u64) -> (usize, usize) {
    let mut rig = Rig::new(
        seed,
        3,
        3,
        EngineSettings {
            workers: 1 + seed as usize / 2 % 2,
            ..settings(1 + seed as usize % 2)
        },
    );
    rig.settings.warm_up_records = if seed.is_multiple_of(3) { 20 } else { u64::MAX };
    rig.log.set_faults(Faults {
        lost_request: 10,
        lost_answer: 10,
        crash: 1,
        slow_fetch: 100,
    });
    let mut looks = 0;
    for round in 0..120 {
        for _ in 0..60 {
            rig.step();
        }
        rig.rate(3);
        if round % 4 == 3 {
            looks += usize::from(round > 3 && rig.check_standbys());
        }
        if rig.rng.chance(8) {
            let at = rig.rng.below(3);
            rig.kill(at);
            rig.nodes[at].starts_at = rig.log.now() + rig.rng.below(15_000) as i64;
        }
    }
    rig.settle();
    rig.check_owners();
    let wanted = rig.settings.standbys;
    rig.until("copies of all tasks", |rig| {
        rig.stateful().iter().all(|task| rig.followers(*task).len() >= wanted)
    });
    rig.check_standbys();
    (rig.crashes, looks)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut rig = pair(seed);
        rig.kill(0);
        rig.settle_without(0);
        rig.log.trace()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_standby_takes_over_with_the_tail_only() {
    let mut rig = pair(1);
    let moving: Vec<TaskId> = (rig.stateful().into_iter())
        .filter(|task| rig.owners(*task) == [0])
        .collect();
    let whole: u64 = moving.iter().map(|task| rig.changelog_records(*task)).sum();
    assert!(
        !moving.is_empty() && whole > 50,
        "{} tasks, {whole} records",
        moving.len()
    );
    // what happens while the other one stands still is the tail
    rig.frozen = vec![1];
    rig.rate(6);
    rig.run(2_000);
    let after: u64 = moving.iter().map(|task| rig.changelog_records(*task)).sum();
    rig.frozen.clear();
    rig.kill(0);
    let before = rig.restored(1);
    rig.settle_without(0);
    let restored = rig.restored(1) - before;
    assert!(
        restored <= after - whole + 12,
        "{restored} records were replayed; the tail has {}, all have {after}",
        after - whole
    );
    rig.check_owners();
}

#[test]
fn uncommitted_aborted_and_fenced_rows_never_reach_a_copy() {
    let mut rig = pair(2);
    let task = (rig.stateful().into_iter())
        .find(|task| rig.owners(*task) == [0])
        .unwrap();
    let topic = rig.deployment().subs[task.sub].changelogs[0].1.topic.clone();
    let before = whole(&mut rig, 1, task);
    let process = rig.log.process();
    let write = |id: &str| {
        let mut producer = process.transactional_producer(id).unwrap();
        producer.init(Duration::ZERO).unwrap();
        producer.begin().unwrap();
        let topic = producer.topic(&topic).unwrap();
        producer
            .send(OutRecord {
                topic,
                partition: task.partition,
                key: Some(b"stranger"),
                value: Some(b"row"),
                timestamp: 0,
                headers: &None,
            })
            .unwrap();
        producer.flush(Duration::ZERO).unwrap();
        producer
    };
    let mut aborted = write("aborted");
    let mut fenced = write("fenced");
    rig.run(3_000);
    let shown = rig.alive(1).shared.published.standby(task).unwrap();
    assert_eq!(rows(&*shown.reader().snapshot().unwrap()), before, "while it is open");
    assert!(shown.lag() > 0, "its end is not reached");
    aborted.abort(Duration::ZERO).unwrap();
    let mut successor = rig.log.process().transactional_producer("fenced").unwrap();
    successor.init(Duration::ZERO).unwrap();
    fenced.commit(Duration::ZERO).expect_err("it was fenced");
    assert_eq!(whole(&mut rig, 1, task), before, "after its end");
    assert!(rig.check_standbys());
}

#[test]
fn a_copy_is_built_anew_where_its_changelog_is_another_topic() {
    let mut rig = pair(3);
    let task = (rig.stateful().into_iter())
        .find(|task| rig.owners(*task) == [0])
        .unwrap();
    rig.stop(1);
    // its disk has a store that another changelog has made
    let path = rig.deployment().store_path(task);
    {
        use millstream::state::StoreFactory;
        let mut store = rig.nodes[1].disk.open(&path).unwrap();
        let mut position = store.position().unwrap().unwrap();
        position.changelogs[0].topic_id = "another".into();
        let strange = (b"\0\0strange".to_vec(), Some(b"row".to_vec()));
        store.apply(&mut std::iter::once(strange), &position).unwrap();
        store.flush().unwrap();
        drop(store);
        rig.nodes[1].disk.crash(|_, batches| batches);
    }
    rig.nodes[1].starts_at = 0;
    rig.settle();
    until_followed(&mut rig, 1);
    assert!(rig.check_standbys());
    rig.check_owners();
}

#[test]
fn an_instance_that_restarts_keeps_its_copies_and_nobody_makes_others() {
    let mut rig = Rig::new(4, 3, 3, settings(1));
    rig.rate(200);
    rig.settle();
    until_followed(&mut rig, 1);
    rig.run(2 * PLACE_MS);
    until_followed(&mut rig, 1);
    let placed: BTreeMap<TaskId, Vec<usize>> = (rig.stateful().into_iter())
        .map(|task| (task, rig.followers(task)))
        .collect();
    let owned: Vec<_> = rig.stateful().into_iter().map(|task| rig.owners(task)).collect();
    rig.stop(2);
    rig.run(3_000);
    rig.nodes[2].starts_at = 0;
    rig.settle();
    until_followed(&mut rig, 1);
    assert_eq!(rig.restored(2), 0, "its own tasks go on where they were");
    let again: Vec<_> = rig.stateful().into_iter().map(|task| rig.owners(task)).collect();
    assert_eq!(again, owned, "the same owners");
    for (task, before) in placed {
        assert_eq!(rig.followers(task), before, "task {task}");
    }
}

#[test]
fn a_new_instance_warms_up_before_tasks_move_to_it() {
    let mut rig = Rig::new(5, 3, 2, settings(0));
    rig.settings.warm_up_records = 50;
    rig.rate(600);
    rig.settle();
    let group = rig.deployment().names.group();
    let members = |rig: &Rig| rig.log.process().admin().group_members(&group).unwrap();
    assert_eq!(members(&rig), 2);
    rig.nodes[2].starts_at = 0;
    let all = rig.stateful();
    rig.until("the copies", |rig| {
        let near = all.iter().filter(|task| rig.followers(**task).contains(&2)).count();
        assert!(
            near == all.len() || members(rig) == 2,
            "it joins with {near} of {} tasks near",
            all.len()
        );
        near == all.len()
    });
    rig.until("a task", |rig| !rig.alive(2).shared.published.tasks().is_empty());
    rig.settle();
    let mut moved = 0;
    for task in &all {
        moved += usize::from(rig.owners(*task) == [2]);
    }
    assert!(moved > 0, "tasks have moved to it");
    let restored = rig.restored(2);
    assert!(restored < 50, "{restored} records were replayed");
    rig.until("the end of the warm-up", |rig| {
        let others = || all.iter().filter(|task| rig.owners(**task) != [2]);
        others().all(|task| rig.followers(*task).is_empty() && !rig.has_store(2, *task))
    });
    rig.rate(50);
    rig.settle();
    rig.check_owners();
}

#[test]
fn nobody_waits_for_a_warm_up_alone() {
    let mut rig = Rig::new(6, 1, 1, settings(1));
    rig.settings.warm_up_records = 0;
    rig.rate(100);
    let begin = rig.log.now();
    rig.settle();
    let took = rig.log.now() - begin;
    rig.stop(0);
    rig.nodes[0].disk = std::sync::Arc::default();
    rig.nodes[0].starts_at = 0;
    rig.settle();
    assert!(took < 5_000, "it took {took} ms");
    rig.check_owners();
}

#[test]
fn a_warm_up_ends_when_the_others_do() {
    let mut rig = Rig::new(7, 2, 1, settings(0));
    rig.settings.warm_up_records = 10;
    rig.rate(300);
    rig.settle();
    rig.nodes[1].starts_at = 0;
    rig.until("the start", |rig| rig.nodes[1].alive.is_some());
    rig.kill(0);
    rig.settle_without(0);
    rig.check_owners();
}

#[test]
fn only_the_tasks_that_move_stop() {
    let mut rig = Rig::new(8, 3, 2, settings(1));
    rig.rate(100);
    rig.balance(2);
    let owners = |rig: &Rig| -> BTreeMap<TaskId, Vec<usize>> {
        let tasks = rig.deployment().tasks().into_iter();
        tasks.map(|task| (task, rig.owners(task))).collect()
    };
    let offsets = |rig: &Rig, tasks: &[TaskId]| -> Vec<(TopicPartition, Option<i64>)> {
        let inputs = tasks.iter().flat_map(|task| rig.deployment().inputs(*task));
        inputs.map(|tp| (tp.clone(), rig.committed(&tp))).collect()
    };
    let advance = |rig: &mut Rig, tasks: &[TaskId], when: &str| {
        let before: Vec<_> = offsets(rig, tasks)
            .into_iter()
            .filter(|(tp, _)| &*tp.topic == "ratings")
            .collect();
        assert!(!before.is_empty());
        let mut fed = 0;
        rig.until(when, |rig| {
            let now = offsets(rig, tasks);
            fed += 1;
            before
                .iter()
                .all(|(tp, old)| now.iter().any(|(other, new)| other == tp && new > old))
                || fed > 50_000
        });
        assert!(fed <= 50_000, "{when}: offsets stand still");
    };
    // one joins, and does not take what it is given
    let before = owners(&rig);
    rig.nodes[2].starts_at = 0;
    let group = rig.deployment().names.group();
    rig.until("the new member", |rig| {
        rig.log.process().admin().group_members(&group).unwrap() == 3
    });
    rig.frozen = vec![2];
    rig.run(3_000);
    let during = owners(&rig);
    let (stay, move_): (Vec<TaskId>, Vec<TaskId>) = before.keys().partition(|task| before[task] == during[task]);
    assert!(
        !move_.is_empty() && stay.len() > move_.len(),
        "{stay:?} stay, {move_:?} move"
    );
    rig.rate(60);
    advance(&mut rig, &stay, "offsets of tasks that stay while others move");
    rig.frozen.clear();
    rig.settle();
    // one dies: until its session has ended nobody has its tasks, and the others go on
    let before = owners(&rig);
    let stay: Vec<TaskId> = before.keys().copied().filter(|task| before[task] != [2]).collect();
    rig.kill(2);
    rig.rate(60);
    advance(&mut rig, &stay, "offsets of tasks whose owner lives");
    let orphans = before.keys().filter(|task| before[task] == [2]);
    assert!(orphans.clone().count() > 0 && orphans.clone().all(|task| rig.owners(*task).is_empty()));
    rig.settle_without(2);
    rig.check_owners();
}

#[test]
fn a_worker_that_panics_leaves_no_store_that_nobody_can_take() {
    let mut rig = Rig::new(31, 1, 1, settings(0));
    rig.rate(30);
    rig.settle();
    rig.panic(0);
    let shared = rig.alive(0).shared.clone();
    for task in rig.stateful() {
        let path = shared.deployment.store_path(task);
        assert!(shared.stores.take(&path).unwrap().is_some(), "{path}");
    }
}

#[test]
fn copies_go_on_and_grow_old_when_the_clock_is_put_back_while_kafka_is_away() {
    let mut rig = pair(3);
    let (at, task) = (0..2)
        .find_map(|at| Some((at, *rig.stateful().iter().find(|task| rig.followers(**task) == [at])?)))
        .unwrap();
    let shown = rig.alive(at).shared.published.standby(task).unwrap();
    rig.log.go_away(Part::Cluster, i64::MAX);
    rig.run(4_000);
    rig.clock = -3_600_000;
    rig.run(1_000);
    assert!(shown.behind_ms(rig.now()) >= 5_000, "{} ms", shown.behind_ms(rig.now()));
    rig.log.come_back();
    let back = rig.log.now();
    rig.until("a copy that is whole again", |rig| {
        let shown = rig.alive(at).shared.published.standby(task);
        shown.is_some_and(|shown| shown.behind_ms(rig.now()) < rig.log.now() - back)
    });
    let took = rig.log.now() - back;
    assert!(took < 60_000, "it took {took} ms of virtual time");
}
