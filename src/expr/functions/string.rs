//! Functions of strings. Positions and lengths count characters.

use std::sync::Arc;

use super::{CallContext, EvalError, Signature, Ty, length, number, text};
use crate::types::{Value, map_value};

type Result = std::result::Result<Value, EvalError>;

const S: Ty = Ty::String;
const I: Ty = Ty::Integer;

/// A result larger than this is an error of the row: no single value should be able to fill the memory.
pub(super) const MAX_TEXT_BYTES: usize = 64 << 20;

const PAD_LEFT: &str =
    "The string filled up from the left to a length, or cut to it. NULL for a negative length or an empty filling.";
const PAD_RIGHT: &str =
    "The string filled up from the right to a length, or cut to it. NULL for a negative length or an empty filling.";
const CHR: &str = "The character of a code point; NULL if there is none.";

functions! {
    "CHR"(I) -> S, chr, CHR, ["CHR(75)" => "'K'", "CHR(22909)" => "'\u{597d}'"];
    "CHR"(S) -> S, chr_escape, "The text of UTF-16 codes, written with a backslash, u and four hexadecimal digits.", ["CHR('\\u004b')" => "'K'"];
    "CONCAT"(S) -> S, concat, "The strings one after the other; NULLs are left out.", ["CONCAT('a', NULL, 'b')" => "'ab'"] .variadic() .sees_nulls();
    "CONCAT_WS"(S, S) -> S, concat_ws, "The strings after the first, with the first between them; NULLs are left out.",
        ["CONCAT_WS(', ', 'apple', NULL, 'date')" => "'apple, date'"] .variadic() .sees_nulls();
    "INITCAP"(S) -> S, initcap, "Each word with a capital first letter and small others.", ["INITCAP('hELLO wORLD')" => "'Hello World'"];
    "INSTR"(S, S) -> I, instr, "The position of the second string in the first, 0 if it is not there.", ["INSTR('CORPORATE FLOOR', 'OR')" => "2"]
        .sees_nulls();
    "INSTR"(S, S, I) -> I, instr, "The same from a position on; a negative one searches backwards from the end.",
        ["INSTR('CORPORATE FLOOR', 'OR', 3)" => "5", "INSTR('CORPORATE FLOOR', 'OR', -3)" => "5"] .sees_nulls();
    "INSTR"(S, S, I, I) -> I, instr, "The same for the nth occurrence.", ["INSTR('CORPORATE FLOOR', 'OR', 3, 2)" => "14"] .sees_nulls();
    "LCASE"(S) -> S, |a, _| Ok(Value::string(text(&a[0]).to_lowercase())), "The string in lower case.", ["LCASE('AbC')" => "'abc'"];
    "LEN"(S) -> I, |a, _| Ok(length(text(&a[0]).chars().count())), "The number of characters.", ["LEN('stream')" => "6"];
    "LPAD"(S, I, S) -> S, |a, _| pad(a, true), PAD_LEFT, ["LPAD('Foo', 7, 'Bar')" => "'BarBFoo'", "LPAD('Foo', 2, 'Bar')" => "'Fo'"];
    "REPLACE"(S, S, S) -> S, replace, "The first string with each occurrence of the second replaced by the third.",
        ["REPLACE('a-b-c', '-', '+')" => "'a+b+c'"];
    "RPAD"(S, I, S) -> S, |a, _| pad(a, false), PAD_RIGHT, ["RPAD('Foo', 7, 'Bar')" => "'FooBarB'"];
    "SPLIT"(S, S) -> Ty::Array(&S), split, "The parts between the delimiters; an empty delimiter gives the characters.",
        ["SPLIT('a,b,', ',')" => "ARRAY['a', 'b', '']", "SPLIT('ab', '')" => "ARRAY['a', 'b']"];
    "SPLIT_TO_MAP"(S, S, S) -> Ty::Map(&S, &S), split_to_map,
        "A map of the entries, which the first delimiter separates; the second stands between key and value. NULL if a delimiter is empty.",
        ["SPLIT_TO_MAP('apple:=green/cherry:=red', '/', ':=')" => "MAP('apple' := 'green', 'cherry' := 'red')"];
    "SUBSTRING"(S, I) -> S, substring, "The string from a position on; a negative one counts from the end.", ["SUBSTRING('stream', -3)" => "'eam'"];
    "SUBSTRING"(S, I, I) -> S, substring, "At most so many characters from a position on.", ["SUBSTRING('stream', 1, 4)" => "'stre'"];
    "TRIM"(S) -> S, |a, _| Ok(Value::string(text(&a[0]).trim_matches(|c| c <= ' '))), "The string without blanks and control characters at both ends.",
        ["TRIM('  a b ')" => "'a b'"];
    "UCASE"(S) -> S, |a, _| Ok(Value::string(text(&a[0]).to_uppercase())), "The string in upper case.", ["UCASE('AbC')" => "'ABC'"];
}

fn chr(args: &[Value], _: &CallContext<'_>) -> Result {
    let code = u32::try_from(number(&args[0])).ok().and_then(char::from_u32);
    Ok(code.map_or(Value::Null, |c| Value::string(c.to_string())))
}

/// The escapes of Java's text: code units with `u`, and those of control characters.
fn chr_escape(args: &[Value], _: &CallContext<'_>) -> Result {
    let escaped = text(&args[0]);
    if !escaped.starts_with("\\u") || escaped.len() < 6 {
        return Ok(Value::Null);
    }
    let mut units: Vec<u16> = Vec::new();
    let mut chars = escaped.chars().peekable();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    while chars.next_if_eq(&'u').is_some() {}
                    let digits: String = chars.by_ref().take(4).collect();
                    let Some(unit) = hex4(&digits) else {
                        return Ok(Value::Null);
                    };
                    units.push(unit);
                    continue;
                }
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => '\\',
            },
            plain => plain,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    Ok(String::from_utf16(&units).map_or(Value::Null, Value::string))
}

fn hex4(digits: &str) -> Option<u16> {
    let valid = digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    valid.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

fn concat(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(Value::string(args.iter().map(text).collect::<String>()))
}

fn concat_ws(args: &[Value], _: &CallContext<'_>) -> Result {
    let [Value::String(separator), parts @ ..] = args else {
        return Ok(Value::Null);
    };
    let parts: Vec<&str> = parts.iter().filter(|p| !p.is_null()).map(text).collect();
    let size = parts.len().saturating_mul(separator.len());
    if size > MAX_TEXT_BYTES {
        return Err(too_long("CONCAT_WS"));
    }
    Ok(Value::string(parts.join(separator)))
}

fn initcap(args: &[Value], _: &CallContext<'_>) -> Result {
    let mut out = String::new();
    let mut start = true;
    for c in text(&args[0]).chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        start = c.is_whitespace();
    }
    Ok(Value::string(out))
}

/// Where a text begins in another one, overlapping ones included: Knuth, Morris and Pratt's way, since texts come from outside and looking
/// everywhere takes their lengths multiplied.
fn occurrences(all: &[char], wanted: &[char]) -> Vec<usize> {
    if wanted.is_empty() {
        return (0..=all.len()).collect();
    }
    // how much of the beginning is matched again where the match of so many characters breaks off
    let mut shorter = vec![0; wanted.len()];
    let mut matched = 0;
    for i in 1..wanted.len() {
        while matched > 0 && wanted[i] != wanted[matched] {
            matched = shorter[matched - 1];
        }
        matched += usize::from(wanted[i] == wanted[matched]);
        shorter[i] = matched;
    }
    let mut found = Vec::new();
    matched = 0;
    for (i, c) in all.iter().enumerate() {
        while matched > 0 && (matched == wanted.len() || *c != wanted[matched]) {
            matched = shorter[matched - 1];
        }
        matched += usize::from(*c == wanted[matched]);
        if matched == wanted.len() {
            found.push(i + 1 - matched);
        }
    }
    found
}

fn instr(args: &[Value], _: &CallContext<'_>) -> Result {
    if args[0].is_null() || args[1].is_null() {
        return Ok(Value::Integer(0));
    }
    if args.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    let (all, wanted): (Vec<char>, Vec<char>) = (text(&args[0]).chars().collect(), text(&args[1]).chars().collect());
    let from = args.get(2).map_or(1, number);
    let nth = args.get(3).map_or(1, number);
    let Some(last) = all.len().checked_sub(wanted.len()) else {
        return Ok(Value::Integer(0));
    };
    if from == 0 || nth < 1 {
        return Ok(Value::Integer(0));
    }
    let matches = occurrences(&all, &wanted);
    let skip = usize::try_from(nth - 1).unwrap_or(usize::MAX);
    let at = if from > 0 {
        let start = usize::try_from(from - 1).unwrap_or(usize::MAX);
        matches.into_iter().filter(|at| *at >= start).nth(skip)
    } else {
        // backwards, the match must end so far from the end at least
        let back = usize::try_from(from.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let start = last.checked_sub(back);
        start.and_then(|s| matches.into_iter().rev().filter(|at| *at <= s).nth(skip))
    };
    Ok(length(at.map_or(0, |i| i + 1)))
}

pub(super) fn too_long(name: &str) -> EvalError {
    EvalError::new(format!(
        "{name}: the result would be longer than {MAX_TEXT_BYTES} bytes"
    ))
}

fn pad(args: &[Value], left: bool) -> Result {
    let (given, fill) = (text(&args[0]), text(&args[2]));
    let Ok(wanted) = usize::try_from(number(&args[1])) else {
        return Ok(Value::Null);
    };
    if fill.is_empty() {
        return Ok(Value::Null);
    }
    let has = given.chars().count();
    if wanted <= has {
        return Ok(Value::string(given.chars().take(wanted).collect::<String>()));
    }
    if wanted.saturating_mul(4) > MAX_TEXT_BYTES {
        return Err(too_long(if left { "LPAD" } else { "RPAD" }));
    }
    let filling: String = fill.chars().cycle().take(wanted - has).collect();
    Ok(Value::string(if left {
        filling + given
    } else {
        format!("{given}{filling}")
    }))
}

fn replace(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, old, new) = (text(&args[0]), text(&args[1]), text(&args[2]));
    if new.len() > old.len() && all.matches(old).count().saturating_mul(new.len()) > MAX_TEXT_BYTES {
        return Err(too_long("REPLACE"));
    }
    Ok(Value::string(all.replace(old, new)))
}

fn split(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, delimiter) = (text(&args[0]), text(&args[1]));
    let parts: Arc<[Value]> = if delimiter.is_empty() && !all.is_empty() {
        all.chars().map(|c| Value::string(c.to_string())).collect()
    } else if delimiter.is_empty() {
        [Value::string("")].into()
    } else {
        all.split(delimiter).map(Value::string).collect()
    };
    Ok(Value::Array(parts))
}

/// A second delimiter of key and value ends the value, as in ksqlDB.
fn split_to_map(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, between, inside) = (text(&args[0]), text(&args[1]), text(&args[2]));
    if between.is_empty() || inside.is_empty() || between == inside {
        return Ok(Value::Null);
    }
    let entry = |entry: &str| {
        let mut parts = entry.split(inside);
        Some((Value::string(parts.next()?), Value::string(parts.next()?)))
    };
    let entries = all.split(between).filter(|part| !part.is_empty());
    Ok(map_value(entries.filter_map(entry).collect()))
}

/// From where to where SUBSTRING takes of a size: positions count from 1, negative ones from the end.
pub(super) fn range(size: usize, at: i64, take: Option<i64>) -> std::ops::Range<usize> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let start = if at < 0 {
        size.saturating_add(at).max(0)
    } else {
        at.saturating_sub(1).clamp(0, size)
    };
    let end = match take {
        Some(take) => start.saturating_add(take).clamp(start, size),
        None => size,
    };
    start as usize..end as usize
}

fn substring(args: &[Value], _: &CallContext<'_>) -> Result {
    let chars: Vec<char> = text(&args[0]).chars().collect();
    let range = range(chars.len(), number(&args[1]), args.get(2).map(number));
    Ok(Value::string(chars[range].iter().collect::<String>()))
}
