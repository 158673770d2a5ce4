//! SQL in ksqlDB's dialect to a [`crate::topology::Topology`], and pull queries over its views.
//!
//! ```text
//! text -> lex (tokens) -> parse (ast) -> plan (names, types, logical nodes) -> lower (pruned, wired topology)
//! ```
//!
//! Every stage reports [`Diagnostic`]s with places; a file's errors come all at once.

pub mod ast;
mod diagnostic;
mod lex;
pub mod parse;
mod print;

pub use diagnostic::{Diagnostic, Problem, Span};
