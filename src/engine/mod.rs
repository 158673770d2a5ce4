//! The engine: tasks, the workers that drive them, deployment, and what running topologies show to others.
//!
//! *Invariant*: a task and a worker are synchronous state machines; clocks and threads are at home in `engine::threads` and `engine::ingest` alone.

pub mod cluster;
pub mod deploy;
mod deployment;
mod failpoint;
mod fingerprint;
pub mod golden;
mod ingest;
mod instance;
mod metrics;
mod moment;
mod names;
mod numbering;
pub mod outbox;
mod progress;
mod published;
pub mod queue;
mod repair;
mod settings;
pub mod snapshots;
mod stores;
pub mod supervisor;
pub mod task;
pub mod threads;
mod watch;
pub mod worker;

pub use cluster::Cluster;
pub use deployment::{Deployment, InputTopic, KeyLike, SubDeployment, TopicTarget};
pub use failpoint::{Failpoint, failpoint};
pub use fingerprint::{StatePlan, view_fingerprint};
pub use ingest::{Ingest, IngestError, LogIngest, NewRecord};
pub use instance::Instance;
pub use metrics::{BUCKETS_MS, Histogram};
pub use moment::Moment;
pub use names::Names;
pub use numbering::Numbering;
pub use progress::{LogProgress, Progress};
pub use published::{
    InputProgress, Published, PublishedStandby, PublishedTask, PublishedTopology, ReplayProgress, RestoreProgress,
    TaskId, TaskStatus, TopologyMetrics, TopologyStatus, likely_partition,
};
pub use settings::{BadRecord, Emit, EngineSettings, StartFrom};
pub use stores::OpenStores;
pub use supervisor::{Engine, EngineParts, Startup};
pub use watch::{CommittedKeys, Watcher, Watchers};
