//! Aggregate functions: a few state values a call, changed in place, and for some of them elements in rows of their own.
//!
//! The state of all calls of an aggregation stands side by side in one row, which is what its store holds. NULL arguments are skipped by most.
//! What a call keeps depends on whether rows can be taken back ([`AggregateCall::retracts`]): a stream's MAX is one value, a table's MAX needs the
//! others, too. Calls that keep elements ([`AggregateCall::keeps_elements`]) are given them by [`Elements`].
//!
//! Over a table no row is ever refused for what its group holds: what was put in can be taken out. A sum that does not fit its type is an error of
//! the group's result ([`AggregateCall::check`]).
//!
//! *Invariant*: the state is a function of the multiset of rows that were added and not taken back, but for functions of the order of a stream.

mod collect;
pub mod elements;
mod merge;
mod numbers;
mod offset;
mod ordered;
mod reference;
mod resolve;
mod state;
#[cfg(test)]
mod tests;
mod wide;

use std::fmt;

use super::{EvalContext, EvalError, Expr};
use crate::types::{SqlType, Timestamp, Value};

pub use merge::Element;
pub use reference::{AGGREGATES, AggregateDoc};

use elements::{ElementScan, Elements, NoElements, Own};
use numbers::count;

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `COUNT(*)`: rows.
    CountAll,
    /// `COUNT(x)`: rows where x is not NULL.
    Count,
    /// `COUNT(DISTINCT x, ...)`: different values, exactly; rows with a NULL among them are skipped.
    CountDistinct,
    /// `SUM(x)`: 0 for no rows; of the type of x.
    Sum,
    /// `SUM_LIST(x)`: of the items of arrays.
    SumList,
    /// `AVG(x)`: DOUBLE; 0 for no rows, as ksqlDB's.
    Avg,
    /// `STDDEV_SAMP(x)`: the variance of a sample, which is what ksqlDB gives under this name.
    StddevSamp,
    /// `STDDEV_SAMPLE(x)`: the standard deviation of a sample.
    StddevSample,
    /// `CORRELATION(x, y)`.
    Correlation,
    /// `MIN(x)`.
    Min,
    /// `MAX(x)`.
    Max,
    /// `TOPK(x [, other ...], k)`: the greatest, in descending order.
    TopK {
        /// How many.
        k: usize,
    },
    /// `TOPKDISTINCT(x, k)`.
    TopKDistinct {
        /// How many.
        k: usize,
    },
    /// The first rows in an order, as STRUCTs of all arguments: what QUALIFY ROW_NUMBER() keeps. Made by [`AggregateCall::top_rows`].
    TopRows {
        /// How many.
        k: usize,
        /// So many first arguments say the order.
        order: u8,
        /// Which of these go down, by bit.
        descending: u64,
    },
    /// `LATEST_BY_OFFSET(x [, n] [, ignore_nulls])`.
    LatestByOffset {
        /// An ARRAY of so many; a single value without it.
        n: Option<usize>,
        /// Skip NULL (the default).
        ignore_nulls: bool,
    },
    /// `EARLIEST_BY_OFFSET(x [, n] [, ignore_nulls])`.
    EarliestByOffset {
        /// An ARRAY of so many; a single value without it.
        n: Option<usize>,
        /// Skip NULL (the default).
        ignore_nulls: bool,
    },
    /// `COLLECT_LIST(x)`: NULL included.
    CollectList {
        /// The most values.
        limit: i64,
    },
    /// `COLLECT_SET(x)`: NULL included, in the order of the first of each.
    CollectSet {
        /// The most values.
        limit: i64,
    },
    /// `HISTOGRAM(x)`.
    Histogram,
    /// `ATTR(x)`: the value if all rows have the same one, NULL included.
    Attr,
}

/// One call in a query: function, argument expressions and the type of its result. Made by [`AggregateCall::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// Its arguments, evaluated on each input row.
    pub args: Vec<Expr>,
    /// The arguments' types.
    pub arg_types: Vec<SqlType>,
    /// The result's type.
    pub sql_type: SqlType,
    /// FILTER (WHERE ...): other rows are passed over.
    pub filter: Option<Expr>,
    /// Rows can be taken back: what is aggregated is a table.
    pub retracts: bool,
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CountAll | Self::Count | Self::CountDistinct => "COUNT",
            Self::Sum => "SUM",
            Self::SumList => "SUM_LIST",
            Self::Avg => "AVG",
            Self::StddevSamp => "STDDEV_SAMP",
            Self::StddevSample => "STDDEV_SAMPLE",
            Self::Correlation => "CORRELATION",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::TopK { .. } => "TOPK",
            Self::TopKDistinct { .. } => "TOPKDISTINCT",
            Self::TopRows { .. } => "TOP_ROWS",
            Self::LatestByOffset { .. } => "LATEST_BY_OFFSET",
            Self::EarliestByOffset { .. } => "EARLIEST_BY_OFFSET",
            Self::CollectList { .. } => "COLLECT_LIST",
            Self::CollectSet { .. } => "COLLECT_SET",
            Self::Histogram => "HISTOGRAM",
            Self::Attr => "ATTR",
        })
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = match self.function {
            AggregateFunction::CountDistinct => "DISTINCT ",
            _ => "",
        };
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        let options = self.function.options();
        match args.as_slice() {
            [] => write!(f, "{}(*)", self.function)?,
            args => write!(f, "{}({distinct}{}{options})", self.function, args.join(", "))?,
        }
        match &self.filter {
            Some(filter) => write!(f, " FILTER (WHERE {filter})"),
            None => Ok(()),
        }
    }
}

impl AggregateFunction {
    /// Constant arguments as they are printed after the others.
    fn options(self) -> String {
        match self {
            Self::TopK { k } | Self::TopKDistinct { k } => format!(", {k}"),
            Self::TopRows { k, order, descending } => {
                let word = |i: u8| if (descending >> i) & 1 == 1 { "DESC" } else { "ASC" };
                let order: Vec<&str> = (0..order).map(word).collect();
                format!(", {k} BY {}", order.join(" "))
            }
            Self::LatestByOffset { n, ignore_nulls } | Self::EarliestByOffset { n, ignore_nulls } => {
                let n = n.map_or(String::new(), |n| format!(", {n}"));
                format!("{n}{}", if ignore_nulls { "" } else { ", FALSE" })
            }
            Self::CollectList { limit } | Self::CollectSet { limit } if limit < i64::MAX => {
                format!(", at most {limit}")
            }
            _ => String::new(),
        }
    }
}

impl AggregateCall {
    /// `COUNT(*)`.
    pub fn count_all() -> Self {
        Self {
            function: AggregateFunction::CountAll,
            args: Vec::new(),
            arg_types: Vec::new(),
            sql_type: SqlType::Bigint,
            filter: None,
            retracts: false,
        }
    }

    /// A call by its SQL name, in upper case. `COUNT()` is `COUNT(*)`.
    ///
    /// # Errors
    /// With what the function takes, when it does not take these arguments.
    pub fn new(name: &str, args: Vec<(Expr, SqlType)>) -> Result<Self, String> {
        resolve::resolve(name, false, args)
    }

    /// `name(DISTINCT ...)`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn distinct_of(name: &str, args: Vec<(Expr, SqlType)>) -> Result<Self, String> {
        resolve::resolve(name, true, args)
    }

    /// The first `k` rows in an order, as an ARRAY of STRUCTs of all arguments. The first arguments are the order's, one for each of `order`, which says
    /// whether it goes down; NULL comes before all other values, as in [`Value`]'s order. Of equal rows of a stream the first to come is first; over a table,
    /// where nobody knows who that was, the least by the other arguments.
    ///
    /// # Errors
    /// When `k` is no number that can be kept, or the order's columns have none.
    pub fn top_rows(k: i64, order: &[bool], args: Vec<(Expr, SqlType)>) -> Result<Self, String> {
        resolve::top_rows(k, order, args)
    }

    /// The call over a table, or over a stream.
    pub fn over(mut self, table: bool) -> Self {
        self.retracts = table;
        self
    }

    /// With at most so many collected values; nothing for functions that do not collect.
    pub fn limited(mut self, list: i64, set: i64) -> Self {
        match &mut self.function {
            AggregateFunction::CollectList { limit } => *limit = list,
            AggregateFunction::CollectSet { limit } => *limit = set,
            _ => {}
        }
        self
    }

    /// The expressions that it evaluates: arguments and FILTER.
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.args.iter().chain(&self.filter)
    }

    /// The call over other columns: `map` gives what stands for an expression of this type.
    pub fn map_exprs(&self, map: &mut dyn FnMut(&Expr, &SqlType) -> Expr) -> Self {
        let args = self.args.iter().zip(&self.arg_types);
        Self {
            args: args.map(|(arg, sql_type)| map(arg, sql_type)).collect(),
            filter: self.filter.as_ref().map(|filter| map(filter, &SqlType::Boolean)),
            ..self.clone()
        }
    }

    /// Whether a row passes FILTER.
    ///
    /// # Errors
    /// When the condition cannot be computed.
    pub fn passes(&self, row: &EvalContext<'_>) -> Result<bool, EvalError> {
        self.filter.as_ref().map_or(Ok(true), |filter| filter.is_true(row))
    }

    /// Whether a row can be taken back ([`Self::undo`]) from the state values alone.
    pub fn can_undo(&self) -> bool {
        matches!(
            self.function,
            AggregateFunction::CountAll
                | AggregateFunction::Count
                | AggregateFunction::Sum
                | AggregateFunction::SumList
                | AggregateFunction::Avg
                | AggregateFunction::StddevSamp
                | AggregateFunction::StddevSample
                | AggregateFunction::Correlation
        )
    }

    /// Whether it keeps elements beside its state: what it collects; over a table also what it may fall back to.
    pub fn keeps_elements(&self) -> bool {
        self.reads_elements()
            || self.function == AggregateFunction::CountDistinct
            || (self.retracts && !self.can_undo())
    }

    /// Whether its result is made of the elements.
    pub fn reads_elements(&self) -> bool {
        matches!(
            self.function,
            AggregateFunction::CollectList { .. } | AggregateFunction::CollectSet { .. } | AggregateFunction::Histogram
        )
    }

    /// Adds a row with these argument values to a call without elements. On an error the state is as before.
    ///
    /// # Errors
    /// On overflow of an exact type (never over a table, see [`Self::check`]), or when it [`Self::keeps_elements`].
    pub fn add(&self, state: &mut [Value], args: &[Value]) -> Result<(), EvalError> {
        self.add_with(0, state, args, 0, &mut NoElements)
    }

    /// Takes a row back that was added before from a call without elements. On an error the state is as before.
    ///
    /// # Errors
    /// On overflow of an exact type, or when [`Self::can_undo`] is false.
    pub fn undo(&self, state: &mut [Value], args: &[Value]) -> Result<(), EvalError> {
        self.undo_with(0, state, args, 0, &mut NoElements)
    }

    /// As [`Self::add`], for any call: `number` is the call's in the aggregation, `timestamp` the row's.
    ///
    /// # Errors
    /// On overflow of an exact type, or when the elements cannot be read; the caller takes all of the record back.
    pub fn add_with<E: Elements>(
        &self,
        number: usize,
        state: &mut [Value],
        args: &[Value],
        timestamp: Timestamp,
        elements: &mut E,
    ) -> Result<(), E::Error> {
        let own = Own {
            all: elements,
            call: number,
        };
        self.change(state, args, timestamp, 1, own)
    }

    /// As [`Self::undo`], for any call over a table. `timestamp` is the one that the row had.
    ///
    /// # Errors
    /// As [`Self::add_with`].
    pub fn undo_with<E: Elements>(
        &self,
        number: usize,
        state: &mut [Value],
        args: &[Value],
        timestamp: Timestamp,
        elements: &mut E,
    ) -> Result<(), E::Error> {
        if !self.can_undo() && !self.retracts {
            let message = format!("{} over a stream cannot take a row back", self.function);
            return Err(EvalError::new(message).into());
        }
        let own = Own {
            all: elements,
            call: number,
        };
        self.change(state, args, timestamp, -1, own)
    }

    /// Adds a row (`by` is 1) or takes it back (-1), which only functions of numbers can do over a stream.
    fn change<E: Elements>(
        &self,
        state: &mut [Value],
        args: &[Value],
        timestamp: Timestamp,
        by: i8,
        own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let arg = args.first().unwrap_or(&Value::Null);
        match self.function {
            AggregateFunction::LatestByOffset { .. } | AggregateFunction::EarliestByOffset { .. } if self.retracts => {
                return self.count_by_time(state, arg, timestamp, by.into(), own);
            }
            AggregateFunction::LatestByOffset { .. } | AggregateFunction::EarliestByOffset { .. } => {
                self.keep_by_offset(state, arg);
            }
            AggregateFunction::Attr if self.retracts => return self.count_single(state, arg, by.into(), own),
            AggregateFunction::Attr => Self::keep_single(state, arg),
            AggregateFunction::CollectList { .. } if by > 0 => return self.collect(state, arg, own),
            AggregateFunction::CollectList { .. } => return self.uncollect(state, arg, own),
            AggregateFunction::CollectSet { .. } => return self.collect_once(state, arg, by.into(), own),
            AggregateFunction::CountAll => count(&mut state[0], by),
            AggregateFunction::TopRows { .. } => return self.top(state, args, by, own),
            _ if arg.is_null() => {}
            AggregateFunction::Min | AggregateFunction::Max if !self.retracts => self.keep_best(state, arg),
            AggregateFunction::Min | AggregateFunction::Max if by > 0 => return self.add_best(state, arg, own),
            AggregateFunction::Min | AggregateFunction::Max => return self.undo_best(state, arg, own),
            AggregateFunction::TopK { .. } | AggregateFunction::TopKDistinct { .. } => {
                return self.top(state, args, by, own);
            }
            AggregateFunction::CountDistinct if args.iter().any(Value::is_null) => {}
            AggregateFunction::CountDistinct => return self.distinct(state, args, by.into(), own),
            AggregateFunction::Histogram => return self.bin(state, arg, by.into(), own),
            _ => self.step(state, args, by)?,
        }
        Ok(())
    }

    /// Functions of numbers: adds, or with the other sign takes back. The first argument is not NULL.
    fn step(&self, state: &mut [Value], args: &[Value], sign: i8) -> Result<(), EvalError> {
        match (self.function, args) {
            (AggregateFunction::Count, _) => count(&mut state[0], sign),
            (AggregateFunction::Sum, [arg]) => self.sum(state, arg, sign)?,
            (AggregateFunction::Avg, [arg]) => self.average(state, arg, sign)?,
            (AggregateFunction::SumList, [Value::Array(items)]) => self.sum_list(state, items, sign)?,
            (AggregateFunction::StddevSamp | AggregateFunction::StddevSample, [arg]) => {
                numbers::deviate(state, arg, sign);
            }
            (AggregateFunction::Correlation, [x, y]) => numbers::correlate(state, x, y, sign),
            _ => {}
        }
        Ok(())
    }

    /// The result for a state of a call that does not [`Self::reads_elements`]; NULL where [`Self::check`] has an error.
    pub fn result(&self, state: &[Value]) -> Value {
        match self.function {
            AggregateFunction::Sum | AggregateFunction::SumList if self.sums_wide() => {
                wide::result(state, &self.sql_type).unwrap_or_default()
            }
            AggregateFunction::CountAll
            | AggregateFunction::Count
            | AggregateFunction::CountDistinct
            | AggregateFunction::Sum
            | AggregateFunction::SumList
            | AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::TopK { .. }
            | AggregateFunction::TopKDistinct { .. }
            | AggregateFunction::TopRows { .. }
            | AggregateFunction::LatestByOffset { .. } => state[0].clone(),
            // the last value, behind the note whether there is one
            AggregateFunction::EarliestByOffset { .. } => state.last().cloned().unwrap_or_default(),
            AggregateFunction::Attr => state[1].clone(),
            AggregateFunction::Avg => self.average_of(state),
            AggregateFunction::StddevSamp => Value::Double(numbers::variance(state)),
            AggregateFunction::StddevSample => Value::Double(numbers::variance(state).sqrt()),
            AggregateFunction::Correlation => Value::Double(numbers::correlation(state)),
            AggregateFunction::CollectList { .. }
            | AggregateFunction::CollectSet { .. }
            | AggregateFunction::Histogram => Value::Null,
        }
    }

    /// The result for a state of any call.
    ///
    /// # Errors
    /// When the elements cannot be read.
    pub fn result_with<E: ElementScan>(
        &self,
        number: usize,
        state: &[Value],
        elements: &mut E,
    ) -> Result<Value, E::Error> {
        if self.reads_elements() {
            self.collected(number, elements)
        } else {
            Ok(self.result(state))
        }
    }
}
