//! Functions of regular expressions, which are Java's: look-around, back references and possessive quantifiers included. A match that takes too
//! many steps is an error of the row, never a task that hangs.

mod java;

use fancy_regex::{Captures, Regex, RegexBuilder};

use super::memo::Memo;
use super::string::{MAX_TEXT_BYTES, too_long};
use super::{CallContext, EvalError, Signature, Ty, number, text};
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const S: Ty = Ty::String;
const I: Ty = Ty::Integer;

/// Steps of a match that goes back and tries again; a sane expression needs thousands.
const MAX_STEPS: usize = 1_000_000;

/// The longest expression, in bytes: the time to compile one grows with the square of its length, to minutes for 40 kB.
const MAX_PATTERN_BYTES: usize = 5_000;

/// The memory of one compiled expression.
const MAX_COMPILED_BYTES: usize = 4 << 20;

functions! {
    "REGEXP_EXTRACT"(S, S) -> S, extract, "The first part of the second argument that the regular expression matches; NULL if there is none.",
        ["REGEXP_EXTRACT('[a-z]+', '12ab3')" => "'ab'"];
    "REGEXP_EXTRACT"(S, S, I) -> S, extract, "The same for a group of the expression, counted from 1.", ["REGEXP_EXTRACT('(.*) (.*)', 'hello there', 2)" => "'there'"];
    "REGEXP_EXTRACT_ALL"(S, S) -> Ty::Array(&S), extract_all, "All parts of the second argument that the regular expression matches.",
        ["REGEXP_EXTRACT_ALL('[a-z]+', '12ab3c')" => "ARRAY['ab', 'c']"];
    "REGEXP_EXTRACT_ALL"(S, S, I) -> Ty::Array(&S), extract_all, "The same for a group of the expression, counted from 1.",
        ["REGEXP_EXTRACT_ALL('(\\w+) (\\w+)', 'hello there nice day', 2)" => "ARRAY['there', 'day']"];
    "REGEXP_REPLACE"(S, S, S) -> S, replace, "The first argument with each match of the second replaced by the third, where $1 is a group.",
        ["REGEXP_REPLACE('a1b22', '[0-9]+', '#')" => "'a#b#'", "REGEXP_REPLACE('ab', '(a)(b)', '$2$1')" => "'ba'"];
    "REGEXP_SPLIT_TO_ARRAY"(S, S) -> Ty::Array(&S), split, "The parts of the first argument between the matches of the second; of an empty expression the characters.",
        ["REGEXP_SPLIT_TO_ARRAY('a1b22c', '[0-9]+')" => "ARRAY['a', 'b', 'c']"];
}

thread_local! {
    static KNOWN: Memo<Regex> = Memo::new();
}

fn compiled(pattern: &str) -> std::result::Result<std::rc::Rc<Regex>, EvalError> {
    KNOWN.with(|known| {
        known.get(pattern, || {
            if pattern.len() > MAX_PATTERN_BYTES {
                let message = format!("is too long for a regular expression: at most {MAX_PATTERN_BYTES} bytes");
                let begin: String = pattern.chars().take(20).collect();
                return Err(EvalError::new(format!("'{begin}...' {message}")));
            }
            let mut builder = RegexBuilder::new(&java::translated(pattern));
            builder
                .backtrack_limit(MAX_STEPS)
                .delegate_size_limit(MAX_COMPILED_BYTES)
                .delegate_dfa_size_limit(MAX_COMPILED_BYTES);
            builder
                .build()
                .map_err(|e| EvalError::new(format!("'{pattern}' is no regular expression: {e}")))
        })
    })
}

/// Calls `f` with each match from left to right, as Java's `find` does: an empty match may follow right behind another one.
fn each_match<'t>(
    regex: &Regex,
    text: &'t str,
    mut f: impl FnMut(&Captures<'t>) -> std::result::Result<bool, EvalError>,
) -> std::result::Result<(), EvalError> {
    let mut at = 0;
    while at <= text.len() {
        let found = regex
            .captures_from_pos(text, at)
            .map_err(|e| EvalError::new(format!("'{}' is too hard to match: {e}", regex.as_str())))?;
        let Some((captures, all)) = found.and_then(|c| c.get(0).map(|all| (c, all))) else {
            return Ok(());
        };
        if !f(&captures)? {
            return Ok(());
        }
        at = match all.end() {
            end if end > all.start() => end,
            end => end + text[end..].chars().next().map_or(1, char::len_utf8),
        };
    }
    Ok(())
}

/// The group that is asked for; `None` if the expression has none of that number.
fn group(args: &[Value], regex: &Regex) -> std::result::Result<Option<usize>, EvalError> {
    let n = args.get(2).map_or(0, number);
    let n = usize::try_from(n).map_err(|_| EvalError::new(format!("there is no group {n} of a regular expression")))?;
    Ok((n < regex.captures_len()).then_some(n))
}

fn extract(args: &[Value], _: &CallContext<'_>) -> Result {
    let regex = compiled(text(&args[0]))?;
    let Some(group) = group(args, &regex)? else {
        return Ok(Value::Null);
    };
    let mut result = Value::Null;
    each_match(&regex, text(&args[1]), |found| {
        result = found.get(group).map_or(Value::Null, |m| Value::from(m.as_str()));
        Ok(false)
    })?;
    Ok(result)
}

fn extract_all(args: &[Value], _: &CallContext<'_>) -> Result {
    let regex = compiled(text(&args[0]))?;
    let Some(group) = group(args, &regex)? else {
        return Ok(Value::Null);
    };
    let mut all = Vec::new();
    each_match(&regex, text(&args[1]), |found| {
        all.push(found.get(group).map_or(Value::Null, |m| Value::from(m.as_str())));
        Ok(true)
    })?;
    Ok(Value::Array(all.into()))
}

fn replace(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, regex) = (text(&args[0]), compiled(text(&args[1]))?);
    let with = java::replacement(text(&args[2]), &regex)?;
    let (mut out, mut done) = (String::new(), 0);
    each_match(&regex, all, |found| {
        let whole = found.get(0).map_or(0..0, |m| m.range());
        out.push_str(&all[done..whole.start]);
        for part in &with {
            match part {
                java::Part::Text(text) => out.push_str(text),
                java::Part::Group(n) => out.push_str(found.get(*n).map_or("", |m| m.as_str())),
            }
        }
        done = whole.end;
        if out.len() > MAX_TEXT_BYTES {
            return Err(too_long("REGEXP_REPLACE"));
        }
        Ok(true)
    })?;
    out.push_str(&all[done..]);
    Ok(Value::string(out))
}

/// Where the expression matches nothing at all, the text is split as Java does: an empty match at the beginning and empty parts at the end do not
/// count. Otherwise they do.
fn split(args: &[Value], _: &CallContext<'_>) -> Result {
    let (all, regex) = (text(&args[0]), compiled(text(&args[1]))?);
    let matches_nothing = regex
        .find("")
        .map_err(|e| EvalError::new(format!("'{}' is too hard to match: {e}", regex.as_str())))?
        .is_some();
    let (mut parts, mut done) = (Vec::new(), 0);
    each_match(&regex, all, |found| {
        let whole = found.get(0).map_or(0..0, |m| m.range());
        let empty = whole.is_empty();
        if !(empty && (!matches_nothing || whole.start == 0)) {
            parts.push(&all[done..whole.start]);
            done = whole.end;
        }
        Ok(true)
    })?;
    parts.push(&all[done..]);
    if matches_nothing {
        while parts.len() > 1 && parts.last().is_some_and(|p| p.is_empty()) {
            parts.pop();
        }
    }
    Ok(Value::Array(parts.into_iter().map(Value::from).collect()))
}
