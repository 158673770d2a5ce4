//! JOIN: which side is what, by which keys they meet, and what the columns are afterwards.
//!
//! The key of a result is called like the first column of its sides that equals it and that the projection has (ksqlDB's rule). A side that can be
//! absent has its key as value columns, too, which are NULL then; which of several such columns is the key is decided when all joins are
//! planned (`join_keys`).

use super::join_on::{Equality, On, check_types};
use super::join_window::join_window;
use super::output::{key_columns, rekeyed};
use super::query::{JoinedKey, Pipe};
use super::{Planner, SELF_JOINS};
use crate::expr::Expr;
use crate::sql::ast::{Expression, Join, Statement};
use crate::sql::check::Checker;
use crate::sql::coerce::convert;
use crate::sql::diagnostic::Problem;
use crate::sql::scope::{Scope, ScopeColumn};
use crate::topology::{JoinKind, JoinStep, JoinWindow, same_partitioning};
use crate::types::{Column, Format, RelationKind, Value};

/// What kind of join it is.
#[derive(Clone, Copy)]
enum How {
    Streams(JoinWindow),
    StreamTable,
    Tables,
    /// Whether the left key is what is compared: then it is the right key's, too, and only the partitions differ.
    ForeignKey {
        by_key: bool,
    },
    Global,
}

/// The two sides with all that the join needs of them, and what it is.
struct Sides<'a> {
    left: Pipe,
    right: Pipe,
    on: On<'a>,
    how: How,
    kind: JoinKind,
}

impl Planner<'_> {
    pub(super) fn join(
        &mut self,
        name: &str,
        step: &str,
        mut left: Pipe,
        join: &Join,
        all: &[Statement],
    ) -> Result<Option<Pipe>, Problem> {
        let Some(mut right) = self.read(&join.right, all)? else {
            return Ok(None);
        };
        self.show_bounds(&mut left);
        self.show_bounds(&mut right);
        self.refuse_join(&left, &right, join)?;
        self.refuse_as_of(&left, &right, join)?;
        self.refuse_global_join(&right, join)?;
        let at = JoinStep { relation: name, step };
        let on = self.condition(&left, &right, join)?;
        let stays = self.keyed_by(&left, &on.key, |e| &e.left.expr)
            && self.keyed_by(&right, &on.key, |e| &e.right.expr)
            && self.partitioned_apart(&left, &right).is_none();
        let global = self.builder.is_global(right.node);
        self.check_joined_windows(stays || global, &left, join)?;
        let sides = match (self.builder.kind(left.node), self.builder.kind(right.node)) {
            (_, RelationKind::Table) if global => Sides {
                left,
                right,
                on,
                how: How::Global,
                kind: join.kind,
            },
            (_, RelationKind::Stream) => self.streams(at, left, right, on, join)?,
            (RelationKind::Stream, RelationKind::Table) => self.stream_table(at, left, right, on, join.kind),
            (RelationKind::Table, RelationKind::Table) => self.tables(left, right, on, join)?,
        };
        // last: a kind of join that there is not cannot be mended by other types
        sides.on.key.iter().try_for_each(check_types)?;
        self.joined(at, sides, join).map(Some)
    }

    fn refuse_join(&self, left: &Pipe, right: &Pipe, join: &Join) -> Result<(), Problem> {
        let kinds = (self.builder.kind(left.node), self.builder.kind(right.node));
        let (alias, name) = (&right.scope.relations[0].alias, &right.scope.relations[0].name);
        let refuses = self
            .property(SELF_JOINS)
            .is_some_and(|value| value.eq_ignore_ascii_case("refuse"));
        // of streams ksqlDB has it, too
        let streams = kinds == (RelationKind::Stream, RelationKind::Stream);
        if refuses && !streams && left.scope.relations.iter().any(|r| r.name == *name) {
            let message = format!("joining {name} with itself is refused, as {SELF_JOINS} says");
            return Err(Problem::new(join.right.name.span, message));
        }
        if left.scope.relations.iter().any(|r| r.alias == *alias) {
            return Err(Problem::new(
                join.right.known_as().span,
                format!("{alias} is used twice in this query"),
            )
            .hint("give one of them another name: JOIN name AS other"));
        }
        self.refuse_kafka_values(left, right, join)?;
        match kinds {
            (RelationKind::Stream, RelationKind::Stream) => return Ok(()),
            (RelationKind::Table, RelationKind::Stream) => {
                let message = format!("a table cannot look up a stream: {name} is a stream");
                return Err(
                    Problem::new(join.right.name.span, message).hint("put the stream first: FROM stream JOIN table")
                );
            }
            (RelationKind::Stream, RelationKind::Table) if matches!(join.kind, JoinKind::Right | JoinKind::Full) => {
                let message = "a stream-table join is INNER or LEFT: only the stream's records make results";
                return Err(Problem::new(join.span, message));
            }
            (_, RelationKind::Table) => {}
        }
        match &join.within {
            Some(within) => Err(Problem::new(within.span, "WITHIN belongs to joins of two streams")),
            None => Ok(()),
        }
    }

    /// As in ksqlDB: a record whose value is one bare number or text cannot be joined.
    fn refuse_kafka_values(&self, left: &Pipe, right: &Pipe, join: &Join) -> Result<(), Problem> {
        let bare = |name: &str| {
            let relation = self.known.get(name).and_then(|known| known.relation)?;
            let format = self.builder.relation_of(relation).value_format.format;
            (format == Format::Kafka).then(|| name.to_string())
        };
        let relations = left.scope.relations.iter().chain(&right.scope.relations);
        let found: Vec<String> = relations.filter_map(|r| bare(&r.name)).collect();
        if found.is_empty() {
            return Ok(());
        }
        let message = format!("the value format KAFKA of {} does not support JOIN", found.join(", "));
        Err(Problem::new(join.span, message).hint("copy it into a stream or table WITH (VALUE_FORMAT = 'JSON') first"))
    }

    fn streams<'a>(
        &mut self,
        at: JoinStep<'_>,
        left: Pipe,
        right: Pipe,
        on: On<'a>,
        join: &Join,
    ) -> Result<Sides<'a>, Problem> {
        let Some(within) = &join.within else {
            let problem = Problem::new(join.span, "a join of two streams needs WITHIN, since they never end");
            return Err(problem.hint("JOIN b WITHIN 1 HOUR ON a.x = b.y"));
        };
        let window = join_window(within)?;
        let right_stays = self.keyed_by(&right, &on.key, |e| &e.right.expr);
        let apart = right_stays && self.partitioned_apart(&left, &right).is_some();
        let left = if self.keyed_by(&left, &on.key, |e| &e.left.expr) && !apart {
            left
        } else {
            self.rekeyed_side(at, "", left, &on.key, true)
        };
        let right = if right_stays {
            right
        } else {
            self.rekeyed_side(at, "-right", right, &on.key, false)
        };
        Ok(Sides {
            left,
            right,
            on,
            how: How::Streams(window),
            kind: join.kind,
        })
    }

    fn stream_table<'a>(&mut self, at: JoinStep<'_>, left: Pipe, right: Pipe, on: On<'a>, kind: JoinKind) -> Sides<'a> {
        let stays = self.keyed_by(&left, &on.key, |e| &e.left.expr) && self.partitioned_apart(&left, &right).is_none();
        let left = if stays {
            left
        } else {
            self.rekeyed_side(at, "", left, &on.key, true)
        };
        Sides {
            left,
            right,
            on,
            how: How::StreamTable,
            kind,
        }
    }

    fn tables<'a>(&self, left: Pipe, right: Pipe, on: On<'a>, join: &Join) -> Result<Sides<'a>, Problem> {
        let by_key = self.keyed_by(&left, &on.key, |e| &e.left.expr);
        let apart = self.partitioned_apart(&left, &right);
        let outer = matches!(join.kind, JoinKind::Right | JoinKind::Full);
        let how = match apart {
            None if by_key => How::Tables,
            Some(why) if by_key && outer => {
                return Err(Problem::new(join.span, why).hint("give both topics the same KEY_FORMAT"));
            }
            _ if outer => {
                let table = &right.scope.relations[0].name;
                let message = format!(
                    "a foreign-key join is INNER or LEFT: the left table's key is not what {table}'s primary key is compared with"
                );
                return Err(Problem::new(join.span, message));
            }
            // equal keys in different partitions find each other like foreign keys
            _ => How::ForeignKey { by_key },
        };
        Ok(Sides {
            left,
            right,
            on,
            how,
            kind: join.kind,
        })
    }

    /// Sides that stay where they are need the same number of partitions.
    fn check_partitions(&self, left: &Pipe, right: &Pipe, join: &Join) -> Result<(), Problem> {
        let of = |pipe: &Pipe| self.builder.partitioned_like(pipe.node);
        let (Some(a), Some(b)) = (of(left), of(right)) else {
            return Ok(());
        };
        match (a.topic.partitions, b.topic.partitions) {
            (Some(n), Some(m)) if n != m => {
                let message = format!(
                    "the numbers of partitions differ: {n} of {}, {m} of {}, so that equal keys are in different ones",
                    a.name, b.name
                );
                let hint = format!(
                    "copy one of them into a topic of as many partitions: CREATE ... WITH (PARTITIONS = {n}) AS SELECT ... PARTITION BY"
                );
                Err(Problem::new(join.span, message).hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// Whether a side's key is what it is joined by.
    fn keyed_by(&self, side: &Pipe, key: &[Equality], expr: impl Fn(&Equality) -> &Expr) -> bool {
        let keys = key_columns(self.builder.schema(side.node).key.len());
        !keys.is_empty() && keys.iter().eq(key.iter().map(expr))
    }

    /// Why equal keys of both sides are in different partitions, if they are.
    fn partitioned_apart(&self, left: &Pipe, right: &Pipe) -> Option<String> {
        let a = self.builder.partitioned_like(left.node)?;
        let b = self.builder.partitioned_like(right.node)?;
        if same_partitioning(a.key_format.format, b.key_format.format) {
            return None;
        }
        Some(format!(
            "the keys of {} are written as {}, those of {} as {}: equal keys are in different partitions",
            a.name, a.key_format.format, b.name, b.key_format.format
        ))
    }

    /// A stream keyed by its side of the equalities, through an internal topic.
    fn rekeyed_side(&mut self, at: JoinStep<'_>, suffix: &str, mut pipe: Pipe, key: &[Equality], left: bool) -> Pipe {
        let of = |e: &Equality| if left { e.left.clone() } else { e.right.clone() };
        let exprs: Vec<Expr> = key
            .iter()
            .map(|e| {
                let to = if left { &e.right } else { &e.left };
                convert(of(e).expr, &to.type_or_string(), of(e).sql_type.as_ref())
            })
            .collect();
        let columns = key.iter().zip(&exprs).enumerate().map(|(i, (e, expr))| {
            let named = pipe.scope.columns.iter().find(|c| c.expr == *expr);
            Column::new(
                named.map_or_else(|| synthetic_name(i).into(), |c| c.name.clone()),
                of(e).type_or_string(),
            )
        });
        let columns: Vec<Column> = columns.collect();
        let values = self.builder.schema(pipe.node).value.len();
        let topic = format!("{}-{}{suffix}", at.relation, at.step);
        pipe.node = self.rekey(at.relation, topic, pipe.node, columns, exprs.clone(), None);
        for column in &mut pipe.scope.columns {
            column.expr = rekeyed(&column.expr, &exprs, values);
        }
        pipe.joined_keys.clear();
        pipe.key_exprs.clear();
        for (i, expr) in exprs
            .iter()
            .enumerate()
            .filter(|(_, e)| !matches!(e, Expr::Value(_) | Expr::Key(_)))
        {
            let mut inner = expr.clone();
            inner.children_mut(&mut |child| *child = rekeyed(child, &exprs, values));
            pipe.key_exprs.push((inner, i));
        }
        pipe
    }

    /// The join and the names behind it.
    fn joined(&mut self, at: JoinStep<'_>, sides: Sides<'_>, join: &Join) -> Result<Pipe, Problem> {
        let Sides {
            left,
            right,
            on,
            how,
            kind,
        } = sides;
        let as_of = self.as_of(&left, join)?;
        let crosses = matches!(how, How::ForeignKey { .. } | How::Global);
        // the right key is no key of the result
        let foreign_key = matches!(how, How::ForeignKey { by_key: false } | How::Global);
        let left_can_miss = matches!(kind, JoinKind::Right | JoinKind::Full);
        let right_can_miss = matches!(kind, JoinKind::Left | JoinKind::Full) || crosses;
        let left = self.with_copies(at, "left", left, left_can_miss);
        let right = self.with_copies(at, "right", right, right_can_miss);
        if !crosses {
            self.check_partitions(&left.pipe, &right.pipe, join)?;
        }
        let offset = self.builder.schema(left.pipe.node).value.len();
        let nodes = (left.pipe.node, right.pipe.node);

        let mut pipe = left.columns(&on.key, kind, foreign_key);
        let (first, relations) = (pipe.scope.columns.len(), pipe.scope.relations.len());
        let mut added = right.columns(&on.key, kind, foreign_key);
        pipe.scope.relations.extend(added.scope.relations);
        for column in &mut added.scope.columns {
            column.relation = column.relation.map(|i| i + relations);
            column.expr.map_values(&mut |i| Expr::Value(i + offset));
        }
        pipe.scope.columns.extend(added.scope.columns);
        let moved = added.joined_keys.into_iter().map(|joined| JoinedKey {
            column: joined.column + first,
            ..joined
        });
        pipe.joined_keys.extend(moved);
        pipe.key_exprs
            .extend(added.key_exprs.into_iter().map(|(mut expr, key)| {
                expr.map_values(&mut |i| Expr::Value(i + offset));
                (expr, key)
            }));
        if !foreign_key {
            self.add_synthetic_keys(&mut pipe, nodes.0, &on.key, kind);
        }

        let residual = residual(&pipe.scope, &on.residual)?;
        pipe.node = match how {
            How::Streams(window) => self
                .builder
                .stream_stream_join(at, nodes, kind, window, residual.clone()),
            How::StreamTable if let Some(time) = as_of => self.builder.temporal_join(at, nodes, kind, time),
            How::StreamTable | How::Tables => self.builder.join(at.relation, at.step, nodes.0, nodes.1, kind),
            How::Global => {
                let exprs = on.key.iter().map(|e| e.left.expr.clone()).collect();
                self.builder.global_join(at, nodes, kind, exprs)
            }
            How::ForeignKey { .. } => {
                let exprs = on.key.iter().map(|e| e.left.expr.clone()).collect();
                self.builder.foreign_key_join(at, nodes, kind, exprs)
            }
        };
        match (residual, how) {
            (None, _) | (_, How::Streams(_)) => Ok(pipe),
            (Some(condition), _) => self.where_on(at, pipe, condition, (kind, offset), join),
        }
    }

    /// Further conditions of ON behind the join: a pair that fails them is none, so that of an outer join one side remains.
    fn where_on(
        &mut self,
        at: JoinStep<'_>,
        mut pipe: Pipe,
        condition: Expr,
        (kind, offset): (JoinKind, usize),
        join: &Join,
    ) -> Result<Pipe, Problem> {
        let name = format!("{}/{}-on", at.relation, at.step);
        let schema = self.builder.schema(pipe.node).clone();
        let absent = match kind {
            JoinKind::Inner => {
                pipe.node = self.builder.filter(&name, pipe.node, condition);
                return Ok(pipe);
            }
            JoinKind::Left => offset..schema.value.len(),
            JoinKind::Right => 0..offset,
            JoinKind::Full => {
                let what = "a condition beside the equality of keys in a FULL OUTER JOIN of tables";
                return Err(Problem::unsupported(join.on.span, what).hint("put it into WHERE"));
            }
        };
        let values = (0..schema.value.len()).map(|i| match absent.contains(&i) {
            true => Expr::Case(
                vec![(condition.clone(), Expr::Value(i))],
                Expr::Literal(Value::Null).into(),
            ),
            false => Expr::Value(i),
        });
        let values = values.collect();
        pipe.node = self
            .builder
            .project(at.relation, &format!("{}-on", at.step), pipe.node, schema, values);
        Ok(pipe)
    }

    /// A key that no column of the sides is called after.
    fn add_synthetic_keys(&self, pipe: &mut Pipe, left: crate::topology::NodeRef, key: &[Equality], kind: JoinKind) {
        let mut types = self.builder.schema(left).key_types();
        types.truncate(self.declared_keys(pipe));
        for (i, (equality, sql_type)) in key.iter().zip(types).enumerate() {
            if kind != JoinKind::Full && (equality.left_is_column || equality.right_is_column) {
                continue;
            }
            let taken = |name: &str| pipe.scope.columns.iter().any(|c| *c.name == *name);
            let name = (i..).map(synthetic_name).find(|name| !taken(name));
            pipe.scope.columns.push(ScopeColumn {
                relation: None,
                name: name.unwrap_or_default().into(),
                expr: Expr::Key(i),
                sql_type,
                hidden: false,
                lost: None,
            });
        }
    }

    /// Appends the key columns to the value, if the other side cannot give them back; what nobody reads is left out later.
    fn with_copies(&mut self, at: JoinStep<'_>, side: &'static str, mut pipe: Pipe, keys: bool) -> Side {
        let mut schema = self.builder.schema(pipe.node).clone();
        let values = schema.value.len();
        if keys {
            let mut exprs: Vec<Expr> = (0..values).map(Expr::Value).collect();
            exprs.extend(key_columns(schema.key.len()));
            schema.value.extend(schema.key.clone());
            let step = format!("{}-{side}", at.step);
            pipe.node = self.builder.project(at.relation, &step, pipe.node, schema, exprs);
        }
        Side {
            pipe,
            left: side == "left",
            key_copies: keys.then_some(values),
        }
    }
}

/// A side of a join, with copies of its key among its value columns.
struct Side {
    pipe: Pipe,
    left: bool,
    /// Where the copies of the key columns begin.
    key_copies: Option<usize>,
}

impl Side {
    /// Its names behind the join, over its own value columns and the joined key.
    fn columns(self, key: &[Equality], kind: JoinKind, foreign_key: bool) -> Pipe {
        let mut pipe = self.pipe;
        // the right key of a foreign-key join is no key of the result
        let of_key = self.left || !foreign_key;
        let names_key = of_key && kind != JoinKind::Full;
        for joined in &mut pipe.joined_keys {
            joined.viable &= names_key;
        }
        let Some(copies) = self.key_copies else { return pipe };
        for (at, column) in pipe.scope.columns.iter_mut().enumerate() {
            let Expr::Key(i) = column.expr else { continue };
            // without a column on the left, the right one names the key
            if !self.left && names_key && key.get(i).is_some_and(|e| !e.left_is_column) {
                continue;
            }
            column.expr = Expr::Value(copies + i);
            if of_key && !column.hidden {
                pipe.joined_keys.push(JoinedKey {
                    column: at,
                    key: i,
                    viable: names_key,
                });
            }
        }
        pipe
    }
}

fn synthetic_name(i: usize) -> String {
    match i {
        0 => "ROWKEY".to_string(),
        i => format!("ROWKEY_{i}"),
    }
}

/// The further conditions as one, over the joined row.
fn residual(scope: &Scope, conditions: &[&Expression]) -> Result<Option<Expr>, Problem> {
    let mut all = Vec::new();
    for condition in conditions {
        all.push(Checker::new(scope, "in ON").condition(condition, "a condition of ON")?);
    }
    Ok(match all.len() {
        0 | 1 => all.pop(),
        _ => Some(Expr::And(all)),
    })
}
