//! Millstream: SQL files in, exactly-once materialized views out, one binary beside Kafka.
//!
//! `ARCHITECTURE.md` tells the rooms (modules), who may import whom, and the way of a record.

pub mod cli;
pub mod dev;
pub mod engine;
pub mod expr;
pub mod formats;
pub mod http;
pub mod log;
pub mod operators;
pub mod sql;
pub mod state;
pub mod topology;
pub mod types;
pub mod views;
