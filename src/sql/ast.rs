//! The tree of a SQL file, as written: names are folded, nothing is resolved or checked.
//!
//! `Display` (in `print`) gives SQL that parses to the same tree.

use std::sync::Arc;

use super::diagnostic::Span;
pub use super::window::{Duration, TimeUnit, Window, WindowType};
use crate::expr::{ArithmeticOp, CompareOp};
use crate::types::{RelationKind, SqlType};

/// A name: upper case unless it was quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: Arc<str>,
    /// Where it is.
    pub span: Span,
}

/// A statement and where it is, without its semicolon.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Where it is.
    pub span: Span,
}

/// The statements.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `CREATE STREAM | TABLE name (columns) WITH (...)`.
    Create(Create),
    /// `INSERT INTO name SELECT ...`.
    InsertSelect {
        /// The target stream.
        into: Name,
        /// The query.
        query: Box<Query>,
    },
    /// `INSERT INTO name (columns) VALUES (values)`.
    InsertValues {
        /// The target.
        into: Name,
        /// The columns, all if none are named.
        columns: Vec<Name>,
        /// A value for each.
        values: Vec<Expression>,
    },
    /// `DROP STREAM | TABLE [IF EXISTS] name [DELETE TOPIC]`.
    Drop {
        /// Stream or table.
        kind: RelationKind,
        /// No error if it does not exist.
        if_exists: bool,
        /// What to drop.
        name: Name,
        /// With its topic.
        delete_topic: bool,
    },
    /// `SET 'name' = 'value'`.
    Set(String, String),
    /// `UNSET 'name'`.
    Unset(String),
    /// `ALTER STREAM | TABLE name ADD COLUMN a type, ...`.
    Alter {
        /// Stream or table.
        kind: RelationKind,
        /// Which one.
        name: Name,
        /// The new columns, all of the value.
        columns: Vec<ColumnDef>,
    },
    /// `CREATE TYPE [IF NOT EXISTS] name AS type`: the parser puts the type in place of the name from here on.
    CreateType {
        /// No error if it exists.
        if_not_exists: bool,
        /// The new name.
        name: Name,
        /// What it stands for.
        sql_type: SqlType,
    },
    /// `DROP TYPE [IF EXISTS] name`.
    DropType {
        /// No error if it does not exist.
        if_exists: bool,
        /// The name.
        name: Name,
    },
    /// `DEFINE name = 'value'`: the parser puts the value in place of `${name}` from here on.
    Define(Name, String),
    /// `UNDEFINE name`.
    Undefine(Name),
    /// `ASSERT [NOT EXISTS] TOPIC | SCHEMA ...`.
    Assert(Assert),
    /// A query by itself.
    Query(Box<Query>),
}

/// What must hold outside the file before it is deployed.
#[derive(Clone, Debug, PartialEq)]
pub struct Assert {
    /// NOT EXISTS.
    pub absent: bool,
    /// What is looked for.
    pub what: Asserted,
    /// TIMEOUT, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// The object of an ASSERT.
#[derive(Clone, Debug, PartialEq)]
pub enum Asserted {
    /// `TOPIC name [WITH (PARTITIONS = n, REPLICAS = n)]`; the name is as written.
    Topic {
        /// The topic.
        name: Name,
        /// WITH.
        with: Vec<Property>,
    },
    /// `SCHEMA [SUBJECT name] [ID n]`; the name is as written.
    Schema {
        /// The subject.
        subject: Option<Name>,
        /// The id.
        id: Option<u32>,
    },
}

/// CREATE, with columns or AS SELECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// Stream or table.
    pub kind: RelationKind,
    /// OR REPLACE.
    pub or_replace: bool,
    /// SOURCE.
    pub source: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The new name.
    pub name: Name,
    /// The columns; `None` if there is no list (then they come from the registry).
    pub columns: Option<Vec<ColumnDef>>,
    /// WITH (...).
    pub with: Vec<Property>,
    /// AS SELECT.
    pub query: Option<Box<Query>>,
}

/// What a column is beside a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnRole {
    /// A column of the value.
    Value,
    /// KEY.
    Key,
    /// PRIMARY KEY.
    PrimaryKey,
    /// HEADERS, or HEADER('name').
    Headers(Option<String>),
}

/// A column of a CREATE.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub sql_type: SqlType,
    /// KEY, PRIMARY KEY or neither.
    pub role: ColumnRole,
    /// From name to role.
    pub span: Span,
}

/// A `NAME = value` of a WITH clause.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// In upper case.
    pub name: Name,
    /// A literal.
    pub value: Literal,
    /// Where the value is.
    pub span: Span,
}

/// A constant as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// NULL.
    Null,
    /// TRUE or FALSE.
    Boolean(bool),
    /// A number: INTEGER, BIGINT, DECIMAL with a point, DOUBLE with an exponent.
    Number(String),
    /// A string.
    String(String),
}

/// SELECT and its clauses.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The projection.
    pub select: Vec<SelectItem>,
    /// FROM.
    pub from: TableRef,
    /// JOINs, from left to right.
    pub joins: Vec<Join>,
    /// WINDOW.
    pub window: Option<Window>,
    /// WHERE.
    pub filter: Option<Expression>,
    /// GROUP BY.
    pub group_by: Vec<Expression>,
    /// PARTITION BY.
    pub partition_by: Vec<Expression>,
    /// HAVING.
    pub having: Option<Expression>,
    /// QUALIFY.
    pub qualify: Option<Expression>,
    /// EMIT.
    pub emit: Option<(Emit, Span)>,
    /// ORDER BY; the flag is DESC.
    pub order_by: Vec<(Expression, bool)>,
    /// LIMIT.
    pub limit: Option<(u64, Span)>,
    /// From SELECT to the end.
    pub span: Span,
}

/// A clause that is kept as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// Its tokens with blanks between.
    pub text: String,
    /// Where it is.
    pub span: Span,
}

/// EMIT CHANGES or FINAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// Every change.
    Changes,
    /// Windows once they are closed.
    Final,
}

/// An item of the projection.
#[derive(Clone, Debug, PartialEq)]
pub enum SelectItem {
    /// `*` or `a.*`.
    All {
        /// The relation, if one is named.
        qualifier: Option<Name>,
        /// Where it is.
        span: Span,
    },
    /// An expression.
    One {
        /// The expression.
        expression: Expression,
        /// AS.
        alias: Option<Name>,
    },
}

/// A relation in FROM or JOIN.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRef {
    /// The topology before the dot, as written; only queries of views name one.
    pub topology: Option<Name>,
    /// The relation.
    pub name: Name,
    /// Its name in this query.
    pub alias: Option<Name>,
}

impl TableRef {
    /// The name by which the query knows it.
    pub fn known_as(&self) -> &Name {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// A JOIN.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// Inner or outer.
    pub kind: crate::topology::JoinKind,
    /// The right side.
    pub right: TableRef,
    /// FOR SYSTEM_TIME AS OF: when the right table is looked up.
    pub as_of: Option<Expression>,
    /// WITHIN ... [GRACE PERIOD ...], as tokens.
    pub within: Option<Raw>,
    /// ON.
    pub on: Expression,
    /// From JOIN to the end of ON.
    pub span: Span,
}

/// An expression and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// What it says.
    pub kind: ExpressionKind,
    /// Where it is.
    pub span: Span,
}

/// The expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpressionKind {
    /// A constant.
    Literal(Literal),
    /// A column, `a` or `r.a`.
    Column(Option<Name>, Name),
    /// NOT.
    Not(Box<Expression>),
    /// `-x`.
    Negate(Box<Expression>),
    /// AND.
    And(Box<Expression>, Box<Expression>),
    /// OR.
    Or(Box<Expression>, Box<Expression>),
    /// A comparison.
    Compare(CompareOp, Box<Expression>, Box<Expression>),
    /// Arithmetic.
    Arithmetic(ArithmeticOp, Box<Expression>, Box<Expression>),
    /// `IS [NOT] NULL`; the flag is NOT.
    IsNull(Box<Expression>, bool),
    /// `IS [NOT] DISTINCT FROM`; the flag is NOT.
    IsDistinct(Box<Expression>, Box<Expression>, bool),
    /// `[NOT] IN (...)`.
    In(Box<Expression>, Vec<Expression>, bool),
    /// `[NOT] BETWEEN ... AND ...`
    Between(Box<Expression>, Box<Expression>, Box<Expression>, bool),
    /// `[NOT] LIKE ... [ESCAPE 'c']`.
    Like(Box<Expression>, Box<Expression>, Option<char>, bool),
    /// `CASE [operand] WHEN ... THEN ... [ELSE ...] END`.
    Case {
        /// Compared with each WHEN, if present.
        operand: Option<Box<Expression>>,
        /// WHEN and THEN.
        whens: Vec<(Expression, Expression)>,
        /// ELSE.
        otherwise: Option<Box<Expression>>,
    },
    /// CAST(x AS type).
    Cast(Box<Expression>, SqlType),
    /// `x->field`.
    Field(Box<Expression>, Name),
    /// `x->*`.
    AllFields(Box<Expression>),
    /// `x[i]`.
    Subscript(Box<Expression>, Box<Expression>),
    /// `ARRAY[...]`.
    Array(Vec<Expression>),
    /// `MAP(k := v, ...)`.
    Map(Vec<(Expression, Expression)>),
    /// `STRUCT(name := v, ...)`.
    Struct(Vec<(Name, Expression)>),
    /// A function; `COUNT(*)` has no arguments.
    Call(Name, Vec<Expression>),
    /// An aggregate function with DISTINCT or FILTER.
    Aggregate {
        /// The function.
        name: Name,
        /// DISTINCT before the arguments.
        distinct: bool,
        /// The arguments.
        args: Vec<Expression>,
        /// FILTER (WHERE ...).
        filter: Option<Box<Expression>>,
    },
    /// `ROW_NUMBER() OVER (PARTITION BY ... ORDER BY ...)`.
    RowNumber {
        /// PARTITION BY.
        partition_by: Vec<Expression>,
        /// ORDER BY; the flag is DESC.
        order_by: Vec<(Expression, bool)>,
    },
    /// `(a, b) => x`.
    Lambda(Vec<Name>, Box<Expression>),
}

impl Expression {
    /// Calls `f` on the direct operands.
    pub fn children<'a>(&'a self, f: &mut dyn FnMut(&'a Expression)) {
        match &self.kind {
            ExpressionKind::Literal(_) | ExpressionKind::Column(..) => {}
            ExpressionKind::Not(a) | ExpressionKind::Negate(a) | ExpressionKind::IsNull(a, _) => f(a),
            ExpressionKind::Cast(a, _) | ExpressionKind::Field(a, _) | ExpressionKind::AllFields(a) => f(a),
            ExpressionKind::Lambda(_, a) => f(a),
            ExpressionKind::And(a, b) | ExpressionKind::Or(a, b) | ExpressionKind::Subscript(a, b) => {
                f(a);
                f(b);
            }
            ExpressionKind::Compare(_, a, b) | ExpressionKind::Arithmetic(_, a, b) => {
                f(a);
                f(b);
            }
            ExpressionKind::IsDistinct(a, b, _) | ExpressionKind::Like(a, b, ..) => {
                f(a);
                f(b);
            }
            ExpressionKind::Between(a, b, c, _) => {
                f(a);
                f(b);
                f(c);
            }
            ExpressionKind::In(a, all, _) => {
                f(a);
                all.iter().for_each(f);
            }
            ExpressionKind::Case {
                operand,
                whens,
                otherwise,
            } => {
                operand.iter().for_each(|e| f(e));
                whens.iter().for_each(|(when, then)| {
                    f(when);
                    f(then);
                });
                otherwise.iter().for_each(|e| f(e));
            }
            ExpressionKind::Array(all) | ExpressionKind::Call(_, all) => all.iter().for_each(f),
            ExpressionKind::Aggregate { args, filter, .. } => {
                args.iter().for_each(&mut *f);
                filter.iter().for_each(|e| f(e));
            }
            ExpressionKind::RowNumber { partition_by, order_by } => {
                partition_by.iter().for_each(&mut *f);
                order_by.iter().for_each(|(e, _)| f(e));
            }
            ExpressionKind::Map(entries) => entries.iter().for_each(|(k, v)| {
                f(k);
                f(v);
            }),
            ExpressionKind::Struct(fields) => fields.iter().for_each(|(_, v)| f(v)),
        }
    }
}
