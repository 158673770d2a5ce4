//! Two groups become one: session windows that a record joins.

use super::elements::{Elements, Own, integer};
use super::{AggregateCall, AggregateFunction};
use crate::expr::EvalError;
use crate::types::{Row, Value};

/// An element with its key.
pub type Element = (Vec<Value>, Row);

fn own<E>(all: &mut E, call: usize) -> Own<'_, E> {
    Own { all, call }
}

impl AggregateCall {
    /// Adds the rows of a `later` group, with its elements of this call, to a group of a stream.
    ///
    /// # Errors
    /// On overflow of an exact type, when the elements cannot be read, or over a table, where windows do not merge.
    pub fn merge_with<E: Elements>(
        &self,
        number: usize,
        state: &mut [Value],
        later: &[Value],
        later_elements: &[Element],
        elements: &mut E,
    ) -> Result<(), E::Error> {
        if self.retracts {
            let message = format!("{} over a table cannot be merged", self.function);
            return Err(EvalError::new(message).into());
        }
        match self.function {
            AggregateFunction::CollectList { .. } => {
                for (_, row) in later_elements.iter().filter(|(key, _)| Self::is_item(key)) {
                    self.collect(state, row.first().unwrap_or(&Value::Null), own(elements, number))?;
                }
            }
            AggregateFunction::CollectSet { .. } => {
                for (_, row) in later_elements.iter().filter(|(key, _)| Self::is_item(key)) {
                    self.collect_once(state, row.first().unwrap_or(&Value::Null), 1, own(elements, number))?;
                }
            }
            AggregateFunction::CountDistinct => {
                for (key, _) in later_elements {
                    self.distinct(state, key, 1, own(elements, number))?;
                }
            }
            AggregateFunction::Histogram => {
                for (key, row) in later_elements {
                    let value = key.first().unwrap_or(&Value::Null);
                    self.bin(state, value, integer(row, 0), own(elements, number))?;
                }
            }
            _ => self.merge_states(state, later)?,
        }
        Ok(())
    }

    fn merge_states(&self, state: &mut [Value], later: &[Value]) -> Result<(), EvalError> {
        match self.function {
            AggregateFunction::Sum | AggregateFunction::SumList => {
                for part in later {
                    self.sum(state, part, 1)?;
                }
            }
            AggregateFunction::Avg => {
                let n = later.len() - 1;
                let counted = state[n].clone();
                for part in &later[..n] {
                    self.average(state, part, 1)?;
                }
                state[n] = (integer(&[counted], 0) + integer(later, n)).into();
            }
            AggregateFunction::Min | AggregateFunction::Max if !later[0].is_null() => self.keep_best(state, &later[0]),
            AggregateFunction::Min | AggregateFunction::Max => {}
            AggregateFunction::TopK { .. }
            | AggregateFunction::TopKDistinct { .. }
            | AggregateFunction::TopRows { .. } => {
                if let Value::Array(items) = &later[0] {
                    for item in items.iter() {
                        match item {
                            Value::Struct(fields) if self.keeps_structs() => self.keep_top(state, fields),
                            one => self.keep_top(state, std::slice::from_ref(one)),
                        }
                    }
                }
            }
            AggregateFunction::LatestByOffset { n: Some(_), .. }
            | AggregateFunction::EarliestByOffset { n: Some(_), .. } => {
                if let Value::Array(items) = &later[0] {
                    items.iter().for_each(|item| self.keep_by_offset(state, item));
                }
            }
            // a group has a row, so without skipping NULLs a NULL is its last value
            AggregateFunction::LatestByOffset { n: None, .. } => self.keep_by_offset(state, &later[0]),
            AggregateFunction::EarliestByOffset { n: None, .. } if state[0].is_null() => state.clone_from_slice(later),
            AggregateFunction::EarliestByOffset { n: None, .. } => {}
            AggregateFunction::Attr => match integer(later, 0) {
                0 => {}
                1 => Self::keep_single(state, &later[1]),
                _ => state.clone_from_slice(later),
            },
            AggregateFunction::CountAll | AggregateFunction::Count => {
                state[0] = (integer(state, 0).saturating_add(integer(later, 0))).into();
            }
            AggregateFunction::StddevSamp | AggregateFunction::StddevSample | AggregateFunction::Correlation => {
                state[0] = (integer(state, 0).saturating_add(integer(later, 0))).into();
                super::numbers::add_sums(&mut state[1..], &later[1..]);
            }
            AggregateFunction::CountDistinct
            | AggregateFunction::Histogram
            | AggregateFunction::CollectList { .. }
            | AggregateFunction::CollectSet { .. } => {}
        }
        Ok(())
    }
}
