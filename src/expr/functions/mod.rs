//! The scalar functions: one table for the type check, evaluation and the manual. A file a family.
//!
//! A function is a few [`Signature`]s of one name. NULL in gives NULL out unless a signature says [`Nulls::Seen`].

/// The table of a family: `"NAME"(parameters) -> result, code, doc, [examples] .marks();` for each signature.
macro_rules! functions {
    ($($name:literal($($param:expr),*) -> $returns:expr, $eval:expr, $doc:expr,
       [$($example:literal => $gives:literal),* $(,)?] $(.$mark:ident($($arg:expr)?))*;)*) => {
        pub(super) const FUNCTIONS: &[Signature] = &[
            $(Signature::new($name, &[$($param),*], $returns, $eval, $doc)
                .examples(&[$(($example, $gives)),*])
                $(.$mark($($arg)?))*),*
        ];
    };
}

mod bytes;
mod collection;
mod conditional;
mod java_time;
mod json;
mod lambda;
mod mask;
mod math;
mod memo;
mod random;
mod regexp;
mod resolve;
mod string;
mod time;
mod url;

use super::lambda::Closure;
use super::{EvalContext, EvalError, Expr};
use crate::types::{SqlType, Timestamp, Value};
pub(super) use conditional::text_with_fields;
pub use resolve::{Arg, Chosen, Resolved, choose, resolve};

/// What a parameter takes, or a function gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ty {
    /// BOOLEAN.
    Boolean,
    /// INTEGER.
    Integer,
    /// BIGINT.
    Bigint,
    /// DOUBLE.
    Double,
    /// DECIMAL of any precision.
    Decimal,
    /// STRING.
    String,
    /// BYTES.
    Bytes,
    /// DATE.
    Date,
    /// TIME.
    Time,
    /// TIMESTAMP.
    Timestamp,
    /// Any type: the same one wherever the letter stands.
    Any(char),
    /// ARRAY.
    Array(&'static Ty),
    /// MAP.
    Map(&'static Ty, &'static Ty),
    /// A lambda from these types to this one.
    Lambda(&'static [Ty], &'static Ty),
    /// A unit of time, written as a bare word: DAYS.
    Unit,
    /// STRUCT of the fields K, a STRING, and V of this type; only what a function gives.
    Entry(&'static Ty),
}

/// The units of time, in the singular; with an S they mean the same.
pub const UNITS: &[(&str, i64)] = &[
    ("MILLISECOND", 1),
    ("SECOND", 1000),
    ("MINUTE", 60_000),
    ("HOUR", 3_600_000),
    ("DAY", 86_400_000),
];

/// The type of a result.
#[derive(Clone, Copy)]
pub enum Returns {
    /// This type, letters filled in.
    Type(Ty),
    /// This type, with what the argument types say about it; the error says what is wrong with them.
    Computed(Ty, fn(&[SqlType]) -> Result<SqlType, String>),
}

/// What NULL arguments do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Any NULL gives NULL without a call.
    Pass,
    /// The function sees them.
    Seen,
}

/// What a function may know beside its arguments.
#[derive(Clone, Copy)]
pub struct CallContext<'a> {
    /// The wall clock as the task was given it.
    pub now: Timestamp,
    /// The type of the result.
    pub sql_type: &'a SqlType,
    /// The types that the arguments have.
    params: &'a [SqlType],
    /// Which call of the query it is.
    site: u64,
    row: &'a EvalContext<'a>,
    args: &'a [Expr],
}

impl<'a> CallContext<'a> {
    /// The lambda that stands at an argument's position.
    fn lambda(&self, at: usize) -> Result<Closure<'a>, EvalError> {
        match self.args.get(at) {
            Some(Expr::Lambda(lambda)) => Closure::new(lambda, self.row),
            _ => Err(EvalError::new(format!("argument {} is no lambda", at + 1))),
        }
    }
}

/// A function's code. It gets exactly the declared number of arguments, or more of the last if variadic.
pub type Eval = fn(&[Value], &CallContext<'_>) -> Result<Value, EvalError>;

/// One way to call a function.
pub struct Signature {
    /// The SQL name.
    pub name: &'static str,
    /// The parameters.
    pub params: &'static [Ty],
    /// Whether the last parameter may occur any number of times, at least once.
    pub variadic: bool,
    /// The result.
    pub returns: Returns,
    /// What NULLs do.
    pub nulls: Nulls,
    /// The code.
    pub eval: Eval,
    /// Whether it gives something else each time, although its arguments are the same.
    pub volatile: bool,
    /// A sentence for the manual.
    pub doc: &'static str,
    /// Calls and what they give, both as SQL expressions.
    pub examples: &'static [(&'static str, &'static str)],
}

impl Signature {
    const fn new(name: &'static str, params: &'static [Ty], returns: Ty, eval: Eval, doc: &'static str) -> Self {
        Self {
            name,
            params,
            variadic: false,
            returns: Returns::Type(returns),
            nulls: Nulls::Pass,
            eval,
            volatile: false,
            doc,
            examples: &[],
        }
    }

    const fn examples(mut self, examples: &'static [(&'static str, &'static str)]) -> Self {
        self.examples = examples;
        self
    }

    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    const fn sees_nulls(mut self) -> Self {
        self.nulls = Nulls::Seen;
        self
    }

    const fn computed_anew(mut self) -> Self {
        self.volatile = true;
        self
    }

    const fn computed(mut self, returns: fn(&[SqlType]) -> Result<SqlType, String>) -> Self {
        let (Returns::Type(ty) | Returns::Computed(ty, _)) = self.returns;
        self.returns = Returns::Computed(ty, returns);
        self
    }

    /// The type of the result as the manual has it.
    pub fn result(&self) -> String {
        let (Returns::Type(ty) | Returns::Computed(ty, _)) = self.returns;
        ty.to_string()
    }

    /// Whether each call gives another result: RANDOM and UUID. Its arguments, beside those of the manual, are what tells rows apart.
    pub fn is_random(&self) -> bool {
        self.volatile && matches!(self.name, "RANDOM" | "UUID")
    }

    /// Whether its result depends on the wall clock, alone or with the row: then a replay may give another one.
    pub fn reads_clock(&self) -> bool {
        self.volatile
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Signature {
    /// `SPLIT(STRING, STRING)`, as error messages list what there is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let params: Vec<_> = self.params.iter().map(ToString::to_string).collect();
        let dots = if self.variadic { ", ..." } else { "" };
        write!(f, "{}({}{dots})", self.name, params.join(", "))
    }
}

impl std::fmt::Display for Ty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Integer => f.write_str("INTEGER"),
            Self::Bigint => f.write_str("BIGINT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal => f.write_str("DECIMAL"),
            Self::String => f.write_str("STRING"),
            Self::Bytes => f.write_str("BYTES"),
            Self::Date => f.write_str("DATE"),
            Self::Time => f.write_str("TIME"),
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::Unit => f.write_str("unit of time"),
            Self::Entry(value) => write!(f, "STRUCT<K STRING, V {value}>"),
            Self::Any(letter) => write!(f, "{letter}"),
            Self::Array(item) => write!(f, "ARRAY<{item}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Lambda(params, result) => {
                let params: Vec<_> = params.iter().map(ToString::to_string).collect();
                write!(f, "({}) => {result}", params.join(", "))
            }
        }
    }
}

/// The families, in the order of the manual.
pub const FAMILIES: &[(&str, &[Signature])] = &[
    ("Strings", string::FUNCTIONS),
    ("Regular expressions", regexp::FUNCTIONS),
    ("Masks", mask::FUNCTIONS),
    ("JSON", json::FUNCTIONS),
    ("URLs", url::FUNCTIONS),
    ("Bytes", bytes::FUNCTIONS),
    ("Numbers", math::FUNCTIONS),
    ("Conditions and NULL", conditional::FUNCTIONS),
    ("Collections", collection::FUNCTIONS),
    ("Lambdas", lambda::FUNCTIONS),
    ("Dates and times", time::FUNCTIONS),
    ("Computed anew for each row", random::FUNCTIONS),
];

/// Every signature.
pub fn all() -> impl Iterator<Item = &'static Signature> {
    FAMILIES.iter().flat_map(|(_, signatures)| signatures.iter())
}

/// The signatures of a name in upper case; none if there is no such function.
pub fn named(name: &str) -> Vec<&'static Signature> {
    let name = match name {
        "LOWER" => "LCASE",
        "UPPER" => "UCASE",
        "CEILING" => "CEIL",
        other => other,
    };
    all().filter(|s| s.name == name).collect()
}

/// A call with arguments of the parameters' types.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    /// The function.
    pub function: &'static Signature,
    /// The arguments.
    pub args: Vec<Expr>,
    /// The types of the arguments; of no meaning for a lambda.
    pub params: Vec<SqlType>,
    /// The result's type.
    pub sql_type: SqlType,
    /// Where the call stands, if it gives something else each time, so that two of them differ; 0 for others.
    pub site: u64,
}

impl PartialEq for FunctionCall {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.function, other.function)
            && self.args == other.args
            && self.params == other.params
            && self.sql_type == other.sql_type
            && self.site == other.site
    }
}

/// Calls with at most so many arguments need no allocation for them.
const ARGS_ON_STACK: usize = 4;

impl FunctionCall {
    /// A call of a chosen signature; `site` tells calls of functions apart that give something else each time.
    pub fn new(resolved: Resolved, args: Vec<Expr>, site: usize) -> Self {
        Self {
            function: resolved.function,
            args,
            params: resolved.params,
            sql_type: resolved.sql_type,
            site: if resolved.function.volatile { site as u64 } else { 0 },
        }
    }

    pub(super) fn eval(&self, row: &EvalContext<'_>) -> Result<Value, EvalError> {
        let mut few: [Value; ARGS_ON_STACK] = Default::default();
        let mut many = Vec::new();
        let args = match few.get_mut(..self.args.len()) {
            Some(args) => args,
            None => {
                many.resize(self.args.len(), Value::Null);
                &mut many[..]
            }
        };
        let pass = self.function.nulls == Nulls::Pass;
        for (slot, arg) in args.iter_mut().zip(&self.args) {
            *slot = arg.eval(row)?;
            if pass && slot.is_null() && !matches!(arg, Expr::Lambda(_)) {
                return Ok(Value::Null);
            }
        }
        let context = CallContext {
            now: row.now,
            sql_type: &self.sql_type,
            params: &self.params,
            site: self.site,
            row,
            args: &self.args,
        };
        match (self.function.eval)(args, &context) {
            // only a lambda of this call can have met it: elsewhere it is never raised
            Err(e) if e.null_operand => Ok(Value::Null),
            result => result,
        }
    }
}

/// The text of a STRING argument: the type check has made it one.
fn text(value: &Value) -> &str {
    match value {
        Value::String(s) => s,
        _ => "",
    }
}

/// The number of an INTEGER or BIGINT argument.
fn number(value: &Value) -> i64 {
    match value {
        Value::Integer(n) => (*n).into(),
        Value::Bigint(n) => *n,
        _ => 0,
    }
}

/// A length as INTEGER.
fn length(n: usize) -> Value {
    Value::Integer(i32::try_from(n).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests;
