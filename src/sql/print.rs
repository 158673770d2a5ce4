//! A tree as SQL again: parsing the text gives an equal tree.

use std::fmt::{self, Display, Formatter};

use super::ast::*;
use super::parse::{INTERVAL_UNITS, SOFT, is_reserved};
use crate::topology::JoinKind;
use crate::types::SqlType;

/// Words that, as units of time do, begin something else than a name where an expression can stand.
const CONSTRUCTORS: &[&str] = &["ARRAY", "MAP", "STRUCT"];

/// A name, in back quotes where it would not come back the same without.
pub fn name(text: &str) -> String {
    let plain = text
        .chars()
        .enumerate()
        .all(|(i, c)| c.is_ascii_uppercase() || c == '_' || (i > 0 && c.is_ascii_digit()));
    let mistaken = [SOFT, CONSTRUCTORS, INTERVAL_UNITS]
        .iter()
        .any(|words| words.contains(&text));
    if plain && !text.is_empty() && !is_reserved(text) && !mistaken {
        text.to_string()
    } else {
        format!("`{}`", text.replace('`', "``"))
    }
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn ordering(keys: &[(Expression, bool)]) -> String {
    let keys = keys
        .iter()
        .map(|(e, desc)| format!("{e}{}", if *desc { " DESC" } else { "" }));
    keys.collect::<Vec<_>>().join(", ")
}

/// A type as it is written in SQL (`SqlType`'s own text does not quote reserved field names).
fn sql_type(t: &SqlType) -> String {
    match t {
        SqlType::Array(item) => format!("ARRAY<{}>", sql_type(item)),
        SqlType::Map(k, v) => format!("MAP<{}, {}>", sql_type(k), sql_type(v)),
        SqlType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|f| format!("{} {}", name(&f.name), sql_type(&f.sql_type)));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.text))
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StatementKind::Create(create) => write!(f, "{create}"),
            StatementKind::InsertSelect { into, query } => write!(f, "INSERT INTO {into} {query}"),
            StatementKind::InsertValues { into, columns, values } => {
                write!(f, "INSERT INTO {into} ")?;
                if !columns.is_empty() {
                    write!(f, "({}) ", list(columns))?;
                }
                write!(f, "VALUES ({})", list(values))
            }
            StatementKind::Drop {
                kind,
                if_exists,
                name,
                delete_topic,
            } => {
                let exists = if *if_exists { "IF EXISTS " } else { "" };
                let topic = if *delete_topic { " DELETE TOPIC" } else { "" };
                write!(f, "DROP {kind} {exists}{name}{topic}")
            }
            StatementKind::Set(name, value) => write!(f, "SET {} = {}", string(name), string(value)),
            StatementKind::Unset(name) => write!(f, "UNSET {}", string(name)),
            StatementKind::Query(query) => write!(f, "{query}"),
            StatementKind::Alter { kind, name, columns } => {
                let added: Vec<_> = columns.iter().map(|c| format!("ADD COLUMN {c}")).collect();
                write!(f, "ALTER {kind} {name} {}", added.join(", "))
            }
            StatementKind::CreateType {
                if_not_exists,
                name,
                sql_type: to,
            } => {
                let exists = if *if_not_exists { "IF NOT EXISTS " } else { "" };
                write!(f, "CREATE TYPE {exists}{name} AS {}", sql_type(to))
            }
            StatementKind::DropType { if_exists, name } => {
                write!(f, "DROP TYPE {}{name}", if *if_exists { "IF EXISTS " } else { "" })
            }
            StatementKind::Define(name, value) => write!(f, "DEFINE {name} = {}", string(value)),
            StatementKind::Undefine(name) => write!(f, "UNDEFINE {name}"),
            StatementKind::Assert(assert) => write!(f, "{assert}"),
        }
    }
}

impl Display for Assert {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.absent { "ASSERT NOT EXISTS" } else { "ASSERT" })?;
        match &self.what {
            Asserted::Topic { name, with } => {
                write!(f, " TOPIC {}", string(&name.text))?;
                if !with.is_empty() {
                    write!(f, " WITH ({})", list(with))?;
                }
            }
            Asserted::Schema { subject, id } => {
                f.write_str(" SCHEMA")?;
                if let Some(subject) = subject {
                    write!(f, " SUBJECT {}", string(&subject.text))?;
                }
                if let Some(id) = id {
                    write!(f, " ID {id}")?;
                }
            }
        }
        match self.timeout_ms {
            Some(ms) => write!(f, " TIMEOUT {ms} MILLISECONDS"),
            None => Ok(()),
        }
    }
}

impl Display for Create {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let replace = if self.or_replace { "OR REPLACE " } else { "" };
        let source = if self.source { "SOURCE " } else { "" };
        let exists = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        write!(f, "CREATE {replace}{source}{} {exists}{}", self.kind, self.name)?;
        if let Some(columns) = &self.columns {
            write!(f, " ({})", list(columns))?;
        }
        if !self.with.is_empty() {
            write!(f, " WITH ({})", list(&self.with))?;
        }
        match &self.query {
            Some(query) => write!(f, " AS {query}"),
            None => Ok(()),
        }
    }
}

impl Display for ColumnDef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, sql_type(&self.sql_type))?;
        match &self.role {
            ColumnRole::Value => Ok(()),
            ColumnRole::Key => f.write_str(" KEY"),
            ColumnRole::PrimaryKey => f.write_str(" PRIMARY KEY"),
            ColumnRole::Headers(None) => f.write_str(" HEADERS"),
            ColumnRole::Headers(Some(header)) => write!(f, " HEADER({})", string(header)),
        }
    }
}

impl Display for Property {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
            Self::Number(n) => f.write_str(n),
            Self::String(s) => f.write_str(&string(s)),
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "SELECT {} FROM {}", list(&self.select), self.from)?;
        for join in &self.joins {
            write!(f, " {join}")?;
        }
        if let Some(window) = &self.window {
            write!(f, " WINDOW {window}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        if !self.group_by.is_empty() {
            write!(f, " GROUP BY {}", list(&self.group_by))?;
        }
        if !self.partition_by.is_empty() {
            write!(f, " PARTITION BY {}", list(&self.partition_by))?;
        }
        if let Some(having) = &self.having {
            write!(f, " HAVING {having}")?;
        }
        if let Some(qualify) = &self.qualify {
            write!(f, " QUALIFY {qualify}")?;
        }
        match self.emit {
            Some((Emit::Changes, _)) => f.write_str(" EMIT CHANGES")?,
            Some((Emit::Final, _)) => f.write_str(" EMIT FINAL")?,
            None => {}
        }
        if !self.order_by.is_empty() {
            write!(f, " ORDER BY {}", ordering(&self.order_by))?;
        }
        match self.limit {
            Some((limit, _)) => write!(f, " LIMIT {limit}"),
            None => Ok(()),
        }
    }
}

impl Display for SelectItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { qualifier: None, .. } => f.write_str("*"),
            Self::All {
                qualifier: Some(name), ..
            } => write!(f, "{name}.*"),
            Self::One {
                expression,
                alias: Some(alias),
            } => write!(f, "{expression} AS {alias}"),
            Self::One { expression, .. } => write!(f, "{expression}"),
        }
    }
}

impl Display for TableRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(topology) = &self.topology {
            write!(f, "{topology}.")?;
        }
        match &self.alias {
            Some(alias) => write!(f, "{} {alias}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl Display for Join {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            JoinKind::Inner => "INNER",
            JoinKind::Left => "LEFT OUTER",
            JoinKind::Right => "RIGHT OUTER",
            JoinKind::Full => "FULL OUTER",
        };
        write!(f, "{kind} JOIN {}", self.right)?;
        if let Some(time) = &self.as_of {
            write!(f, " FOR SYSTEM_TIME AS OF {time}")?;
        }
        if let Some(within) = &self.within {
            write!(f, " WITHIN {}", within.text)?;
        }
        write!(f, " ON {}", self.on)
    }
}

/// What '->' and '[' stand behind: they bind tighter than the sign of a number.
fn operand(e: &Expression) -> String {
    match &e.kind {
        ExpressionKind::Literal(Literal::Number(n)) if n.starts_with('-') => format!("({e})"),
        _ => e.to_string(),
    }
}

impl Display for Expression {
    /// Every operator in parentheses: the tree's shape, not the writer's.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let not = |flag: &bool| if *flag { "NOT " } else { "" };
        match &self.kind {
            ExpressionKind::Literal(literal) => write!(f, "{literal}"),
            ExpressionKind::Column(None, name) => write!(f, "{name}"),
            ExpressionKind::Column(Some(relation), name) => write!(f, "{relation}.{name}"),
            ExpressionKind::Not(a) => write!(f, "(NOT {a})"),
            ExpressionKind::Negate(a) => write!(f, "(- {a})"),
            ExpressionKind::And(a, b) => write!(f, "({a} AND {b})"),
            ExpressionKind::Or(a, b) => write!(f, "({a} OR {b})"),
            ExpressionKind::Compare(op, a, b) => write!(f, "({a} {op} {b})"),
            ExpressionKind::Arithmetic(op, a, b) => write!(f, "({a} {op} {b})"),
            ExpressionKind::IsNull(a, flag) => write!(f, "({a} IS {}NULL)", not(flag)),
            ExpressionKind::IsDistinct(a, b, flag) => write!(f, "({a} IS {}DISTINCT FROM {b})", not(flag)),
            ExpressionKind::In(a, all, flag) => write!(f, "({a} {}IN ({}))", not(flag), list(all)),
            ExpressionKind::Between(a, low, high, flag) => write!(f, "({a} {}BETWEEN {low} AND {high})", not(flag)),
            ExpressionKind::Like(a, pattern, escape, flag) => {
                write!(f, "({a} {}LIKE {pattern}", not(flag))?;
                if let Some(c) = escape {
                    write!(f, " ESCAPE {}", string(&c.to_string()))?;
                }
                f.write_str(")")
            }
            ExpressionKind::Case {
                operand,
                whens,
                otherwise,
            } => {
                f.write_str("CASE")?;
                if let Some(operand) = operand {
                    write!(f, " {operand}")?;
                }
                for (when, then) in whens {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " ELSE {otherwise}")?;
                }
                f.write_str(" END")
            }
            ExpressionKind::Cast(a, to) => write!(f, "CAST({a} AS {})", sql_type(to)),
            ExpressionKind::Field(a, field) => write!(f, "{}->{field}", operand(a)),
            ExpressionKind::AllFields(a) => write!(f, "{}->*", operand(a)),
            ExpressionKind::Subscript(a, i) => write!(f, "{}[{i}]", operand(a)),
            ExpressionKind::Array(items) => write!(f, "ARRAY[{}]", list(items)),
            ExpressionKind::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{k} := {v}")).collect();
                write!(f, "MAP({})", entries.join(", "))
            }
            ExpressionKind::Struct(fields) => {
                let fields: Vec<_> = fields.iter().map(|(n, v)| format!("{n} := {v}")).collect();
                write!(f, "STRUCT({})", fields.join(", "))
            }
            ExpressionKind::Call(name, args) if args.is_empty() && &*name.text == "COUNT" => f.write_str("COUNT(*)"),
            ExpressionKind::Call(name, args) => write!(f, "{name}({})", list(args)),
            ExpressionKind::Aggregate {
                name,
                distinct,
                args,
                filter,
            } => {
                let distinct = if *distinct { "DISTINCT " } else { "" };
                let args = match args.as_slice() {
                    [] if &*name.text == "COUNT" => "*".to_string(),
                    args => list(args),
                };
                write!(f, "{name}({distinct}{args})")?;
                match filter {
                    Some(filter) => write!(f, " FILTER (WHERE {filter})"),
                    None => Ok(()),
                }
            }
            ExpressionKind::RowNumber { partition_by, order_by } => {
                let (groups, order) = (list(partition_by), ordering(order_by));
                write!(f, "ROW_NUMBER() OVER (PARTITION BY {groups} ORDER BY {order})")
            }
            ExpressionKind::Lambda(params, body) => write!(f, "({}) => {body}", list(params)),
        }
    }
}
