//! The integration tests, one binary: each file is a module.

mod rooms;
mod simulation;
