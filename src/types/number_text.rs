//! The text of a number as JSON has it, as Java's BigDecimal writes it.

use std::borrow::Cow;

/// A JSON number's text as Java prints what it read: whole numbers and fractions as they stand, exponents as `BigDecimal.toString` has them
/// (`1e3` is `1E+3`, `1e-3` is `0.001`). A text that is no such number is given back.
pub fn number_to_string(text: &str) -> Cow<'_, str> {
    if !text.contains(['e', 'E', '.']) {
        return Cow::Borrowed(if text == "-0" { "0" } else { text });
    }
    match big_decimal(text) {
        Some(written) if written != text => Cow::Owned(written),
        _ => Cow::Borrowed(text),
    }
}

/// A plain number has at most so many zeros behind its point before it is written with an exponent.
const MOST_ZEROS: i64 = 6;

fn big_decimal(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let sign = if digits == "0" { "" } else { sign };
    let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    let length = i64::try_from(digits.len()).ok()?;
    let adjusted = length - 1 - scale;
    if scale == 0 {
        return Some(format!("{sign}{digits}"));
    }
    if scale > 0 && adjusted >= -MOST_ZEROS {
        let point = length - scale;
        return Some(match usize::try_from(point) {
            Ok(point) if point > 0 => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
            _ => format!("{sign}0.{}{digits}", "0".repeat(usize::try_from(-point).ok()?)),
        });
    }
    let (first, others) = digits.split_at(1);
    let point = if others.is_empty() { "" } else { "." };
    Some(format!("{sign}{first}{point}{others}E{adjusted:+}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_big_decimals() {
        for (text, written) in [
            ("1", "1"),
            ("-12", "-12"),
            ("-0", "0"),
            ("1.50", "1.50"),
            ("-0.0", "0.0"),
            ("1e3", "1E+3"),
            ("1.0e5", "1.0E+5"),
            ("1.5E3", "1.5E+3"),
            ("12e-3", "0.012"),
            ("1e-7", "1E-7"),
            ("-1.25e-9", "-1.25E-9"),
            ("1.2345e2", "123.45"),
            ("1.2345e4", "12345"),
            ("100e-2", "1.00"),
            ("0e5", "0E+5"),
            (
                "12345678901234567890123456789012345678901234567890.5",
                "12345678901234567890123456789012345678901234567890.5",
            ),
            ("1e99999999999", "1e99999999999"),
            ("x.e", "x.e"),
        ] {
            assert_eq!(number_to_string(text), written, "{text}");
        }
    }
}
