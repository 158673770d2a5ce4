//! What each statement of a file amounts to, in a line: what `check` and `explain` say about statements that are no operator of the plan.
//!
//! *Not here*: the plan itself, which is `topology::explain`'s. A file has been compiled before its outline is asked for.

use std::collections::BTreeSet;

use super::ast::{Asserted, Create, Name, Statement, StatementKind};
use super::diagnostic::Span;
use super::settings::without_effect;
use super::{SourceFile, parse, plan, print};
use crate::topology::{Node, Op, SourceTopic, Topology};

/// A statement of a file, and what it amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlined {
    /// The line where it begins, from 1.
    pub line: usize,
    /// Its first words: `CREATE STREAM S`.
    pub statement: String,
    /// What it amounts to.
    pub meaning: String,
    /// It has no effect, which its writer may not know.
    pub idle: bool,
}

/// The statements of a file that compiled to `topology`, in their order.
pub fn outline(file: &SourceFile, topology: &Topology) -> Vec<Outlined> {
    let (all, _) = parse::statements(&file.text);
    let live = plan::effective(&all).live;
    let outline = Outline {
        file,
        topology,
        live: live.iter().map(|s| s.span.start).collect(),
        all: &all,
    };
    all.iter().enumerate().map(|(at, s)| outline.statement(at, s)).collect()
}

struct Outline<'a> {
    file: &'a SourceFile,
    topology: &'a Topology,
    /// Where the statements stand that are left when DROP and CREATE OR REPLACE have been carried out.
    live: BTreeSet<usize>,
    all: &'a [Statement],
}

fn idle(meaning: impl Into<String>) -> (String, bool) {
    (meaning.into(), true)
}

fn told(meaning: impl Into<String>) -> (String, bool) {
    (meaning.into(), false)
}

impl Outline<'_> {
    fn statement(&self, at: usize, statement: &Statement) -> Outlined {
        let (meaning, idle) = self.meaning(at, statement);
        Outlined {
            line: self.line(statement.span),
            statement: title(&statement.kind),
            meaning,
            idle,
        }
    }

    fn line(&self, span: Span) -> usize {
        let before = self.file.text.get(..span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    fn meaning(&self, at: usize, statement: &Statement) -> (String, bool) {
        match &statement.kind {
            StatementKind::Create(create) if !self.live.contains(&statement.span.start) => self.gone(at, create),
            StatementKind::Create(create) => self.create(create),
            StatementKind::InsertSelect { into, .. } if !self.live.contains(&statement.span.start) => {
                told(format!("dropped again with {}", into.text))
            }
            StatementKind::InsertSelect { into, .. } => told(self.writers(&into.text)),
            StatementKind::InsertValues { into, .. } if !self.live.contains(&statement.span.start) => {
                told(format!("dropped again with {}", into.text))
            }
            StatementKind::InsertValues { into, .. } => told(format!(
                "a record of topic {}, written once, when the file is first deployed",
                self.topic(&into.text)
            )),
            StatementKind::Drop { name, .. } => match self.made_before(at, name) {
                Some(line) => told(format!("takes line {line} back: nothing of it is deployed")),
                None => idle("nothing above makes it: nothing to do"),
            },
            StatementKind::Alter { name, .. } => match self.made_before(at, name) {
                Some(line) => told(format!("adds columns to the declaration of line {line}")),
                None => idle("nothing to do"),
            },
            StatementKind::CreateType { name, sql_type, .. } => told(format!(
                "{} stands for {sql_type} in the statements below; it is no part of the plan",
                print::name(&name.text)
            )),
            StatementKind::DropType { name, .. } => told(format!(
                "{} stands for nothing in the statements below",
                print::name(&name.text)
            )),
            StatementKind::Define(name, value) => told(format!(
                "${{{}}} stands for '{value}' in the statements below",
                name.text
            )),
            StatementKind::Undefine(name) => {
                told(format!("${{{}}} stands for nothing in the statements below", name.text))
            }
            StatementKind::Set(name, _) => match without_effect(name) {
                Some(why) => idle(why),
                None => told("holds for the statements below"),
            },
            StatementKind::Unset(name) => match without_effect(name) {
                Some(_) => idle("no effect, as SET has none"),
                None => told("holds no longer, for the statements below"),
            },
            StatementKind::Assert(assert) => {
                let wait = assert
                    .timeout_ms
                    .map_or(String::new(), |ms| format!(", waited for {ms} ms"));
                told(format!("checked before the file is deployed{wait}"))
            }
            StatementKind::Query(_) => idle("a query of its own: run it with `millstream query`"),
        }
    }

    fn relation(&self, name: &str) -> Option<&crate::topology::Relation> {
        self.topology.relation(name)
    }

    fn topic<'n>(&'n self, name: &'n str) -> &'n str {
        self.relation(name).map_or(name, |relation| &relation.topic.name)
    }

    /// The line of the statement before `at` that makes a relation.
    fn made_before(&self, at: usize, name: &Name) -> Option<usize> {
        let made = self.all[..at].iter().rev().find(|s| makes(s, name))?;
        Some(self.line(made.span))
    }

    /// A CREATE of which nothing is left.
    fn gone(&self, at: usize, create: &Create) -> (String, bool) {
        let later = self.all[at + 1..].iter().find(|s| match &s.kind {
            StatementKind::Create(other) => other.or_replace && other.name == create.name,
            StatementKind::Drop { name, .. } => *name == create.name,
            _ => false,
        });
        match (
            later.map(|s| (&s.kind, self.line(s.span))),
            self.made_before(at, &create.name),
        ) {
            (_, Some(line)) if create.if_not_exists && !create.or_replace => {
                idle(format!("line {line} has made it: this one is left out"))
            }
            (Some((StatementKind::Drop { .. }, line)), _) => told(format!("line {line} drops it again")),
            (Some((_, line)), _) => told(format!("line {line} takes its place")),
            (None, _) => idle("left out"),
        }
    }

    fn create(&self, create: &Create) -> (String, bool) {
        let name = &create.name.text;
        if create.query.is_some() {
            return told(self.writers(name));
        }
        let source = if create.source {
            ", which nothing here may write to"
        } else {
            ""
        };
        let view = if self.topology.views.iter().any(|view| view.name == *name) {
            ", a view for readers"
        } else {
            ""
        };
        let read = self.subs(|node| {
            matches!(&node.op, Op::Source(s) if s.relation == *name && matches!(s.topic, SourceTopic::External(_)))
        });
        let topic = self.topic(name);
        if self
            .topology
            .globals
            .iter()
            .any(|global| global.source.relation == *name)
        {
            return told(format!(
                "topic {topic}{source}, a global table: every process holds it whole"
            ));
        }
        match read {
            Some(subs) => told(format!("topic {topic}{source}{view}, read by {subs}")),
            None => {
                let inserted = self.topology.inserts.iter().any(|insert| insert.relation == *name);
                let written = self.subs(|node| matches!(&node.op, Op::Sink(sink) if sink.relation == *name));
                match (written, inserted) {
                    (Some(subs), _) => told(format!("topic {topic}, written by {subs}")),
                    (None, true) => told(format!("topic {topic}, for the records that are inserted")),
                    (None, false) => idle(format!(
                        "topic {topic}: no query reads it, so that it is no part of the plan"
                    )),
                }
            }
        }
    }

    /// The sub-topologies that write a relation.
    fn writers(&self, name: &str) -> String {
        let view = if self.topology.views.iter().any(|view| &*view.name == name) {
            ", a view for readers"
        } else {
            ""
        };
        match self.subs(|node| matches!(&node.op, Op::Sink(sink) if &*sink.relation == name)) {
            Some(subs) => format!("written to topic {} by {subs}{view}", self.topic(name)),
            None => format!("written to no topic{view}"),
        }
    }

    /// The sub-topologies that have such a node, in words.
    fn subs(&self, has: impl Fn(&Node) -> bool) -> Option<String> {
        let subs: BTreeSet<usize> = self
            .topology
            .nodes
            .iter()
            .filter(|node| has(node))
            .map(|node| node.sub)
            .collect();
        let all: Vec<String> = subs.iter().map(ToString::to_string).collect();
        match all.as_slice() {
            [] => None,
            [one] => Some(format!("sub-topology {one}")),
            all => Some(format!("sub-topologies {}", all.join(", "))),
        }
    }
}

fn makes(statement: &Statement, name: &Name) -> bool {
    matches!(&statement.kind, StatementKind::Create(create) if create.name == *name)
}

/// The first words of a statement.
fn title(kind: &StatementKind) -> String {
    let quoted = |name: &Name| print::name(&name.text);
    match kind {
        StatementKind::Create(create) => {
            let replace = if create.or_replace { "OR REPLACE " } else { "" };
            let source = if create.source { "SOURCE " } else { "" };
            let select = if create.query.is_some() { " AS SELECT" } else { "" };
            format!(
                "CREATE {replace}{source}{} {}{select}",
                create.kind,
                quoted(&create.name)
            )
        }
        StatementKind::InsertSelect { into, .. } => format!("INSERT INTO {} SELECT", quoted(into)),
        StatementKind::InsertValues { into, .. } => format!("INSERT INTO {} VALUES", quoted(into)),
        StatementKind::Drop { kind, name, .. } => format!("DROP {kind} {}", quoted(name)),
        StatementKind::Alter { kind, name, .. } => format!("ALTER {kind} {}", quoted(name)),
        StatementKind::CreateType { name, .. } => format!("CREATE TYPE {}", quoted(name)),
        StatementKind::DropType { name, .. } => format!("DROP TYPE {}", quoted(name)),
        StatementKind::Define(name, _) => format!("DEFINE {}", quoted(name)),
        StatementKind::Undefine(name) => format!("UNDEFINE {}", quoted(name)),
        StatementKind::Set(name, value) => format!("SET '{name}' = '{value}'"),
        StatementKind::Unset(name) => format!("UNSET '{name}'"),
        StatementKind::Assert(assert) => {
            let absent = if assert.absent { "NOT EXISTS " } else { "" };
            match &assert.what {
                Asserted::Topic { name, .. } => format!("ASSERT {absent}TOPIC {}", name.text),
                Asserted::Schema { subject, id } => {
                    let subject = subject.as_ref().map(|s| format!(" SUBJECT {}", s.text));
                    let id = id.map(|id| format!(" ID {id}"));
                    format!(
                        "ASSERT {absent}SCHEMA{}{}",
                        subject.unwrap_or_default(),
                        id.unwrap_or_default()
                    )
                }
            }
        }
        StatementKind::Query(_) => "SELECT".into(),
    }
}
