//! The views of this instance: finding one by name, and opening snapshots of its partitions.

use std::sync::Arc;

use super::{Positions, ViewError};
use crate::engine::{Published, PublishedTopology, TaskStatus};
use crate::state::Snapshot;
use crate::topology::View;

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
            parts
                .missing
                .push(format!("the partitions of topology {name} are not known yet"));
        }
        let tasks = self.published.tasks_of(self.view().sub);
        for partition in 0..self.partitions() {
            let Some(task) = tasks.iter().find(|t| t.id.partition == partition) else {
                parts
                    .missing
                    .push(format!("partition {partition} is not on this instance"));
                continue;
            };
            // a store is readable while it is still restored, but then it shows a state older than what was answered before
            match (task.status(), task.reader().map(|reader| reader.snapshot())) {
                (TaskStatus::Running, Some(Ok(snapshot))) => {
                    parts.snapshots.push((partition, snapshot));
                    parts
                        .inputs
                        .push(task.inputs.iter().map(|i| (i.topic.clone(), i.partition)).collect());
                }
                (TaskStatus::Running, Some(Err(error))) => {
                    parts.missing.push(format!("partition {partition}: {error}"))
                }
                (TaskStatus::Restoring, _) => {
                    let (done, total) = restore_progress(task);
                    parts.missing.push(format!(
                        "partition {partition} is restoring ({done} of {total} offsets)"
                    ));
                }
                (TaskStatus::Opening, _) | (TaskStatus::Running, None) => {
                    parts.missing.push(format!("partition {partition} is being opened"));
                }
            }
        }
        parts
    }
}

fn restore_progress(task: &crate::engine::PublishedTask) -> (u64, u64) {
    use std::sync::atomic::Ordering::Relaxed;
    (task.restore.done.load(Relaxed), task.restore.total.load(Relaxed))
}

/// Snapshots of a view's partitions, in order of partition.
#[derive(Default)]
pub struct ViewParts {
    /// Partition and its snapshot.
    pub snapshots: Vec<(i32, Arc<dyn Snapshot>)>,
    /// What could not be opened, and why.
    pub missing: Vec<String>,
    /// The inputs of each snapshot's task: topic and partition.
    inputs: Vec<Vec<(Arc<str>, i32)>>,
}

impl ViewParts {
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
        for (topic, partition) in &self.inputs[part] {
            positions.add_input(topic, *partition);
        }
    }

    pub(super) fn not_ready(self, view: &ViewRef) -> ViewError {
        ViewError::NotReady {
            view: view.view().name.to_string(),
            reasons: self.missing,
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
    let all = all_views(published);
    let same = |view: &ViewRef, exact: bool| {
        let matches = |a: &str, b: &str| if exact { a == b } else { a.eq_ignore_ascii_case(b) };
        let (topology, plain) = (&view.published.topology.name, &view.view().name);
        let qualified = name
            .split_once('.')
            .is_some_and(|(t, v)| **topology == *t && matches(plain, v));
        matches(plain, name) || qualified
    };
    for exact in [true, false] {
        let mut found: Vec<&ViewRef> = all.iter().filter(|v| same(v, exact)).collect();
        match found.len() {
            0 => {}
            1 => return Ok(found.remove(0).clone()),
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
        known: all.iter().map(|v| v.view().name.to_string()).collect(),
    })
}
