//! Readers of the views while a scenario runs: what they see is committed, whole, and never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream::engine::{PublishedTask, TaskId, TaskStatus};
use millstream::log::Log;
use millstream::log::sim::SimRecord;
use millstream::state::{META_PREFIX, Snapshot, StorePosition};
use millstream::types::TopicPartition;

use crate::simulation::world::World;

/// Offsets of a position, by topic.
type Offsets = BTreeMap<Arc<str>, i64>;

#[derive(Default)]
pub struct Readers {
    /// The furthest that anybody has seen of a task.
    furthest: BTreeMap<TaskId, Offsets>,
    /// What was seen last of each owner's task.
    owners: Vec<(Arc<PublishedTask>, Offsets)>,
    pub looks: u64,
}

fn offsets(position: &StorePosition) -> Offsets {
    let changelogs = position.changelogs.iter();
    let changelogs = changelogs.map(|changelog| (changelog.topic.clone(), changelog.offset));
    let inputs = position.inputs.iter();
    changelogs
        .chain(inputs.map(|(topic, _, offset)| (topic.clone(), *offset)))
        .collect()
}

/// What has gone back by at least a record: markers of transactions change nothing that is shown.
fn back(world: &World, partition: i32, before: &Offsets, now: &Offsets) -> Vec<String> {
    let lower = before.iter().filter_map(|(topic, offset)| {
        let seen = now.get(topic).copied().unwrap_or(0);
        if seen >= *offset {
            return None;
        }
        let tp = TopicPartition::new(topic.clone(), partition);
        let (low, _) = world.log.process().admin().watermarks(&tp).unwrap();
        let records = world.log.read(&tp, true).unwrap();
        let is_missed = |record: &SimRecord| (seen..*offset).contains(&record.offset);
        let has_gone = low > seen || records.iter().any(is_missed);
        has_gone.then(|| format!("{topic} from {offset} to {seen}"))
    });
    lower.collect()
}

/// The tasks that answer queries now, with what they show.
fn answering(world: &World) -> Vec<(Arc<PublishedTask>, Arc<dyn Snapshot>)> {
    let Some(deployment) = world.deployed() else {
        return Vec::new();
    };
    let tasks = world.published().flat_map(|published| published.tasks());
    // what has no state has no views
    let tasks = tasks.filter(|task| !deployment.subs[task.id.sub].changelogs.is_empty());
    let running = tasks.filter(|task| task.status() == TaskStatus::Running);
    let shown = running.filter_map(|task| {
        let snapshot = task.reader()?.snapshot().ok()?;
        Some((task, snapshot))
    });
    shown.collect()
}

impl Readers {
    /// Looks at the positions of everything that can be read.
    pub fn look(&mut self, world: &World) {
        for (task, snapshot) in answering(world) {
            self.looks += 1;
            let now = offsets(snapshot.position());
            let known = self.owners.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &task));
            // an owner that is new has what everybody before had shown; one that was left behind does not know of its successor
            let is_owner = || {
                world
                    .shown_by_owner(task.id)
                    .is_some_and(|of_owner| Arc::ptr_eq(&of_owner, &task))
            };
            let before = match &known {
                Some((_, seen)) => seen.clone(),
                None if is_owner() => self.furthest.get(&task.id).cloned().unwrap_or_default(),
                None => Offsets::default(),
            };
            let lower = back(world, task.id.partition, &before, &now);
            assert!(
                lower.is_empty(),
                "readers of task {} see it go back: {lower:?}",
                task.id
            );
            match known {
                Some((_, seen)) => seen.clone_from(&now),
                None => self.owners.push((task.clone(), now.clone())),
            }
            let furthest = self.furthest.entry(task.id).or_default();
            for (topic, offset) in now {
                let known = furthest.entry(topic).or_default();
                *known = offset.max(*known);
            }
        }
    }

    /// Looks at all rows, too: they are those of the committed changelog up to the position, all of them and no other. Copies of tasks are the same.
    pub fn look_closely(&mut self, world: &World) {
        self.look(world);
        for (task, snapshot) in answering(world) {
            check_rows(world, task.id, &*snapshot);
        }
        for copy in world.published().flat_map(|published| published.standbys()) {
            if let Ok(snapshot) = copy.reader().snapshot() {
                self.looks += 1;
                check_rows(world, copy.id, &*snapshot);
            }
        }
    }
}

fn check_rows(world: &World, task: TaskId, snapshot: &dyn Snapshot) {
    let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (store, target) in &world.deployment().subs[task.sub].changelogs {
        let changelogs = &snapshot.position().changelogs;
        let known = changelogs.iter().find(|changelog| changelog.topic == target.topic);
        let end = known.map_or(0, |changelog| changelog.offset);
        let tp = TopicPartition::new(target.topic.clone(), task.partition);
        // an older transaction that is still open, a zombie's, hides what is committed behind it
        if world.log.stable_end(&tp).unwrap() < end {
            return;
        }
        let records = world.log.read(&tp, true).unwrap().into_iter();
        for record in records.take_while(|record| record.offset < end) {
            let key = [&store.to_be_bytes()[..], &record.key.unwrap_or_default()].concat();
            match record.value {
                Some(value) => expected.insert(key, value),
                None => expected.remove(&key),
            };
        }
    }
    let mut rows = BTreeMap::new();
    let end = META_PREFIX.to_be_bytes();
    let collect = &mut |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        true
    };
    snapshot.scan(&[], Some(&end), false, collect).unwrap();
    let differs = rows.iter().filter(|(key, row)| expected.get(*key) != Some(*row));
    let missing = expected.keys().filter(|key| !rows.contains_key(*key));
    let wrong: Vec<_> = differs
        .map(|(key, row)| (key, Some(row)))
        .chain(missing.map(|key| (key, None)))
        .collect();
    let position = snapshot.position();
    assert!(
        wrong.is_empty(),
        "rows of task {task} are not those of its changelog: {wrong:?} at {position:?}"
    );
}
