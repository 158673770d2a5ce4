//! The integration tests, one binary: each file is a module.

#[cfg(feature = "kafka")]
mod broker;
mod broker_wire;
mod cases;
mod corpus;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod dev;
mod engine;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod faults;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod globals;
mod golden;
mod http;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod jobs;
#[cfg(feature = "kafka")]
mod kafka_log;
#[cfg(feature = "kafka")]
mod kafka_login;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod lost_disk;
mod nexmark;
#[cfg(feature = "object-store")]
mod object_store;
mod patience;
#[cfg(feature = "kafka")]
mod registry;
mod rooms;
mod sample;
mod simulation;
mod views;
