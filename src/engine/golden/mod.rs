//! Golden cases: SQL, timed inputs and what must come out, as text ([`Case`]); and a run of a topology inside one call stack ([`LocalRun`]).
//!
//! It is test support that `millstream test` uses as well. Compiling the SQL is the caller's, since this room does not know SQL.

mod case;
mod codec;
mod globals;
mod local;
mod run;

pub use case::{Case, CaseError, CaseRow, Step};
pub use codec::{RowCodec, TopicCodec, sink_schemas};
pub use local::{LocalError, LocalRecord, LocalRun};
pub use run::CaseFailure;
