//! Readers where rows are not to be shown any more: at an owner that the group may have replaced, and of a store that is built anew.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::engine::{EngineSettings, PublishedTopology, TaskStatus};
use millstream::log::sim::Part;

use super::failures::{GROUP, movie, quick, rate, rated};
use super::plan::{self, MOVIES, RATED, RATINGS};
use super::world::{SESSION_MS, World};

/// Two processes share the tasks.
fn pair(seed: u64) -> World {
    let mut world = World::new(seed, plan::topology(), quick(), 2);
    world.log.create_topic(RATINGS, 1, &[]).unwrap();
    world.log.create_topic(MOVIES, 1, &[]).unwrap();
    movie(&world, 1, "one");
    rate(&world, 1, 3.0);
    world.settle();
    world
}

fn shown(published: &PublishedTopology) -> usize {
    let tasks = published.tasks();
    tasks.iter().filter(|task| task.status() == TaskStatus::Running).count()
}

/// Until a member that has lost its tasks is refused a commit, and has not heard from the group yet: what it shows.
fn refused(world: &mut World) -> Arc<PublishedTopology> {
    let all: Vec<_> = world.published().cloned().collect();
    let aborts = |published: &PublishedTopology| published.metrics.aborts.load(SeqCst);
    for nth in (0..20).map(|round| round % 2) {
        let before: Vec<_> = all.iter().map(|published| aborts(published)).collect();
        world.log.expel(GROUP, nth);
        for _ in 0..200 {
            rate(world, 1, 3.0);
            world.step();
            let aborted = all
                .iter()
                .zip(&before)
                .find(|(published, before)| aborts(published) > **before);
            match aborted {
                Some((published, _)) if shown(published) > 0 => return published.clone(),
                Some(_) => break,
                None => {}
            }
        }
        world.settle();
    }
    panic!("no commit is refused");
}

fn pass(world: &mut World, ms: i64) {
    let until = world.log.now() + ms;
    while world.log.now() < until {
        world.step();
    }
}

#[test]
fn an_owner_that_cannot_abort_still_hears_that_it_was_replaced() {
    let mut world = pair(1);
    let left_behind = refused(&mut world);
    let until = world.log.now() + 60_000;
    world.log.go_away(Part::Transactions, until);
    pass(&mut world, SESSION_MS - 1_000);
    assert_eq!(shown(&left_behind), 0, "tasks of others are shown");
    world.settle();
    super::check_stores(&world);
}

#[test]
fn an_owner_that_is_cut_off_shows_its_rows_until_it_may_have_been_replaced() {
    let mut world = pair(2);
    let left_behind = refused(&mut world);
    let until = world.log.now() + 60_000;
    world.log.go_away(Part::Cluster, until);
    pass(&mut world, SESSION_MS / 2);
    assert!(shown(&left_behind) > 0, "nobody can have its tasks yet");
    pass(&mut world, SESSION_MS);
    assert_eq!(shown(&left_behind), 0, "tasks of others are shown");
    world.settle();
    super::check_stores(&world);
}

#[test]
fn a_store_is_not_shown_empty_before_it_is_built_anew() {
    let settings = EngineSettings {
        delete_retention: Duration::from_secs(60),
        ..quick()
    };
    let mut world = World::new(3, plan::topology(), settings, 1);
    for (topic, config) in [
        (RATINGS, &[][..]),
        (MOVIES, &[]),
        (RATED, &[("max.message.bytes", "4000")]),
    ] {
        world.log.create_topic(topic, 1, config).unwrap();
    }
    movie(&world, 1, "one");
    rate(&world, 1, 3.0);
    world.settle();
    let published = world.published().next().unwrap().clone();
    let (cleared, wrong) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, noted) = (cleared.clone(), wrong.clone());
    world.processes[0].disk.on_clear(move |path| {
        counted.fetch_add(1, SeqCst);
        let mut running = published.tasks();
        running.retain(|task| task.status() == TaskStatus::Running && path.ends_with(&format!("/{}", task.id)));
        noted.lock().unwrap().extend(running.iter().map(|task| task.id));
    });
    // two minutes later, as its clock says, what cannot be sent makes it begin anew: deletes may be gone by then
    world.processes[0].clock += 120_000;
    movie(&world, 1, &"long ".repeat(2_000));
    world.settle();
    movie(&world, 1, "two");
    world.settle();
    assert!(cleared.load(SeqCst) > 0, "no store is built anew");
    assert_eq!(*wrong.lock().unwrap(), [], "shown while they are cleared");
    assert_eq!(rated(&world)[&1].2, "two");
    super::check_stores(&world);
}
