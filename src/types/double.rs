//! A DOUBLE as text.

/// A double as Java prints it: `1.0`, `1.0E10`, `1.5E-5`, `NaN`, `Infinity`.
pub fn double_to_string(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let size = x.abs();
    if x == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{x:?}");
    }
    let text = format!("{x:E}");
    match text.split_once('E') {
        // Double.toString (JDK 19): of two digits the nearest, where one would do: 4.9E-324
        Some((mantissa, _)) if !mantissa.contains('.') => format!("{x:.1E}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_in_java() {
        for (x, text) in [
            (1.0, "1.0"),
            (1e10, "1.0E10"),
            (1.5e-5, "1.5E-5"),
            (2e23, "2.0E23"),
            (5e-324, "4.9E-324"),
            (-0.0, "-0.0"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(double_to_string(x), text);
        }
    }
}
