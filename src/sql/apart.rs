//! A file's statements one by one, as they would be executed in a running system: each query planned alone, reading every relation from its
//! topic, also those that other queries of the file make. For test cases, which say what each query does by itself.

use super::ast::{Statement, StatementKind};
use super::diagnostic::{Diagnostic, Problem};
use super::{CompileContext, SourceFile, parse, plan};
use crate::topology::Topology;

/// The statements that are left when DROP, ALTER and CREATE OR REPLACE have been carried out.
pub struct Script<'a> {
    file: &'a SourceFile,
    statements: Vec<Statement>,
}

impl<'a> Script<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// What is no SQL.
    pub fn parse(file: &'a SourceFile) -> Result<Self, Vec<Diagnostic>> {
        let (statements, problems) = parse::statements(&file.text);
        match problems.is_empty() {
            true => Ok(Self { file, statements }),
            false => Err(diagnose(file, problems)),
        }
    }

    /// Carries out DROP, ALTER and CREATE OR REPLACE.
    ///
    /// # Errors
    /// Those that cannot be.
    pub fn resolve(self) -> Result<Self, Vec<Diagnostic>> {
        let (statements, problems) = plan::effective(&self.statements);
        match problems.is_empty() {
            true => Ok(Self { statements, ..self }),
            false => Err(diagnose(self.file, problems)),
        }
    }

    /// The statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Plans the query of a statement as if it ran alone after the statements before it. Without a query the topology has no nodes; relations,
    /// records to insert and assertions up to and with the statement are in it all the same.
    ///
    /// # Errors
    /// What is wrong up to and with the statement.
    pub fn plan(&self, at: usize, context: &CompileContext<'_>) -> Result<Topology, Vec<Diagnostic>> {
        let known = &self.statements[..self.statements.len().min(at.saturating_add(1))];
        let planner = plan::Planner::new(self.file.topology(), self.file, context);
        planner
            .plan_last(known)
            .map_err(|problems| diagnose(self.file, problems))
    }
}

impl Statement {
    /// Whether it runs for ever.
    pub fn is_query(&self) -> bool {
        match &self.kind {
            StatementKind::Create(create) => create.query.is_some(),
            StatementKind::InsertSelect { .. } => true,
            _ => false,
        }
    }
}

fn diagnose(file: &SourceFile, problems: Vec<Problem>) -> Vec<Diagnostic> {
    let found = problems.into_iter().map(|p| Diagnostic::new(&file.name, &file.text, p));
    found.collect()
}
