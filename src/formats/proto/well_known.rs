//! Files that schemas import without a reference: Google's common types and Confluent's, as far as fields go.

/// The text of a file that everybody has.
pub(super) fn file(path: &str) -> Option<&'static str> {
    FILES.iter().find(|(p, _)| *p == path).map(|(_, text)| *text)
}

const FILES: [(&str, &str); 13] = [
    (
        "google/protobuf/timestamp.proto",
        "syntax = \"proto3\"; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }",
    ),
    (
        "google/protobuf/duration.proto",
        "syntax = \"proto3\"; package google.protobuf; message Duration { int64 seconds = 1; int32 nanos = 2; }",
    ),
    (
        "google/protobuf/any.proto",
        "syntax = \"proto3\"; package google.protobuf; message Any { string type_url = 1; bytes value = 2; }",
    ),
    (
        "google/protobuf/empty.proto",
        "syntax = \"proto3\"; package google.protobuf; message Empty {}",
    ),
    (
        "google/protobuf/field_mask.proto",
        "syntax = \"proto3\"; package google.protobuf; message FieldMask { repeated string paths = 1; }",
    ),
    (
        "google/protobuf/struct.proto",
        "syntax = \"proto3\"; package google.protobuf; message Struct { map<string, Value> fields = 1; } message Value { oneof kind { \
         NullValue null_value = 1; double number_value = 2; string string_value = 3; bool bool_value = 4; Struct struct_value = 5; \
         ListValue list_value = 6; } } enum NullValue { NULL_VALUE = 0; } message ListValue { repeated Value values = 1; }",
    ),
    (
        "google/protobuf/wrappers.proto",
        "syntax = \"proto3\"; package google.protobuf; message DoubleValue { double value = 1; } message FloatValue { float value = 1; } \
         message Int64Value { int64 value = 1; } message UInt64Value { uint64 value = 1; } message Int32Value { int32 value = 1; } \
         message UInt32Value { uint32 value = 1; } message BoolValue { bool value = 1; } message StringValue { string value = 1; } \
         message BytesValue { bytes value = 1; }",
    ),
    (
        // options of files and fields: only what is imported for extending them, which is passed over
        "google/protobuf/descriptor.proto",
        "syntax = \"proto2\"; package google.protobuf;",
    ),
    (
        "google/type/date.proto",
        "syntax = \"proto3\"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }",
    ),
    (
        "google/type/timeofday.proto",
        "syntax = \"proto3\"; package google.type; message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; \
         int32 nanos = 4; }",
    ),
    (
        "confluent/meta.proto",
        "syntax = \"proto3\"; package confluent; message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }",
    ),
    (
        "confluent/type/decimal.proto",
        "syntax = \"proto3\"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
    (
        // an older place of the same file
        "confluent/types/decimal.proto",
        "syntax = \"proto3\"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
];

/// Messages that stand for a plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WellKnown {
    Timestamp,
    Date,
    TimeOfDay,
    Decimal,
    /// A message whose only field `value` may be missing.
    Wrapper,
}

impl WellKnown {
    /// By full name.
    pub(super) fn named(full_name: &str) -> Option<Self> {
        Some(match full_name {
            "google.protobuf.Timestamp" => Self::Timestamp,
            "google.type.Date" => Self::Date,
            "google.type.TimeOfDay" => Self::TimeOfDay,
            "confluent.type.Decimal" => Self::Decimal,
            "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt64Value"
            | "google.protobuf.Int32Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.BoolValue"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue" => Self::Wrapper,
            _ => return None,
        })
    }
}
