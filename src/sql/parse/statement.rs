//! Statements, column definitions, types and WITH clauses.

use super::{Parsed, Parser};
use crate::sql::ast::{ColumnDef, ColumnRole, Create, Literal, Property, Statement, StatementKind};
use crate::sql::diagnostic::Problem;
use crate::sql::lex::Kind;
use crate::types::{MAX_PRECISION, RelationKind, SqlType, StructField};

/// Statements that ksqlDB's command line knows and that are no part of a topology.
const INTERACTIVE: &[&str] = &[
    "SHOW",
    "LIST",
    "DESCRIBE",
    "EXPLAIN",
    "PRINT",
    "TERMINATE",
    "PAUSE",
    "RESUME",
    "RUN",
];

/// The names of types.
const KNOWN: &[&str] = &[
    "BOOLEAN",
    "INTEGER",
    "INT",
    "BIGINT",
    "DOUBLE",
    "STRING",
    "VARCHAR",
    "BYTES",
    "DECIMAL",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "ARRAY",
    "MAP",
    "STRUCT",
];

/// What other dialects call types.
const ELSEWHERE: &[(&str, &str)] = &[
    ("BIT", "BOOLEAN"),
    ("BLOB", "BYTES"),
    ("BOOL", "BOOLEAN"),
    ("CHAR", "STRING"),
    ("DATETIME", "TIMESTAMP"),
    ("FLOAT", "DOUBLE"),
    ("LONG", "BIGINT"),
    ("NUMBER", "DECIMAL"),
    ("REAL", "DOUBLE"),
    ("ROW", "STRUCT"),
    ("SMALLINT", "INTEGER"),
    ("TEXT", "STRING"),
    ("TINYINT", "INTEGER"),
    ("VARBINARY", "BYTES"),
];

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        let start = self.span();
        let kind = self.statement_kind()?;
        let span = start.to(self.last_span());
        if self.peek() != &Kind::End && !self.take_symbol(";") {
            return Err(self.too_much(&kind));
        }
        Ok(Statement { kind, span })
    }

    /// Something stands behind a statement that is complete.
    fn too_much(&self, kind: &StatementKind) -> Problem {
        let problem = self.expected("';'");
        let Kind::Word(word) = self.peek() else {
            let rows = matches!(kind, StatementKind::InsertValues { .. }) && self.is_symbol(",");
            return match rows {
                true => problem.hint("a statement inserts one record: write one for each"),
                false => problem,
            };
        };
        let query = match kind {
            StatementKind::Create(create) => create.query.is_some(),
            StatementKind::InsertSelect { .. } | StatementKind::Query(_) => true,
            _ => false,
        };
        match word.to_uppercase().as_str() {
            "GROUP" | "PARTITION" | "ORDER" if !self.ahead_is_word(1, "BY") => {
                problem.hint(format!("{} BY", word.to_uppercase()))
            }
            "WITHIN" => problem.hint("WITHIN stands before ON"),
            "UNION" | "EXCEPT" | "INTERSECT" => problem.hint("INSERT INTO ... SELECT adds a second query to a stream"),
            "SELECT" if query => problem.hint("a second query is a statement of its own: INSERT INTO ... SELECT"),
            "WINDOW" | "WHERE" | "GROUP" | "PARTITION" | "HAVING" | "QUALIFY" | "EMIT" | "LIMIT" | "JOIN" if query => problem.hint(
                "the clauses stand in this order: FROM, JOIN, WINDOW, WHERE, GROUP BY, PARTITION BY, HAVING, QUALIFY, EMIT, LIMIT",
            ),
            _ => problem,
        }
    }

    fn statement_kind(&mut self) -> Parsed<StatementKind> {
        if self.is_word("SELECT") {
            return Ok(StatementKind::Query(Box::new(self.query()?)));
        }
        if self.take_word("CREATE") {
            return self.create();
        }
        if self.take_word("INSERT") {
            return self.insert();
        }
        if self.take_word("DROP") {
            return self.drop();
        }
        if let Some(statement) = self.script_statement()? {
            return Ok(statement);
        }
        if self.take_word("SET") {
            let name = self.string("a property's name in quotes")?;
            self.expect_symbol("=")?;
            return Ok(StatementKind::Set(name, self.string("a value in quotes")?));
        }
        if self.take_word("UNSET") {
            return Ok(StatementKind::Unset(self.string("a property's name in quotes")?));
        }
        if let Kind::Word(word) = self.peek() {
            let word = word.to_uppercase();
            if INTERACTIVE.contains(&word.as_str()) {
                let problem = Problem::new(self.span(), format!("{word} is no part of a SQL file"));
                return Err(problem.hint("use the commands of millstream: check, explain, query"));
            }
            if matches!(word.as_str(), "UPDATE" | "DELETE" | "MERGE" | "UPSERT") {
                let problem = Problem::new(self.span(), format!("{word} is no statement: rows change by records"));
                return Err(problem.hint("a record with a table's key replaces its row, one without value deletes it"));
            }
            let known = [
                "CREATE", "INSERT", "DROP", "SELECT", "SET", "UNSET", "ALTER", "ASSERT", "DEFINE", "UNDEFINE",
            ];
            return Err(self.expected("a statement").nearest(&word, known));
        }
        Err(self.expected("a statement"))
    }

    fn create(&mut self) -> Parsed<StatementKind> {
        let or_replace = self.take_words(&["OR", "REPLACE"]);
        let source = self.take_word("SOURCE");
        if !or_replace && !source && self.take_word("TYPE") {
            return self.create_type();
        }
        if self.is_word("CONNECTOR") || self.is_word("SINK") {
            let problem = Problem::new(self.span(), "CONNECTOR is no part of a SQL file");
            return Err(problem.hint("connectors are Kafka Connect's: make them with its REST API"));
        }
        if self.is_word("VIEW") || self.is_word("MATERIALIZED") {
            let problem = self.expected("STREAM or TABLE");
            return Err(problem.hint("CREATE TABLE ... AS SELECT makes a table that can be queried"));
        }
        let kind = self.relation_kind()?;
        let if_not_exists = self.take_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name(&format!("the {}'s name", kind.to_string().to_lowercase()))?;
        let columns = if self.is_symbol("(") {
            Some(self.columns()?)
        } else {
            None
        };
        let with = if self.take_word("WITH") {
            self.properties()?
        } else {
            Vec::new()
        };
        let query = if self.is_word("AS") {
            if columns.is_some() {
                let problem = Problem::new(self.span(), "columns and AS SELECT cannot be given together");
                return Err(problem.hint("the projection says what columns there are"));
            }
            if source {
                let message = format!("a SOURCE {kind} is declared over a topic: it has no query");
                return Err(Problem::new(self.span(), message).hint("leave SOURCE out"));
            }
            self.advance();
            Some(Box::new(self.query()?))
        } else {
            None
        };
        if with.is_empty() && query.is_none() && columns.is_none() {
            return Err(self.expected("WITH or AS SELECT"));
        }
        Ok(StatementKind::Create(Create {
            kind,
            or_replace,
            source,
            if_not_exists,
            name,
            columns,
            with,
            query,
        }))
    }

    pub(super) fn relation_kind(&mut self) -> Parsed<RelationKind> {
        if self.take_word("STREAM") {
            Ok(RelationKind::Stream)
        } else if self.take_word("TABLE") {
            Ok(RelationKind::Table)
        } else {
            Err(self.expected("STREAM or TABLE"))
        }
    }

    pub(super) fn columns(&mut self) -> Parsed<Vec<ColumnDef>> {
        self.expect_symbol("(")?;
        if self.take_symbol(")") {
            return Ok(Vec::new());
        }
        let columns = self.list(Self::column)?;
        self.expect_close(")")?;
        Ok(columns)
    }

    pub(super) fn column(&mut self) -> Parsed<ColumnDef> {
        let name = self.name("a column's name")?;
        let sql_type = self.sql_type().map_err(|problem| match KNOWN.contains(&&*name.text) {
            true => problem.hint(format!("the name of a column comes before its type {}", name.text)),
            false => problem,
        })?;
        let role = if self.take_word("PRIMARY") {
            self.expect_word("KEY")?;
            ColumnRole::PrimaryKey
        } else if self.take_word("KEY") {
            ColumnRole::Key
        } else if self.take_word("HEADERS") {
            ColumnRole::Headers(None)
        } else if self.take_word("HEADER") {
            self.expect_symbol("(")?;
            let header = self.string("a header's name in quotes")?;
            self.expect_symbol(")")?;
            ColumnRole::Headers(Some(header))
        } else {
            ColumnRole::Value
        };
        let span = name.span.to(self.last_span());
        Ok(ColumnDef {
            name,
            sql_type,
            role,
            span,
        })
    }

    pub(super) fn sql_type(&mut self) -> Parsed<SqlType> {
        let mut sql_type = self.deeper(Self::sql_type_here)?;
        // STRING ARRAY, as ksqlDB's grammar has it
        let mut arrays = 0;
        while self.is_word("ARRAY") && !matches!(self.ahead(1), Kind::Symbol(s) if s == "<") {
            arrays += 1;
            if arrays > super::MAX_DEPTH {
                return Err(Problem::new(self.span(), "too many ARRAYs in a row"));
            }
            self.advance();
            sql_type = SqlType::Array(sql_type.into());
        }
        Ok(sql_type)
    }

    fn sql_type_here(&mut self) -> Parsed<SqlType> {
        let (word, span) = match self.peek() {
            Kind::Word(word) => (word.to_uppercase(), self.span()),
            // a type of CREATE TYPE may have any name
            Kind::Quoted(word) if self.types.contains_key(word.as_str()) => (word.clone(), self.span()),
            _ => return Err(self.expected("a type")),
        };
        self.advance();
        if let Some(sql_type) = self.types.get(word.as_str()) {
            return Ok(sql_type.clone());
        }
        Ok(match word.as_str() {
            "BOOLEAN" => SqlType::Boolean,
            "INT" | "INTEGER" => SqlType::Integer,
            "BIGINT" => SqlType::Bigint,
            "DOUBLE" => SqlType::Double,
            "STRING" => SqlType::String,
            "VARCHAR" => {
                // ksqlDB takes VARCHAR(STRING) and so do we; a length means nothing
                if self.take_symbol("(") {
                    self.advance();
                    self.expect_symbol(")")?;
                }
                SqlType::String
            }
            "BYTES" => SqlType::Bytes,
            "DATE" => SqlType::Date,
            "TIME" => SqlType::Time,
            "TIMESTAMP" => SqlType::Timestamp,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "ARRAY" | "MAP" | "STRUCT" if !self.is_symbol("<") && !self.is_symbol("<>") => {
                let like = "ARRAY<STRING>, MAP<STRING, INTEGER>, STRUCT<name STRING, size INTEGER>";
                return Err(self.expected("'<'").hint(like));
            }
            "ARRAY" => {
                self.expect_symbol("<")?;
                let item = self.sql_type()?;
                self.expect_symbol(">")?;
                SqlType::Array(item.into())
            }
            "MAP" => {
                self.expect_symbol("<")?;
                let key = self.sql_type()?;
                self.expect_symbol(",")?;
                let value = self.sql_type()?;
                self.expect_symbol(">")?;
                SqlType::Map(key.into(), value.into())
            }
            "STRUCT" => self.struct_type()?,
            _ => {
                let problem = Problem::new(span, format!("there is no type {word}"));
                if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == word) {
                    return Err(problem.hint(format!("it is called {ours} here")));
                }
                let made = self.types.keys().map(|name| &**name);
                return Err(problem.nearest(&word, KNOWN.iter().copied().chain(made)));
            }
        })
    }

    fn struct_type(&mut self) -> Parsed<SqlType> {
        // STRUCT<> without fields
        if self.take_symbol("<>") {
            return Ok(SqlType::Struct([].into()));
        }
        self.expect_symbol("<")?;
        let fields = self.list(|p| {
            let name = p.any_name("a field's name")?;
            let sql_type = p.sql_type()?;
            Ok((name, sql_type))
        })?;
        self.expect_symbol(">")?;
        for (i, (name, _)) in fields.iter().enumerate() {
            if fields[..i].iter().any(|(other, _)| other == name) {
                return Err(Problem::new(name.span, format!("field {} occurs twice", name.text)));
            }
        }
        let fields = fields.into_iter().map(|(name, sql_type)| StructField {
            name: name.text,
            sql_type,
        });
        Ok(SqlType::Struct(fields.collect()))
    }

    fn decimal(&mut self) -> Parsed<SqlType> {
        if !self.take_symbol("(") {
            let problem = self.expected("'('");
            return Err(problem.hint("DECIMAL(10, 2) has ten digits, two of them after the point"));
        }
        let start = self.span();
        let precision = self.digits("the number of digits")?;
        let scale = if self.take_symbol(",") {
            self.digits("the number of digits after the point")?
        } else {
            0
        };
        let span = start.to(self.last_span());
        self.expect_symbol(")")?;
        if precision == 0 || precision > MAX_PRECISION || scale > precision {
            let rule = format!("DECIMAL takes 1 to {MAX_PRECISION} digits, of which at most all stand after the point");
            return Err(Problem::new(span, rule));
        }
        Ok(SqlType::Decimal { precision, scale })
    }

    pub(super) fn digits(&mut self, what: &str) -> Parsed<u8> {
        let Kind::Number(n) = self.peek() else {
            return Err(self.expected(what));
        };
        let n = n.parse().map_err(|_| self.expected(what))?;
        self.advance();
        Ok(n)
    }

    /// `(NAME = literal, ...)`.
    pub(super) fn properties(&mut self) -> Parsed<Vec<Property>> {
        self.expect_symbol("(")?;
        if self.take_symbol(")") {
            return Ok(Vec::new());
        }
        let all = self.list(|p| {
            let name = match p.peek() {
                // 'kafka_topic' in quotes is allowed
                Kind::String(s) => {
                    let (text, span) = (s.to_uppercase().into(), p.span());
                    p.advance();
                    crate::sql::ast::Name { text, span }
                }
                _ => p.any_name("a property's name")?,
            };
            p.expect_symbol("=")?;
            let span = p.span();
            let value = p.literal().map_err(|problem| match p.peek() {
                Kind::Word(word) => problem.hint(format!("a text stands in quotes: '{word}'")),
                _ => problem,
            })?;
            Ok(Property {
                name,
                value,
                span: span.to(p.last_span()),
            })
        })?;
        self.expect_close(")")?;
        Ok(all)
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let negative = self.take_symbol("-");
        let literal = match self.peek() {
            Kind::Number(n) if negative => Literal::Number(format!("-{n}")),
            Kind::Number(n) => Literal::Number(n.clone()),
            _ if negative => return Err(self.expected("a number")),
            Kind::String(s) => Literal::String(s.clone()),
            Kind::Word(w) if w.eq_ignore_ascii_case("TRUE") => Literal::Boolean(true),
            Kind::Word(w) if w.eq_ignore_ascii_case("FALSE") => Literal::Boolean(false),
            Kind::Word(w) if w.eq_ignore_ascii_case("NULL") => Literal::Null,
            _ => return Err(self.expected("a constant")),
        };
        self.advance();
        Ok(literal)
    }

    fn insert(&mut self) -> Parsed<StatementKind> {
        self.expect_word("INTO")?;
        let into = self.name("a stream's name")?;
        if self.take_word("WITH") {
            let named = self.properties()?;
            if let Some(other) = named.iter().find(|p| &*p.name.text != "QUERY_ID") {
                let message = format!("INSERT INTO takes no property {}", other.name.text);
                return Err(Problem::new(other.name.span, message)
                    .hint("the stream that is written to says how; QUERY_ID is accepted and means nothing here"));
            }
        }
        if self.is_word("SELECT") {
            let query = Box::new(self.query()?);
            return Ok(StatementKind::InsertSelect { into, query });
        }
        let columns = if self.take_symbol("(") {
            let columns = self.list(|p| p.name("a column's name"))?;
            self.expect_symbol(")")?;
            columns
        } else {
            Vec::new()
        };
        if !self.take_word("VALUES") {
            return Err(self.expected("SELECT or VALUES"));
        }
        self.expect_symbol("(")?;
        let values = self.list(Self::expression)?;
        self.expect_symbol(")")?;
        Ok(StatementKind::InsertValues { into, columns, values })
    }

    fn drop(&mut self) -> Parsed<StatementKind> {
        if self.take_word("TYPE") {
            return self.drop_type();
        }
        let kind = self.relation_kind()?;
        let if_exists = self.take_words(&["IF", "EXISTS"]);
        let name = self.name("a name")?;
        let delete_topic = self.take_words(&["DELETE", "TOPIC"]);
        Ok(StatementKind::Drop {
            kind,
            if_exists,
            name,
            delete_topic,
        })
    }
}
