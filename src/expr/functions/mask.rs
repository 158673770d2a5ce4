//! Functions that make parts of a text unreadable: upper-case letters, lower-case letters, digits and all others each become one character.

use super::{EvalError, Signature, Ty, number, text};
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const S: Ty = Ty::String;
const I: Ty = Ty::Integer;

const MASK: &str = "The text with X for upper-case letters, x for lower-case ones, n for digits and - for the rest.";
const WITH: &str =
    "The same with other characters for upper case, lower case, digits and the rest; NULL leaves that kind as it is.";

functions! {
    "MASK"(S) -> S, |a, _| mask(a, |_, _| true), MASK, ["MASK('My Test $123')" => "'Xx-Xxxx--nnn'"] .sees_nulls();
    "MASK"(S, S, S, S, S) -> S, |a, _| mask(a, |_, _| true), WITH, ["MASK('My Test $123', '*', NULL, '1', NULL)" => "'*y *est $111'"] .sees_nulls();
    "MASK_KEEP_LEFT"(S, I) -> S, |a, _| mask(a, keep_left), "As MASK, but for so many characters at the beginning.",
        ["MASK_KEEP_LEFT('My Test $123', 4)" => "'My Txxx--nnn'"] .sees_nulls();
    "MASK_KEEP_LEFT"(S, I, S, S, S, S) -> S, |a, _| mask(a, keep_left), WITH, [] .sees_nulls();
    "MASK_KEEP_RIGHT"(S, I) -> S, |a, _| mask(a, keep_right), "As MASK, but for so many characters at the end.",
        ["MASK_KEEP_RIGHT('My Test $123', 4)" => "'Xx-Xxxx-$123'"] .sees_nulls();
    "MASK_KEEP_RIGHT"(S, I, S, S, S, S) -> S, |a, _| mask(a, keep_right), WITH, [] .sees_nulls();
    "MASK_LEFT"(S, I) -> S, |a, _| mask(a, left), "As MASK, for so many characters at the beginning only.",
        ["MASK_LEFT('My Test $123', 4)" => "'Xx-Xest $123'"] .sees_nulls();
    "MASK_LEFT"(S, I, S, S, S, S) -> S, |a, _| mask(a, left), WITH, [] .sees_nulls();
    "MASK_RIGHT"(S, I) -> S, |a, _| mask(a, right), "As MASK, for so many characters at the end only.",
        ["MASK_RIGHT('My Test $123', 4)" => "'My Test -nnn'"] .sees_nulls();
    "MASK_RIGHT"(S, I, S, S, S, S) -> S, |a, _| mask(a, right), WITH, [] .sees_nulls();
}

/// A character with so many before it and so many from it on, and the number of the call.
struct Place {
    before: usize,
    rest: usize,
}

fn keep_left(place: &Place, n: usize) -> bool {
    place.before >= n
}

fn keep_right(place: &Place, n: usize) -> bool {
    place.rest > n
}

fn left(place: &Place, n: usize) -> bool {
    place.before < n
}

fn right(place: &Place, n: usize) -> bool {
    place.rest <= n
}

fn mask(args: &[Value], masked: fn(&Place, usize) -> bool) -> Result {
    let Value::String(input) = &args[0] else {
        return Ok(Value::Null);
    };
    let (n, masks) = match args.len() {
        1 | 5 => (0, &args[1..]),
        _ if args[1].is_null() => return Ok(Value::Null),
        _ => (number(&args[1]), &args[2..]),
    };
    let n = usize::try_from(n).map_err(|_| EvalError::new(format!("MASK: {n} characters are less than none")))?;
    let masks = characters(masks)?;
    let size = input.chars().count();
    let masked = |(i, c): (usize, char)| {
        let place = Place {
            before: i,
            rest: size - i,
        };
        if !masked(&place, n) {
            return c;
        }
        let kind = match c {
            c if c.is_uppercase() => 0,
            c if c.is_lowercase() => 1,
            c if c.is_numeric() => 2,
            _ => 3,
        };
        masks[kind].unwrap_or(c)
    };
    Ok(Value::string(input.chars().enumerate().map(masked).collect::<String>()))
}

fn characters(masks: &[Value]) -> std::result::Result<[Option<char>; 4], EvalError> {
    let mut all = [Some('X'), Some('x'), Some('n'), Some('-')];
    for (slot, mask) in all.iter_mut().zip(masks) {
        let mut chars = text(mask).chars();
        *slot = match (mask, chars.next(), chars.next()) {
            (Value::Null, ..) => None,
            (_, Some(c), None) => Some(c),
            _ => return Err(EvalError::new(format!("MASK: '{}' is not one character", text(mask)))),
        };
    }
    Ok(all)
}
