//! What each format can do, as data: SQL checks statements against it, and the formats themselves keep to it.

use super::{Column, Format, SqlType};

/// What a format can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatFeatures {
    /// A single column can stand in a record of its own (`WRAP_SINGLE_VALUE = TRUE`).
    pub wraps: bool,
    /// A single column can be the whole record (`WRAP_SINGLE_VALUE = FALSE`); keys of one column then are.
    pub unwraps: bool,
    /// Schemas are in the registry, so that columns can be inferred from them and `*_SCHEMA_ID` names one.
    pub schemas: bool,
    /// The registered record can be named (`*_SCHEMA_FULL_NAME`).
    pub full_name: bool,
    /// `KEY_DELIMITER` and `VALUE_DELIMITER`.
    pub delimiter: bool,
    /// `*_PROTOBUF_NULLABLE_REPRESENTATION`.
    pub protobuf_nulls: bool,
}

const NOTHING: FormatFeatures = FormatFeatures {
    wraps: false,
    unwraps: false,
    schemas: false,
    full_name: false,
    delimiter: false,
    protobuf_nulls: false,
};
const JSON: FormatFeatures = FormatFeatures {
    wraps: true,
    unwraps: true,
    ..NOTHING
};
const JSON_SR: FormatFeatures = FormatFeatures {
    schemas: true,
    full_name: true,
    ..JSON
};
const DELIMITED: FormatFeatures = FormatFeatures {
    delimiter: true,
    ..NOTHING
};
const PROTOBUF_NOSR: FormatFeatures = FormatFeatures {
    wraps: true,
    protobuf_nulls: true,
    ..NOTHING
};
const PROTOBUF: FormatFeatures = FormatFeatures {
    schemas: true,
    full_name: true,
    ..PROTOBUF_NOSR
};

impl Format {
    /// The formats that a statement can name.
    pub const ALL: [Self; 8] = [
        Self::Avro,
        Self::Json,
        Self::JsonSr,
        Self::Protobuf,
        Self::ProtobufNosr,
        Self::Delimited,
        Self::Kafka,
        Self::None,
    ];

    /// The format of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.to_string().eq_ignore_ascii_case(name))
    }

    /// What it can do.
    pub fn features(self) -> &'static FormatFeatures {
        match self {
            Self::Avro | Self::JsonSr => &JSON_SR,
            Self::Json => &JSON,
            Self::Protobuf => &PROTOBUF,
            Self::ProtobufNosr => &PROTOBUF_NOSR,
            Self::Delimited => &DELIMITED,
            Self::Kafka | Self::None | Self::Internal => &NOTHING,
        }
    }

    /// Why it cannot hold these columns, if it cannot.
    pub fn unfit(self, columns: &[Column]) -> Option<&'static str> {
        let every = |fits: fn(&SqlType) -> bool| columns.iter().all(|c| fits(&c.sql_type));
        match self {
            Self::Kafka if columns.len() > 1 => Some("it takes a single column"),
            Self::Kafka => (!every(is_kafkas)).then_some("it takes INTEGER, BIGINT, DOUBLE, STRING or BYTES"),
            Self::Delimited => (!every(is_flat)).then_some("it takes no ARRAY, MAP or STRUCT"),
            Self::None => (!columns.is_empty()).then_some("it holds no bytes at all"),
            Self::Avro | Self::Json | Self::JsonSr => {
                (!every(has_string_keys)).then_some("it takes a MAP with STRING keys only")
            }
            Self::Protobuf | Self::ProtobufNosr if !every(has_string_keys) => {
                Some("it takes a MAP with STRING keys only")
            }
            Self::Protobuf | Self::ProtobufNosr => (!every(has_plain_items))
                .then_some("it takes no ARRAY or MAP as an item of another; put a STRUCT in between"),
            Self::Internal => None,
        }
    }
}

fn is_kafkas(t: &SqlType) -> bool {
    matches!(
        t,
        SqlType::Integer | SqlType::Bigint | SqlType::Double | SqlType::String | SqlType::Bytes
    )
}

fn is_flat(t: &SqlType) -> bool {
    !matches!(t, SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_))
}

fn has_string_keys(t: &SqlType) -> bool {
    match t {
        SqlType::Map(key, value) => **key == SqlType::String && has_string_keys(value),
        SqlType::Array(item) => has_string_keys(item),
        SqlType::Struct(fields) => fields.iter().all(|f| has_string_keys(&f.sql_type)),
        _ => true,
    }
}

/// Whether no list holds lists.
fn has_plain_items(t: &SqlType) -> bool {
    match t {
        SqlType::Map(_, item) | SqlType::Array(item) => {
            !matches!(**item, SqlType::Array(_) | SqlType::Map(..)) && has_plain_items(item)
        }
        SqlType::Struct(fields) => fields.iter().all(|f| has_plain_items(&f.sql_type)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_found_by_its_name() {
        assert!(
            Format::ALL
                .iter()
                .all(|f| Format::named(&f.to_string().to_lowercase()) == Some(*f))
        );
        assert_eq!(Format::named("INTERNAL"), None);
    }

    #[test]
    fn columns_that_do_not_fit_are_said() {
        let column = |sql_type: SqlType| [Column::new("C", sql_type)];
        let list = SqlType::Array(SqlType::Array(SqlType::Integer.into()).into());
        let map = SqlType::Map(SqlType::Integer.into(), SqlType::Integer.into());
        assert!(Format::Kafka.unfit(&column(SqlType::Boolean)).is_some());
        assert!(Format::Kafka.unfit(&column(SqlType::Bytes)).is_none());
        assert!(Format::Delimited.unfit(&column(list.clone())).is_some());
        assert!(Format::Protobuf.unfit(&column(list.clone())).is_some());
        assert!(Format::Json.unfit(&column(list)).is_none());
        assert!(Format::ALL.iter().all(|f| f.unfit(&column(map.clone())).is_some()));
        assert!(Format::None.unfit(&[]).is_none());
    }
}
