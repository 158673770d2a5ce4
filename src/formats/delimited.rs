//! DELIMITED: one line of fields, with the quoting of Apache Commons CSV's default format, which ksqlDB uses.
//!
//! A field in double quotes may hold the delimiter, line ends and doubled quotes. An empty field is NULL, quoted or not. The line must have
//! exactly one field a column; empty lines before it and all lines after it are passed over. A BOOLEAN is TRUE as `true` in any case, and FALSE as
//! any other text.

use std::borrow::Cow;

use crate::types::BASE64;
use base64::Engine;

use crate::types::{Column, Format, SerdeSpec, SqlType, Value};

use super::error::quoted;
use super::{Deserializer, FormatError, Serializer, scalar};

const FORMAT: Format = Format::Delimited;

/// Reads and writes lines.
pub(super) struct Delimited {
    columns: Vec<Column>,
    /// By column: whether it is read.
    used: Vec<bool>,
    delimiter: char,
}

impl Delimited {
    /// For these columns; the ones at the positions `used` are read.
    pub(super) fn new(spec: &SerdeSpec, columns: &[Column], used: &[usize]) -> Result<Self, FormatError> {
        let collection = |c: &&Column| matches!(c.sql_type, SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_));
        if let Some(column) = columns.iter().find(collection) {
            return Err(FormatError::definition(format!(
                "the DELIMITED format holds plain values only, but column {} is {}; use JSON or AVRO",
                column.name, column.sql_type
            )));
        }
        if matches!(spec.delimiter, '"' | '\r' | '\n') {
            return Err(FormatError::definition(format!(
                "{:?} cannot be the delimiter of DELIMITED, it has another meaning there",
                spec.delimiter
            )));
        }
        Ok(Self {
            columns: columns.to_vec(),
            used: (0..columns.len()).map(|i| used.contains(&i)).collect(),
            delimiter: spec.delimiter,
        })
    }

    fn count_error(&self, found: usize) -> FormatError {
        let noun = if self.columns.len() == 1 { "field" } else { "fields" };
        FormatError::data(FORMAT, format!("{} {noun}", self.columns.len()), found.to_string())
    }
}

/// A line being read, from byte `at` on.
struct Line<'a> {
    text: &'a str,
    at: usize,
    delimiter: char,
}

impl<'a> Line<'a> {
    /// The next field, and whether another one follows.
    fn field(&mut self) -> Result<(Cow<'a, str>, bool), FormatError> {
        let rest = &self.text[self.at..];
        if !rest.starts_with('"') {
            let end = rest.find([self.delimiter, '\r', '\n']).unwrap_or(rest.len());
            self.at += end;
            return Ok((Cow::Borrowed(&rest[..end]), self.separator()?));
        }
        let start = self.at;
        self.at += 1;
        let mut unquoted: Option<String> = None;
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find('"') else {
                return Err(FormatError::data(FORMAT, "a closing double quote", "the end of the line").at(start));
            };
            self.at += end + 1;
            let piece = &rest[..end];
            if !rest[end + 1..].starts_with('"') {
                let field = match unquoted {
                    Some(text) => Cow::Owned(text + piece),
                    None => Cow::Borrowed(piece),
                };
                return Ok((field, self.separator()?));
            }
            // a doubled quote stands for one
            self.at += 1;
            let text = unquoted.get_or_insert_default();
            text.push_str(piece);
            text.push('"');
        }
    }

    /// Passes over what stands behind a field; whether it is a delimiter.
    fn separator(&mut self) -> Result<bool, FormatError> {
        let rest = &self.text[self.at..];
        if rest.starts_with(self.delimiter) {
            self.at += self.delimiter.len_utf8();
            return Ok(true);
        }
        match rest.trim_matches(['\r', '\n', ' ', '\t']) {
            "" => Ok(false),
            _ if rest.starts_with(['\r', '\n']) => Ok(false),
            other => Err(FormatError::data(FORMAT, "a delimiter after a quoted field", quoted(other)).at(self.at)),
        }
    }
}

impl Deserializer for Delimited {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| FormatError::data(FORMAT, "UTF-8 text", "bytes that are none").at(e.valid_up_to()))?;
        let mut line = Line {
            text,
            at: text.len() - text.trim_start_matches(['\r', '\n']).len(),
            delimiter: self.delimiter,
        };
        if line.at == text.len() {
            return Err(FormatError::data(FORMAT, "a line of fields", "no bytes"));
        }
        let mut n = 0;
        let mut more = true;
        while more {
            let at = line.at;
            let field;
            (field, more) = line.field()?;
            if let (Some(column), Some(true)) = (self.columns.get(n), self.used.get(n)) {
                out.push(if field.is_empty() {
                    Value::Null
                } else if column.sql_type == SqlType::Boolean {
                    Value::Boolean(field.eq_ignore_ascii_case("true"))
                } else {
                    scalar::parse(&field, &column.sql_type).ok_or_else(|| {
                        let expected = column.sql_type.to_string();
                        FormatError::data(FORMAT, expected, quoted(&field))
                            .at(at)
                            .inside(&column.name)
                    })?
                });
            }
            n += 1;
        }
        if n == self.columns.len() {
            Ok(())
        } else {
            Err(self.count_error(n))
        }
    }
}

impl Serializer for Delimited {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut buffer = [0; 4];
        let delimiter = self.delimiter.encode_utf8(&mut buffer).as_bytes();
        for (i, value) in row.iter().enumerate() {
            if i > 0 {
                out.extend_from_slice(delimiter);
            }
            let text = match value {
                Value::Null => continue,
                Value::String(s) => Cow::Borrowed(&**s),
                Value::Boolean(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
                Value::Integer(n) | Value::Date(n) | Value::Time(n) => n.to_string().into(),
                Value::Bigint(n) | Value::Timestamp(n) => n.to_string().into(),
                Value::Double(x) => crate::types::double_to_string(*x).into(),
                Value::Decimal(d) => d.to_string().into(),
                Value::Bytes(b) => BASE64.encode(b).into(),
                Value::Array(_) | Value::Map(_) | Value::Struct(_) => {
                    let found = super::error::kind_of(value);
                    return Err(FormatError::unwritable(FORMAT, "a plain value", found));
                }
            };
            if needs_quotes(&text, i == 0, self.delimiter) {
                out.push(b'"');
                out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
                out.push(b'"');
            } else {
                out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }
}

/// Commons CSV's minimal quoting: where reading needs it, and where a line could be taken for something else.
fn needs_quotes(text: &str, first_of_line: bool, delimiter: char) -> bool {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().last()) else {
        // an empty first field would make the line look empty
        return first_of_line;
    };
    let odd_start = matches!(first, '\0'..='\u{1f}' | '"' | ',') || first > '~';
    (first_of_line && odd_start)
        || first <= '#'
        || last <= ' '
        || text.contains(['\n', '\r', '"'])
        || text.contains(delimiter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Decimal;

    fn columns() -> Vec<Column> {
        vec![
            Column::new("S", SqlType::String),
            Column::new("N", SqlType::Bigint),
            Column::new("D", SqlType::Decimal { precision: 5, scale: 2 }),
        ]
    }

    fn read(delimiter: char, columns: &[Column], text: &str) -> Result<Vec<Value>, FormatError> {
        let mut spec = SerdeSpec::value(FORMAT);
        spec.delimiter = delimiter;
        let used: Vec<usize> = (0..columns.len()).collect();
        let mut out = Vec::new();
        Delimited::new(&spec, columns, &used)?
            .deserialize(text.as_bytes(), &mut out)
            .map(|()| out)
    }

    fn write(columns: &[Column], row: &[Value]) -> String {
        let mut out = Vec::new();
        Delimited::new(&SerdeSpec::value(FORMAT), columns, &[])
            .unwrap()
            .serialize(row, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_read() {
        let row = |s: Value, n: i64, d: i128| vec![s, Value::Bigint(n), Decimal::new(d, 2).into()];
        assert_eq!(read(',', &columns(), "a b,1,2.5").unwrap(), row("a b".into(), 1, 250));
        assert_eq!(
            read(',', &columns(), "\"x,\"\"y\"\"\n\",-1,2\r\n").unwrap(),
            row("x,\"y\"\n".into(), -1, 200)
        );
        assert_eq!(read('|', &columns(), "a,b|1|2").unwrap(), row("a,b".into(), 1, 200));
        assert_eq!(
            read(',', &columns(), "\"\",,").unwrap(),
            [Value::Null, Value::Null, Value::Null]
        );
        let mut some = Delimited::new(&SerdeSpec::value(FORMAT), &columns(), &[1]).unwrap();
        let mut out = Vec::new();
        some.deserialize(b"a,7,not read", &mut out).unwrap();
        assert_eq!(out, [Value::Bigint(7)]);
    }

    #[test]
    fn bad_lines_are_refused() {
        let said = |text: &str| read(',', &columns(), text).unwrap_err().to_string();
        assert_eq!(said("a,1"), "DELIMITED: expected 3 fields, found 2");
        assert_eq!(said("a,1,2,3"), "DELIMITED: expected 3 fields, found 4");
        assert_eq!(
            said("a,x,2"),
            "DELIMITED, column N, byte 2: expected BIGINT, found \"x\""
        );
        assert_eq!(
            said("a,1,2.555"),
            "DELIMITED, column D, byte 4: expected DECIMAL(5, 2), found \"2.555\""
        );
        assert_eq!(
            said("\"a,1,2"),
            "DELIMITED, byte 0: expected a closing double quote, found the end of the line"
        );
        assert_eq!(
            said("\"a\"b,1,2"),
            "DELIMITED, byte 3: expected a delimiter after a quoted field, found \"b,1,2\""
        );
        assert_eq!(said("\n"), "DELIMITED: expected a line of fields, found no bytes");
        assert_eq!(read(',', &columns(), "\na,1,2\nb,2,3").unwrap()[1], Value::Bigint(1));
        let array = [Column::new("A", SqlType::Array(SqlType::Integer.into()))];
        assert!(read(',', &array, "").is_err());
    }

    #[test]
    fn booleans_and_doubles_are_javas() {
        let columns = [Column::new("B", SqlType::Boolean), Column::new("X", SqlType::Double)];
        let row = |b: bool, x: f64| vec![Value::Boolean(b), Value::Double(x)];
        assert_eq!(read(',', &columns, "TRUE,1e3").unwrap(), row(true, 1000.0));
        assert_eq!(read(',', &columns, "yes,-0.5").unwrap(), row(false, -0.5));
        for (x, text) in [
            (1e7, "1.0E7"),
            (123.0, "123.0"),
            (0.001, "0.001"),
            (1.5e-4, "1.5E-4"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(write(&columns, &row(true, x)), format!("true,{text}"));
        }
    }

    #[test]
    fn lines_are_written_with_as_few_quotes_as_commons_csv() {
        let row = |s: &str| [Value::from(s), Value::Bigint(-1), Decimal::new(150, 2).into()];
        assert_eq!(write(&columns(), &row("a b")), "a b,-1,1.50");
        assert_eq!(write(&columns(), &row("a,\"b\"")), "\"a,\"\"b\"\"\",-1,1.50");
        assert_eq!(write(&columns(), &row(" a")), "\" a\",-1,1.50");
        assert_eq!(write(&columns(), &row("")), "\"\",-1,1.50");
        assert_eq!(write(&columns(), &[Value::Null, Value::Null, Value::Null]), ",,");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(s in "[^\0]+", t in "[a\",\r\n #é-]*", x in any::<f64>()) {
            let columns = [
                Column::new("S", SqlType::String),
                Column::new("T", SqlType::String),
                Column::new("X", SqlType::Double),
            ];
            let null_if_empty = |t: &str| if t.is_empty() { Value::Null } else { t.into() };
            let row = [Value::from(s.as_str()), t.as_str().into(), Value::Double(x)];
            let read = read(',', &columns, &write(&columns, &row)).unwrap();
            prop_assert_eq!(read, [Value::from(s.as_str()), null_if_empty(&t), Value::Double(x)]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let mut delimited = Delimited::new(&SerdeSpec::value(FORMAT), &columns(), &[0, 1, 2]).unwrap();
            let _: Result<(), FormatError> = delimited.deserialize(&bytes, &mut Vec::new());
        }
    }
}
