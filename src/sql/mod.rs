//! SQL in ksqlDB's dialect to a [`Topology`], and pull queries over its views.
//!
//! ```text
//! text -> lex (tokens) -> parse (ast) -> plan (names, types) -> topology::Builder (pruned and wired)
//! ```
//!
//! Every stage reports [`Diagnostic`]s with places; a file's errors come all at once.
//! *Not here*: anything that runs; and no text survives compilation but names and the statements for display.

mod apart;
pub mod ast;
mod check;
mod coerce;
mod diagnostic;
mod lambda;
mod lex;
mod outline;
pub mod parse;
mod plan;
mod print;
pub mod properties;
mod query;
mod scope;
pub mod settings;
mod window;

use std::sync::Arc;

pub use apart::Script;
pub use diagnostic::{Diagnostic, Problem, Span, nearest};
pub use outline::{Outlined, outline};
pub use plan::{AS_KSQLDB, EXPRESSION_ERRORS, INTEGER_OVERFLOW, NULL_COMPARISONS};
pub use query::{Groups, KeyBounds, Order, PullQuery, ViewCatalog, query};

use crate::topology::Topology;
use crate::types::{Column, SerdeSpec};

/// A SQL file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its path as the user gave it; the stem names the topology.
    pub name: Arc<str>,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// The topology's name: the file's stem.
    pub fn topology(&self) -> &str {
        let file = self.name.rsplit(['/', '\\']).next().unwrap_or(&self.name);
        file.rsplit_once('.').map_or(file, |(stem, _)| stem)
    }
}

/// The registry as the compiler sees it.
pub trait SchemaLookup {
    /// The columns that a subject's latest schema gives with this serialization; `None` if there is no such subject.
    ///
    /// # Errors
    /// When the registry is away, or the schema has no columns for SQL.
    fn columns(&self, subject: &str, spec: &SerdeSpec) -> Result<Option<Vec<Column>>, String>;
}

/// A registry without schemas.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSchemas;

impl SchemaLookup for NoSchemas {
    fn columns(&self, _: &str, _: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        Ok(None)
    }
}

/// What a file is compiled against.
#[derive(Clone, Copy)]
pub struct CompileContext<'a> {
    /// Where columns come from when a statement lists none.
    pub schemas: &'a dyn SchemaLookup,
}

/// Compiles a file.
///
/// # Errors
/// Everything that is wrong with it, in the order of places.
pub fn compile(file: &SourceFile, context: &CompileContext<'_>) -> Result<Topology, Vec<Diagnostic>> {
    compile_with(file, context, &[])
}

/// Compiles a file as if it began with these `SET` properties.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    file: &SourceFile,
    context: &CompileContext<'_>,
    properties: &[(String, String)],
) -> Result<Topology, Vec<Diagnostic>> {
    let diagnose = |problems: Vec<Problem>| {
        let found = problems.into_iter().map(|p| Diagnostic::new(&file.name, &file.text, p));
        found.collect::<Vec<_>>()
    };
    let (statements, mut problems) = parse::statements(&file.text);
    let planned = plan::Planner::new(file.topology(), file, context)
        .with_properties(properties)
        .plan(&statements);
    match planned {
        Ok(topology) if problems.is_empty() => Ok(topology),
        Ok(_) => Err(diagnose(problems)),
        Err(more) => {
            // a name that only a bad statement would have made is not missing
            let syntax = !problems.is_empty();
            problems.extend(
                more.into_iter()
                    .filter(|p| !syntax || !p.message.starts_with("there is no stream or table")),
            );
            problems.sort_by_key(|p| p.span.start);
            Err(diagnose(problems))
        }
    }
}

#[cfg(test)]
mod tests;
