//! Functions of numbers. Each has a signature a type, so that exact numbers stay exact.

use super::{CallContext, EvalError, Signature, Ty, number, text};
use crate::types::{Decimal, SqlType, Value};

type Result = std::result::Result<Value, EvalError>;

const ABS: &str = "The number without its sign.";
const CEIL: &str = "The least whole number that is not smaller.";
const FLOOR: &str = "The greatest whole number that is not greater.";
const ROUND: &str = "The nearest whole number; a half goes up.";
const ROUND_TO: &str =
    "The number rounded to so many digits after the point, or before it if negative; a half goes up.";
const TRUNC: &str = "The number without its digits after the point.";
const TRUNC_TO: &str = "The number cut behind so many digits after the point, or before it if negative.";
const SIGN: &str = "-1, 0 or 1.";
const DISTANCE: &str = "The great-circle distance in km of two points, each as latitude and longitude in degrees.";
const DISTANCE_IN: &str = "The same in a unit: 'km' or 'miles'.";

const I: Ty = Ty::Integer;
const L: Ty = Ty::Bigint;
const D: Ty = Ty::Double;
const N: Ty = Ty::Decimal;

functions! {
    "ABS"(I) -> I, abs, ABS, ["ABS(-3)" => "3"];
    "ABS"(L) -> L, abs, ABS, [];
    "ABS"(N) -> N, abs, ABS, ["ABS(-1.50)" => "1.50"] .computed(same);
    "ABS"(D) -> D, abs, ABS, [];
    "ACOS"(D) -> D, |a, _| of_double(a, f64::acos), "The arc cosine in radians; NaN outside of -1 to 1.", ["ROUND(ACOS(0), 4)" => "1.5708"];
    "ASIN"(D) -> D, |a, _| of_double(a, f64::asin), "The arc sine in radians; NaN outside of -1 to 1.", ["ROUND(ASIN(1), 4)" => "1.5708"];
    "ATAN"(D) -> D, |a, _| of_double(a, f64::atan), "The arc tangent in radians.", ["ROUND(ATAN(1), 4)" => "0.7854"];
    "ATAN2"(D, D) -> D, |a, _| of_two(a, f64::atan2), "The arc tangent of y / x in radians: the angle of the point (x, y).",
        ["ROUND(ATAN2(1, -1), 4)" => "2.3562"];
    "CBRT"(D) -> D, |a, _| of_double(a, f64::cbrt), "The cube root.", ["CBRT(-8)" => "-2"];
    "CEIL"(I) -> I, first, CEIL, [];
    "CEIL"(L) -> L, first, CEIL, [];
    "CEIL"(N) -> N, |a, _| to_whole(&a[0], Whole::Up), CEIL, ["CEIL(1.2)" => "2.0"] .computed(same);
    "CEIL"(D) -> D, |a, _| to_whole(&a[0], Whole::Up), CEIL, ["CEIL(-1.2e0)" => "-1"];
    "COS"(D) -> D, |a, _| of_double(a, f64::cos), "The cosine of an angle in radians.", ["COS(0)" => "1"];
    "COSH"(D) -> D, |a, _| of_double(a, f64::cosh), "The hyperbolic cosine.", ["COSH(0)" => "1"];
    "COT"(D) -> D, |a, _| of_double(a, |x| x.cos() / x.sin()), "The cotangent of an angle in radians; infinite at 0.",
        ["ROUND(COT(1), 4)" => "0.6421"];
    "DEGREES"(D) -> D, |a, _| of_double(a, f64::to_degrees), "Radians as degrees.", ["DEGREES(PI())" => "180"];
    "EXP"(D) -> D, |a, _| of_double(a, f64::exp), "e to the power of the number.", ["EXP(0)" => "1"];
    "FLOOR"(I) -> I, first, FLOOR, [];
    "FLOOR"(L) -> L, first, FLOOR, [];
    "FLOOR"(N) -> N, |a, _| to_whole(&a[0], Whole::Down), FLOOR, ["FLOOR(-1.2)" => "-2.0"] .computed(same);
    "FLOOR"(D) -> D, |a, _| to_whole(&a[0], Whole::Down), FLOOR, [];
    "GEO_DISTANCE"(D, D, D, D) -> D, distance, DISTANCE, ["ROUND(GEO_DISTANCE(37.4439, -122.1663, 51.5257, -0.1122))" => "8635"];
    "GEO_DISTANCE"(D, D, D, D, Ty::String) -> D, distance, DISTANCE_IN, ["GEO_DISTANCE(10, 20, 10, 20, 'miles')" => "0", "GEO_DISTANCE(10, 20, 10, 20, NULL)" => "0"] .sees_nulls();
    "LN"(D) -> D, |a, _| of_double(a, f64::ln), "The natural logarithm; -Infinity of 0, NaN below.", ["LN(1)" => "0"];
    "LOG"(D) -> D, |a, _| of_double(a, f64::ln),
        "The natural logarithm. (ksqlDB computes so, although its manual says base 10: LOG(10, x) is that.)", ["LOG(1)" => "0"];
    "LOG"(D, D) -> D, log, "The logarithm to a base, which is the first argument; NaN for a base of 0, 1 or less.",
        ["ROUND(LOG(2, 8), 9)" => "3", "LOG(1, 8)" => "CAST('NaN' AS DOUBLE)"];
    "PI"() -> D, |_, _| Ok(Value::Double(std::f64::consts::PI)), "The number pi.", ["ROUND(PI(), 5)" => "3.14159"];
    "POWER"(D, D) -> D, |a, _| of_two(a, f64::powf), "The first number to the power of the second.", ["POWER(2, 10)" => "1024"];
    "RADIANS"(D) -> D, |a, _| of_double(a, f64::to_radians), "Degrees as radians.", ["ROUND(RADIANS(180), 4)" => "3.1416"];
    "ROUND"(I) -> L, widen, ROUND, [];
    "ROUND"(L) -> L, first, ROUND, [];
    "ROUND"(N) -> N, |a, _| without_scale(round(&a[0], 0)?), ROUND, ["ROUND(-1.5)" => "-1"] .computed(whole);
    "ROUND"(D) -> L, round_double, ROUND, ["ROUND(2.5e0)" => "3"];
    "ROUND"(N, I) -> N, |a, _| round(&a[0], number(&a[1])), ROUND_TO, ["ROUND(1.235, 2)" => "1.240"] .computed(same);
    "ROUND"(D, I) -> D, |a, _| round(&a[0], number(&a[1])), ROUND_TO, ["ROUND(1234e0, -2)" => "1200"];
    "SIGN"(I) -> I, sign, SIGN, ["SIGN(-7)" => "-1"];
    "SIGN"(L) -> I, sign, SIGN, [];
    "SIGN"(N) -> I, sign, SIGN, [];
    "SIGN"(D) -> I, sign, SIGN, [];
    "SIN"(D) -> D, |a, _| of_double(a, f64::sin), "The sine of an angle in radians.", ["SIN(0)" => "0"];
    "SINH"(D) -> D, |a, _| of_double(a, f64::sinh), "The hyperbolic sine.", ["SINH(0)" => "0"];
    "SQRT"(D) -> D, |a, _| of_double(a, f64::sqrt), "The square root; NaN of a negative number.", ["SQRT(16)" => "4"];
    "TAN"(D) -> D, |a, _| of_double(a, f64::tan), "The tangent of an angle in radians.", ["TAN(0)" => "0"];
    "TANH"(D) -> D, |a, _| of_double(a, f64::tanh), "The hyperbolic tangent.", ["TANH(0)" => "0"];
    "TRUNC"(I) -> L, widen, TRUNC, [];
    "TRUNC"(L) -> L, first, TRUNC, [];
    "TRUNC"(N) -> N, |a, _| without_scale(trunc(&a[0], 0)?), TRUNC, ["TRUNC(-1.9)" => "-1"] .computed(whole);
    "TRUNC"(D) -> L, trunc_double, TRUNC, ["TRUNC(1.9e0)" => "1"];
    "TRUNC"(N, I) -> N, |a, _| trunc(&a[0], number(&a[1])), TRUNC_TO, ["TRUNC(1.239, 2)" => "1.230"] .computed(same);
    "TRUNC"(D, I) -> D, |a, _| trunc(&a[0], number(&a[1])), TRUNC_TO, ["TRUNC(1299e0, -2)" => "1200"];
}

fn same(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    Ok(args.first().cloned().unwrap_or(SqlType::Double))
}

/// The type of a decimal without its digits after the point, as ksqlDB gives it. Rounded up a value may have one digit more than that.
fn whole(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    Ok(match args.first() {
        Some(SqlType::Decimal { precision, scale }) => SqlType::Decimal {
            precision: precision.saturating_sub(*scale).max(1),
            scale: 0,
        },
        other => other.cloned().unwrap_or(SqlType::Double),
    })
}

fn first(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(args[0].clone())
}

fn widen(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(Value::Bigint(number(&args[0])))
}

/// The number of a DOUBLE argument.
fn double(value: &Value) -> f64 {
    match value {
        Value::Double(x) => *x,
        _ => f64::NAN,
    }
}

fn of_double(args: &[Value], f: fn(f64) -> f64) -> Result {
    Ok(Value::Double(f(double(&args[0]))))
}

fn of_two(args: &[Value], f: fn(f64, f64) -> f64) -> Result {
    Ok(Value::Double(f(double(&args[0]), double(&args[1]))))
}

fn log(args: &[Value], _: &CallContext<'_>) -> Result {
    let (base, x) = (double(&args[0]), double(&args[1]));
    Ok(Value::Double(if base <= 0.0 || base == 1.0 {
        f64::NAN
    } else {
        x.ln() / base.ln()
    }))
}

/// The haversine formula over a sphere.
fn distance(args: &[Value], _: &CallContext<'_>) -> Result {
    const KM: f64 = 6371.0;
    const MILES: f64 = 3959.0;
    // only the unit may be NULL
    if args.iter().take(4).any(Value::is_null) {
        return Ok(Value::Null);
    }
    let [from_lat, from_lon, to_lat, to_lon] = [0, 1, 2, 3].map(|i| double(&args[i]));
    if from_lat.abs() > 90.0 || to_lat.abs() > 90.0 {
        return Err(EvalError::new("GEO_DISTANCE: a latitude is from -90 to 90 degrees"));
    }
    if from_lon.abs() > 180.0 || to_lon.abs() > 180.0 {
        return Err(EvalError::new("GEO_DISTANCE: a longitude is from -180 to 180 degrees"));
    }
    let unit = args.get(4).map_or(String::new(), |u| text(u).trim().to_lowercase());
    let radius = match unit.as_str() {
        "" | "km" | "kilometer" | "kilometers" | "kilometre" | "kilometres" => KM,
        "mi" | "mile" | "miles" => MILES,
        other => {
            return Err(EvalError::new(format!(
                "GEO_DISTANCE: the unit is 'km' or 'miles', not '{other}'"
            )));
        }
    };
    let haversine = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
    let across = from_lat.to_radians().cos() * to_lat.to_radians().cos();
    let a = haversine(to_lat - from_lat) + haversine(to_lon - from_lon) * across;
    Ok(Value::Double(2.0 * a.sqrt().min(1.0).asin() * radius))
}

fn out_of_range(name: &str, value: &Value) -> EvalError {
    let value = crate::expr::display::literal(value);
    EvalError::new(format!("{name}({value}): the result does not fit"))
}

fn abs(args: &[Value], _: &CallContext<'_>) -> Result {
    let overflow = || out_of_range("ABS", &args[0]);
    Ok(match &args[0] {
        Value::Integer(n) => Value::Integer(n.checked_abs().ok_or_else(overflow)?),
        Value::Bigint(n) => Value::Bigint(n.checked_abs().ok_or_else(overflow)?),
        Value::Double(x) => Value::Double(x.abs()),
        Value::Decimal(d) if d.unscaled() < 0 => Value::Decimal(d.checked_neg().map_err(|_| overflow())?),
        other => other.clone(),
    })
}

#[derive(Clone, Copy)]
enum Whole {
    Up,
    Down,
}

/// CEIL and FLOOR; a decimal keeps its scale.
fn to_whole(value: &Value, to: Whole) -> Result {
    Ok(match value {
        Value::Double(x) => Value::Double(match to {
            Whole::Up => x.ceil(),
            Whole::Down => x.floor(),
        }),
        Value::Decimal(d) => {
            let Some(factor) = 10i128.checked_pow(d.scale().into()) else {
                return Ok(value.clone());
            };
            let (n, rest) = (d.unscaled(), d.unscaled().rem_euclid(factor));
            let moved = match to {
                Whole::Down => n.checked_sub(rest),
                Whole::Up if rest == 0 => Some(n),
                Whole::Up => n.checked_add(factor - rest),
            };
            let moved = moved.ok_or_else(|| out_of_range("CEIL or FLOOR", value))?;
            Value::Decimal(Decimal::new(moved, d.scale()))
        }
        other => other.clone(),
    })
}

/// ROUND of a double to BIGINT, as Java's `Math.round`: the ends of BIGINT beyond it, 0 for NaN.
fn round_double(args: &[Value], _: &CallContext<'_>) -> Result {
    let x = double(&args[0]);
    // not floor(x + 0.5): the sum may be rounded itself
    let below = x.floor();
    let rounded = if x - below >= 0.5 { below + 1.0 } else { below };
    Ok(Value::Bigint(rounded as i64))
}

fn trunc_double(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(Value::Bigint(double(&args[0]) as i64))
}

/// Rounds at a digit after the point (before it if negative); a half goes up, also below zero, as `Math.round` has it.
fn round(value: &Value, digits: i64) -> Result {
    at_digit(value, digits, "ROUND", |n, step| {
        let up = n.checked_add(step / 2)?;
        up.checked_sub(up.rem_euclid(step))
    })
}

fn trunc(value: &Value, digits: i64) -> Result {
    at_digit(value, digits, "TRUNC", |n, step| Some(n - n % step))
}

fn without_scale(value: Value) -> Result {
    Ok(match value {
        Value::Decimal(d) => Value::Decimal(d.rescale(0).map_err(|_| out_of_range("ROUND", &value))?),
        other => other,
    })
}

/// Makes the unscaled number a multiple of the step of a digit; the scale stays.
fn at_digit(value: &Value, digits: i64, name: &str, to_step: fn(i128, i128) -> Option<i128>) -> Result {
    let exact = match value {
        Value::Decimal(d) => *d,
        Value::Double(x) => match Decimal::from_f64(*x) {
            Some(d) => d,
            None => return Ok(value.clone()),
        },
        other => return Ok(other.clone()),
    };
    let overflow = || out_of_range(name, value);
    let cut = i64::from(exact.scale()).saturating_sub(digits);
    let moved = match u32::try_from(cut) {
        Err(_) | Ok(0) if cut <= 0 => exact,
        Ok(cut) => match 10i128.checked_pow(cut) {
            None => Decimal::new(0, exact.scale()),
            Some(step) => Decimal::new(to_step(exact.unscaled(), step).ok_or_else(overflow)?, exact.scale()),
        },
        Err(_) => Decimal::new(0, exact.scale()),
    };
    Ok(match value {
        Value::Double(_) => Value::Double(moved.to_f64()),
        _ => Value::Decimal(moved),
    })
}

fn sign(args: &[Value], _: &CallContext<'_>) -> Result {
    let sign = match &args[0] {
        Value::Integer(n) => n.signum(),
        Value::Bigint(n) => n.signum() as i32,
        Value::Decimal(d) => d.unscaled().signum() as i32,
        Value::Double(x) if *x > 0.0 => 1,
        Value::Double(x) if *x < 0.0 => -1,
        _ => 0,
    };
    Ok(Value::Integer(sign))
}
