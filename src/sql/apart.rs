//! A file's statements one by one, as they would be executed in a running system: each query planned alone, reading every relation from its
//! topic, also those that other queries of the file make. For test cases, which say what each query does by itself.

use super::ast::{Statement, StatementKind};
use super::diagnostic::{Diagnostic, Problem};
use super::{CompileContext, SourceFile, parse, plan};
use crate::topology::Topology;

/// A file's statements, and which are left when DROP, ALTER and CREATE OR REPLACE have been carried out.
pub struct Script<'a> {
    file: &'a SourceFile,
    all: Vec<Statement>,
    live: plan::Script,
}

impl<'a> Script<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// What is no SQL.
    pub fn parse(file: &'a SourceFile) -> Result<Self, Vec<Diagnostic>> {
        let (all, problems) = parse::statements(&file.text);
        let live = plan::effective(&all);
        match problems.is_empty() {
            true => Ok(Self { file, all, live }),
            false => Err(diagnose(file, problems)),
        }
    }

    /// Carries out DROP, ALTER and CREATE OR REPLACE.
    ///
    /// # Errors
    /// Those that cannot be.
    pub fn resolve(mut self, context: &CompileContext<'_>) -> Result<Self, Vec<Diagnostic>> {
        let replaced = self.live.replaced.iter();
        let problems = replaced.filter_map(|r| plan::check_replaced(r, self.file, context, &[]));
        let problems: Vec<Problem> = self.live.problems.drain(..).chain(problems).collect();
        match problems.is_empty() {
            true => Ok(self),
            false => Err(diagnose(self.file, problems)),
        }
    }

    /// The statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.live.live
    }

    /// Plans the query of a statement as if it ran alone after the statements before it: a relation that is altered or replaced later is as it was,
    /// which is what `*` means there. Without a query the topology has no nodes; relations, records to insert and assertions up to and with the
    /// statement are in it all the same.
    ///
    /// # Errors
    /// What is wrong up to and with the statement.
    pub fn plan(&self, at: usize, context: &CompileContext<'_>) -> Result<Topology, Vec<Diagnostic>> {
        let origin = self.live.origins.get(at).copied().unwrap_or_default();
        self.plan_until(origin, origin, context)
    }

    /// What is declared when all statements have been executed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn end(&self, context: &CompileContext<'_>) -> Result<Topology, Vec<Diagnostic>> {
        self.plan_until(self.all.len().saturating_sub(1), usize::MAX, context)
    }

    fn plan_until(&self, last: usize, only: usize, context: &CompileContext<'_>) -> Result<Topology, Vec<Diagnostic>> {
        let known = plan::effective(&self.all[..self.all.len().min(last.saturating_add(1))]);
        let at = known.origins.iter().position(|origin| *origin == only);
        plan::Planner::new(self.file.topology(), self.file, context)
            .plan_only(&known.live, at.unwrap_or(usize::MAX))
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
