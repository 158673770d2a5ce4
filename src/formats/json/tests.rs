use proptest::prelude::*;

use super::*;
use crate::types::{Decimal, SqlType, StructField, map_value};

fn spec() -> SerdeSpec {
    SerdeSpec::value(Format::Json)
}

fn read_one(sql_type: SqlType, text: &str) -> Result<Value, FormatError> {
    let columns = [Column::new("C", sql_type)];
    let mut out = Vec::new();
    JsonDeserializer::new(&spec(), &columns, &[0])?.deserialize(format!(r#"{{"c": {text} }}"#).as_bytes(), &mut out)?;
    assert_eq!(out.len(), 1);
    Ok(out.remove(0))
}

fn write_row(columns: &[Column], row: &[Value]) -> String {
    let mut out = Vec::new();
    JsonSerializer::new(&spec(), columns)
        .unwrap()
        .serialize(row, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

const DECIMAL: SqlType = SqlType::Decimal {
    precision: 38,
    scale: 3,
};

#[test]
fn values_are_coerced_as_ksqldb_does() {
    let text = |s: &str| Value::from(s);
    let cases = [
        (SqlType::Integer, "12", Value::Integer(12)),
        (SqlType::Integer, "12.9", Value::Integer(12)),
        (SqlType::Integer, "1e3", Value::Integer(1000)),
        (SqlType::Integer, "\"-7\"", Value::Integer(-7)),
        (SqlType::Bigint, "9223372036854775807", Value::Bigint(i64::MAX)),
        (SqlType::Double, "1", Value::Double(1.0)),
        (SqlType::Double, "\"NaN\"", Value::Double(f64::NAN)),
        (SqlType::Boolean, "true", Value::Boolean(true)),
        (SqlType::String, "1.50", text("1.50")),
        (SqlType::String, "false", text("false")),
        (
            SqlType::String,
            r#"{"b": [1, "x\n"], "a" : null}"#,
            text(r#"{"b":[1,"x\n"],"a":null}"#),
        ),
        (
            SqlType::String,
            r#"[1, "a", null, {"x": 1}]"#,
            text(r#"[1, a, null, {"x":1}]"#),
        ),
        (SqlType::String, r#""a\u00e9\ud83d\ude00\/""#, text("aé😀/")),
        (
            DECIMAL,
            "12345678901234567890123456789012345.678",
            "12345678901234567890123456789012345.678"
                .parse::<Decimal>()
                .unwrap()
                .into(),
        ),
        (DECIMAL, "\"1.5\"", Decimal::new(1500, 3).into()),
        (SqlType::Bytes, "\"AP8=\"", Value::Bytes(vec![0, 255].into())),
        (SqlType::Date, "1", Value::Date(1)),
        (SqlType::Time, "86399999", Value::Time(86_399_999)),
        (SqlType::Timestamp, "-1", Value::Timestamp(-1)),
        (
            SqlType::Array(SqlType::Bigint.into()),
            "[1, null]",
            Value::Array(vec![Value::Bigint(1), Value::Null].into()),
        ),
        (
            SqlType::Map(SqlType::Integer.into(), SqlType::String.into()),
            r#"{"2": "x"}"#,
            map_value(vec![(2.into(), text("x"))]),
        ),
        (SqlType::Bigint, "null", Value::Null),
    ];
    for (sql_type, json, expected) in cases {
        assert_eq!(
            read_one(sql_type.clone(), json).unwrap(),
            expected,
            "{sql_type} from {json}"
        );
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let cases = [
        (
            SqlType::Integer,
            "2147483648",
            "JSON, column C, byte 16: expected a number that fits INTEGER, found 2147483648",
        ),
        (
            SqlType::Integer,
            "\"x\"",
            "JSON, column C, byte 9: expected INTEGER, found \"x\"",
        ),
        (
            SqlType::Boolean,
            "\"true\"",
            "JSON, column C, byte 6: expected a boolean, found a string",
        ),
        (
            DECIMAL,
            "1.2345",
            "JSON, column C, byte 12: expected a number that fits DECIMAL(38, 3), found 1.2345",
        ),
        (
            SqlType::Double,
            "1e999",
            "JSON, column C, byte 11: expected a number that fits DOUBLE, found 1e999",
        ),
        (
            SqlType::Array(SqlType::Integer.into()),
            "[1, true]",
            "JSON, column C[1], byte 10: expected INTEGER as a number, found a boolean",
        ),
        (SqlType::Integer, "01", "JSON, byte 7: expected `,` or `}`, found `1`"),
        (
            SqlType::Bytes,
            "\"%\"",
            "JSON, column C, byte 9: expected base64, found \"%\": Invalid symbol 37, offset 0.",
        ),
    ];
    for (sql_type, json, expected) in cases {
        assert_eq!(read_one(sql_type, json).unwrap_err().to_string(), expected);
    }
    assert!(read_one(SqlType::Integer, "1} x").is_err());
    assert!(read_one(SqlType::Integer, &"[".repeat(100_000)).is_err());
    let keys = SqlType::Map(SqlType::Array(SqlType::Integer.into()).into(), SqlType::Integer.into());
    assert!(read_one(keys, "{}").is_err());
}

#[test]
fn fields_are_found_regardless_of_case_and_only_used_ones_are_read() {
    let columns: Vec<Column> = ["A", "B", "c", "C"].map(|n| Column::new(n, SqlType::Integer)).into();
    let read = |used: &[usize], text: &str| {
        let mut out = Vec::new();
        let mut json = JsonDeserializer::new(&spec(), &columns, used).unwrap();
        json.deserialize(text.as_bytes(), &mut out).map(|()| out)
    };
    assert_eq!(
        read(&[0, 1], r#"{"b":2,"x":[{}],"a":1}"#).unwrap(),
        [1.into(), 2.into()]
    );
    assert_eq!(
        read(&[0], r#"{"B":{"not":"an integer"},"A":1,"a":2}"#).unwrap(),
        [1.into()]
    );
    assert_eq!(read(&[2, 3], r#"{"C":1,"c":2}"#).unwrap(), [2.into(), 1.into()]);
    assert_eq!(read(&[0, 1], " null ").unwrap(), [Value::Null, Value::Null]);
    assert_eq!(read(&[0, 1], "{}").unwrap(), [Value::Null, Value::Null]);
    let e = read(&[0], "[1]").unwrap_err().to_string();
    assert_eq!(
        e,
        "JSON, byte 0: expected an object with the columns as fields, found an array"
    );
    assert!(read(&[0], "").is_err());
}

#[test]
fn rows_are_written_exactly() {
    let fields = [StructField {
        name: "CITY".into(),
        sql_type: SqlType::String,
    }];
    let columns = [
        Column::new("ID", SqlType::Bigint),
        Column::new("AMOUNT", DECIMAL),
        Column::new("X", SqlType::Double),
        Column::new("BY", SqlType::Struct(fields.into())),
        Column::new("N", SqlType::Map(SqlType::Bigint.into(), SqlType::Boolean.into())),
        Column::new("B", SqlType::Bytes),
        Column::new("Z", SqlType::String),
    ];
    let row = [
        Value::Bigint(i64::MIN),
        Decimal::new(1, 3).into(),
        Value::Double(1.0),
        Value::Struct(vec!["a\"b\\\u{1}".into()].into()),
        map_value(vec![(Value::Bigint(2), true.into())]),
        Value::Bytes(vec![0, 255].into()),
        Value::Null,
    ];
    let text = write_row(&columns, &row);
    let expected = r#"{"ID":-9223372036854775808,"AMOUNT":0.001,"X":1.0,"BY":{"CITY":"a\"b\\\u0001"},"N":{"2":true},"B":"AP8=","Z":null}"#;
    assert_eq!(text, expected);
    let mut out = Vec::new();
    let used: Vec<usize> = (0..columns.len()).collect();
    JsonDeserializer::new(&spec(), &columns, &used)
        .unwrap()
        .deserialize(text.as_bytes(), &mut out)
        .unwrap();
    assert_eq!(out, row);
}

#[test]
fn a_single_column_can_be_bare() {
    let columns = [Column::new("C", SqlType::Array(SqlType::String.into()))];
    let spec = SerdeSpec::key(Format::Json);
    let row = [Value::Array(vec!["a".into(), Value::Null].into())];
    let mut bytes = Vec::new();
    JsonSerializer::new(&spec, &columns)
        .unwrap()
        .serialize(&row, &mut bytes)
        .unwrap();
    assert_eq!(bytes, br#"["a",null]"#);
    let mut out = Vec::new();
    JsonDeserializer::new(&spec, &columns, &[0])
        .unwrap()
        .deserialize(&bytes, &mut out)
        .unwrap();
    assert_eq!(out, row);
}

proptest! {
    #[test]
    fn serde_json_reads_what_is_written(s in ".*", x in any::<f64>(), n in any::<i64>()) {
        let columns = [
            Column::new("S", SqlType::String),
            Column::new("X", SqlType::Double),
            Column::new("N", SqlType::Bigint),
        ];
        let row = [Value::from(s.as_str()), Value::Double(x), Value::Bigint(n)];
        let text = write_row(&columns, &row);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(json["S"].as_str(), Some(s.as_str()));
        prop_assert_eq!(json["N"].as_i64(), Some(n));
        let mut out = Vec::new();
        JsonDeserializer::new(&spec(), &columns, &[0, 1, 2]).unwrap().deserialize(text.as_bytes(), &mut out).unwrap();
        prop_assert_eq!(&out, &row);
        let pretty = serde_json::to_vec_pretty(&json).unwrap();
        out.clear();
        JsonDeserializer::new(&spec(), &columns, &[0, 1, 2]).unwrap().deserialize(&pretty, &mut out).unwrap();
        prop_assert_eq!(&out, &row);
    }

    #[test]
    fn it_takes_what_serde_json_takes_and_nothing_else(text in r#"[\[\]{}",:\\ u0-9a-fnultre.+-]{0,12}"#) {
        let taken = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        let mut pull = Pull::new(text.as_bytes());
        prop_assert_eq!(pull.skip().and_then(|()| pull.end()).is_ok(), taken, "{}", text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        let columns = [Column::new("C", SqlType::String)];
        let spec = SerdeSpec::key(Format::Json);
        let _: Result<(), FormatError> =
            JsonDeserializer::new(&spec, &columns, &[0]).unwrap().deserialize(&bytes, &mut Vec::new());
    }
}
