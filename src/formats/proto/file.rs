//! A `.proto` file as data: messages, enums and imports, as far as records need them. Services, extensions and most options are passed over.

/// A parsed file. Names in it are as written; [`super::schema`] resolves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    /// proto3, or an edition: fields without a label have no presence in proto3 only.
    pub(super) syntax: Syntax,
    pub(super) package: String,
    pub(super) imports: Vec<Import>,
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
}

/// The language version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Syntax {
    /// What a file means that does not say.
    #[default]
    Proto2,
    Proto3,
    /// Fields have presence unless they say otherwise.
    Edition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: String,
    pub(super) public: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    pub(super) oneofs: Vec<String>,
    pub(super) messages: Vec<Message>,
    pub(super) enums: Vec<Enum>,
    /// Numbers and names that fields must not have (again).
    pub(super) reserved: Vec<(i64, i64)>,
    pub(super) reserved_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) label: Label,
    pub(super) kind: FieldType,
    pub(super) name: String,
    pub(super) number: u32,
    /// Its oneof, by position in the message.
    pub(super) oneof: Option<usize>,
    /// `(confluent.field_meta).params`.
    pub(super) params: Vec<(String, String)>,
    /// The option `packed`, where given.
    pub(super) packed: Option<bool>,
    /// `features.field_presence = IMPLICIT`.
    pub(super) implicit: bool,
}

impl Field {
    /// A parameter of Confluent's field options.
    pub(super) fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Label {
    #[default]
    None,
    Optional,
    Required,
    Repeated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldType {
    Scalar(Scalar),
    /// A message or enum, as written.
    Named(String),
    /// `map<key, value>`.
    Map(Scalar, Box<FieldType>),
}

/// The types that are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scalar {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
}

const SCALARS: [(Scalar, &str); 15] = [
    (Scalar::Double, "double"),
    (Scalar::Float, "float"),
    (Scalar::Int32, "int32"),
    (Scalar::Int64, "int64"),
    (Scalar::Uint32, "uint32"),
    (Scalar::Uint64, "uint64"),
    (Scalar::Sint32, "sint32"),
    (Scalar::Sint64, "sint64"),
    (Scalar::Fixed32, "fixed32"),
    (Scalar::Fixed64, "fixed64"),
    (Scalar::Sfixed32, "sfixed32"),
    (Scalar::Sfixed64, "sfixed64"),
    (Scalar::Bool, "bool"),
    (Scalar::String, "string"),
    (Scalar::Bytes, "bytes"),
];

impl Scalar {
    /// The type of a keyword.
    pub(super) fn named(name: &str) -> Option<Self> {
        SCALARS.iter().find(|(_, n)| *n == name).map(|(s, _)| *s)
    }

    /// The keyword.
    pub(super) fn name(self) -> &'static str {
        SCALARS.iter().find(|(s, _)| *s == self).map_or("", |(_, n)| n)
    }

    /// Whether several values may share one length-delimited field.
    pub(super) fn is_packable(self) -> bool {
        !matches!(self, Self::String | Self::Bytes)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Enum {
    pub(super) name: String,
    /// Symbols and numbers, in the order of the file.
    pub(super) values: Vec<(String, i32)>,
}
