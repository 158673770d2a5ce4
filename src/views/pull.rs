//! Pull queries: SELECT over a snapshot of a view, filtered, sorted by a bounded heap, limited.
//!
//! Where the ORDER BY is the order of the keys (behind leading columns that the WHERE fixes), the keys are walked in that direction and the walk
//! stops at the LIMIT: the newest orders of a customer cost as many rows as are shown.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::row::RowReader;
use super::walk::Walk;
use super::{Budget, KeyRange, Positions, ViewError, ViewParts, ViewRef, ViewRow};
use crate::expr::{EvalContext, EvalError, Expr};
use crate::types::{Column, Row, Timestamp, Value};

/// A column of an ORDER BY. NULL comes first in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// Over the view's row.
    pub expr: Expr,
    /// Greatest first.
    pub descending: bool,
}

/// A query over one view, checked and typed.
#[derive(Clone, Debug, PartialEq)]
pub struct PullPlan {
    /// The answer's columns.
    pub columns: Vec<Column>,
    /// Their expressions over the view's row.
    pub project: Vec<Expr>,
    /// WHERE; rows for which it is TRUE.
    pub filter: Option<Expr>,
    /// ORDER BY.
    pub order_by: Vec<SortKey>,
    /// LIMIT.
    pub limit: Option<u64>,
    /// Keys that can pass the filter; ascending and without overlap.
    pub ranges: Vec<KeyRange>,
    /// Leading key columns that the filter fixes to one value each.
    pub fixed: usize,
}

/// The answer of a pull query.
#[derive(Debug)]
pub struct QueryResult {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// The input offsets that it reflects.
    pub positions: Positions,
    /// Rows looked at.
    pub scanned: u64,
}

/// Runs a query over open snapshots. `now` is what the functions of the wall clock see.
///
/// # Errors
/// [`ViewError::Limit`] when it needs more than its budget.
pub fn pull(
    view: &ViewRef,
    parts: &ViewParts,
    plan: &PullPlan,
    now: Timestamp,
    budget: &mut Budget<'_>,
) -> Result<QueryResult, ViewError> {
    let natural = key_order(plan);
    let reverse = natural == Some(true);
    let limit = plan
        .limit
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let directions = if natural.is_some() {
        Vec::new()
    } else {
        plan.order_by.iter().map(|k| k.descending).collect()
    };
    let mut answer = Answer::new(limit, directions);
    let mut reader = RowReader::new(view.view());
    let ranges: Box<dyn Iterator<Item = &KeyRange>> = if reverse {
        Box::new(plan.ranges.iter().rev())
    } else {
        Box::new(plan.ranges.iter())
    };
    'ranges: for range in ranges {
        let mut walk = Walk::new(&view.view().plan, &parts.snapshots, range, reverse, None);
        while !answer.complete() {
            let Some(candidate) = walk.next()? else {
                continue 'ranges;
            };
            budget.scan()?;
            let Some(row) = reader.of_candidate(&parts.snapshots, &candidate)? else {
                continue;
            };
            add_row(&row, plan, now, &mut answer, budget)?;
        }
        break;
    }
    Ok(QueryResult {
        columns: plan.columns.clone(),
        rows: answer.into_rows(),
        positions: parts.positions(),
        scanned: budget.scanned(),
    })
}

fn add_row(
    row: &ViewRow,
    plan: &PullPlan,
    now: Timestamp,
    answer: &mut Answer,
    budget: &mut Budget<'_>,
) -> Result<(), ViewError> {
    let context = EvalContext {
        key: &row.key,
        value: &row.value,
        timestamp: row.timestamp,
        now,
    };
    let failed = |error: EvalError| ViewError::Row {
        key: format!("{:?}", &*row.key),
        message: error.message,
    };
    if let Some(filter) = &plan.filter
        && filter.eval(&context).map_err(failed)? != Value::Boolean(true)
    {
        return Ok(());
    }
    let sort = if answer.directions.is_empty() {
        Vec::new()
    } else {
        let values: Result<_, EvalError> = plan.order_by.iter().map(|key| key.expr.eval(&context)).collect();
        values.map_err(failed)?
    };
    if !answer.wants(&sort) {
        return Ok(());
    }
    let projected: Result<Row, EvalError> = plan.project.iter().map(|e| e.eval(&context)).collect();
    answer.add(sort, projected.map_err(failed)?, budget)
}

/// Whether the ORDER BY is the order of the keys, and if so whether it is the descending one.
fn key_order(plan: &PullPlan) -> Option<bool> {
    let fixed = if plan.ranges.len() == 1 { plan.fixed } else { 0 };
    let mut next = fixed;
    let mut descending = None;
    for key in &plan.order_by {
        match key.expr {
            Expr::Key(i) if i < fixed => continue,
            Expr::Key(i) if i == next && descending.is_none_or(|d| d == key.descending) => {
                descending = Some(key.descending);
                next += 1;
            }
            _ => return None,
        }
    }
    Some(descending.unwrap_or(false))
}

/// The rows of an answer: the first ones as they come, or the least ones by a bounded heap.
struct Answer {
    limit: usize,
    /// Empty: as they come.
    directions: Rc<[bool]>,
    /// The worst one on top.
    heap: BinaryHeap<Entry>,
    rows: Vec<Row>,
    seen: u64,
}

struct Entry {
    sort: Vec<Value>,
    /// Rows come in key order: equal ones keep it.
    seen: u64,
    row: Row,
    bytes: usize,
    directions: Rc<[bool]>,
}

fn compare(a: &[Value], b: &[Value], directions: &[bool]) -> Ordering {
    let columns = a.iter().zip(b).zip(directions);
    columns
        .map(|((a, b), descending)| if *descending { b.cmp(a) } else { a.cmp(b) })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.sort, &other.sort, &self.directions).then(self.seen.cmp(&other.seen))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl Answer {
    fn new(limit: usize, directions: Vec<bool>) -> Self {
        Self {
            limit,
            directions: directions.into(),
            heap: BinaryHeap::new(),
            rows: Vec::new(),
            seen: 0,
        }
    }

    /// Whether no further row can change it.
    fn complete(&self) -> bool {
        self.limit == 0 || (self.directions.is_empty() && self.rows.len() >= self.limit)
    }

    /// Whether a row with these sort values would be kept.
    fn wants(&self, sort: &[Value]) -> bool {
        if self.heap.len() < self.limit || self.directions.is_empty() {
            return true;
        }
        // an equal one came later, so it loses
        self.heap
            .peek()
            .is_some_and(|worst| compare(sort, &worst.sort, &self.directions) == Ordering::Less)
    }

    fn add(&mut self, sort: Vec<Value>, row: Row, budget: &mut Budget<'_>) -> Result<(), ViewError> {
        let values: usize = sort.iter().map(|v| size_of::<Value>() + v.heap_bytes()).sum();
        let bytes = row.heap_bytes() + values + size_of::<Entry>();
        if self.directions.is_empty() {
            budget.hold(bytes)?;
            self.rows.push(row);
            return Ok(());
        }
        if self.heap.len() >= self.limit
            && let Some(worst) = self.heap.pop()
        {
            budget.release(worst.bytes);
        }
        budget.hold(bytes)?;
        self.seen += 1;
        self.heap.push(Entry {
            sort,
            seen: self.seen,
            row,
            bytes,
            directions: self.directions.clone(),
        });
        Ok(())
    }

    fn into_rows(self) -> Vec<Row> {
        if self.directions.is_empty() {
            self.rows
        } else {
            self.heap.into_sorted_vec().into_iter().map(|entry| entry.row).collect()
        }
    }
}
