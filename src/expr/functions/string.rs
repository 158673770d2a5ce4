//! Functions of strings. Positions and lengths count characters, from 1.

use std::sync::Arc;

use super::{CallContext, EvalError, Signature, Ty, length, number, text};
use crate::types::{Value, map_value};

type Result = std::result::Result<Value, EvalError>;

const S: Ty = Ty::String;
const I: Ty = Ty::Integer;

/// A result larger than this is an error of the row: no single value should be able to fill the memory.
const MAX_TEXT_BYTES: usize = 64 << 20;

pub(super) const FUNCTIONS: &[Signature] = &[
    Signature::new(
        "CONCAT",
        &[S],
        S,
        concat,
        "The strings one after the other; NULLs are left out.",
    )
    .variadic()
    .sees_nulls(),
    Signature::new(
        "CONCAT_WS",
        &[S, S],
        S,
        concat_ws,
        "The strings after the first, with the first between them; NULLs are left out.",
    )
    .variadic()
    .sees_nulls(),
    Signature::new(
        "INITCAP",
        &[S],
        S,
        initcap,
        "Each word with a capital first letter and small others.",
    ),
    Signature::new(
        "INSTR",
        &[S, S],
        I,
        instr,
        "The position of the second string in the first, 0 if it is not there.",
    ),
    Signature::new(
        "INSTR",
        &[S, S, I],
        I,
        instr,
        "The same from a position on; a negative one searches backwards from the end.",
    ),
    Signature::new("INSTR", &[S, S, I, I], I, instr, "The same for the nth occurrence."),
    Signature::new(
        "LCASE",
        &[S],
        S,
        |a, _| Ok(Value::string(text(&a[0]).to_lowercase())),
        "The string in lower case.",
    ),
    Signature::new(
        "LEN",
        &[S],
        I,
        |a, _| Ok(length(text(&a[0]).chars().count())),
        "The number of characters.",
    ),
    Signature::new("LEN", &[Ty::Bytes], I, len_bytes, "The number of bytes."),
    Signature::new(
        "LPAD",
        &[S, I, S],
        S,
        |a, _| pad(a, true),
        "The string filled up from the left to a length, or cut to it.",
    ),
    Signature::new(
        "REPLACE",
        &[S, S, S],
        S,
        replace,
        "The first string with each occurrence of the second replaced by the third.",
    ),
    Signature::new(
        "RPAD",
        &[S, I, S],
        S,
        |a, _| pad(a, false),
        "The string filled up from the right to a length, or cut to it.",
    ),
    Signature::new(
        "SPLIT",
        &[S, S],
        Ty::Array(&S),
        split,
        "The parts between the delimiters; an empty delimiter gives the characters.",
    ),
    Signature::new(
        "SPLIT_TO_MAP",
        &[S, S, S],
        Ty::Map(&S, &S),
        split_to_map,
        "A map of the entries, which the first delimiter separates; the second stands between key and value.",
    ),
    Signature::new(
        "SUBSTRING",
        &[S, I],
        S,
        substring,
        "The string from a position on; a negative one counts from the end.",
    ),
    Signature::new(
        "SUBSTRING",
        &[S, I, I],
        S,
        substring,
        "At most so many characters from a position on.",
    ),
    Signature::new(
        "TRIM",
        &[S],
        S,
        |a, _| Ok(Value::string(text(&a[0]).trim())),
        "The string without blanks at both ends.",
    ),
    Signature::new(
        "UCASE",
        &[S],
        S,
        |a, _| Ok(Value::string(text(&a[0]).to_uppercase())),
        "The string in upper case.",
    ),
];

fn concat(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(Value::string(args.iter().map(text).collect::<String>()))
}

fn concat_ws(args: &[Value], _: &CallContext<'_>) -> Result {
    let [Value::String(separator), parts @ ..] = args else {
        return Ok(Value::Null);
    };
    let parts: Vec<&str> = parts.iter().filter(|p| !p.is_null()).map(text).collect();
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

fn instr(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, wanted): (Vec<char>, Vec<char>) = (text(&args[0]).chars().collect(), text(&args[1]).chars().collect());
    let from = args.get(2).map_or(1, number);
    let nth = args.get(3).map_or(1, number);
    let Some(last) = all.len().checked_sub(wanted.len()) else {
        return Ok(Value::Integer(0));
    };
    let found = |i: &usize| all[*i..].starts_with(&wanted);
    let skip = usize::try_from(nth.max(1) - 1).unwrap_or(usize::MAX);
    let at = match from {
        0 => None,
        1.. => (usize::try_from(from - 1).unwrap_or(usize::MAX)..=last)
            .filter(found)
            .nth(skip),
        _ => {
            let back = usize::try_from(from.unsigned_abs()).unwrap_or(usize::MAX);
            let start = all.len().checked_sub(back).map(|s| s.min(last));
            start.and_then(|s| (0..=s).rev().filter(found).nth(skip))
        }
    };
    Ok(length(at.map_or(0, |i| i + 1)))
}

fn len_bytes(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Bytes(bytes) => length(bytes.len()),
        _ => Value::Null,
    })
}

fn too_long(name: &str) -> EvalError {
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
    if old.is_empty() {
        return Ok(args[0].clone());
    }
    if new.len() > old.len() && all.matches(old).count().saturating_mul(new.len()) > MAX_TEXT_BYTES {
        return Err(too_long("REPLACE"));
    }
    Ok(Value::string(all.replace(old, new)))
}

fn split(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, delimiter) = (text(&args[0]), text(&args[1]));
    let parts: Arc<[Value]> = if delimiter.is_empty() {
        all.chars().map(|c| Value::string(c.to_string())).collect()
    } else {
        all.split(delimiter).map(Value::string).collect()
    };
    Ok(Value::Array(parts))
}

fn split_to_map(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, between, inside) = (text(&args[0]), text(&args[1]), text(&args[2]));
    if between.is_empty() || inside.is_empty() {
        return Ok(Value::Null);
    }
    let entries = all.split(between).filter_map(|entry| entry.split_once(inside));
    Ok(map_value(
        entries.map(|(k, v)| (Value::string(k), Value::string(v))).collect(),
    ))
}

fn substring(args: &[Value], _: &CallContext<'_>) -> Result {
    let chars: Vec<char> = text(&args[0]).chars().collect();
    let at = number(&args[1]);
    let size = chars.len() as i64;
    let start = if at < 0 {
        (size + at).max(0)
    } else {
        (at - 1).clamp(0, size)
    };
    let end = match args.get(2).map(number) {
        Some(take) => (start + take).clamp(start, size),
        None => size,
    };
    Ok(Value::string(
        chars[start as usize..end as usize].iter().collect::<String>(),
    ))
}
