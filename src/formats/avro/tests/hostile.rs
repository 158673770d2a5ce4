use proptest::prelude::*;

use super::*;
use crate::types::{SqlType, StructField};

const ALL: &str = r#"{"type":"record","name":"All","fields":[
    {"name":"skipped","type":["null",{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]},
        {"name":"m","type":{"type":"map","values":{"type":"array","items":"N"}}}]}]},
    {"name":"i","type":"int"},
    {"name":"s","type":["string","null"]},
    {"name":"a","type":{"type":"array","items":{"type":"array","items":"null"}}},
    {"name":"m","type":{"type":"map","values":"bytes"}},
    {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":4}},
    {"name":"f","type":{"type":"fixed","name":"F","size":3}},
    {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
    {"name":"r","type":{"type":"record","name":"R","fields":[{"name":"b","type":"boolean"},{"name":"x","type":"float"}]}}]}"#;

fn columns() -> Vec<Column> {
    let array = |t: SqlType| SqlType::Array(t.into());
    let fields = [("B", SqlType::Boolean), ("X", SqlType::Double)];
    let fields = fields.map(|(name, sql_type)| StructField {
        name: name.into(),
        sql_type,
    });
    vec![
        Column::new("I", SqlType::Bigint),
        Column::new("S", SqlType::String),
        Column::new("A", array(array(SqlType::Integer))),
        Column::new("M", SqlType::Map(SqlType::String.into(), SqlType::Bytes.into())),
        Column::new(
            "D",
            SqlType::Decimal {
                precision: 38,
                scale: 6,
            },
        ),
        Column::new("F", SqlType::Bytes),
        Column::new("E", SqlType::String),
        Column::new("R", SqlType::Struct(fields.into())),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..80)) {
        let _: Result<Vec<Value>, FormatError> = read(ALL, &columns(), &record(&body));
    }
}

#[test]
fn counts_beyond_the_record_take_no_memory() {
    let nulls = r#"{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#;
    let column = [Column::new("A", SqlType::Array(SqlType::Integer.into()))];
    let mut count = Vec::new();
    super::super::output::long(i64::MAX, &mut count);
    for text in [nulls, &nulls.replace("\"null\"", "\"int\"")] {
        let e = read(text, &column, &record(&count)).unwrap_err().to_string();
        assert!(
            e.starts_with("AVRO, column A, byte 5: expected a number of items, found"),
            "{e}"
        );
    }
    // many blocks of few nulls are bounded as well
    let block = [0xfe, 0xff, 0x03];
    assert!(read(nulls, &column, &record(&block.repeat(40))).is_err());
}

#[test]
fn nesting_is_bounded() {
    let body = [2, 2].repeat(100_000);
    let e = read(ALL, &columns()[..1], &record(&body)).unwrap_err().to_string();
    assert!(e.contains("at most 256 levels of nesting"), "{e}");
}

#[test]
fn errors_say_what_was_expected_where() {
    let text = r#"{"type":"record","name":"A","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"}]}"#;
    let columns = [Column::new("ID", SqlType::Bigint), Column::new("NAME", SqlType::String)];
    let e = read(text, &columns, &record(&[2, 8, b'a'])).unwrap_err().to_string();
    assert_eq!(
        e,
        "AVRO, column NAME, byte 6: expected a length of bytes or text, found 4 where 1 bytes are left"
    );
    let e = read(text, &columns, &record(&[2, 2, 0xff])).unwrap_err().to_string();
    assert_eq!(
        e,
        "AVRO, column NAME, byte 7: expected UTF-8 text, found bytes that are none"
    );
    let e = read(text, &columns, b"{\"id\":1}").unwrap_err().to_string();
    assert!(e.ends_with("found text that looks like JSON"), "{e}");
    let wrong = [Column::new("NAME", SqlType::Double)];
    let e = read(text, &wrong, &record(&[2, 0])).unwrap_err().to_string();
    assert_eq!(
        e,
        "AVRO, column NAME: expected a type that can be read as DOUBLE, found the type string"
    );
}
