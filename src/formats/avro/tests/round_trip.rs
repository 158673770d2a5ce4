use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal as AvroDecimal, Schema};
use proptest::prelude::*;

use super::super::super::SinkSchema;
use super::super::super::sink_schema;
use super::*;
use crate::types::{Decimal, SqlType, StructField, map_value};

fn any_type() -> impl Strategy<Value = SqlType> {
    let leaf = prop_oneof![
        Just(SqlType::Boolean),
        Just(SqlType::Integer),
        Just(SqlType::Bigint),
        Just(SqlType::Double),
        Just(SqlType::String),
        Just(SqlType::Bytes),
        Just(SqlType::Date),
        Just(SqlType::Time),
        Just(SqlType::Timestamp),
        (1u8..=38)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(precision, scale)| SqlType::Decimal { precision, scale }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let field = |(i, sql_type)| StructField {
            name: format!("F{i}").into(),
            sql_type,
        };
        prop_oneof![
            inner.clone().prop_map(|t| SqlType::Array(t.into())),
            inner
                .clone()
                .prop_map(|t| SqlType::Map(SqlType::String.into(), t.into())),
            proptest::collection::vec(inner, 1..4)
                .prop_map(move |types| SqlType::Struct(types.into_iter().enumerate().map(field).collect())),
        ]
    })
}

fn any_value(sql_type: &SqlType) -> BoxedStrategy<Value> {
    let some = match sql_type {
        SqlType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        SqlType::Integer => any::<i32>().prop_map(Value::Integer).boxed(),
        SqlType::Bigint => any::<i64>().prop_map(Value::Bigint).boxed(),
        SqlType::Double => any::<f64>().prop_map(Value::Double).boxed(),
        SqlType::String => ".{0,8}".prop_map(Value::from).boxed(),
        SqlType::Bytes => any::<Vec<u8>>().prop_map(|b| Value::Bytes(b.into())).boxed(),
        SqlType::Date => any::<i32>().prop_map(Value::Date).boxed(),
        SqlType::Time => (0..86_400_000).prop_map(Value::Time).boxed(),
        SqlType::Timestamp => any::<i64>().prop_map(Value::Timestamp).boxed(),
        SqlType::Decimal { precision, scale } => {
            let (limit, scale) = (10i128.pow(u32::from(*precision)) - 1, *scale);
            (-limit..=limit)
                .prop_map(move |n| Decimal::new(n, scale).into())
                .boxed()
        }
        SqlType::Array(item) => proptest::collection::vec(any_value(item), 0..4)
            .prop_map(|items| Value::Array(items.into()))
            .boxed(),
        SqlType::Map(_, value) => {
            proptest::collection::vec(("[a-z]{0,3}".prop_map(Value::from), any_value(value)), 0..4)
                .prop_map(map_value)
                .boxed()
        }
        SqlType::Struct(fields) => fields
            .iter()
            .map(|f| any_value(&f.sql_type))
            .collect::<Vec<_>>()
            .prop_map(|values| Value::Struct(values.into()))
            .boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 5 => some].boxed()
}

/// Columns and a row for them.
fn any_row() -> impl Strategy<Value = (Vec<Column>, Vec<Value>)> {
    proptest::collection::vec(any_type(), 1..5).prop_flat_map(|types| {
        let row: Vec<_> = types.iter().map(any_value).collect();
        let column = |(i, t)| Column::new(format!("C{i}"), t);
        (Just(types.into_iter().enumerate().map(column).collect()), row)
    })
}

/// What apache-avro calls a value of a nullable field.
fn to_avro(value: &Value, sql_type: &SqlType) -> Avro {
    let inner = match (value, sql_type) {
        (Value::Null, _) => return Avro::Union(0, Box::new(Avro::Null)),
        (Value::Boolean(b), _) => Avro::Boolean(*b),
        (Value::Integer(n), _) => Avro::Int(*n),
        (Value::Bigint(n), _) => Avro::Long(*n),
        (Value::Double(x), _) => Avro::Double(*x),
        (Value::Decimal(d), _) => Avro::Decimal(AvroDecimal::from(
            super::super::output::integer(d.unscaled(), &mut [0; 16]).to_vec(),
        )),
        (Value::String(s), _) => Avro::String(s.to_string()),
        (Value::Bytes(b), _) => Avro::Bytes(b.to_vec()),
        (Value::Date(n), _) => Avro::Date(*n),
        (Value::Time(n), _) => Avro::TimeMillis(*n),
        (Value::Timestamp(n), _) => Avro::TimestampMillis(*n),
        (Value::Array(items), SqlType::Array(t)) => Avro::Array(items.iter().map(|i| to_avro(i, t)).collect()),
        (Value::Map(entries), SqlType::Map(_, t)) => {
            let entry = |(k, v): &(Value, Value)| {
                let (key, value) = (to_avro(k, &SqlType::String), to_avro(v, t));
                Avro::Record(vec![("key".into(), key), ("value".into(), value)])
            };
            Avro::Array(entries.iter().map(entry).collect())
        }
        (Value::Struct(values), SqlType::Struct(fields)) => {
            let field = |(v, f): (&Value, &StructField)| (f.name.to_string(), to_avro(v, &f.sql_type));
            Avro::Record(values.iter().zip(fields.iter()).map(field).collect())
        }
        (value, sql_type) => panic!("{value:?} is no {sql_type}"),
    };
    Avro::Union(1, Box::new(inner))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn apache_avro_reads_what_is_written_and_writes_what_is_read((columns, row) in any_row()) {
        let spec = SerdeSpec::value(Format::Avro);
        let SinkSchema::New(schema) = sink_schema(&columns, &spec, false, None).unwrap() else {
            panic!("no new schema");
        };
        let parsed = Schema::parse_str(&schema.text).unwrap();
        let ours = write(&schema.text, &columns, &row).unwrap();
        let expected = Avro::Record(
            columns.iter().zip(&row).map(|(c, v)| (c.name.to_string(), to_avro(v, &c.sql_type))).collect(),
        );
        let read_by_avro = GenericDatumReader::builder(&parsed).build().unwrap().read_value(&mut &ours[5..]).unwrap();
        let theirs = GenericDatumWriter::builder(&parsed).build().unwrap().write_value_to_vec(expected.clone()).unwrap();
        prop_assert_eq!(format!("{:?}", sorted(read_by_avro)), format!("{:?}", sorted(expected)));
        prop_assert_eq!(&read(&schema.text, &columns, &record(&theirs)).unwrap(), &row);
        prop_assert_eq!(&read(&schema.text, &columns, &ours).unwrap(), &row);

        // each column alone, the others passed over; a record cut anywhere is refused or gives the same
        for (i, expected) in row.iter().enumerate() {
            let (schemas, _) = registry(&schema.text);
            let mut one = AvroDeserializer::new(&spec, &columns, &[i], &schemas).unwrap();
            let mut out = Vec::new();
            one.deserialize(&ours, &mut out).unwrap();
            prop_assert_eq!(&out, std::slice::from_ref(expected));
        }
        let (schemas, _) = registry(&schema.text);
        let all: Vec<usize> = (0..columns.len()).collect();
        let mut deserializer = AvroDeserializer::new(&spec, &columns, &all, &schemas).unwrap();
        for cut in 0..ours.len() {
            prop_assert!(deserializer.deserialize(&ours[..cut], &mut Vec::new()).is_err());
        }
    }
}

/// apache-avro's maps have no order.
fn sorted(value: Avro) -> String {
    match value {
        Avro::Map(entries) => {
            let mut entries: Vec<(String, String)> = entries.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort();
            format!("{entries:?}")
        }
        Avro::Array(items) => format!("{:?}", items.into_iter().map(sorted).collect::<Vec<_>>()),
        Avro::Record(fields) => format!(
            "{:?}",
            fields.into_iter().map(|(k, v)| (k, sorted(v))).collect::<Vec<_>>()
        ),
        Avro::Union(i, inner) => format!("{i}:{}", sorted(*inner)),
        other => format!("{other:?}"),
    }
}

#[test]
fn numbers_are_widened_and_names_matched_regardless_of_case() {
    let text = r#"{"type":"record","name":"A","fields":[{"name":"anInt","type":"int"},{"name":"ALong","type":"long"},
        {"name":"aFloat","type":"float"},{"name":"u","type":["int","null","long"]},
        {"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"t","type":{"type":"long","logicalType":"time-micros"}}]}"#;
    let body = [2, 4, 0, 0, 0, 63, 4, 6, 1, 0xa0, 0x1f];
    let columns = [
        Column::new("AFLOAT", SqlType::Double),
        Column::new("ALONG", SqlType::Double),
        Column::new("ANINT", SqlType::Bigint),
        Column::new("MICROS", SqlType::Timestamp),
        Column::new("T", SqlType::Time),
        Column::new("U", SqlType::Bigint),
    ];
    let row = read(text, &columns, &record(&body)).unwrap();
    let expected = [
        Value::Double(0.5),
        Value::Double(2.0),
        Value::Bigint(1),
        Value::Timestamp(-1),
        Value::Time(2),
        Value::Bigint(3),
    ];
    assert_eq!(row, expected);
}

#[test]
fn a_map_with_other_keys_is_an_array_of_entries() {
    let columns = [Column::new(
        "M",
        SqlType::Map(SqlType::Integer.into(), SqlType::String.into()),
    )];
    let spec = SerdeSpec::value(Format::Avro);
    let SinkSchema::New(schema) = sink_schema(&columns, &spec, false, None).unwrap() else {
        panic!("no new schema");
    };
    let row = [map_value(vec![(2.into(), "b".into()), (1.into(), Value::Null)])];
    let bytes = write(&schema.text, &columns, &row).unwrap();
    assert_eq!(read(&schema.text, &columns, &bytes).unwrap(), row);
    let registered = registry(&schema.text).1;
    // ksqlDB's columns have texts for keys, whatever the writer has
    let texts = [Column::new(
        "M",
        SqlType::Map(SqlType::String.into(), SqlType::String.into()),
    )];
    assert_eq!(super::super::columns_of(&registered, &spec, false).unwrap(), texts);
    let read = read(&schema.text, &texts, &bytes).unwrap();
    assert_eq!(
        read,
        [map_value(vec![("1".into(), Value::Null), ("2".into(), "b".into())])]
    );
}

/// Not a benchmark, but the figure to look at: `cargo test --lib nanoseconds -- --nocapture --ignored`.
#[test]
#[ignore = "prints a figure"]
fn nanoseconds_a_record() {
    let text = r#"{"type":"record","name":"Rating","fields":[{"name":"movie_id","type":"long"},
        {"name":"rating","type":"double"},{"name":"user_id","type":"long"}]}"#;
    let columns = [
        Column::new("MOVIE_ID", SqlType::Bigint),
        Column::new("RATING", SqlType::Double),
        Column::new("USER_ID", SqlType::Bigint),
    ];
    let row = [Value::Bigint(70_000), Value::Double(4.5), Value::Bigint(900_000)];
    let bytes = write(text, &columns, &row).unwrap();
    let spec = SerdeSpec::value(Format::Avro);
    let (schemas, schema) = registry(text);
    let mut deserializer: Box<dyn Deserializer> =
        Box::new(AvroDeserializer::new(&spec, &columns, &[0, 1, 2], &schemas).unwrap());
    let mut serializer: Box<dyn Serializer> = Box::new(AvroSerializer::new(&spec, &columns, Some(schema)).unwrap());
    // the fastest of some batches: other processes only ever make it slower
    const BATCH: u32 = 20_000;
    let fastest = |step: &mut dyn FnMut()| {
        let batch = |_| {
            let start = std::time::Instant::now();
            (0..BATCH).for_each(|_| step());
            start.elapsed() / BATCH
        };
        (0..50).map(batch).min().unwrap_or_default()
    };
    let (mut out, mut written) = (Vec::new(), Vec::new());
    let read = fastest(&mut || {
        out.clear();
        deserializer
            .deserialize(std::hint::black_box(&bytes), &mut out)
            .unwrap();
    });
    let write = fastest(&mut || {
        written.clear();
        serializer.serialize(std::hint::black_box(&row), &mut written).unwrap();
    });
    println!("reading {read:?}, writing {write:?} a record of three fields");
    assert_eq!((out.as_slice(), &written), (row.as_slice(), &bytes));
}
