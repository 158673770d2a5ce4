//! Sums and what is made of them. Exact types are summed exactly; sums of doubles carry their rounding error along ([`Sum2`]), so that neither
//! the order of the rows nor a row taken back shows in the result.

use super::{AggregateCall, wide};
use crate::expr::EvalError;
use crate::types::{Decimal, SqlType, Value};

impl AggregateCall {
    pub(super) fn overflow(&self, arg: &Value) -> EvalError {
        let arg = crate::expr::display::literal(arg);
        EvalError::new(format!(
            "{}: the sum no longer fits {} after {arg}",
            self.function, self.sql_type
        ))
    }

    /// `state += sign * arg`.
    pub(super) fn sum(&self, state: &mut [Value], arg: &Value, sign: i8) -> Result<(), EvalError> {
        if self.sums_wide() {
            wide::add(state, arg, sign);
            return Ok(());
        }
        let overflow = || self.overflow(arg);
        match (&mut *state, arg) {
            ([Value::Integer(n)], Value::Integer(x)) => {
                let sum = i64::from(*n) + i64::from(sign) * i64::from(*x);
                *n = i32::try_from(sum).map_err(|_| overflow())?;
            }
            ([Value::Bigint(n)], Value::Bigint(x)) => {
                let sum = i128::from(*n) + i128::from(sign) * i128::from(*x);
                *n = i64::try_from(sum).map_err(|_| overflow())?;
            }
            ([Value::Decimal(n)], Value::Decimal(x)) => {
                let sum = signed(*x, sign).and_then(|x| n.checked_add(x).ok());
                *n = sum.and_then(|s| fit(s, &self.sql_type)).ok_or_else(overflow)?;
            }
            ([Value::Double(high), Value::Double(low)], Value::Double(x)) => add_double(high, low, f64::from(sign) * x),
            _ => {}
        }
        Ok(())
    }

    /// Sum and count of AVG; integers and decimals are summed as decimals.
    pub(super) fn average(&self, state: &mut [Value], arg: &Value, sign: i8) -> Result<(), EvalError> {
        if let (true, [sum @ .., n]) = (self.sums_wide(), &mut *state) {
            wide::add(sum, arg, sign);
            count(n, sign);
            return Ok(());
        }
        match (&mut *state, arg) {
            ([Value::Double(high), Value::Double(low), _], Value::Double(x)) => {
                add_double(high, low, f64::from(sign) * x);
                count(&mut state[2], sign);
            }
            ([Value::Decimal(sum), _], _) => {
                let exact = match arg {
                    Value::Integer(n) => Decimal::from(*n),
                    Value::Bigint(n) => Decimal::from(*n),
                    Value::Decimal(d) => *d,
                    _ => return Ok(()),
                };
                let total = signed(exact, sign).and_then(|x| sum.checked_add(x).ok());
                *sum = total.ok_or_else(|| self.overflow(arg))?;
                count(&mut state[1], sign);
            }
            _ => {}
        }
        Ok(())
    }

    /// The sum of all numbers of a list, or none of them.
    pub(super) fn sum_list(&self, state: &mut [Value], items: &[Value], sign: i8) -> Result<(), EvalError> {
        let mut sum = state.to_vec();
        for item in items {
            self.sum(&mut sum, item, sign)?;
        }
        state.clone_from_slice(&sum);
        Ok(())
    }

    /// The average of a sum and a count.
    pub(super) fn average_of(&self, state: &[Value]) -> Value {
        let (sum, n) = match state {
            [sum @ .., Value::Bigint(n)] if self.sums_wide() => (wide::rounded(sum), *n),
            [Value::Double(sum), _, Value::Bigint(n)] => (*sum, *n),
            // integers are the common case and need no text on the way
            [Value::Decimal(sum), Value::Bigint(n)] if sum.scale() == 0 => (sum.unscaled() as f64, *n),
            [Value::Decimal(sum), Value::Bigint(n)] => (sum.to_f64(), *n),
            _ => return Value::Null,
        };
        Value::Double(if n == 0 { 0.0 } else { sum / n as f64 })
    }
}

/// Adds (or takes back) to the count, the sum and the sum of squares of a deviation.
pub(super) fn deviate(state: &mut [Value], arg: &Value, sign: i8) {
    let Some(x) = Sum2::of(arg) else { return };
    count(&mut state[0], sign);
    add_to(&mut state[1..3], x, sign);
    add_to(&mut state[3..5], x.times(x), sign);
}

/// The variance of a sample; 0 for less than two values.
pub(super) fn variance(state: &[Value]) -> f64 {
    let n = super::elements::integer(state, 0);
    if n < 2 {
        return 0.0;
    }
    let (sum, squares) = (Sum2::at(state, 1), Sum2::at(state, 3));
    let deviations = squares.plus(sum.times(sum).over(n as f64).negated()).high;
    // rounding may go below nothing
    let deviations = if deviations < 0.0 { 0.0 } else { deviations };
    deviations / (n - 1) as f64
}

/// Adds (or takes back) to the count, x, y, x², y² and xy of a correlation.
pub(super) fn correlate(state: &mut [Value], x: &Value, y: &Value, sign: i8) {
    let (Some(x), Some(y)) = (Sum2::of(x), Sum2::of(y)) else {
        return;
    };
    count(&mut state[0], sign);
    for (i, term) in [x, y, x.times(x), y.times(y), x.times(y)].into_iter().enumerate() {
        add_to(&mut state[1 + 2 * i..3 + 2 * i], term, sign);
    }
}

/// Pearson's coefficient; NaN where one side does not vary, as ksqlDB's.
pub(super) fn correlation(state: &[Value]) -> f64 {
    let n = super::elements::integer(state, 0) as f64;
    let [x, y, xx, yy, xy] = [1, 3, 5, 7, 9].map(|at| Sum2::at(state, at));
    let scaled = |products: Sum2, a: Sum2, b: Sum2| products.times(Sum2::from(n)).plus(a.times(b).negated()).high;
    scaled(xy, x, y) / (scaled(xx, x, x) * scaled(yy, y, y)).sqrt()
}

fn add_to(state: &mut [Value], x: Sum2, sign: i8) {
    let x = if sign < 0 { x.negated() } else { x };
    let sum = Sum2::at(state, 0).plus(x);
    (state[0], state[1]) = (Value::Double(sum.high), Value::Double(sum.low));
}

/// Adds sums of two doubles each to others.
pub(super) fn add_sums(state: &mut [Value], more: &[Value]) {
    for (at, sum) in state.chunks_exact_mut(2).enumerate() {
        add_to(sum, Sum2::at(more, 2 * at), 1);
    }
}

/// An unevaluated sum of two doubles: `high` is the number rounded once.
#[derive(Clone, Copy, Debug)]
struct Sum2 {
    high: f64,
    low: f64,
}

impl From<f64> for Sum2 {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

impl Sum2 {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(n) => Some(f64::from(*n).into()),
            Value::Bigint(n) => {
                let high = *n as f64;
                let low = (i128::from(*n) - high as i128) as f64;
                Some(Self { high, low })
            }
            Value::Double(x) => Some((*x).into()),
            Value::Decimal(d) => Some(d.to_f64().into()),
            _ => None,
        }
    }

    fn at(state: &[Value], at: usize) -> Self {
        let double = |i: usize| match state.get(i) {
            Some(Value::Double(x)) => *x,
            _ => 0.0,
        };
        Self {
            high: double(at),
            low: double(at + 1),
        }
    }

    fn negated(self) -> Self {
        Self {
            high: -self.high,
            low: -self.low,
        }
    }

    fn plus(mut self, other: Self) -> Self {
        add_double(&mut self.high, &mut self.low, other.high);
        if self.high.is_finite() && other.low != 0.0 {
            add_double(&mut self.high, &mut self.low, other.low);
        }
        self
    }

    fn times(self, other: Self) -> Self {
        let high = self.high * other.high;
        if !high.is_finite() {
            return high.into();
        }
        let low = self.high.mul_add(other.high, -high) + self.high * other.low + self.low * other.high;
        Self::from(high).plus(low.into())
    }

    fn over(self, n: f64) -> Self {
        let high = self.high / n;
        if !high.is_finite() {
            return high.into();
        }
        let low = ((-high).mul_add(n, self.high) + self.low) / n;
        Self::from(high).plus(low.into())
    }
}

pub(super) fn zero(sql_type: &SqlType) -> Value {
    match sql_type {
        SqlType::Integer => Value::Integer(0),
        SqlType::Double => Value::Double(0.0),
        SqlType::Decimal { scale, .. } => Value::Decimal(Decimal::new(0, *scale)),
        _ => Value::Bigint(0),
    }
}

/// A count of rows cannot reach the end of BIGINT.
pub(super) fn count(n: &mut Value, by: i8) {
    if let Value::Bigint(n) = n {
        *n = n.saturating_add(i64::from(by));
    }
}

fn signed(x: Decimal, sign: i8) -> Option<Decimal> {
    if sign < 0 { x.checked_neg().ok() } else { Some(x) }
}

fn fit(sum: Decimal, sql_type: &SqlType) -> Option<Decimal> {
    match sql_type {
        SqlType::Decimal { precision, scale } => sum.fit(*precision, *scale).ok(),
        _ => Some(sum),
    }
}

/// Adds to an unevaluated sum of two doubles (Knuth's TwoSum): `high` is the sum rounded once.
pub(super) fn add_double(high: &mut f64, low: &mut f64, x: f64) {
    let sum = *high + x;
    if !sum.is_finite() {
        (*high, *low) = (sum, 0.0);
        return;
    }
    let part = sum - *high;
    let error = (*high - (sum - part)) + (x - part) + *low;
    let rounded = sum + error;
    *low = error - (rounded - sum);
    *high = rounded;
}
