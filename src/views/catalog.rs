//! The views of this instance: finding one by name, and opening snapshots of its partitions.

use std::sync::Arc;

use super::catchup::Need;
use super::{Positions, ViewError};
use crate::engine::{Moment, Published, PublishedTask, PublishedTopology, TaskId, TaskStatus, likely_partition};
use crate::state::Snapshot;
use crate::topology::View;
use crate::types::Value;

/// A view and the running topology it belongs to.
#[derive(Clone)]
pub struct ViewRef {
    /// The topology that answers.
    pub published: Arc<PublishedTopology>,
    index: usize,
}

impl ViewRef {
    /// The view.
    pub fn view(&self) -> &View {
        &self.published.topology.views[self.index]
    }

    /// The statement that made it.
    pub fn sql(&self) -> Option<&str> {
        let relations = &self.published.topology.relations;
        relations.iter().find(|r| r.name == self.view().name).map(|r| &*r.sql)
    }

    /// Partitions that its rows are spread over.
    pub fn partitions(&self) -> i32 {
        self.published.partitions.get(self.view().sub).copied().unwrap_or(0)
    }

    /// Where the row of a key most likely is, see [`likely_partition`].
    pub fn likely_partition(&self, key: &[Value]) -> Option<i32> {
        likely_partition(key, self.partitions())
    }

    /// Opens a snapshot of every partition.
    ///
    /// # Errors
    /// [`ViewError::NotReady`] when a partition is restoring or not here.
    pub fn open(&self) -> Result<ViewParts, ViewError> {
        let parts = self.open_available();
        if parts.missing.is_empty() {
            Ok(parts)
        } else {
            Err(parts.not_ready(self))
        }
    }

    /// Opens a snapshot of the partitions that can be read now.
    pub fn open_available(&self) -> ViewParts {
        let mut parts = ViewParts::default();
        if self.partitions() == 0 {
            let name = &self.published.topology.name;
            parts.missing.push(Missing {
                partition: None,
                reason: format!("the partitions of topology {name} are not known yet"),
            });
        }
        let all: Vec<i32> = (0..self.partitions()).collect();
        self.open_into(&all, &mut parts);
        parts
    }

    /// Opens a snapshot of those of the partitions that can be read now.
    pub fn open_these(&self, partitions: &[i32]) -> ViewParts {
        let mut parts = ViewParts::default();
        self.open_into(partitions, &mut parts);
        parts
    }

    fn open_into(&self, partitions: &[i32], parts: &mut ViewParts) {
        for &partition in partitions {
            let reason = match self.published.task(self.task(partition)) {
                None => format!("partition {partition} is not on this instance"),
                Some(task) => match open_task(&task) {
                    Ok(snapshot) => {
                        parts.insert(partition, snapshot, Some(task));
                        continue;
                    }
                    Err(reason) => reason,
                },
            };
            parts.missing.push(Missing {
                partition: Some(partition),
                reason,
            });
        }
    }

    /// The task that holds a partition.
    pub fn task(&self, partition: i32) -> TaskId {
        TaskId {
            sub: self.view().sub,
            partition,
        }
    }
}

/// A snapshot of a task's rows, or why there is none.
fn open_task(task: &PublishedTask) -> Result<Arc<dyn Snapshot>, String> {
    let partition = task.id.partition;
    let opening = || format!("partition {partition} is being opened");
    // a store is readable while it is still restored, but then it shows a state older than what was answered before
    running(task)?;
    let reader = task.reader().ok_or_else(opening)?;
    let snapshot = reader.snapshot();
    // its owner may have begun to clear or to replay it meanwhile: the picture counts only if nothing has changed behind it
    running(task)?;
    if !task.reader().is_some_and(|now| Arc::ptr_eq(&now, &reader)) {
        return Err(opening());
    }
    snapshot.map_err(|error| format!("partition {partition}: {error}"))
}

/// Whether a task's rows are those that it works on.
fn running(task: &PublishedTask) -> Result<(), String> {
    let partition = task.id.partition;
    match task.status() {
        TaskStatus::Running => Ok(()),
        TaskStatus::Restoring => {
            let (done, total) = restore_progress(task);
            Err(format!(
                "partition {partition} is restoring ({done} of {total} offsets)"
            ))
        }
        TaskStatus::Opening => Err(format!("partition {partition} is being opened")),
    }
}

fn restore_progress(task: &PublishedTask) -> (u64, u64) {
    use std::sync::atomic::Ordering::Relaxed;
    (task.restore.done.load(Relaxed), task.restore.total.load(Relaxed))
}

/// The age of a copy, for people.
pub fn age(behind_ms: i64) -> String {
    match behind_ms {
        i64::MAX => "still being made".into(),
        ms => format!("{ms} ms behind"),
    }
}

/// A partition that cannot be read here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The partition; `None`: all of them.
    pub partition: Option<i32>,
    /// Why.
    pub reason: String,
}

/// A partition that a standby has answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyPart {
    /// The partition.
    pub partition: i32,
    /// How old the state is that was shown, at most.
    pub behind_ms: i64,
}

/// Snapshots of a view's partitions, in order of partition.
#[derive(Default)]
pub struct ViewParts {
    /// Partition and its snapshot.
    pub snapshots: Vec<(i32, Arc<dyn Snapshot>)>,
    /// What could not be opened, and why.
    pub missing: Vec<Missing>,
    /// Those of them that are a standby's.
    pub standbys: Vec<StandbyPart>,
    /// The task of each snapshot; none behind a standby's.
    tasks: Vec<Option<Arc<PublishedTask>>>,
}

impl ViewParts {
    /// Adds the snapshot of a partition, in its place.
    fn insert(&mut self, partition: i32, snapshot: Arc<dyn Snapshot>, task: Option<Arc<PublishedTask>>) {
        let at = self.snapshots.partition_point(|(before, _)| *before < partition);
        self.snapshots.insert(at, (partition, snapshot));
        self.tasks.insert(at, task);
    }

    /// Opens the copies that this instance keeps of missing partitions, where they are at most so many milliseconds old. 0: none.
    pub fn take_standbys(&mut self, view: &ViewRef, most_behind_ms: i64, now: Moment) {
        let missing: Vec<i32> = self.missing.iter().filter_map(|missing| missing.partition).collect();
        for partition in missing {
            self.take_standby(view, partition, most_behind_ms, now);
        }
    }

    /// Opens the copy of a missing partition, as [`Self::take_standbys`]; whether there was one.
    pub fn take_standby(&mut self, view: &ViewRef, partition: i32, most_behind_ms: i64, now: Moment) -> bool {
        let Some(standby) = view
            .published
            .standby(view.task(partition))
            .filter(|_| most_behind_ms > 0)
        else {
            return false;
        };
        let behind_ms = standby.behind_ms(now);
        let snapshot = match standby.reader().snapshot() {
            Ok(snapshot) if behind_ms <= most_behind_ms => snapshot,
            Ok(_) => {
                self.note(partition, &format!("its copy here is {}", age(behind_ms)));
                return false;
            }
            Err(error) => {
                self.note(partition, &format!("its copy here cannot be read: {error}"));
                return false;
            }
        };
        self.missing.retain(|missing| missing.partition != Some(partition));
        self.insert(partition, snapshot, None);
        self.standbys.push(StandbyPart { partition, behind_ms });
        true
    }

    fn note(&mut self, partition: i32, what: &str) {
        let of = |missing: &&mut Missing| missing.partition == Some(partition);
        for missing in self.missing.iter_mut().filter(of) {
            missing.reason = format!("{}, {what}", missing.reason);
        }
    }

    /// Leaves only the snapshots that reflect what is needed; the others are missing.
    pub fn set_aside(&mut self, need: &Need) {
        if need.is_empty() {
            return;
        }
        let parts = std::mem::take(&mut self.snapshots);
        for ((partition, snapshot), task) in parts.into_iter().zip(std::mem::take(&mut self.tasks)) {
            match need.uncovered(partition, snapshot.position()).first() {
                None => self.insert(partition, snapshot, task),
                Some(behind) => {
                    self.standbys.retain(|standby| standby.partition != partition);
                    self.missing.push(Missing {
                        partition: Some(partition),
                        reason: format!("partition {partition} does not reflect the token yet: {behind}"),
                    });
                }
            }
        }
    }

    /// The partitions that were opened.
    pub fn partitions(&self) -> Vec<i32> {
        self.snapshots.iter().map(|(partition, _)| *partition).collect()
    }

    /// The offsets that these snapshots reflect.
    pub fn positions(&self) -> Positions {
        let mut positions = Positions::default();
        for part in 0..self.snapshots.len() {
            self.add_position(part, &mut positions);
        }
        positions
    }

    /// The offsets that one of them reflects.
    pub(super) fn add_position(&self, part: usize, positions: &mut Positions) {
        positions.add(self.snapshots[part].1.position());
        for input in self.tasks[part].iter().flat_map(|task| &task.inputs) {
            positions.add_input(&input.topic, input.partition);
        }
    }

    /// What these snapshots do not reflect yet of what is needed.
    pub fn behind(&self, need: &Need) -> Vec<String> {
        let of = |(partition, snapshot): &(i32, Arc<dyn Snapshot>)| need.uncovered(*partition, snapshot.position());
        self.snapshots.iter().flat_map(of).collect()
    }

    pub(super) fn not_ready(self, view: &ViewRef) -> ViewError {
        ViewError::NotReady {
            view: view.view().name.to_string(),
            reasons: self.missing.into_iter().map(|missing| missing.reason).collect(),
        }
    }
}

/// All views, by topology and in the order of their statements.
pub fn all_views(published: &Published) -> Vec<ViewRef> {
    let of = |published: Arc<PublishedTopology>| {
        let count = published.topology.views.len();
        (0..count).map(move |index| ViewRef {
            published: published.clone(),
            index,
        })
    };
    published.topologies().into_iter().flat_map(of).collect()
}

/// Finds a view by `NAME` or `topology.NAME`; case matters only where it decides between several.
///
/// # Errors
/// [`ViewError::UnknownView`] with the known names, [`ViewError::AmbiguousView`] with the topologies.
pub fn find_view(published: &Published, name: &str) -> Result<ViewRef, ViewError> {
    let topologies = published.topologies();
    let qualified = name.split_once('.');
    for exact in [true, false] {
        let same = |a: &str, b: &str| if exact { a == b } else { a.eq_ignore_ascii_case(b) };
        let mut found: Vec<ViewRef> = Vec::new();
        for published in &topologies {
            let plain = qualified.and_then(|(t, plain)| (*published.topology.name == *t).then_some(plain));
            for (index, view) in published.topology.views.iter().enumerate() {
                if same(&view.name, name) || plain.is_some_and(|plain| same(&view.name, plain)) {
                    let published = published.clone();
                    found.push(ViewRef { published, index });
                }
            }
        }
        match found.len() {
            0 => {}
            1 => return Ok(found.remove(0)),
            _ => {
                return Err(ViewError::AmbiguousView {
                    name: name.to_string(),
                    topologies: found.iter().map(|v| v.published.topology.name.to_string()).collect(),
                });
            }
        }
    }
    Err(ViewError::UnknownView {
        name: name.to_string(),
        known: all_views(published).iter().map(|v| v.view().name.to_string()).collect(),
    })
}
