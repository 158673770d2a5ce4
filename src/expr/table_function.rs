//! Table functions: a list of values for one row, each of which becomes a row.

use std::fmt;
use std::sync::Arc;

use super::{EvalContext, EvalError, Expr};
use crate::types::{SqlType, Value};

/// The most columns that CUBE_EXPLODE combines: 65,536 rows of one.
const MOST_CUBED: usize = 16;

/// A table function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFunction {
    /// `EXPLODE(array)`: its items.
    Explode,
    /// `CUBE_EXPLODE(array)`: the array with each combination of its items replaced by NULL.
    CubeExplode,
}

/// The table functions, for the parser and the manual.
pub const TABLE_FUNCTIONS: &[super::AggregateDoc] = &[
    super::AggregateDoc {
        name: "CUBE_EXPLODE",
        arguments: "ARRAY",
        doc: "A row for each combination of the items, an ARRAY with NULL for those left out; at most 16 items.",
    },
    super::AggregateDoc {
        name: "EXPLODE",
        arguments: "ARRAY",
        doc: "A row for each item; none for NULL or an empty ARRAY.",
    },
];

/// One call in a query.
#[derive(Clone, Debug, PartialEq)]
pub struct TableCall {
    /// The function.
    pub function: TableFunction,
    /// Its argument.
    pub arg: Expr,
    /// The type of a value.
    pub sql_type: SqlType,
}

impl fmt::Display for TableFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explode => "EXPLODE",
            Self::CubeExplode => "CUBE_EXPLODE",
        })
    }
}

impl fmt::Display for TableCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.function, self.arg)
    }
}

impl TableFunction {
    /// By its name in upper case.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Explode, Self::CubeExplode]
            .into_iter()
            .find(|function| function.to_string() == name)
    }
}

impl TableCall {
    /// A call.
    ///
    /// # Errors
    /// With what the function takes, when it does not take these arguments.
    pub fn new(function: TableFunction, args: Vec<(Expr, SqlType)>) -> Result<Self, String> {
        let given: Vec<String> = args.iter().map(|(_, t)| t.to_string()).collect();
        let mut args = args.into_iter();
        match (args.next(), args.next()) {
            (Some((arg, SqlType::Array(item))), None) => Ok(Self {
                function,
                arg,
                sql_type: match function {
                    TableFunction::Explode => (*item).clone(),
                    TableFunction::CubeExplode => SqlType::Array(item),
                },
            }),
            _ => Err(format!("{function} takes an ARRAY, not ({})", given.join(", "))),
        }
    }

    /// The values for a row.
    ///
    /// # Errors
    /// When the argument cannot be computed, or would give too many rows.
    pub fn values(&self, row: &EvalContext<'_>) -> Result<Arc<[Value]>, EvalError> {
        let Value::Array(items) = self.arg.eval(row)? else {
            return Ok(Arc::from([]));
        };
        match self.function {
            TableFunction::Explode => Ok(items),
            TableFunction::CubeExplode if items.len() > MOST_CUBED => Err(EvalError::new(format!(
                "CUBE_EXPLODE of {} items: at most {MOST_CUBED} can be combined",
                items.len()
            ))),
            TableFunction::CubeExplode => Ok(cube(&items)),
        }
    }
}

/// All combinations, the one of all NULLs first, the last item changing fastest. An item that is NULL makes no combination of its own.
fn cube(items: &[Value]) -> Arc<[Value]> {
    let of_null = |i: usize| items[items.len() - 1 - i].is_null();
    let nulls = (0..items.len())
        .filter(|i| of_null(*i))
        .fold(0usize, |mask, i| mask | 1 << i);
    let combined = |kept: usize| {
        let one = |(i, item): (usize, &Value)| match kept >> (items.len() - 1 - i) & 1 {
            0 => Value::Null,
            _ => item.clone(),
        };
        Value::Array(items.iter().enumerate().map(one).collect())
    };
    (0..1usize << items.len())
        .filter(|kept| kept & nulls == 0)
        .map(combined)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(function: TableFunction, items: Value) -> Result<Vec<Value>, EvalError> {
        let of = SqlType::Array(SqlType::Integer.into());
        let call = TableCall::new(function, vec![(Expr::Value(0), of)]).unwrap();
        let row = EvalContext {
            key: &[],
            value: &[items],
            timestamp: 0,
            now: 0,
        };
        call.values(&row).map(|values| values.to_vec())
    }

    fn array(items: &[Option<i32>]) -> Value {
        let items = items.iter().map(|n| n.map_or(Value::Null, Value::Integer));
        Value::Array(items.collect())
    }

    #[test]
    fn a_cube_has_each_combination_once() {
        let found = values(TableFunction::CubeExplode, array(&[Some(1), None, Some(2)]));
        let expected = [
            array(&[None, None, None]),
            array(&[None, None, Some(2)]),
            array(&[Some(1), None, None]),
            array(&[Some(1), None, Some(2)]),
        ];
        assert_eq!(found, Ok(expected.to_vec()));
        assert_eq!(values(TableFunction::CubeExplode, array(&[])), Ok(vec![array(&[])]));
        let many = vec![Some(1); 17];
        assert!(values(TableFunction::CubeExplode, array(&many)).is_err());
    }

    #[test]
    fn nothing_explodes_into_no_rows() {
        assert_eq!(values(TableFunction::Explode, Value::Null), Ok(vec![]));
        assert_eq!(values(TableFunction::Explode, array(&[])), Ok(vec![]));
        let error = TableCall::new(TableFunction::Explode, vec![(Expr::Value(0), SqlType::String)]).unwrap_err();
        assert_eq!(error, "EXPLODE takes an ARRAY, not (STRING)");
    }
}
