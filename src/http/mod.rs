//! The HTTP interface: views and queries out, records in, health, metrics, and a small page for people.
//!
//! [`app`] makes a router that tests call without a socket; [`serve`] puts it behind one. Paths, parameters and documentation come from one
//! table ([`ROUTES`]), metrics from another ([`METRICS`]), so that neither docs nor `/openapi.json` can drift.
//!
//! It is *not* where rows are read: `views` does that, on blocking threads whose number is bounded. *Invariant*: nothing here waits for a
//! commit, and no commit waits for anything here.

mod answer;
mod control;
mod docs;
mod error;
mod feed;
mod gather;
mod guard;
mod health;
mod instances;
mod internal;
mod json_in;
mod json_out;
mod metrics;
mod openapi;
mod params;
mod peers;
mod prometheus;
mod reading;
mod routes;
mod serve;
mod snapshots;
mod starting;
mod state;
mod streams;
mod topologies;
mod views;

#[cfg(test)]
mod tests;

pub use control::{Control, ControlError, EngineControl};
pub use docs::reference;
pub use error::ApiError;
pub use json_out::{Numbers, write_row, write_value};
pub use metrics::{METRICS, Metric, MetricKind};
pub use openapi::openapi;
pub use routes::{Endpoint, ROUTES, Route, app};
pub use serve::{bind, runtime, serve};
pub use state::{App, AppParts, HttpSettings};
