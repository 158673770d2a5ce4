//! Exact decimals of up to 38 digits: an unscaled 128-bit integer and a scale.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The most digits a DECIMAL can have; what fits an `i128`.
pub const MAX_PRECISION: u8 = 38;

/// Why a decimal could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// More than [`MAX_PRECISION`] digits, or more than the type allows.
    #[error("the number does not fit DECIMAL({precision}, {scale})")]
    Overflow {
        /// Digits allowed.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Not a number.
    #[error("not a decimal number")]
    Syntax,
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
}

/// `unscaled * 10^-scale`. Packed, so that a [`super::Value`] stays at 24 bytes.
#[derive(Clone, Copy)]
#[repr(Rust, packed)]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}

fn pow10(n: u8) -> Option<i128> {
    10i128.checked_pow(u32::from(n))
}

const TOO_LARGE: DecimalError = DecimalError::Overflow {
    precision: MAX_PRECISION,
    scale: 0,
};

impl Decimal {
    /// `unscaled * 10^-scale`.
    pub const fn new(unscaled: i128, scale: u8) -> Self {
        Self { unscaled, scale }
    }

    /// The integer without its point.
    pub const fn unscaled(self) -> i128 {
        self.unscaled
    }

    /// Digits after the point.
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The number of digits of the unscaled integer, at least 1.
    pub fn digits(self) -> u8 {
        let n = self.unscaled().unsigned_abs();
        if n == 0 { 1 } else { n.ilog10() as u8 + 1 }
    }

    /// The same number with another scale, rounded half up (away from zero), as ksqlDB does.
    pub fn rescale(self, scale: u8) -> Result<Self, DecimalError> {
        let (from, n) = (self.scale(), self.unscaled());
        if scale >= from {
            let factor = pow10(scale - from).ok_or(TOO_LARGE)?;
            return Ok(Self::new(n.checked_mul(factor).ok_or(TOO_LARGE)?, scale));
        }
        let Some(factor) = pow10(from - scale) else {
            return Ok(Self::new(0, scale));
        };
        let (quotient, rest) = (n / factor, n % factor);
        let away = if rest.unsigned_abs() >= (factor as u128).div_ceil(2) {
            n.signum()
        } else {
            0
        };
        Ok(Self::new(quotient + away, scale))
    }

    /// Rescales and checks that the number has at most `precision` digits.
    pub fn fit(self, precision: u8, scale: u8) -> Result<Self, DecimalError> {
        let fitted = self
            .rescale(scale)
            .map_err(|_| DecimalError::Overflow { precision, scale })?;
        if fitted.unscaled() != 0 && fitted.digits() > precision {
            return Err(DecimalError::Overflow { precision, scale });
        }
        Ok(fitted)
    }

    fn aligned(self, other: Self) -> Result<(i128, i128, u8), DecimalError> {
        let scale = self.scale().max(other.scale());
        Ok((self.rescale(scale)?.unscaled(), other.rescale(scale)?.unscaled(), scale))
    }

    /// Sum, at the larger scale.
    pub fn checked_add(self, other: Self) -> Result<Self, DecimalError> {
        let (a, b, scale) = self.aligned(other)?;
        Ok(Self::new(a.checked_add(b).ok_or(TOO_LARGE)?, scale))
    }

    /// Difference, at the larger scale.
    pub fn checked_sub(self, other: Self) -> Result<Self, DecimalError> {
        let (a, b, scale) = self.aligned(other)?;
        Ok(Self::new(a.checked_sub(b).ok_or(TOO_LARGE)?, scale))
    }

    /// Product, with the scales added.
    pub fn checked_mul(self, other: Self) -> Result<Self, DecimalError> {
        let n = self.unscaled().checked_mul(other.unscaled()).ok_or(TOO_LARGE)?;
        Ok(Self::new(n, self.scale().checked_add(other.scale()).ok_or(TOO_LARGE)?))
    }

    /// Quotient with `scale` digits after the point, rounded half up.
    pub fn checked_div(self, other: Self, scale: u8) -> Result<Self, DecimalError> {
        if other.unscaled() == 0 {
            return Err(DecimalError::DivisionByZero);
        }
        // one digit more than asked for is not enough to round half up exactly, the remainder decides
        let shift = i32::from(scale) + i32::from(other.scale()) - i32::from(self.scale());
        let (mut n, mut d) = (self.unscaled(), other.unscaled());
        let factor = pow10(u8::try_from(shift.abs()).map_err(|_| TOO_LARGE)?).ok_or(TOO_LARGE)?;
        if shift >= 0 {
            n = n.checked_mul(factor).ok_or(TOO_LARGE)?;
        } else {
            d = d.checked_mul(factor).ok_or(TOO_LARGE)?;
        }
        let (quotient, rest) = (n / d, n % d);
        let up = rest.unsigned_abs() >= d.unsigned_abs().div_ceil(2);
        let sign = if (n < 0) == (d < 0) { 1 } else { -1 };
        Ok(Self::new(quotient + if up { sign } else { 0 }, scale))
    }

    /// Remainder, with the sign of the dividend.
    pub fn checked_rem(self, other: Self) -> Result<Self, DecimalError> {
        let (a, b, scale) = self.aligned(other)?;
        if b == 0 {
            return Err(DecimalError::DivisionByZero);
        }
        Ok(Self::new(a % b, scale))
    }

    /// The negated number.
    pub fn checked_neg(self) -> Result<Self, DecimalError> {
        Ok(Self::new(self.unscaled().checked_neg().ok_or(TOO_LARGE)?, self.scale()))
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        // parsing the digits rounds once; dividing two doubles would round twice
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The decimal that prints like the double's shortest form; `None` for NaN and infinities or too many digits.
    pub fn from_f64(x: f64) -> Option<Self> {
        if !x.is_finite() {
            return None;
        }
        format!("{x}").parse().ok()
    }

    /// The whole part, towards zero.
    pub fn trunc(self) -> i128 {
        match pow10(self.scale()) {
            Some(factor) => self.unscaled() / factor,
            None => 0,
        }
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Self {
        Self::new(i128::from(n), 0)
    }
}

impl From<i32> for Decimal {
    fn from(n: i32) -> Self {
        Self::new(i128::from(n), 0)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    /// Parses `-12.340`, `.5`, `1e3`, `1.5E-2`; trailing zeros count for the scale.
    fn from_str(s: &str) -> Result<Self, DecimalError> {
        let (mantissa, exponent) = match s.find(['e', 'E']) {
            Some(i) => (&s[..i], s[i + 1..].parse::<i32>().map_err(|_| DecimalError::Syntax)?),
            None => (s, 0),
        };
        let (negative, digits) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(DecimalError::Syntax);
        }
        let mut n: i128 = 0;
        for c in whole.bytes().chain(fraction.bytes()) {
            if !c.is_ascii_digit() {
                return Err(DecimalError::Syntax);
            }
            n = n
                .checked_mul(10)
                .and_then(|n| n.checked_add(i128::from(c - b'0')))
                .ok_or(TOO_LARGE)?;
        }
        let n = if negative { -n } else { n };
        let scale = i32::try_from(fraction.len())
            .map_err(|_| TOO_LARGE)?
            .checked_sub(exponent)
            .ok_or(TOO_LARGE)?;
        if scale < 0 {
            let factor = u8::try_from(-scale).ok().and_then(pow10).ok_or(TOO_LARGE)?;
            return Ok(Self::new(n.checked_mul(factor).ok_or(TOO_LARGE)?, 0));
        }
        Ok(Self::new(n, u8::try_from(scale).map_err(|_| TOO_LARGE)?))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, scale) = (self.unscaled(), usize::from(self.scale()));
        let digits = format!("{:0width$}", n.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if n < 0 { "-" } else { "" };
        if scale == 0 {
            write!(f, "{sign}{whole}")
        } else {
            write!(f, "{sign}{whole}.{fraction}")
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Compared as numbers: `1.0 = 1.00`.
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.aligned(*other) {
            Ok((a, b, _)) => a.cmp(&b),
            // one side overflows when aligned: then the whole parts differ, or the numbers are huge
            Err(_) => self
                .trunc()
                .cmp(&other.trunc())
                .then_with(|| self.to_f64().total_cmp(&other.to_f64())),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl std::hash::Hash for Decimal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // equal numbers of different scale hash alike: trailing zeros are cut
        let (mut n, mut scale) = (self.unscaled(), self.scale());
        while scale > 0 && n % 10 == 0 {
            n /= 10;
            scale -= 1;
        }
        n.hash(state);
        scale.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(s: &str) -> Decimal {
        s.parse().expect("a decimal")
    }

    #[test]
    fn prints_what_it_parses() {
        for s in [
            "0",
            "-0.001",
            "12.340",
            "99999999999999999999999999999999999999",
            "-1",
            "0.5",
        ] {
            assert_eq!(d(s).to_string(), s);
        }
        assert_eq!(d("1.5e3").to_string(), "1500");
        assert_eq!(d("1.5E-2").to_string(), "0.015");
        assert!("1.2.3".parse::<Decimal>().is_err());
        assert!("".parse::<Decimal>().is_err());
    }

    #[test]
    fn rescaling_rounds_half_away_from_zero() {
        assert_eq!(d("1.005").rescale(2).unwrap().to_string(), "1.01");
        assert_eq!(d("-1.005").rescale(2).unwrap().to_string(), "-1.01");
        assert_eq!(d("1.004").rescale(2).unwrap().to_string(), "1.00");
        assert_eq!(d("0.4").rescale(0).unwrap().to_string(), "0");
        assert!(d("1000").fit(3, 0).is_err());
    }

    #[test]
    fn arithmetic_is_exact() {
        assert_eq!(d("0.1").checked_add(d("0.20")).unwrap().to_string(), "0.30");
        assert_eq!(d("1.5").checked_mul(d("-2.25")).unwrap().to_string(), "-3.375");
        assert_eq!(d("1").checked_div(d("3"), 5).unwrap().to_string(), "0.33333");
        assert_eq!(d("2").checked_div(d("-3"), 2).unwrap().to_string(), "-0.67");
        assert_eq!(d("1").checked_div(d("0.00"), 2), Err(DecimalError::DivisionByZero));
        assert_eq!(d("1.0"), d("1.00"));
        assert!(d("-1.5") < d("-1.49"));
    }
}
