//! The shape of a call's state: how many values, of which types, and what they are before the first row.
//!
//! *Invariant*: [`AggregateCall::state_len`] is the length of [`AggregateCall::state_types`]; it is asked for each row, so it allocates nothing.

use super::numbers::zero;
use super::{AggregateCall, AggregateFunction};
use crate::expr::decimal_of;
use crate::types::{MAX_PRECISION, SqlType, Value};

impl AggregateCall {
    /// The type that is summed.
    pub(super) fn summed(&self) -> &SqlType {
        match self.arg_types.first() {
            Some(SqlType::Array(item)) => item,
            Some(of) => of,
            None => &SqlType::Bigint,
        }
    }

    pub(super) fn sums_doubles(&self) -> bool {
        *self.summed() == SqlType::Double
    }

    /// The types of its state values.
    pub fn state_types(&self) -> Vec<SqlType> {
        let of = || self.arg_types.first().cloned().unwrap_or(SqlType::Bigint);
        match self.function {
            AggregateFunction::CountAll
            | AggregateFunction::Count
            | AggregateFunction::CountDistinct
            | AggregateFunction::Histogram => vec![SqlType::Bigint],
            AggregateFunction::Sum | AggregateFunction::SumList if self.sums_wide() => self.wide_types(),
            AggregateFunction::Avg if self.sums_wide() => {
                let mut types = self.wide_types();
                types.push(SqlType::Bigint);
                types
            }
            AggregateFunction::Sum | AggregateFunction::SumList if self.sums_doubles() => vec![SqlType::Double; 2],
            AggregateFunction::Sum | AggregateFunction::SumList => vec![self.summed().clone()],
            AggregateFunction::Avg if self.sums_doubles() => {
                vec![SqlType::Double, SqlType::Double, SqlType::Bigint]
            }
            AggregateFunction::Avg => {
                let scale = decimal_of(&of()).map_or(0, |(_, scale)| scale);
                let precision = MAX_PRECISION;
                vec![SqlType::Decimal { precision, scale }, SqlType::Bigint]
            }
            AggregateFunction::StddevSamp | AggregateFunction::StddevSample => with_count(4),
            AggregateFunction::Correlation => with_count(10),
            AggregateFunction::Min | AggregateFunction::Max => vec![of()],
            AggregateFunction::TopK { .. }
            | AggregateFunction::TopKDistinct { .. }
            | AggregateFunction::TopRows { .. } => vec![self.sql_type.clone()],
            AggregateFunction::EarliestByOffset {
                n: None,
                ignore_nulls: false,
            } if !self.retracts => vec![SqlType::Boolean, of()],
            AggregateFunction::LatestByOffset { .. } | AggregateFunction::EarliestByOffset { .. } => {
                vec![self.sql_type.clone()]
            }
            AggregateFunction::CollectList { .. } | AggregateFunction::CollectSet { .. } => vec![SqlType::Bigint; 2],
            AggregateFunction::Attr => vec![SqlType::Bigint, of()],
        }
    }

    /// How many state values the call takes.
    pub fn state_len(&self) -> usize {
        match self.function {
            AggregateFunction::CountAll
            | AggregateFunction::Count
            | AggregateFunction::CountDistinct
            | AggregateFunction::Histogram
            | AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::TopK { .. }
            | AggregateFunction::TopKDistinct { .. }
            | AggregateFunction::TopRows { .. } => 1,
            AggregateFunction::Sum | AggregateFunction::SumList if self.sums_wide() => self.wide_types().len(),
            AggregateFunction::Avg if self.sums_wide() => self.wide_types().len() + 1,
            AggregateFunction::Sum | AggregateFunction::SumList => 1 + usize::from(self.sums_doubles()),
            AggregateFunction::Avg => 2 + usize::from(self.sums_doubles()),
            AggregateFunction::StddevSamp | AggregateFunction::StddevSample => 5,
            AggregateFunction::Correlation => 11,
            AggregateFunction::EarliestByOffset {
                n: None,
                ignore_nulls: false,
            } if !self.retracts => 2,
            AggregateFunction::LatestByOffset { .. } | AggregateFunction::EarliestByOffset { .. } => 1,
            AggregateFunction::CollectList { .. } | AggregateFunction::CollectSet { .. } | AggregateFunction::Attr => 2,
        }
    }

    /// Sets `state` (of [`Self::state_len`] values) to that of no rows.
    pub fn init(&self, state: &mut [Value]) {
        let array = || Value::Array([].into());
        match self.function {
            AggregateFunction::TopK { .. }
            | AggregateFunction::TopKDistinct { .. }
            | AggregateFunction::TopRows { .. }
            | AggregateFunction::LatestByOffset { n: Some(_), .. }
            | AggregateFunction::EarliestByOffset { n: Some(_), .. } => state[0] = array(),
            AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::LatestByOffset { n: None, .. }
            | AggregateFunction::EarliestByOffset { n: None, .. } => state.fill(Value::Null),
            AggregateFunction::Attr => {
                state[0] = 0i64.into();
                state[1] = Value::Null;
            }
            AggregateFunction::CountAll
            | AggregateFunction::Count
            | AggregateFunction::CountDistinct
            | AggregateFunction::Histogram
            | AggregateFunction::Sum
            | AggregateFunction::SumList
            | AggregateFunction::Avg
            | AggregateFunction::StddevSamp
            | AggregateFunction::StddevSample
            | AggregateFunction::Correlation
            | AggregateFunction::CollectList { .. }
            | AggregateFunction::CollectSet { .. } => {
                for (value, sql_type) in state.iter_mut().zip(self.state_types()) {
                    *value = zero(&sql_type);
                }
            }
        }
    }
}

/// A count and so many doubles.
fn with_count(doubles: usize) -> Vec<SqlType> {
    let mut types = vec![SqlType::Bigint];
    types.resize(1 + doubles, SqlType::Double);
    types
}
