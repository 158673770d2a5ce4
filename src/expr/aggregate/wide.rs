//! Exact sums over a table, kept wider than their results.
//!
//! A row that is in a group is taken out again when it changes. Would putting it in fail where the sum does not fit its type, then taking it out would
//! spoil the sum for good. So the sum itself never fails, and only the *result* can be out of range: the group has no result until it fits again.
//!
//! | argument | state |
//! |---|---|
//! | INTEGER | BIGINT |
//! | BIGINT | DECIMAL(38, 0) |
//! | DECIMAL(p, s) | DECIMAL(38, s); from 20 digits on also a BIGINT: how often the sum went round 10^38 |
//!
//! *Invariant*: taking back is the exact inverse of adding, and a sum has one state only. Where there is no carry, 2^32 rows of INTEGER or 2^63 rows
//! of the others fit, more than a group has.

use super::AggregateCall;
use crate::expr::EvalError;
use crate::types::{Decimal, MAX_PRECISION, SqlType, Value};

/// The first number that has too many digits for a DECIMAL.
const ROUND: i128 = 10i128.pow(MAX_PRECISION as u32);
/// Sums of 2^63 numbers of so many digits have less than 38.
const NO_CARRY_PRECISION: u8 = 19;

/// The types of a sum of this type.
pub(super) fn types(of: &SqlType) -> Vec<SqlType> {
    let wide = |scale| SqlType::Decimal {
        precision: MAX_PRECISION,
        scale,
    };
    match of {
        SqlType::Integer => vec![SqlType::Bigint],
        SqlType::Decimal { precision, scale } if *precision > NO_CARRY_PRECISION => {
            vec![wide(*scale), SqlType::Bigint]
        }
        SqlType::Decimal { scale, .. } => vec![wide(*scale)],
        _ => vec![wide(0)],
    }
}

/// `state += sign * arg`.
pub(super) fn add(state: &mut [Value], arg: &Value, sign: i8) {
    let scale = match state.first() {
        Some(Value::Decimal(sum)) => sum.scale(),
        _ => 0,
    };
    let number = match arg {
        Value::Integer(n) => i128::from(*n),
        Value::Bigint(n) => i128::from(*n),
        Value::Decimal(d) => match d.rescale(scale) {
            Ok(d) => d.unscaled() % ROUND,
            // not a value of the argument's type; it is as little there when it is taken back
            Err(_) => return,
        },
        _ => return,
    };
    let number = i128::from(sign) * number;
    match state {
        [Value::Bigint(sum)] => *sum = sum.wrapping_add(number as i64),
        [Value::Decimal(sum)] => *sum = Decimal::new(sum.unscaled().wrapping_add(number), scale),
        [Value::Decimal(sum), Value::Bigint(carry)] => {
            let (low, by) = add_round(sum.unscaled(), number);
            let (low, rounds) = same_sign(low, carry.saturating_add(by));
            (*sum, *carry) = (Decimal::new(low, scale), rounds);
        }
        _ => {}
    }
}

/// Adds two numbers of at most 38 digits: the sum and how often 10^38 was taken out of it.
fn add_round(a: i128, b: i128) -> (i128, i64) {
    match a.checked_add(b) {
        Some(sum) if sum.abs() < ROUND => (sum, 0),
        // both have the same sign, so this stays between them and 0
        _ if b > 0 => (a - ROUND + b, 1),
        _ => (a + ROUND + b, -1),
    }
}

/// The one way to write `low + rounds * 10^38`: both parts have the same sign.
fn same_sign(low: i128, rounds: i64) -> (i128, i64) {
    match rounds.signum() {
        1 if low < 0 => (low + ROUND, rounds - 1),
        -1 if low > 0 => (low - ROUND, rounds + 1),
        _ => (low, rounds),
    }
}

/// The sum if it has at most 38 digits.
fn exact(state: &[Value]) -> Option<Decimal> {
    match state {
        [Value::Bigint(sum)] => Some(Decimal::from(*sum)),
        [Value::Decimal(sum)] | [Value::Decimal(sum), Value::Bigint(0)] => Some(*sum),
        _ => None,
    }
}

/// The sum in its own type; `None` if it does not fit.
pub(super) fn result(state: &[Value], of: &SqlType) -> Option<Value> {
    let sum = exact(state)?;
    match of {
        SqlType::Integer => i32::try_from(sum.unscaled()).ok().map(Value::Integer),
        SqlType::Decimal { precision, scale } => sum.fit(*precision, *scale).ok().map(Value::Decimal),
        _ => i64::try_from(sum.unscaled()).ok().map(Value::Bigint),
    }
}

/// The sum, rounded.
pub(super) fn rounded(state: &[Value]) -> f64 {
    match state {
        // integers are the common case and need no text on the way
        [Value::Decimal(sum)] if sum.scale() == 0 => sum.unscaled() as f64,
        [Value::Decimal(sum), Value::Bigint(carry)] => {
            let round = 10f64.powi(i32::from(MAX_PRECISION) - i32::from(sum.scale()));
            sum.to_f64() + *carry as f64 * round
        }
        _ => exact(state).map_or(f64::NAN, Decimal::to_f64),
    }
}

impl AggregateCall {
    /// Whether its sum is one of this module's.
    pub(super) fn sums_wide(&self) -> bool {
        use super::AggregateFunction::{Avg, Sum, SumList};
        self.retracts && matches!(self.function, Sum | SumList | Avg) && !self.sums_doubles()
    }

    /// The types of its sum; an average of integers sums them as decimals.
    pub(super) fn wide_types(&self) -> Vec<SqlType> {
        match (self.function, self.summed()) {
            (super::AggregateFunction::Avg, SqlType::Integer) => types(&SqlType::Bigint),
            (_, of) => types(of),
        }
    }

    /// Whether a group has a result: a sum over a table can have grown beyond its type.
    ///
    /// # Errors
    /// When it has not, with the sum.
    pub fn check(&self, state: &[Value]) -> Result<(), EvalError> {
        if !self.sums_wide()
            || self.function == super::AggregateFunction::Avg
            || result(state, &self.sql_type).is_some()
        {
            return Ok(());
        }
        let sum = exact(state).map_or(String::new(), |sum| format!(" {sum}"));
        let (function, sql_type) = (self.function, &self.sql_type);
        Err(EvalError::new(format!(
            "{function}: the sum{sum} does not fit {sql_type}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::Expr;

    const WIDEST: SqlType = SqlType::Decimal {
        precision: 38,
        scale: 2,
    };

    fn call(name: &str, of: SqlType) -> AggregateCall {
        AggregateCall::new(name, vec![(Expr::Value(0), of)]).unwrap().over(true)
    }

    fn numbers() -> impl Strategy<Value = Vec<i128>> {
        let number = prop_oneof![
            -3..4i128,
            Just(ROUND - 1),
            Just(1 - ROUND),
            Just(ROUND / 2),
            -ROUND / 3..ROUND / 3
        ];
        proptest::collection::vec(number, 0..40)
    }

    proptest! {
        /// Sums of the widest decimals, beyond what an i128 holds, against sums in two halves.
        #[test]
        fn what_is_added_can_be_taken_back(put_in in numbers(), order in any::<u64>()) {
            let call = call("SUM", WIDEST);
            let value = |n: i128| Value::Decimal(Decimal::new(n, 2));
            let mut state = vec![Value::Null; call.state_len()];
            call.init(&mut state);
            let empty = format!("{state:?}");
            let mut left = put_in.clone();
            for n in &put_in {
                call.add(&mut state, &[value(*n)]).unwrap();
            }
            let mut random = order;
            loop {
                const HALF: i128 = 10i128.pow(19);
                let high: i128 = left.iter().map(|n| n / HALF).sum();
                let low: i128 = left.iter().map(|n| n % HALF).sum();
                let sum = high.checked_mul(HALF).and_then(|high| high.checked_add(low)).filter(|sum| sum.abs() < ROUND);
                prop_assert_eq!(result(&state, &WIDEST), sum.map(value));
                prop_assert_eq!(call.check(&state).is_ok(), sum.is_some());
                if left.is_empty() {
                    break;
                }
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let gone = left.swap_remove((random >> 33) as usize % left.len());
                call.undo(&mut state, &[value(gone)]).unwrap();
            }
            prop_assert_eq!(format!("{state:?}"), empty);
        }
    }

    #[test]
    fn a_sum_beyond_its_type_is_an_error_of_the_result_only() {
        for (of, most) in [
            (SqlType::Integer, Value::Integer(i32::MAX)),
            (SqlType::Bigint, Value::Bigint(i64::MAX)),
        ] {
            let call = call("SUM", of.clone());
            let mut state = vec![Value::Null; call.state_len()];
            call.init(&mut state);
            let args = [most.clone()];
            call.add(&mut state, &args).unwrap();
            assert_eq!((call.check(&state), call.result(&state)), (Ok(()), most.clone()));
            call.add(&mut state, &args).unwrap();
            let error = call.check(&state).unwrap_err().message;
            assert!(error.ends_with(&format!("does not fit {of}")), "{error}");
            call.undo(&mut state, &args).unwrap();
            assert_eq!((call.check(&state), call.result(&state)), (Ok(()), most));
        }
    }

    #[test]
    fn an_average_goes_on_where_its_sum_has_more_digits_than_a_decimal() {
        let call = call("AVG", WIDEST);
        let mut state = vec![Value::Null; call.state_len()];
        call.init(&mut state);
        for _ in 0..4 {
            call.add(&mut state, &[Value::Decimal(Decimal::new(ROUND - 1, 2))])
                .unwrap();
        }
        assert_eq!(call.result(&state), Value::Double(1e36));
        assert_eq!(call.check(&state), Ok(()));
    }
}
