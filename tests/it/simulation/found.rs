//! What generated scenarios have found, each as a story of its own.

use std::time::Duration;

use millstream::engine::{EngineSettings, TaskStatus};

use super::failures::{movie, quick, rate, rated, settled};
use super::plan::{self, MOVIES, RATINGS};
use super::world::World;

const HOUR_MS: i64 = 3_600_000;

/// The counters of a task begin anew with its store; what they were before was taken off them.
#[test]
fn a_store_that_is_opened_anew_does_not_upset_the_counters() {
    let mut world = settled(21);
    let counted = |world: &World| {
        let published = world.published().next().unwrap().clone();
        published.metrics.records.load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = counted(&world);
    world.processes[0].disk.fail_write(0);
    rate(&world, 1, 5.0);
    world.settle();
    rate(&world, 1, 2.0);
    world.settle();
    assert_eq!(rated(&world)[&1], (4, 14.0, "one".into()));
    let more = counted(&world) - before;
    assert!((4..20).contains(&more), "{more} records were counted for two ratings");
}

/// Whatever waited for a time of day waited until the clock was there again.
#[test]
fn a_clock_that_is_put_back_holds_nothing_up() {
    let mut world = settled(22);
    for put_back in [HOUR_MS, 9 * 24 * HOUR_MS] {
        world.processes[0].clock -= put_back;
        let since = world.log.now();
        let before = rated(&world)[&1].0;
        rate(&world, 1, 1.0);
        world.settle();
        assert_eq!(rated(&world)[&1].0, before + 1);
        let took = world.log.now() - since;
        assert!(took < 30_000, "{took} ms");
    }
    world.processes[0].clock -= HOUR_MS;
    world.restart(0);
    world.settle();
    super::check_stores(&world);
}

/// While its disk is full a task has no store to read from, and said all the same that it runs.
#[test]
fn a_task_whose_store_failed_does_not_say_that_it_runs() {
    let mut world = settled(23);
    world.processes[0].disk.fill(world.log.now() + 60_000);
    rate(&world, 1, 5.0);
    let mut without = 0;
    for _ in 0..2_000 {
        world.step();
        for task in world.published().flat_map(|published| published.tasks()) {
            let readable = task.reader().is_some_and(|reader| reader.snapshot().is_ok());
            assert!(
                readable || task.status() != TaskStatus::Running,
                "task {} runs without a store",
                task.id
            );
            without += usize::from(!readable);
        }
    }
    assert!(without > 0, "the disk was never full");
    world.settle();
    assert_eq!(rated(&world)[&1], (3, 12.0, "one".into()));
}

/// The group has given a member's task to another, which goes on and purges what is behind its commit. The first one reads there before it hears of
/// that: this is no reason to stop the topology.
#[test]
fn a_member_that_lost_its_task_does_not_stop_at_what_its_successor_has_purged() {
    let settings = EngineSettings {
        purge_interval: Duration::from_millis(1),
        workers: 2,
        ..quick()
    };
    for seed in 0..15 {
        let mut world = World::new(seed, plan::topology(), settings.clone(), 2);
        world.log.create_topic(RATINGS, 1, &[]).unwrap();
        world.log.create_topic(MOVIES, 1, &[]).unwrap();
        movie(&world, 1, "one");
        rate(&world, 1, 1.0);
        world.settle();
        let mut given = 1;
        for member in 0..8 {
            world.log.expel(super::failures::GROUP, member);
            for _ in 0..60 {
                if world.rng.chance(100) {
                    rate(&world, 1, 1.0);
                    given += 1;
                }
                world.step();
            }
        }
        world.settle();
        assert_eq!(rated(&world)[&1], (given, given as f64, "one".into()), "seed {seed}");
    }
}
