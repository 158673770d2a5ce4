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

mod collection;
mod conditional;
mod lambda;
mod math;
mod resolve;
mod string;
mod time;

use super::lambda::Closure;
use super::{EvalContext, EvalError, Expr};
use crate::types::{SqlType, Timestamp, Value};
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
}

/// The type of a result.
#[derive(Clone, Copy)]
pub enum Returns {
    /// This type, letters filled in.
    Type(Ty),
    /// Computed from the argument types; the error says what is wrong with them.
    Computed(fn(&[SqlType]) -> Result<SqlType, String>),
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

    const fn computed(mut self, returns: fn(&[SqlType]) -> Result<SqlType, String>) -> Self {
        self.returns = Returns::Computed(returns);
        self
    }

    /// Whether its result depends on the wall clock.
    pub fn reads_clock(&self) -> bool {
        matches!((self.name, self.params.len()), ("UNIX_TIMESTAMP" | "UNIX_DATE", 0))
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
    ("Numbers", math::FUNCTIONS),
    ("Conditions and NULL", conditional::FUNCTIONS),
    ("Collections", collection::FUNCTIONS),
    ("Lambdas", lambda::FUNCTIONS),
    ("Dates and times", time::FUNCTIONS),
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

/// Functions of ksqlDB that are not here yet: valid names, refused as such.
pub const NOT_YET: &[&str] = &[
    "ACOS",
    "ARRAY_CONCAT",
    "ARRAY_DISTINCT",
    "ARRAY_EXCEPT",
    "ARRAY_INTERSECT",
    "ARRAY_MAX",
    "ARRAY_MIN",
    "ARRAY_REMOVE",
    "ARRAY_SORT",
    "ARRAY_UNION",
    "ASIN",
    "AS_MAP",
    "ATAN",
    "ATAN2",
    "ATTR",
    "BIGINT_FROM_BYTES",
    "CBRT",
    "CHR",
    "COLLECT_LIST",
    "COLLECT_SET",
    "CONVERT_TZ",
    "CORRELATION",
    "COS",
    "COSH",
    "COT",
    "COUNT_DISTINCT",
    "CUBE_EXPLODE",
    "DATEADD",
    "DATESUB",
    "DATETOSTRING",
    "DEGREES",
    "DOUBLE_FROM_BYTES",
    "ENCODE",
    "ENTRIES",
    "EXP",
    "EXPLODE",
    "EXTRACTJSONFIELD",
    "FORMAT_DATE",
    "FORMAT_TIME",
    "FORMAT_TIMESTAMP",
    "FROM_BYTES",
    "FROM_DAYS",
    "GENERATE_SERIES",
    "GEO_DISTANCE",
    "HISTOGRAM",
    "INT_FROM_BYTES",
    "IS_JSON_STRING",
    "JSON_ARRAY_CONTAINS",
    "JSON_ARRAY_LENGTH",
    "JSON_CONCAT",
    "JSON_ITEMS",
    "JSON_KEYS",
    "JSON_RECORDS",
    "LN",
    "LOG",
    "MAP_UNION",
    "MASK",
    "MASK_KEEP_LEFT",
    "MASK_KEEP_RIGHT",
    "MASK_LEFT",
    "MASK_RIGHT",
    "PARSE_DATE",
    "PARSE_TIME",
    "PARSE_TIMESTAMP",
    "PI",
    "POWER",
    "RADIANS",
    "RANDOM",
    "REGEXP_EXTRACT",
    "REGEXP_EXTRACT_ALL",
    "REGEXP_REPLACE",
    "REGEXP_SPLIT_TO_ARRAY",
    "SIN",
    "SINH",
    "SLICE",
    "STDDEV_SAMP",
    "STDDEV_SAMPLE",
    "STRINGTODATE",
    "STRINGTOTIMESTAMP",
    "TAN",
    "TANH",
    "TIMEADD",
    "TIMESTAMPADD",
    "TIMESTAMPSUB",
    "TIMESTAMPTOSTRING",
    "TIMESUB",
    "TOPK",
    "TOPKDISTINCT",
    "TO_BYTES",
    "TO_JSON_STRING",
    "TRUNC",
    "URL_DECODE_PARAM",
    "URL_ENCODE_PARAM",
    "URL_EXTRACT_FRAGMENT",
    "URL_EXTRACT_HOST",
    "URL_EXTRACT_PARAMETER",
    "URL_EXTRACT_PATH",
    "URL_EXTRACT_PORT",
    "URL_EXTRACT_PROTOCOL",
    "URL_EXTRACT_QUERY",
    "UUID",
];

/// A call with arguments of the parameters' types.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    /// The function.
    pub function: &'static Signature,
    /// The arguments.
    pub args: Vec<Expr>,
    /// The result's type.
    pub sql_type: SqlType,
}

impl PartialEq for FunctionCall {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.function, other.function) && self.args == other.args && self.sql_type == other.sql_type
    }
}

/// Calls with at most so many arguments need no allocation for them.
const ARGS_ON_STACK: usize = 4;

impl FunctionCall {
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
