//! The developer's own Kafka: an embedded broker and what goes with it.

pub mod broker;
pub mod registry;
pub mod sample;
pub mod top;
