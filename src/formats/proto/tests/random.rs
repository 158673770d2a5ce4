//! Random rows survive being written and read; random bytes and texts never panic.

use super::*;
use proptest::prelude::*;

fn all_types() -> Vec<Column> {
    let inner = SqlType::Struct(
        [
            field("X", SqlType::Integer),
            field("Y", SqlType::Array(SqlType::Double.into())),
        ]
        .into(),
    );
    vec![
        Column::new("B", SqlType::Boolean),
        Column::new("I", SqlType::Integer),
        Column::new("L", SqlType::Bigint),
        Column::new("D", SqlType::Double),
        Column::new("S", SqlType::String),
        Column::new("Y", SqlType::Bytes),
        Column::new(
            "N",
            SqlType::Decimal {
                precision: 38,
                scale: 3,
            },
        ),
        Column::new("DA", SqlType::Date),
        Column::new("TI", SqlType::Time),
        Column::new("TS", SqlType::Timestamp),
        Column::new("A", SqlType::Array(SqlType::Bigint.into())),
        Column::new("M", SqlType::Map(SqlType::String.into(), inner.clone().into())),
        Column::new("R", inner.clone()),
        Column::new("AR", SqlType::Array(inner.into())),
    ]
}

fn inner_value() -> impl Strategy<Value = Value> {
    let items = proptest::collection::vec(any::<f64>().prop_map(Value::Double), 0..3);
    (any::<i32>(), items).prop_map(|(x, y)| Value::Struct(vec![x.into(), Value::Array(y.into())].into()))
}

fn row() -> impl Strategy<Value = Vec<Value>> {
    let scalars = (
        any::<bool>(),
        any::<i32>(),
        any::<i64>(),
        any::<f64>(),
        "[a-zé]{0,5}",
        proptest::collection::vec(any::<u8>(), 0..4),
        any::<i64>(),
        -700_000..700_000i32,
        0..86_400_000i32,
        -10_000_000_000_000..10_000_000_000_000i64,
    );
    let collections = (
        proptest::collection::vec(any::<i64>().prop_map(Value::Bigint), 0..4),
        proptest::collection::btree_map("[a-c]{0,2}", inner_value(), 0..3),
        proptest::option::of(inner_value()),
        proptest::collection::vec(inner_value(), 0..3),
    );
    (scalars, collections).prop_map(|(s, c)| {
        vec![
            s.0.into(),
            s.1.into(),
            s.2.into(),
            s.3.into(),
            s.4.into(),
            Value::Bytes(s.5.into()),
            Decimal::new(i128::from(s.6), 3).into(),
            Value::Date(s.7),
            Value::Time(s.8),
            Value::Timestamp(s.9),
            Value::Array(c.0.into()),
            crate::types::map_value(c.1.into_iter().map(|(k, v)| (k.into(), v)).collect()),
            c.2.unwrap_or(Value::Null),
            Value::Array(c.3.into()),
        ]
    })
}

proptest! {
    #[test]
    fn rows_survive(row in row(), nulls in 0..3usize, cut in any::<prop::sample::Index>(), noise in any::<u8>()) {
        let mut spec = spec();
        spec.protobuf_nulls = [ProtobufNulls::Default, ProtobufNulls::Optional, ProtobufNulls::Wrapper][nulls];
        let columns = all_types();
        let registry: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        let registered = registry.register("t-value", &made(&spec, &columns)).unwrap();
        prop_assert_eq!(shown(&columns_of(&registered, &spec, false).unwrap()), shown(&columns));
        let mut bytes = Vec::new();
        serializer(&spec, &columns, false, Some(registered)).unwrap().serialize(&row, &mut bytes).unwrap();
        let mut reader = reader(&registry, &columns);
        let mut read = Vec::new();
        reader.deserialize(&bytes, &mut read).unwrap();
        prop_assert_eq!(&read, &row);
        // cut or changed bytes never panic
        let at = cut.index(bytes.len());
        let _: Result<(), _> = reader.deserialize(&bytes[..at], &mut Vec::new());
        bytes[at] ^= noise;
        let _: Result<(), _> = reader.deserialize(&bytes, &mut Vec::new());
        let mut nosr_spec = SerdeSpec::value(Format::ProtobufNosr);
        nosr_spec.protobuf_nulls = spec.protobuf_nulls;
        let used: Vec<usize> = (0..columns.len()).collect();
        let mut nosr = Vec::new();
        serializer(&nosr_spec, &columns, false, None).unwrap().serialize(&row, &mut nosr).unwrap();
        let mut read = Vec::new();
        deserializer(&nosr_spec, &columns, &used, false, &registry).unwrap().deserialize(&nosr, &mut read).unwrap();
        prop_assert_eq!(read, row);
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let columns = all_types();
        let registry: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        registry.register("t-value", &made(&spec(), &columns)).unwrap();
        let used: Vec<usize> = (0..columns.len()).collect();
        let nosr_spec = SerdeSpec::value(Format::ProtobufNosr);
        let _: Result<(), _> =
            deserializer(&nosr_spec, &columns, &used, false, &registry).unwrap().deserialize(&bytes, &mut Vec::new());
        bytes.splice(0..0, [0, 0, 0, 0, 1]);
        let _: Result<(), _> = reader(&registry, &columns).deserialize(&bytes, &mut Vec::new());
    }

    #[test]
    fn no_text_makes_it_panic(proto in "[ a-z{}=;\"/*<>\\[\\],0-9().\n]{0,80}") {
        let _: Result<(), String> = check_schema(&text(&proto));
        let wrapped = format!("syntax = \"proto3\"; message M {{ {proto} }}");
        let _: Result<(), String> = check_schema(&text(&wrapped));
    }
}
