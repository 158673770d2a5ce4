//! The engine: tasks, the workers that drive them, deployment, and what running topologies show to others.
//!
//! *Invariant*: a task and a worker are synchronous state machines; clocks and threads are at home in `engine::threads` alone.

mod failpoint;
mod metrics;
mod names;
pub mod outbox;
mod published;
mod settings;
mod watch;

pub use failpoint::{Failpoint, failpoint};
pub use metrics::{BUCKETS_MS, Histogram};
pub use names::Names;
pub use published::{
    InputProgress, Published, PublishedTask, PublishedTopology, ReplayProgress, RestoreProgress, TaskId, TaskStatus,
    TopologyMetrics, TopologyStatus,
};
pub use settings::{BadRecord, Emit, EngineSettings, StartFrom};
pub use watch::{CommittedKeys, Watcher, Watchers};
