//! Composite values: fields, subscripts and the constructors of ARRAY, MAP and STRUCT.

use super::{Checked, Checker};
use crate::expr::{Expr, widens};
use crate::sql::ast::{Expression, Name};
use crate::sql::coerce::{all_of_one_type, convert, element};
use crate::sql::diagnostic::{Problem, Span};
use crate::types::{SqlType, StructField};

impl Checker<'_> {
    pub(super) fn field(&mut self, a: &Expression, field: &Name) -> Checked<(Expr, Option<SqlType>)> {
        let a = self.check(a)?;
        let Some(SqlType::Struct(fields)) = &a.sql_type else {
            return Err(Problem::new(
                a.span,
                format!("'->' takes a STRUCT, this is {}", a.named()),
            ));
        };
        let Some(i) = fields.iter().position(|f| f.name == field.text) else {
            let problem = Problem::new(field.span, format!("there is no field {} in {}", field.text, a.named()));
            return Err(problem.nearest(&field.text, fields.iter().map(|f| &*f.name)));
        };
        Ok((Expr::Field(a.expr.into(), i), Some(fields[i].sql_type.clone())))
    }

    pub(super) fn subscript(&mut self, a: &Expression, i: &Expression) -> Checked<(Expr, Option<SqlType>)> {
        let (a, i) = (self.check(a)?, self.check(i)?);
        match &a.sql_type {
            Some(SqlType::Array(item)) => match &i.sql_type {
                Some(SqlType::Integer | SqlType::Bigint) => {
                    Ok((Expr::Item(a.expr.into(), i.expr.into()), Some((**item).clone())))
                }
                _ => Err(Problem::new(
                    i.span,
                    format!("an ARRAY's position is an INTEGER, this is {}", i.named()),
                )),
            },
            Some(SqlType::Map(key, value)) => {
                let fits = i.sql_type.as_ref().is_none_or(|t| widens(t, key).is_some());
                if !fits {
                    return Err(Problem::new(
                        i.span,
                        format!("the MAP's keys are {key}, this is {}", i.named()),
                    ));
                }
                let at = convert(i.expr, key, i.sql_type.as_ref());
                Ok((Expr::Entry(a.expr.into(), at.into()), Some((**value).clone())))
            }
            _ => Err(Problem::new(
                a.span,
                format!("[...] takes an ARRAY or a MAP, this is {}", a.named()),
            )),
        }
    }

    pub(super) fn same_type(&mut self, items: &[Expression], what: &str) -> Checked<(Vec<Expr>, SqlType)> {
        let items = items.iter().map(|e| self.check(e)).collect::<Checked<Vec<_>>>()?;
        let Some(of) = all_of_one_type(&items, what)? else {
            let span = items.first().map_or(Span::default(), |i| i.span);
            let problem = Problem::new(span, format!("{what} are NULL, so that they have no type"));
            return Err(problem.hint("CAST one of them: CAST(NULL AS STRING)"));
        };
        let exprs = items.into_iter().map(|i| element(i, &of)).collect::<Checked<_>>()?;
        Ok((exprs, of))
    }

    pub(super) fn structure(&mut self, fields: &[(Name, Expression)]) -> Checked<(Expr, Option<SqlType>)> {
        let (mut exprs, mut types) = (Vec::new(), Vec::<StructField>::new());
        for (name, value) in fields {
            if types.iter().any(|f| f.name == name.text) {
                return Err(Problem::new(name.span, format!("field {} occurs twice", name.text)));
            }
            let value = self.check(value)?;
            types.push(StructField {
                name: name.text.clone(),
                sql_type: value.type_or_string(),
            });
            exprs.push(value.expr);
        }
        Ok((Expr::Struct(exprs), Some(SqlType::Struct(types.into()))))
    }
}
