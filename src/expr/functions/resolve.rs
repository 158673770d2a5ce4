//! Overload resolution: the signature that needs the least widening, and the types that its letters stand for.

use std::collections::BTreeMap;

use super::{Returns, Signature, Ty};
use crate::expr::{common_type, widens};
use crate::types::SqlType;

/// A chosen signature.
pub struct Resolved {
    /// The signature.
    pub function: &'static Signature,
    /// The type that each argument must be brought to.
    pub params: Vec<SqlType>,
    /// The result's type.
    pub sql_type: SqlType,
}

type Letters = BTreeMap<char, SqlType>;

/// The best signature for argument types; `None` stands for the literal NULL, which fits anything.
///
/// # Errors
/// A message that names the types given and what the function takes.
pub fn resolve(signatures: &[&'static Signature], args: &[Option<SqlType>]) -> Result<Resolved, String> {
    let mut best: Option<(u32, Resolved)> = None;
    let mut why_not = None;
    for function in signatures {
        let Some((cost, letters)) = matching(function, args) else {
            continue;
        };
        if best.as_ref().is_some_and(|(least, _)| *least <= cost) {
            continue;
        }
        match finish(function, args, &letters) {
            Ok(resolved) => best = Some((cost, resolved)),
            Err(why) => why_not = Some(why),
        }
    }
    best.map(|(_, resolved)| resolved).ok_or_else(|| {
        why_not.unwrap_or_else(|| {
            let name = signatures.first().map_or("", |s| s.name);
            let given: Vec<_> = args
                .iter()
                .map(|t| t.as_ref().map_or("NULL".into(), ToString::to_string))
                .collect();
            let known: Vec<_> = signatures.iter().map(ToString::to_string).collect();
            format!(
                "function {name} does not take ({}); there is {}",
                given.join(", "),
                known.join(", ")
            )
        })
    })
}

/// The parameter of an argument's position.
fn param(function: &Signature, i: usize) -> Option<&'static Ty> {
    match function.params.get(i) {
        None if function.variadic => function.params.last(),
        found => found,
    }
}

fn matching(function: &Signature, args: &[Option<SqlType>]) -> Option<(u32, Letters)> {
    let enough = if function.variadic {
        args.len() >= function.params.len()
    } else {
        args.len() == function.params.len()
    };
    if !enough {
        return None;
    }
    let (mut cost, mut letters) = (0, Letters::new());
    for (i, arg) in args.iter().enumerate() {
        if let Some(sql_type) = arg {
            cost += fits(param(function, i)?, sql_type, &mut letters)?;
        }
    }
    Some((cost, letters))
}

/// What it costs to take a value of the type; letters are bound, and widened when they are met again.
fn fits(ty: &Ty, sql_type: &SqlType, letters: &mut Letters) -> Option<u32> {
    // a letter takes anything, but a signature with the very type is better
    const GENERIC: u32 = 1;
    match (ty, sql_type) {
        (Ty::Any(letter), _) => {
            let bound = match letters.get(letter) {
                Some(bound) => common_type(bound, sql_type)?,
                None => sql_type.clone(),
            };
            letters.insert(*letter, bound);
            Some(GENERIC)
        }
        (Ty::Array(item), SqlType::Array(of)) => fits(item, of, letters),
        (Ty::Map(key, value), SqlType::Map(k, v)) => Some(fits(key, k, letters)? + fits(value, v, letters)?),
        (Ty::Decimal, SqlType::Decimal { .. }) => Some(0),
        (Ty::Decimal, SqlType::Integer | SqlType::Bigint) => Some(2),
        _ => widens(sql_type, &concrete(ty, letters)?),
    }
}

/// The type with its letters filled in.
fn concrete(ty: &Ty, letters: &Letters) -> Option<SqlType> {
    Some(match ty {
        Ty::Boolean => SqlType::Boolean,
        Ty::Integer => SqlType::Integer,
        Ty::Bigint => SqlType::Bigint,
        Ty::Double => SqlType::Double,
        Ty::String => SqlType::String,
        Ty::Bytes => SqlType::Bytes,
        Ty::Date => SqlType::Date,
        Ty::Time => SqlType::Time,
        Ty::Timestamp => SqlType::Timestamp,
        Ty::Decimal => return None,
        Ty::Any(letter) => letters.get(letter).cloned()?,
        Ty::Array(item) => SqlType::Array(concrete(item, letters)?.into()),
        Ty::Map(key, value) => SqlType::Map(concrete(key, letters)?.into(), concrete(value, letters)?.into()),
    })
}

fn finish(function: &'static Signature, args: &[Option<SqlType>], letters: &Letters) -> Result<Resolved, String> {
    let mut letters = letters.clone();
    for ty in function.params {
        if let Ty::Any(letter) = ty {
            // only NULLs were given for it
            letters.entry(*letter).or_insert(SqlType::String);
        }
    }
    let params: Vec<SqlType> = (0..args.len())
        .map(|i| match (param(function, i), &args[i]) {
            (Some(Ty::Decimal), Some(given)) => match crate::expr::decimal_of(given) {
                Some((precision, scale)) => SqlType::Decimal { precision, scale },
                None => given.clone(),
            },
            (Some(ty), given) => concrete(ty, &letters)
                .or_else(|| given.clone())
                .unwrap_or(SqlType::String),
            (None, _) => SqlType::String,
        })
        .collect();
    let sql_type = match function.returns {
        Returns::Type(ty) => concrete(&ty, &letters).ok_or_else(|| format!("{function}: the result has no type"))?,
        Returns::Computed(compute) => compute(&params)?,
    };
    Ok(Resolved {
        function,
        params,
        sql_type,
    })
}
