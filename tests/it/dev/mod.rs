//! The built program end to end: `millstream dev` with its embedded broker, spoken to as users do: over HTTP, with `millstream load`
//! and with a Kafka client.

mod lifecycle;
mod movies;
mod orders;
mod page;
mod pair;
pub mod process;
mod retail;
mod run;
mod steering;
