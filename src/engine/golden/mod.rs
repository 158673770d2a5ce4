//! Golden cases: a topology, timed inputs and what must come out, as text; and a run of it inside one call stack.
//!
//! It is test support that `millstream test` uses as well. Compiling the SQL is the caller's, since this room does not know SQL.

mod local;

pub use local::{LocalError, LocalRecord, LocalRun};
