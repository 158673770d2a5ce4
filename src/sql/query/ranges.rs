//! The keys that can pass a filter, as ranges of their bytes: what a query reads instead of the whole view.
//!
//! A range may hold rows that do not pass, never the other way round: the filter itself is asked all the same.

use super::KeyBounds;
use crate::expr::{CompareOp, Expr};
use crate::types::{RelationSchema, Value, encode_key_prefix, prefix_end};

/// More ranges than this are not worth their seeks.
const MAX_RANGES: usize = 1000;

/// What a filter says about one key column.
#[derive(Clone, Debug, Default)]
struct Bounds {
    /// Only these values, ascending.
    equal: Option<Vec<Value>>,
    /// From this value; the flag: with it.
    lower: Option<(Value, bool)>,
    /// Up to this value; the flag: with it.
    upper: Option<(Value, bool)>,
}

/// The ranges of keys that can pass, and how many leading columns are fixed to one value.
pub(super) fn key_ranges(filter: Option<&Expr>, schema: &RelationSchema) -> (Vec<KeyBounds>, usize) {
    let mut bounds = vec![Bounds::default(); schema.key.len()];
    if let Some(filter) = filter {
        conjuncts(filter, &mut |e| restrict(e, &mut bounds));
    }
    let mut prefixes: Vec<Vec<Value>> = vec![Vec::new()];
    let mut fixed = 0;
    let mut columns = bounds.into_iter();
    let rest = loop {
        let Some(column) = columns.next() else {
            break Bounds::default();
        };
        let Some(values) = column.equal.filter(|v| prefixes.len() * v.len() <= MAX_RANGES) else {
            break Bounds { equal: None, ..column };
        };
        if prefixes.len() == 1 && values.len() == 1 {
            fixed += 1;
        }
        let extended = prefixes.iter().flat_map(|prefix| {
            values.iter().map(move |value| {
                let mut longer = prefix.clone();
                longer.push(value.clone());
                longer
            })
        });
        prefixes = extended.collect();
    };
    let ranges = prefixes.into_iter().map(|prefix| encoded(&prefix, &rest));
    let possible = |range: &KeyBounds| range.to.as_ref().is_none_or(|to| range.from < *to);
    (ranges.filter(possible).collect(), fixed)
}

fn encoded(prefix: &[Value], rest: &Bounds) -> KeyBounds {
    let key = |last: Option<&Value>| {
        let mut bytes = Vec::new();
        encode_key_prefix(prefix, &mut bytes);
        if let Some(value) = last {
            encode_key_prefix(std::slice::from_ref(value), &mut bytes);
        }
        bytes
    };
    let behind = |bytes: Vec<u8>| prefix_end(&bytes);
    let from = match &rest.lower {
        None => key(None),
        Some((value, true)) => key(Some(value)),
        Some((value, false)) => behind(key(Some(value))).unwrap_or_default(),
    };
    let to = match &rest.upper {
        None => behind(key(None)),
        Some((value, true)) => behind(key(Some(value))),
        Some((value, false)) => Some(key(Some(value))),
    };
    KeyBounds { from, to }
}

fn conjuncts(e: &Expr, f: &mut dyn FnMut(&Expr)) {
    match e {
        Expr::And(all) => all.iter().for_each(|e| conjuncts(e, f)),
        other => f(other),
    }
}

/// Equal values that have different key bytes (0.0 and -0.0) cannot be looked up.
fn has_one_encoding(value: &Value) -> bool {
    !matches!(value, Value::Double(x) if *x == 0.0) && !value.is_null()
}

fn restrict(e: &Expr, bounds: &mut [Bounds]) {
    match e {
        Expr::Compare(op, a, b) => match (&**a, &**b) {
            (Expr::Key(i), Expr::Literal(value)) if has_one_encoding(value) => compare(&mut bounds[*i], *op, value),
            (Expr::Literal(value), Expr::Key(i)) if has_one_encoding(value) => {
                compare(&mut bounds[*i], op.flipped(), value);
            }
            _ => {}
        },
        Expr::In(a, all) => {
            let values: Option<Vec<Value>> = all
                .iter()
                .filter(|e| **e != Expr::Literal(Value::Null))
                .map(|e| match e {
                    Expr::Literal(value) if has_one_encoding(value) => Some(value.clone()),
                    _ => None,
                })
                .collect();
            if let (Expr::Key(i), Some(values)) = (&**a, values) {
                only(&mut bounds[*i], values);
            }
        }
        _ => {}
    }
}

fn compare(bounds: &mut Bounds, op: CompareOp, value: &Value) {
    let greater = |old: &Option<(Value, bool)>| old.as_ref().is_none_or(|(known, _)| value >= known);
    let less = |old: &Option<(Value, bool)>| old.as_ref().is_none_or(|(known, _)| value <= known);
    match op {
        CompareOp::Equal => only(bounds, vec![value.clone()]),
        CompareOp::NotEqual => {}
        CompareOp::Greater if greater(&bounds.lower) => bounds.lower = Some((value.clone(), false)),
        CompareOp::Less if less(&bounds.upper) => bounds.upper = Some((value.clone(), false)),
        // an equal exclusive bound is the stricter one
        CompareOp::GreaterOrEqual if bounds.lower.as_ref().is_none_or(|(known, _)| value > known) => {
            bounds.lower = Some((value.clone(), true));
        }
        CompareOp::LessOrEqual if bounds.upper.as_ref().is_none_or(|(known, _)| value < known) => {
            bounds.upper = Some((value.clone(), true));
        }
        CompareOp::Greater | CompareOp::Less | CompareOp::GreaterOrEqual | CompareOp::LessOrEqual => {}
    }
}

fn only(bounds: &mut Bounds, mut values: Vec<Value>) {
    values.sort();
    values.dedup();
    bounds.equal = Some(match bounds.equal.take() {
        None => values,
        Some(known) => known.into_iter().filter(|v| values.contains(v)).collect(),
    });
}
