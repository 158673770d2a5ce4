//! Whether a schema may follow others, in any of the three languages. The rules themselves are each language's own.

use super::source::{Compatibility, CompatibilityLevel, SchemaText, SchemaType};

/// Whether `new` may follow `old` (the newest first) at a level. Messages name the path and the difference.
///
/// # Errors
/// When `new` is no schema of its language. An old one that cannot be parsed is an incompatibility.
pub fn check_compatibility(
    level: CompatibilityLevel,
    new: &SchemaText,
    old: &[SchemaText],
) -> Result<Compatibility, String> {
    if level == CompatibilityLevel::None {
        return Ok(Compatibility::Compatible);
    }
    let depth = if level.is_transitive() { old.len() } else { 1 };
    let old = &old[..depth.min(old.len())];
    if let Some(other) = old.iter().find(|o| o.schema_type != new.schema_type) {
        let message = format!(
            "SCHEMA_TYPE_MISMATCH at /: the new schema is {}, the old one {}",
            new.schema_type, other.schema_type
        );
        return Ok(Compatibility::Incompatible(vec![message]));
    }
    let compare = match new.schema_type {
        SchemaType::Avro => return super::check_avro_compatibility(level, new, old),
        SchemaType::Json => super::json_schema::compat::compare,
        SchemaType::Protobuf => super::proto::compat::compare,
    };
    let mut messages = Vec::new();
    for old in old {
        messages.extend(compare(level, new, old)?);
    }
    Ok(if messages.is_empty() {
        Compatibility::Compatible
    } else {
        Compatibility::Incompatible(messages)
    })
}
