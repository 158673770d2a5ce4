//! Overload resolution after ksqlDB's rules: a signature that takes the very types comes before one that needs implicit casts; then one without a
//! variable number of arguments, with more parameters, with fewer letters. When two are left the call is ambiguous.

use std::collections::BTreeMap;

use super::{Returns, Signature, Ty};
use crate::expr::{common_type, widens};
use crate::types::SqlType;

/// What a call gives for a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A value; `None` is the literal NULL, which fits anything.
    Value(Option<SqlType>),
    /// A lambda with so many parameters. Its types are found once the signature is chosen.
    Lambda(usize),
    /// A unit of time.
    Unit,
}

/// A chosen signature.
pub struct Resolved {
    /// The signature.
    pub function: &'static Signature,
    /// The type that each argument must be brought to; of no meaning for a lambda.
    pub params: Vec<SqlType>,
    /// The result's type.
    pub sql_type: SqlType,
}

/// A chosen signature whose lambdas are still to be looked at, from left to right: [`Chosen::lambda_params`], then [`Chosen::lambda_result`].
pub struct Chosen {
    function: &'static Signature,
    args: Vec<Arg>,
    letters: Letters,
}

type Letters = BTreeMap<char, SqlType>;

/// The best signature for argument types; `None` stands for the literal NULL, which fits anything.
///
/// # Errors
/// A message that names the types given and what the function takes.
pub fn resolve(signatures: &[&'static Signature], args: &[Option<SqlType>]) -> Result<Resolved, String> {
    choose(signatures, args.iter().cloned().map(Arg::Value).collect())?.finish()
}

/// The best signature for arguments some of which may be lambdas.
///
/// # Errors
/// As [`resolve`].
pub fn choose(signatures: &[&'static Signature], args: Vec<Arg>) -> Result<Chosen, String> {
    for casts in [false, true] {
        let mut fitting: Vec<(Rank, &'static Signature, Letters)> = Vec::new();
        for function in signatures {
            if let Some(letters) = matching(function, &args, casts) {
                fitting.push((rank(function), function, letters));
            }
        }
        fitting.sort_by_key(|(rank, ..)| *rank);
        let best = fitting.pop();
        if let (Some((best, ..)), Some((next, ..))) = (&best, fitting.last())
            && best == next
        {
            return Err(format!(
                "the call of {} is ambiguous for ({}): CAST the arguments to one of {}",
                name_of(signatures),
                given(&args),
                known(signatures)
            ));
        }
        if let Some((_, function, letters)) = best {
            return Ok(Chosen {
                function,
                args,
                letters,
            });
        }
    }
    Err(format!(
        "function {} does not take ({}); there is {}",
        name_of(signatures),
        given(&args),
        known(signatures)
    ))
}

fn name_of(signatures: &[&'static Signature]) -> &'static str {
    signatures.first().map_or("", |s| s.name)
}

fn given(args: &[Arg]) -> String {
    let name = |arg: &Arg| match arg {
        Arg::Value(sql_type) => sql_type.as_ref().map_or("NULL".into(), ToString::to_string),
        Arg::Lambda(_) => "LAMBDA".to_string(),
        Arg::Unit => "unit of time".to_string(),
    };
    args.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn known(signatures: &[&'static Signature]) -> String {
    signatures
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Not variadic, parameters, the fewer letters the better.
type Rank = (bool, usize, std::cmp::Reverse<usize>);

fn rank(function: &Signature) -> Rank {
    let generic = function.params.iter().filter(|ty| has_letters(ty)).count();
    (!function.variadic, function.params.len(), std::cmp::Reverse(generic))
}

fn has_letters(ty: &Ty) -> bool {
    match ty {
        Ty::Any(_) => true,
        Ty::Array(item) => has_letters(item),
        Ty::Map(key, value) => has_letters(key) || has_letters(value),
        Ty::Lambda(params, result) => params.iter().any(has_letters) || has_letters(result),
        _ => false,
    }
}

/// The parameter of an argument's position.
fn param(function: &Signature, i: usize) -> Option<&'static Ty> {
    match function.params.get(i) {
        None if function.variadic => function.params.last(),
        found => found,
    }
}

fn matching(function: &Signature, args: &[Arg], casts: bool) -> Option<Letters> {
    let enough = if function.variadic {
        args.len() >= function.params.len()
    } else {
        args.len() == function.params.len()
    };
    if !enough {
        return None;
    }
    let mut letters = Letters::new();
    for (i, arg) in args.iter().enumerate() {
        let fit = match (param(function, i)?, arg) {
            (Ty::Lambda(params, _), Arg::Lambda(n)) => params.len() == *n,
            (Ty::Unit, Arg::Unit) => true,
            (Ty::Lambda(..) | Ty::Unit, _) | (_, Arg::Lambda(_) | Arg::Unit) => false,
            (_, Arg::Value(None)) => true,
            (ty, Arg::Value(Some(sql_type))) => fits(ty, sql_type, &mut letters, casts),
        };
        if !fit {
            return None;
        }
    }
    Some(letters)
}

/// Whether the parameter takes a value of the type; letters are bound, and with casts widened when they are met again.
fn fits(ty: &Ty, sql_type: &SqlType, letters: &mut Letters, casts: bool) -> bool {
    match (ty, sql_type) {
        (Ty::Any(letter), _) => {
            let bound = match letters.get(letter) {
                Some(bound) if bound == sql_type => return true,
                Some(bound) if casts => common_type(bound, sql_type),
                Some(_) => None,
                None => Some(sql_type.clone()),
            };
            let Some(bound) = bound else {
                return false;
            };
            letters.insert(*letter, bound);
            true
        }
        (Ty::Array(item), SqlType::Array(of)) => fits(item, of, letters, casts),
        (Ty::Map(key, value), SqlType::Map(k, v)) => fits(key, k, letters, casts) && fits(value, v, letters, casts),
        (Ty::Decimal, SqlType::Decimal { .. }) => true,
        (Ty::Decimal, SqlType::Integer | SqlType::Bigint) => casts,
        // text beside times is read as one
        (Ty::Date | Ty::Time | Ty::Timestamp, SqlType::String) => casts,
        _ => match concrete(ty, letters) {
            Some(wanted) if casts => widens(sql_type, &wanted).is_some(),
            Some(wanted) => *sql_type == wanted,
            None => false,
        },
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
        Ty::Decimal | Ty::Lambda(..) | Ty::Unit | Ty::Entry(_) => return None,
        Ty::Any(letter) => letters.get(letter).cloned()?,
        Ty::Array(item) => SqlType::Array(concrete(item, letters)?.into()),
        Ty::Map(key, value) => SqlType::Map(concrete(key, letters)?.into(), concrete(value, letters)?.into()),
    })
}

/// Letters that only NULLs were given for.
fn bind_rest(ty: &Ty, letters: &mut Letters) {
    match ty {
        Ty::Any(letter) => {
            letters.entry(*letter).or_insert(SqlType::String);
        }
        Ty::Array(item) => bind_rest(item, letters),
        Ty::Map(key, value) => {
            bind_rest(key, letters);
            bind_rest(value, letters);
        }
        _ => {}
    }
}

impl Chosen {
    /// The types of the parameters of the lambda at an argument's position.
    ///
    /// # Errors
    /// When they do not follow from the arguments.
    pub fn lambda_params(&self, at: usize) -> Result<Vec<SqlType>, String> {
        let Some(Ty::Lambda(params, _)) = param(self.function, at) else {
            return Err(format!("{} takes no lambda as argument {}", self.function, at + 1));
        };
        let types = params.iter().map(|ty| concrete(ty, &self.letters));
        types.collect::<Option<Vec<_>>>().ok_or_else(|| {
            format!(
                "{}: the types of the lambda's parameters are not known, since the collection is NULL; CAST it",
                self.function
            )
        })
    }

    /// Says what the lambda at a position gives; the type that its result must be brought to.
    ///
    /// # Errors
    /// When the function cannot take that.
    pub fn lambda_result(&mut self, at: usize, result: Option<&SqlType>) -> Result<SqlType, String> {
        let Some(Ty::Lambda(_, wanted)) = param(self.function, at) else {
            return Err(format!("{} takes no lambda as argument {}", self.function, at + 1));
        };
        match (concrete(wanted, &self.letters), wanted, result) {
            (Some(wanted), _, None) => Ok(wanted),
            (Some(wanted), _, Some(given)) if widens(given, &wanted).is_some() => Ok(wanted),
            (Some(wanted), _, Some(given)) => Err(format!(
                "{}: the lambda must give {wanted}, this one gives {given}",
                self.function
            )),
            (None, Ty::Any(letter), given) => {
                let bound = given.cloned().unwrap_or(SqlType::String);
                self.letters.insert(*letter, bound.clone());
                Ok(bound)
            }
            (None, other, _) => Err(format!("{}: a lambda cannot give {other}", self.function)),
        }
    }

    /// The types, once all lambdas have been looked at.
    ///
    /// # Errors
    /// When the function says what is wrong with the types.
    pub fn finish(self) -> Result<Resolved, String> {
        let Self {
            function,
            args,
            mut letters,
        } = self;
        for ty in function.params {
            bind_rest(ty, &mut letters);
        }
        let params: Vec<SqlType> = (0..args.len())
            .map(|i| match (param(function, i), &args[i]) {
                (Some(Ty::Decimal), Arg::Value(Some(given))) => match crate::expr::decimal_of(given) {
                    Some((precision, scale)) => SqlType::Decimal { precision, scale },
                    None => given.clone(),
                },
                (Some(ty), Arg::Value(given)) => concrete(ty, &letters)
                    .or_else(|| given.clone())
                    .unwrap_or(SqlType::String),
                (_, _) => SqlType::String,
            })
            .collect();
        let sql_type = match function.returns {
            Returns::Type(ty) => {
                concrete(&ty, &letters).ok_or_else(|| format!("{function}: the result has no type"))?
            }
            Returns::Computed(_, compute) => compute(&params)?,
        };
        Ok(Resolved {
            function,
            params,
            sql_type,
        })
    }
}
