//! Expressions, by precedence climbing.

use super::{MAX_DEPTH, Parsed, Parser, is_reserved};
use crate::expr::{ArithmeticOp, CompareOp, cast_value};
use crate::sql::ast::{Expression, ExpressionKind, Literal, Name};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::lex::Kind;
use crate::types::Value;

/// How tightly operators bind.
mod power {
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const PREDICATE: u8 = 4;
    pub const ADD: u8 = 5;
    pub const MULTIPLY: u8 = 6;
}

/// Units of time, which ksqlDB reserves.
pub const INTERVAL_UNITS: &[&str] = &[
    "YEARS",
    "MONTHS",
    "DAYS",
    "HOURS",
    "MINUTES",
    "SECONDS",
    "MILLISECONDS",
    "MILLISECOND",
];

/// A unit of time, taken without quotes as an argument: `DATEADD(DAYS, 1, d)`.
fn interval_unit(kind: &Kind) -> Option<String> {
    let Kind::Word(word) = kind else { return None };
    let word = word.to_uppercase();
    INTERVAL_UNITS.contains(&word.as_str()).then_some(word)
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|p| p.binary(0))
    }

    /// An expression of operators that bind tighter than `above`.
    fn binary(&mut self, above: u8) -> Parsed<Expression> {
        let start = self.span();
        let mut left = if above < power::NOT && self.take_word("NOT") {
            let operand = self.deeper(|p| p.binary(power::NOT - 1))?;
            Expression {
                kind: ExpressionKind::Not(operand.into()),
                span: start.to(self.last_span()),
            }
        } else {
            self.unary()?
        };
        let mut links = 0;
        while let Some(kind) = self.operator(above, &mut left)? {
            links += 1;
            if links + self.depth > MAX_DEPTH * 2 {
                return Err(Problem::new(self.span(), "too many operators in a row")
                    .hint("use IN for a list of values, or split the expression"));
            }
            left = Expression {
                kind,
                span: start.to(self.last_span()),
            };
        }
        Ok(left)
    }

    /// The operator at hand with its right side, if it binds tighter than `above`.
    fn operator(&mut self, above: u8, left: &mut Expression) -> Parsed<Option<ExpressionKind>> {
        let placeholder = || Expression {
            kind: ExpressionKind::Literal(Literal::Null),
            span: Span::default(),
        };
        let mut left = || Box::new(std::mem::replace(left, placeholder()));
        if above < power::OR && self.take_word("OR") {
            return Ok(Some(ExpressionKind::Or(left(), self.right(power::OR)?)));
        }
        if above < power::AND && self.take_word("AND") {
            return Ok(Some(ExpressionKind::And(left(), self.right(power::AND)?)));
        }
        if above < power::PREDICATE {
            if let Some(op) = self.comparison() {
                return Ok(Some(ExpressionKind::Compare(op, left(), self.right(power::PREDICATE)?)));
            }
            if let Some(predicate) = self.predicate(&mut left)? {
                return Ok(Some(predicate));
            }
        }
        if above < power::ADD && self.is_symbol("||") {
            let name = Name {
                text: "CONCAT".into(),
                span: self.span(),
            };
            self.advance();
            let args = vec![*left(), *self.right(power::ADD)?];
            return Ok(Some(ExpressionKind::Call(name, args)));
        }
        let arithmetic = match self.peek() {
            Kind::Symbol(s) if above < power::ADD => match s.as_str() {
                "+" => Some((ArithmeticOp::Add, power::ADD)),
                "-" => Some((ArithmeticOp::Subtract, power::ADD)),
                _ => None,
            },
            _ => None,
        };
        let arithmetic = arithmetic.or_else(|| match self.peek() {
            Kind::Symbol(s) if above < power::MULTIPLY => match s.as_str() {
                "*" => Some((ArithmeticOp::Multiply, power::MULTIPLY)),
                "/" => Some((ArithmeticOp::Divide, power::MULTIPLY)),
                "%" => Some((ArithmeticOp::Modulo, power::MULTIPLY)),
                _ => None,
            },
            _ => None,
        });
        let Some((op, power)) = arithmetic else {
            return Ok(None);
        };
        self.advance();
        Ok(Some(ExpressionKind::Arithmetic(op, left(), self.right(power)?)))
    }

    fn right(&mut self, power: u8) -> Parsed<Box<Expression>> {
        Ok(Box::new(self.deeper(|p| p.binary(power))?))
    }

    fn comparison(&mut self) -> Option<CompareOp> {
        let Kind::Symbol(symbol) = self.peek() else {
            return None;
        };
        let op = match symbol.as_str() {
            "=" => CompareOp::Equal,
            "<>" | "!=" => CompareOp::NotEqual,
            "<" => CompareOp::Less,
            "<=" => CompareOp::LessOrEqual,
            ">" => CompareOp::Greater,
            ">=" => CompareOp::GreaterOrEqual,
            _ => return None,
        };
        self.advance();
        Some(op)
    }

    /// IS, IN, BETWEEN and LIKE.
    fn predicate(&mut self, left: &mut dyn FnMut() -> Box<Expression>) -> Parsed<Option<ExpressionKind>> {
        if self.take_word("IS") {
            let not = self.take_word("NOT");
            if self.take_word("NULL") {
                return Ok(Some(ExpressionKind::IsNull(left(), not)));
            }
            if self.take_words(&["DISTINCT", "FROM"]) {
                return Ok(Some(ExpressionKind::IsDistinct(
                    left(),
                    self.right(power::PREDICATE)?,
                    not,
                )));
            }
            return Err(self.expected("NULL or DISTINCT FROM"));
        }
        let negated = self.is_word("NOT") && ["IN", "BETWEEN", "LIKE"].iter().any(|w| self.ahead_is_word(1, w));
        if negated {
            self.advance();
        }
        if self.take_word("IN") {
            self.expect_symbol("(")?;
            let all = self.list(Self::expression)?;
            self.expect_close(")")?;
            return Ok(Some(ExpressionKind::In(left(), all, negated)));
        }
        if self.take_word("BETWEEN") {
            let low = self.right(power::PREDICATE)?;
            self.expect_word("AND")?;
            let high = self.right(power::PREDICATE)?;
            return Ok(Some(ExpressionKind::Between(left(), low, high, negated)));
        }
        if self.take_word("LIKE") {
            let pattern = self.right(power::PREDICATE)?;
            let escape = if self.take_word("ESCAPE") {
                Some(self.escape()?)
            } else {
                None
            };
            return Ok(Some(ExpressionKind::Like(left(), pattern, escape, negated)));
        }
        Ok(None)
    }

    fn escape(&mut self) -> Parsed<char> {
        let Kind::String(s) = self.peek() else {
            return Err(self.expected("one character in quotes"));
        };
        let mut chars = s.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return Err(self.expected("one character in quotes"));
        };
        self.advance();
        Ok(c)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let start = self.span();
        if self.take_symbol("-") {
            let operand = self.deeper(Self::unary)?;
            let span = start.to(self.last_span());
            let kind = match operand.kind {
                ExpressionKind::Literal(Literal::Number(n)) if !n.starts_with('-') => {
                    ExpressionKind::Literal(Literal::Number(format!("-{n}")))
                }
                kind => ExpressionKind::Negate(Box::new(Expression {
                    kind,
                    span: operand.span,
                })),
            };
            return Ok(Expression { kind, span });
        }
        if self.take_symbol("+") {
            return self.deeper(Self::unary);
        }
        let mut expression = self.primary()?;
        let mut links = 0;
        while self.is_symbol("->") || self.is_symbol("[") {
            links += 1;
            if links > MAX_DEPTH {
                return Err(Problem::new(self.span(), "too many fields in a row"));
            }
            let kind = if self.take_symbol("->") {
                if self.take_symbol("*") {
                    ExpressionKind::AllFields(expression.into())
                } else {
                    ExpressionKind::Field(expression.into(), self.any_name("a field's name")?)
                }
            } else {
                self.advance();
                let index = self.expression()?;
                self.expect_symbol("]")?;
                ExpressionKind::Subscript(expression.into(), index.into())
            };
            expression = Expression {
                kind,
                span: start.to(self.last_span()),
            };
        }
        Ok(expression)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let start = self.span();
        let kind = match self.peek().clone() {
            Kind::Number(n) => {
                self.advance();
                ExpressionKind::Literal(Literal::Number(n))
            }
            Kind::String(s) => {
                self.advance();
                ExpressionKind::Literal(Literal::String(s))
            }
            Kind::Symbol(s) if s == "(" => {
                self.advance();
                let inner = self.expression()?;
                self.expect_symbol(")")?;
                // the span takes the parentheses in, so that a caret marks all of it
                return Ok(Expression {
                    kind: inner.kind,
                    span: start.to(self.last_span()),
                });
            }
            Kind::Word(word) => self.word(&word.to_uppercase())?,
            Kind::Quoted(_) => self.column_or_call()?,
            Kind::Variable(_) | Kind::Symbol(_) | Kind::End => return Err(self.expected("an expression")),
        };
        Ok(Expression {
            kind,
            span: start.to(self.last_span()),
        })
    }

    fn word(&mut self, word: &str) -> Parsed<ExpressionKind> {
        let opens = |p: &Self, symbol: &str| matches!(p.ahead(1), Kind::Symbol(s) if s == symbol);
        match word {
            "NULL" => self.advance(),
            "TRUE" | "FALSE" => {
                self.advance();
                return Ok(ExpressionKind::Literal(Literal::Boolean(word == "TRUE")));
            }
            "CASE" => return self.case(),
            "CAST" => return self.cast(),
            "ARRAY" if opens(self, "[") => return self.array(),
            "MAP" if opens(self, "(") => return self.map(),
            "STRUCT" if opens(self, "(") => return self.structure(),
            // DATE '2020-01-01'
            "DATE" | "TIME" | "TIMESTAMP" if matches!(self.ahead(1), Kind::String(_)) => {
                let to = self.sql_type()?;
                let span = self.span();
                let text = self.string("a time in quotes")?;
                if cast_value(&Value::from(text.as_str()), &to).is_err() {
                    return Err(Problem::new(span, format!("'{text}' is no {to}")));
                }
                let literal = Expression {
                    kind: ExpressionKind::Literal(Literal::String(text)),
                    span,
                };
                return Ok(ExpressionKind::Cast(literal.into(), to));
            }
            // REPLACE and others are functions and words of statements
            "SELECT" => {
                let problem = Problem::unsupported(self.span(), "a query inside an expression");
                return Err(problem.hint("make it a table of its own with CREATE TABLE ... AS SELECT, and join that"));
            }
            _ if is_reserved(word) && !opens(self, "(") => {
                let problem = self.expected("an expression");
                let goes_on = match self.ahead(1) {
                    Kind::Word(next) => !is_reserved(next),
                    Kind::Quoted(_) | Kind::String(_) | Kind::Number(_) | Kind::End => true,
                    Kind::Symbol(_) | Kind::Variable(_) => false,
                };
                if super::CLAUSES.contains(&word) && goes_on {
                    let comma = matches!(&self.tokens[self.at.saturating_sub(1)].kind, Kind::Symbol(s) if s == ",");
                    return Err(match comma {
                        true => problem.hint(format!("there is a comma too many before {word}")),
                        false => problem.hint(format!("something is missing before {word}")),
                    });
                }
                return Err(problem.hint(format!(
                    "{word} is a reserved word: as a name it needs quotes, `{word}`"
                )));
            }
            _ => return self.column_or_call(),
        }
        Ok(ExpressionKind::Literal(Literal::Null))
    }

    fn column_or_call(&mut self) -> Parsed<ExpressionKind> {
        let name = if matches!(self.ahead(1), Kind::Symbol(s) if s == "(") {
            self.any_name("a name")?
        } else {
            self.name("a name")?
        };
        if self.take_symbol("(") {
            return self.call(name);
        }
        if self.take_symbol(".") {
            let column = self.any_name("a column's name")?;
            return Ok(ExpressionKind::Column(Some(name), column));
        }
        Ok(ExpressionKind::Column(None, name))
    }

    /// The arguments behind `name(`, and FILTER.
    fn call(&mut self, name: Name) -> Parsed<ExpressionKind> {
        let distinct = self.is_word("DISTINCT") && !matches!(self.ahead(1), Kind::Symbol(s) if s == "," || s == ")");
        if distinct {
            self.advance();
        }
        let args = if self.is_symbol(")") && !distinct {
            Vec::new()
        } else if self.is_symbol("*") && &*name.text == "COUNT" && !distinct {
            self.advance();
            Vec::new()
        } else {
            if self.is_symbol("*") {
                let message = format!("{} does not take *", name.text);
                return Err(Problem::new(self.span(), message).hint("of all functions only COUNT does"));
            }
            self.list(Self::argument)?
        };
        self.expect_close(")")?;
        let opens = matches!(self.ahead(1), Kind::Symbol(s) if s == "(");
        let filter = if self.is_word("FILTER") && opens {
            self.advance();
            self.advance();
            self.expect_word("WHERE")?;
            let condition = self.expression()?;
            self.expect_symbol(")")?;
            Some(Box::new(condition))
        } else {
            None
        };
        let bare = args.is_empty() && !distinct && filter.is_none();
        if let Some(over) = self.over(&name, bare)? {
            return Ok(over);
        }
        if !distinct && filter.is_none() {
            return Ok(ExpressionKind::Call(name, args));
        }
        Ok(ExpressionKind::Aggregate {
            name,
            distinct,
            args,
            filter,
        })
    }

    /// An expression or a lambda: `x => ...`, `(x, y) => ...`.
    fn argument(&mut self) -> Parsed<Expression> {
        let is = |kind: &Kind, symbol: &str| matches!(kind, Kind::Symbol(s) if s == symbol);
        let is_name = |kind: &Kind| matches!(kind, Kind::Word(_) | Kind::Quoted(_));
        let start = self.span();
        if let (Some(unit), Kind::Symbol(after)) = (interval_unit(self.peek()), self.ahead(1))
            && matches!(after.as_str(), "," | ")")
        {
            self.advance();
            return Ok(Expression {
                kind: ExpressionKind::Literal(Literal::String(unit)),
                span: start,
            });
        }
        let params = if is_name(self.peek()) && is(self.ahead(1), "=>") {
            vec![self.name("a parameter")?]
        } else {
            let mut n = 1;
            // only behind a parenthesis: long lists of arguments are not to be looked through for each of them
            while self.is_symbol("(") && is_name(self.ahead(n)) && is(self.ahead(n + 1), ",") {
                n += 2;
            }
            let lambda = self.is_symbol("(") && is_name(self.ahead(n)) && is(self.ahead(n + 1), ")");
            if !lambda || !is(self.ahead(n + 2), "=>") {
                return self.expression();
            }
            self.advance();
            let params = self.list(|p| p.name("a parameter"))?;
            self.expect_symbol(")")?;
            params
        };
        self.expect_symbol("=>")?;
        let body = self.expression()?;
        Ok(Expression {
            kind: ExpressionKind::Lambda(params, body.into()),
            span: start.to(self.last_span()),
        })
    }
}
