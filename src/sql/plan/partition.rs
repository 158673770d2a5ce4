//! PARTITION BY: a new key for a stream's records.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Planner;
use super::items::{Item, first_free, unique};
use super::output::{as_value, check_keys, key_columns, key_names};
use super::query::Pipe;
use crate::expr::Expr;
use crate::sql::ast::{ExpressionKind, Query, SelectItem};
use crate::sql::check::{Checker, Typed};
use crate::sql::diagnostic::Problem;
use crate::sql::scope::Scope;
use crate::types::{Column, RelationKind, RelationSchema, Value};

impl Planner<'_> {
    /// PARTITION BY: a new key, unless it is the key already.
    pub(super) fn partitioned(
        &mut self,
        name: &str,
        query: &Query,
        mut pipe: Pipe,
        mut items: Vec<Item>,
        partitions: Option<i32>,
    ) -> Result<(Pipe, Vec<Item>, bool), Problem> {
        let Some(first) = query.partition_by.first() else {
            return Ok((pipe, items, false));
        };
        if self.builder.kind(pipe.node) == RelationKind::Table {
            return Err(Problem::new(
                first.span,
                "PARTITION BY works on streams: a table's key is what its rows are",
            )
            .hint("GROUP BY makes a table with another key"));
        }
        let mut checker = Checker::new(&pipe.scope, "in PARTITION BY");
        let mut keys = query
            .partition_by
            .iter()
            .map(|e| checker.check(e))
            .collect::<Result<Vec<_>, _>>()?;
        if let [Typed { sql_type: None, .. }] = keys.as_slice() {
            // PARTITION BY NULL: records without key
            keys.clear();
        }
        check_keys(&keys)?;
        let exprs: Vec<Expr> = keys.iter().map(|k| k.expr.clone()).collect();
        if exprs == key_columns(self.declared_keys(&pipe)) {
            return Ok((pipe, items, false));
        }
        if self.builder.window(pipe.node).is_some() {
            let what = "PARTITION BY another key than that of a windowed stream: the windows belong to the key";
            return Err(Problem::new(first.span, what));
        }
        self.behind_partition_by(query, &pipe.scope, &keys, &mut items);
        let names = key_names(&keys, &items, &pipe.scope);
        let columns = names
            .into_iter()
            .zip(&keys)
            .map(|(n, k)| Column::new(n, k.type_or_string()));
        let mut schema = RelationSchema {
            key: columns.collect(),
            value: Vec::new(),
        };
        // the projection is computed before the topic: a row that fails is still the record that was read, with its place and bytes
        let mut values = Vec::new();
        for item in &mut items {
            item.typed.expr = match exprs.iter().position(|k| *k == item.typed.expr) {
                Some(i) => Expr::Key(i),
                None => {
                    schema.value.push(Column::new(item.name.clone(), item.sql_type()));
                    values.push(as_value(&item.typed.expr).clone());
                    Expr::Value(values.len() - 1)
                }
            };
        }
        for column in &mut pipe.scope.columns {
            let place = exprs.iter().position(|k| *k == column.expr);
            column.expr = place.map_or(Expr::Literal(Value::Null), Expr::Key);
        }
        let topic = format!("{name}-partitionby");
        let carried = (schema, exprs, values);
        pipe.node = self.builder.repartition(name, topic, pipe.node, carried, partitions);
        Ok((pipe, items, true))
    }

    /// What `*` means behind PARTITION BY: the new key, also where it is no column, then the columns of each relation with its old key last.
    fn behind_partition_by(&self, query: &Query, scope: &Scope, keys: &[Typed], items: &mut Vec<Item>) {
        let stars = query
            .select
            .iter()
            .filter(|i| matches!(i, SelectItem::All { qualifier: None, .. }));
        if stars.count() != 1 || query.select.len() != 1 {
            return;
        }
        let was_key = |item: &Item| {
            let column = item.column.map(|c| &scope.columns[c])?;
            let relation = column.relation?;
            let known = self.known.get(&scope.relations[relation].name)?.relation?;
            let keys = &self.builder.relation_of(known).schema.key;
            Some((relation, keys.iter().any(|k| k.name == column.name)))
        };
        items.sort_by_key(|item| was_key(item).unwrap_or((usize::MAX, false)));
        let mut taken: BTreeSet<Arc<str>> = scope.columns.iter().map(|c| c.name.clone()).collect();
        for (i, key) in keys.iter().enumerate() {
            if items.iter().any(|item| item.typed.expr == key.expr) {
                continue;
            }
            let name = match &query.partition_by[i].kind {
                ExpressionKind::Field(_, field) => unique(&field.text, &taken),
                _ => first_free("KSQL_COL", 0, &taken),
            };
            taken.insert(name.clone());
            let item = Item {
                name,
                typed: key.clone(),
                column: None,
            };
            items.insert(i.min(items.len()), item);
        }
    }
}
