//! INSERT INTO ... VALUES: constants into a row of the relation, which deployment writes once; and ASSERT.

use std::sync::Arc;

use super::Planner;
use super::columns::PSEUDO;
use crate::expr::{EvalContext, Expr, cast_value, widens};
use crate::sql::ast::{self, Expression, ExpressionKind, Literal, Name, Statement, StatementKind};
use crate::sql::check::{Checker, Typed};
use crate::sql::coerce::{cast, convert};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::{Scope, ScopeColumn};
use crate::topology::{Assert, Asserted, Insert, Relation};
use crate::types::{Column, RelationKind, Row, SqlType, Value};

impl Planner<'_> {
    pub(super) fn insert_values(
        &mut self,
        into: &Name,
        columns: &[Name],
        values: &[Expression],
        span: Span,
        all: &[Statement],
    ) -> Result<(), Problem> {
        let Some(known) = self.find(into, all)? else {
            return Ok(());
        };
        let Some(relation) = known.relation else {
            return Ok(());
        };
        let declared = declaration(all, &into.text);
        if declared.is_some_and(|create| create.source) {
            let message = format!("{} is a SOURCE {}: nothing can be inserted", into.text, known.kind);
            return Err(Problem::new(into.span, message).hint("declare it without SOURCE"));
        }
        let relation = self.builder.relation_of(relation).clone();
        if let Some(window) = relation.window {
            let message = format!(
                "{} has {} windows in its keys: no values can be inserted",
                into.text, window.kind
            );
            return Err(Problem::new(into.span, message).hint("insert into the stream that it is made from"));
        }
        let named: Vec<Name> = if columns.is_empty() {
            in_order(declared, &relation, into.span)
        } else {
            columns.to_vec()
        };
        if named.len() != values.len() {
            let names: Vec<_> = named.iter().map(|n| n.text.to_string()).collect();
            let message = format!(
                "{} values for {} columns ({})",
                values.len(),
                named.len(),
                names.join(", ")
            );
            return Err(Problem::new(span, message).hint("give a value for each column"));
        }
        let mut key = vec![Value::Null; relation.schema.key.len()];
        let mut value = vec![Value::Null; relation.schema.value.len()];
        let mut timestamp = None;
        for (i, (name, expression)) in named.iter().zip(values).enumerate() {
            if named[..i].contains(name) {
                return Err(Problem::new(name.span, format!("column {} is given twice", name.text)));
            }
            if &*name.text == "ROWTIME" {
                timestamp = match constant(expression, &SqlType::Bigint, &name.text)? {
                    Value::Bigint(ms) => Some(ms),
                    _ => return Err(Problem::new(expression.span, "ROWTIME cannot be NULL")),
                };
                continue;
            }
            let (column, place) = place(name, &relation, &mut key, &mut value)?;
            *place = constant(expression, &column.sql_type, &name.text)?;
        }
        let keyless = key.iter().all(Value::is_null);
        if known.kind == RelationKind::Table && (keyless || key.iter().any(Value::is_null)) {
            let missing: Vec<_> = relation.schema.key.iter().map(|c| c.name.to_string()).collect();
            let message = format!("a table's row needs its primary key: {}", missing.join(", "));
            return Err(Problem::new(span, message));
        }
        if let Some(ms @ ..0) = timestamp {
            return Err(Problem::new(span, format!("ROWTIME is {ms}, which is before 1970")));
        }
        self.builder.insert(Insert {
            relation: relation.name,
            key: (!keyless).then(|| Row::from(key)),
            value: value.into(),
            timestamp,
        });
        Ok(())
    }

    pub(super) fn assert(&mut self, assert: &ast::Assert, span: Span) -> Result<(), Problem> {
        let what = match &assert.what {
            ast::Asserted::Topic { name, with } => {
                let (mut partitions, mut replicas) = (None, None);
                for property in with {
                    let number = match &property.value {
                        Literal::Number(n) | Literal::String(n) => n.parse::<i32>().ok().filter(|n| *n > 0),
                        Literal::Null | Literal::Boolean(_) => None,
                    };
                    let number = number.ok_or_else(|| {
                        Problem::new(property.span, format!("{} takes a number from 1", property.name.text))
                    })?;
                    match &*property.name.text {
                        "PARTITIONS" => partitions = Some(number),
                        "REPLICAS" => replicas = Some(i16::try_from(number).unwrap_or(i16::MAX)),
                        other => {
                            let problem =
                                Problem::new(property.name.span, format!("ASSERT TOPIC takes no property {other}"));
                            return Err(problem.nearest(other, ["PARTITIONS", "REPLICAS"]));
                        }
                    }
                }
                Asserted::Topic {
                    name: name.text.clone(),
                    partitions,
                    replicas,
                }
            }
            ast::Asserted::Schema { subject, id } => Asserted::Schema {
                subject: subject.as_ref().map(|s| s.text.clone()),
                id: *id,
            },
        };
        let assert = Assert {
            absent: assert.absent,
            what,
            timeout_ms: assert.timeout_ms,
            sql: self.text(span),
        };
        self.builder.assert(assert);
        Ok(())
    }
}

/// The CREATE of a relation.
pub(super) fn declaration<'a>(all: &'a [Statement], name: &Arc<str>) -> Option<&'a ast::Create> {
    all.iter().find_map(|s| match &s.kind {
        StatementKind::Create(create) if create.name.text == *name => Some(create),
        _ => None,
    })
}

/// The columns of a relation in the order of its declaration, which is the order of values without names.
fn in_order(declared: Option<&ast::Create>, relation: &Relation, span: Span) -> Vec<Name> {
    let listed = declared.and_then(|create| create.columns.as_ref());
    let listed: Vec<Arc<str>> = listed.into_iter().flatten().map(|c| c.name.text.clone()).collect();
    let rest = relation.schema.columns().map(|c| c.name.clone());
    let rest = rest.filter(|name| !listed.contains(name)).collect::<Vec<_>>();
    let all = listed.iter().cloned().chain(rest);
    all.map(|text| Name { text, span }).collect()
}

/// The column of this name and where its value belongs.
fn place<'a>(
    name: &Name,
    relation: &'a Relation,
    key: &'a mut [Value],
    value: &'a mut [Value],
) -> Result<(&'a Column, &'a mut Value), Problem> {
    let at = |columns: &[Column]| columns.iter().position(|c| c.name == name.text);
    if let Some(i) = at(&relation.schema.key) {
        return Ok((&relation.schema.key[i], &mut key[i]));
    }
    if let Some(i) = at(&relation.schema.value) {
        return Ok((&relation.schema.value[i], &mut value[i]));
    }
    if relation.headers.iter().any(|h| h.name == name.text) {
        let message = format!("{} comes from headers: it cannot be inserted", name.text);
        return Err(Problem::new(name.span, message));
    }
    if PSEUDO.contains(&&*name.text) {
        return Err(Problem::new(
            name.span,
            format!("the pseudo column {} cannot be inserted", name.text),
        ));
    }
    let problem = Problem::new(
        name.span,
        format!("there is no column {} in {}", name.text, relation.name),
    );
    Err(problem.nearest(&name.text, relation.schema.columns().map(|c| &*c.name)))
}

/// The value of a constant expression as a column of this type.
fn constant(expression: &Expression, to: &SqlType, column: &str) -> Result<Value, Problem> {
    let scope = Scope::default();
    let typed = Checker::new(&scope, "in VALUES").check(expression)?;
    let nothing = EvalContext {
        key: &[],
        value: &[],
        timestamp: 0,
        now: 0,
    };
    let failed = |why: String| Problem::new(expression.span, format!("column {column}: {why}"));
    if typed.expr.reads_clock() {
        return Err(failed("the value must be a constant".into()));
    }
    let expr = assign(&typed, to).map_err(|problem| failed(problem.message))?;
    let value = expr.eval(&nothing).map_err(|e| failed(e.message))?;
    cast_value(&value, to).map_err(|e| failed(e.message))
}

/// A value brought to a column's type: numbers widen, texts are read, collections do so inside.
fn assign(typed: &Typed, to: &SqlType) -> Result<Expr, Problem> {
    let Some(from) = &typed.sql_type else {
        return Ok(Expr::Literal(Value::Null));
    };
    let fits = |from: &SqlType| assignable(from, to);
    if !fits(from) {
        return Err(Problem::new(typed.span, format!("it is {to}, the value is {from}")));
    }
    if let (SqlType::String, SqlType::Bytes) = (from, to) {
        return base64(typed);
    }
    if widens(from, to).is_some() {
        return Ok(convert(typed.expr.clone(), to, Some(from)));
    }
    cast(typed.clone(), to, typed.span)
}

/// The bytes that a text in base64 stands for.
fn base64(typed: &Typed) -> Result<Expr, Problem> {
    let column = ScopeColumn {
        relation: None,
        name: "TEXT".into(),
        expr: typed.expr.clone(),
        sql_type: SqlType::String,
        hidden: false,
        lost: None,
    };
    let scope = Scope {
        columns: vec![column],
        ..Scope::default()
    };
    let at = |kind| Expression { kind, span: typed.span };
    let name = |text: &str| Name {
        text: text.into(),
        span: typed.span,
    };
    let args = vec![
        at(ExpressionKind::Column(None, name("TEXT"))),
        at(ExpressionKind::Literal(Literal::String("base64".into()))),
    ];
    let call = at(ExpressionKind::Call(name("TO_BYTES"), args));
    Ok(Checker::new(&scope, "in VALUES").check(&call)?.expr)
}

fn assignable(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{Array, Decimal, Map, String, Struct};
    match (from, to) {
        _ if widens(from, to).is_some() => true,
        // as ksqlDB: a text is no number
        (String, to) => to.is_time() || *to == SqlType::Bytes,
        // whether the digits fit is seen at the value
        (from, Decimal { .. }) => matches!(from, SqlType::Integer | SqlType::Bigint | Decimal { .. }),
        (Array(a), Array(b)) => assignable(a, b),
        (Map(k, v), Map(l, w)) => assignable(k, l) && assignable(v, w),
        (Struct(a), Struct(b)) => a.iter().all(|f| {
            let target = b.iter().find(|g| g.name == f.name);
            target.is_some_and(|g| assignable(&f.sql_type, &g.sql_type))
        }),
        _ => false,
    }
}
