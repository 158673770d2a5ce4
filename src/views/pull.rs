//! Pull queries: SELECT over a snapshot of a view, filtered, grouped, sorted by a bounded heap, limited.
//!
//! Where the ORDER BY is the order of the keys (behind leading columns that the WHERE fixes), the keys are walked in that direction and the walk
//! stops at the LIMIT: the newest orders of a customer cost as many rows as are shown.
//!
//! *Invariant*: what is held is bounded by the budget: the rows of the LIMIT, or the groups, or an error that names the limit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::stream::{Item, LocalStream, RowStream, Scan};
use super::{Budget, KeyRange, Limit, Positions, Remote, ViewError, ViewParts, ViewRef, ViewRow, all_views, find_view};
use crate::engine::Published;
use crate::expr::{EvalContext, EvalError, Expr, MemoryElements};
use crate::sql::{self, Diagnostic, Groups, KeyBounds, PullQuery, ViewCatalog};
use crate::types::{Column, RelationSchema, Row, Timestamp, Value};

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

struct Names<'a>(&'a Published);

impl ViewCatalog for Names<'_> {
    fn view(&self, topology: Option<&str>, name: &str) -> Result<RelationSchema, String> {
        let found = find_view(self.0, &full_name(topology, name));
        found
            .map(|view| view.view().schema.clone())
            .map_err(|error| error.to_string())
    }

    fn names(&self) -> Vec<String> {
        all_views(self.0)
            .iter()
            .map(|view| view.view().name.to_string())
            .collect()
    }
}

fn full_name(topology: Option<&str>, name: &str) -> String {
    topology.map_or_else(|| name.to_string(), |topology| format!("{topology}.{name}"))
}

/// Compiles the text of a query against the views that are here.
///
/// # Errors
/// [`ViewError::Sql`] with every problem, its line and a caret.
pub fn compile(published: &Published, text: &str) -> Result<(ViewRef, PullQuery), ViewError> {
    let rendered = |problems: Vec<Diagnostic>| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        ViewError::Sql(texts.join("\n"))
    };
    let query = sql::query(text, &Names(published)).map_err(rendered)?;
    let view = find_view(published, &full_name(query.topology.as_deref(), &query.view))?;
    Ok((view, query))
}

impl From<&KeyBounds> for KeyRange {
    fn from(bounds: &KeyBounds) -> Self {
        Self {
            from: bounds.from.clone(),
            to: bounds.to.clone(),
        }
    }
}

/// Runs a query over open snapshots. `now` is what the functions of the wall clock see.
///
/// # Errors
/// [`ViewError::Limit`] when it needs more than its budget.
pub fn pull(
    view: &ViewRef,
    parts: &ViewParts,
    query: &PullQuery,
    now: Timestamp,
    budget: &mut Budget<'_>,
) -> Result<QueryResult, ViewError> {
    pull_with(view, parts, Remote::default(), query, now, budget)
}

/// As [`pull`], with rows that other instances send: those that pass the filter, in the same order.
///
/// # Errors
/// As [`pull`], and when another instance fails.
pub fn pull_with(
    view: &ViewRef,
    parts: &ViewParts,
    remote: Remote,
    query: &PullQuery,
    now: Timestamp,
    budget: &mut Budget<'_>,
) -> Result<QueryResult, ViewError> {
    let natural = if query.groups.is_none() { key_order(query) } else { None };
    let limit = query
        .limit
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let directions = if natural.is_some() {
        Vec::new()
    } else {
        query.order_by.iter().map(|k| k.descending).collect()
    };
    let mut answer = Answer::new(limit, directions);
    let mut positions = parts.positions();
    positions.merge(&remote.positions);
    let scan = scan_of(query, now);
    let reverse = scan.reverse;
    let mut rows = remote.with(LocalStream::new(view, parts, scan), reverse);
    match &query.groups {
        None => each_row(&mut *rows, query, budget, &mut |row, budget| {
            if !answer.complete() {
                answer.offer(query, &row.context(now), budget)?;
            }
            Ok(!answer.complete())
        })?,
        Some(groups) => {
            let mut states = GroupStates::new(groups);
            each_row(&mut *rows, query, budget, &mut |row, budget| {
                states.add(&row.context(now), budget)?;
                Ok(true)
            })?;
            states.finish(query, now, &mut answer, budget)?;
        }
    }
    Ok(QueryResult {
        columns: query.columns.clone(),
        rows: answer.into_rows(),
        positions,
        scanned: budget.scanned(),
    })
}

/// Whether further rows are wanted.
type Each<'a> = dyn FnMut(&ViewRow, &mut Budget<'_>) -> Result<bool, ViewError> + 'a;

/// What a query reads: rows that pass its filter, in key order or its reverse.
pub(super) fn scan_of(query: &PullQuery, now: Timestamp) -> Scan<'_> {
    let reverse = query.groups.is_none() && key_order(query) == Some(true);
    let mut ranges: Vec<KeyRange> = query.ranges.iter().map(KeyRange::from).collect();
    if reverse {
        ranges.reverse();
    }
    Scan {
        ranges,
        reverse,
        after: None,
        filter: query.filter.as_ref().map(|filter| (filter, now)),
        lenient: false,
    }
}

/// How many of the rows of a scan are enough for a query; `None`: all of them are needed.
pub(super) fn enough_rows(query: &PullQuery) -> Option<u64> {
    let in_order = query.groups.is_none() && key_order(query).is_some();
    query.limit.filter(|_| in_order)
}

/// The rows of a stream that a sorted query with a LIMIT can show, in the stream's order: of other rows nothing can come into its answer. `None`:
/// the query wants all rows, or takes them as they come.
pub(super) fn best_rows(
    query: &PullQuery,
    rows: &mut dyn RowStream,
    now: Timestamp,
    budget: &mut Budget<'_>,
) -> Result<Option<Vec<Item>>, ViewError> {
    let Some(limit) = query
        .limit
        .filter(|_| query.groups.is_none() && key_order(query).is_none())
    else {
        return Ok(None);
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut best = Answer::new(limit, query.order_by.iter().map(|key| key.descending).collect());
    if limit == 0 {
        return Ok(Some(Vec::new()));
    }
    while let Some(item) = rows.next(budget)? {
        let Some(row) = &item.row else { break };
        let sort: Vec<Value> = eval_all(query.order_by.iter().map(|order| &order.expr), &row.context(now))?;
        if best.wants(&sort) {
            let bytes = row.heap_bytes() + item.key.len();
            best.add(sort, item, bytes, budget)?;
        }
    }
    let mut items = best.into_rows();
    items.sort_unstable_by(|a, b| (a.range, &a.key, a.partition).cmp(&(b.range, &b.key, b.partition)));
    Ok(Some(items))
}

/// Calls `each` with the rows of a stream until it wants no more.
fn each_row(
    rows: &mut dyn RowStream,
    query: &PullQuery,
    budget: &mut Budget<'_>,
    each: &mut Each<'_>,
) -> Result<(), ViewError> {
    if query.limit == Some(0) && query.groups.is_none() {
        return Ok(());
    }
    while let Some(item) = rows.next(budget)? {
        let Some(row) = item.row else {
            return Err(ViewError::Limit {
                which: Limit::ScannedRows,
                limit: budget.scanned(),
            });
        };
        if !each(&row, budget)? {
            return Ok(());
        }
    }
    Ok(())
}

fn failed(context: &EvalContext<'_>, error: EvalError) -> ViewError {
    ViewError::Row {
        key: format!("{:?}", context.key),
        message: error.message,
    }
}

fn eval(expr: &Expr, context: &EvalContext<'_>) -> Result<Value, ViewError> {
    expr.eval(context).map_err(|error| failed(context, error))
}

fn eval_all<'a, C: FromIterator<Value>>(
    exprs: impl Iterator<Item = &'a Expr>,
    context: &EvalContext<'_>,
) -> Result<C, ViewError> {
    exprs
        .map(|expr| expr.eval(context))
        .collect::<Result<C, _>>()
        .map_err(|error| failed(context, error))
}

/// The states of a GROUP BY, by the values of its expressions.
struct GroupStates<'a> {
    groups: &'a Groups,
    states: BTreeMap<Row, (Vec<Value>, MemoryElements)>,
    width: usize,
}

impl<'a> GroupStates<'a> {
    fn new(groups: &'a Groups) -> Self {
        let mut new = Self {
            groups,
            states: BTreeMap::new(),
            width: groups.calls.iter().map(|call| call.state_len()).sum(),
        };
        // without grouping there is one group, also of no rows
        if groups.by.is_empty() {
            let state = new.fresh();
            new.states.insert(Row::empty(), (state, MemoryElements::default()));
        }
        new
    }

    fn fresh(&self) -> Vec<Value> {
        let mut state = vec![Value::Null; self.width];
        let mut rest = &mut state[..];
        for call in &self.groups.calls {
            let (own, after) = rest.split_at_mut(call.state_len());
            call.init(own);
            rest = after;
        }
        state
    }

    fn add(&mut self, context: &EvalContext<'_>, budget: &mut Budget<'_>) -> Result<(), ViewError> {
        let key: Row = eval_all(self.groups.by.iter(), context)?;
        if !self.states.contains_key(&key) {
            budget.hold(key.heap_bytes() + self.width * size_of::<Value>())?;
            let state = self.fresh();
            self.states.insert(key.clone(), (state, MemoryElements::default()));
        }
        let Some((state, elements)) = self.states.get_mut(&key) else {
            return Ok(());
        };
        let heap = |state: &[Value]| state.iter().map(Value::heap_bytes).sum::<usize>();
        let before = heap(state) + elements.bytes();
        let mut rest = &mut state[..];
        for (number, call) in self.groups.calls.iter().enumerate() {
            let (own, after) = rest.split_at_mut(call.state_len());
            rest = after;
            if !call.passes(context).map_err(|error| failed(context, error))? {
                continue;
            }
            let args: Vec<Value> = eval_all(call.args.iter(), context)?;
            call.add_with(number, own, &args, context.timestamp, elements)
                .map_err(|error| failed(context, error))?;
        }
        budget.release(before);
        budget.hold(heap(state) + elements.bytes())
    }

    fn finish(
        self,
        query: &PullQuery,
        now: Timestamp,
        answer: &mut Answer<Row>,
        budget: &mut Budget<'_>,
    ) -> Result<(), ViewError> {
        for (key, (state, mut elements)) in self.states {
            let key = &key;
            let mut rest = &state[..];
            let results = self.groups.calls.iter().enumerate().map(|(number, call)| {
                let (own, after) = rest.split_at(call.state_len());
                rest = after;
                call.result_with(number, own, &mut elements)
            });
            let value: Result<Row, EvalError> = results.collect();
            let value = value.map_err(|error| ViewError::Row {
                key: format!("{:?}", &**key),
                message: error.to_string(),
            })?;
            let context = EvalContext {
                key,
                value: &value,
                timestamp: now,
                now,
            };
            let kept = match &self.groups.having {
                Some(having) => eval(having, &context)? == Value::Boolean(true),
                None => true,
            };
            if kept && !answer.complete() {
                answer.offer(query, &context, budget)?;
            }
        }
        Ok(())
    }
}

/// Whether the ORDER BY is the order of the keys, and if so whether it is the descending one.
fn key_order(plan: &PullQuery) -> Option<bool> {
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
struct Answer<T> {
    limit: usize,
    /// Empty: as they come.
    directions: Rc<[bool]>,
    /// The worst one on top.
    heap: BinaryHeap<Entry<T>>,
    rows: Vec<T>,
    seen: u64,
}

struct Entry<T> {
    sort: Vec<Value>,
    /// Rows come in key order: equal ones keep it.
    seen: u64,
    row: T,
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

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.sort, &other.sort, &self.directions).then(self.seen.cmp(&other.seen))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl Answer<Row> {
    /// Adds the answer's row for a row of the view or a group, unless it would not be kept.
    fn offer(
        &mut self,
        query: &PullQuery,
        context: &EvalContext<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), ViewError> {
        let sort: Vec<Value> = if self.directions.is_empty() {
            Vec::new()
        } else {
            eval_all(query.order_by.iter().map(|order| &order.expr), context)?
        };
        if !self.wants(&sort) {
            return Ok(());
        }
        let row: Row = eval_all(query.project.iter(), context)?;
        let bytes = row.heap_bytes();
        self.add(sort, row, bytes, budget)
    }
}

impl<T> Answer<T> {
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

    /// Adds a row that takes so many bytes.
    fn add(&mut self, sort: Vec<Value>, row: T, bytes: usize, budget: &mut Budget<'_>) -> Result<(), ViewError> {
        let values: usize = sort.iter().map(|v| size_of::<Value>() + v.heap_bytes()).sum();
        let bytes = bytes + values + size_of::<Entry<T>>();
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

    fn into_rows(self) -> Vec<T> {
        if self.directions.is_empty() {
            self.rows
        } else {
            self.heap.into_sorted_vec().into_iter().map(|entry| entry.row).collect()
        }
    }
}
