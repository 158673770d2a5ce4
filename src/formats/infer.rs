//! What columns from schemas, and schemas for columns, have in common in all languages of schemas. The languages themselves are not known here.

use std::cell::Cell;

use crate::types::{SerdeSpec, StructField};

use super::source::{RegisteredSchema, SchemaType};
use super::{FormatError, SinkSchema};

/// A type that others contain again and again could stand for any number of fields; more than these are no columns.
const MOST_FIELDS: usize = 50_000;

/// Why a schema that is no record cannot be a value's: a value of several columns is a record.
pub(super) const UNWRAPPED: &str =
    "it is no record, so that it is the value of a single column; add WRAP_SINGLE_VALUE=FALSE to the WITH clause";

/// An error's text with the registered schema that it is about.
pub(super) fn at(registered: &RegisteredSchema) -> impl Fn(String) -> FormatError + Copy {
    move |m: String| {
        let RegisteredSchema {
            id, subject, version, ..
        } = registered;
        FormatError::definition(format!("schema {id} (subject {subject}, version {version}): {m}"))
    }
}

/// Fields become columns: their names, and how many there are.
pub(super) struct Fields {
    keep_case: bool,
    left: Cell<usize>,
}

impl Fields {
    /// Names are folded to upper case unless the definition names the schema's id.
    pub(super) fn of(spec: &SerdeSpec) -> Self {
        Self {
            keep_case: spec.schema_id.is_some(),
            left: Cell::new(MOST_FIELDS),
        }
    }

    /// Names as the schema spells them.
    pub(super) fn spelled() -> Self {
        Self {
            keep_case: true,
            left: Cell::new(MOST_FIELDS),
        }
    }

    /// A column's name for that of a field.
    pub(super) fn name(&self, name: &str) -> String {
        if self.keep_case {
            name.to_string()
        } else {
            name.to_uppercase()
        }
    }

    /// Counts the fields of a type that is gone into.
    pub(super) fn enter(&self, fields: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(fields);
        self.left.set(left.ok_or_else(|| {
            format!("it has more than {MOST_FIELDS} fields; name the columns in the statement and leave it out")
        })?);
        Ok(())
    }
}

/// Adds a field to those of a STRUCT.
pub(super) fn add(field: StructField, to: &mut Vec<StructField>) -> Result<(), String> {
    if to.iter().any(|f| f.name == field.name) {
        return Err(format!(
            "fields differ from `{}` only in case; name the columns in the statement",
            field.name
        ));
    }
    to.push(field);
    Ok(())
}

/// The schema that a subject has, if records can be written with it. `fits` says whether the columns fit, or why not; `None` asks for a new schema.
///
/// # Errors
/// When the definition names a schema by its id that does not fit.
pub(super) fn registered_that_fits(
    latest: Option<&RegisteredSchema>,
    spec: &SerdeSpec,
    schema_type: SchemaType,
    fits: impl FnOnce(&RegisteredSchema) -> Result<bool, FormatError>,
) -> Result<Option<SinkSchema>, FormatError> {
    let named = |r: &&RegisteredSchema| spec.schema_id.is_none_or(|id| id == r.id);
    if let Some(registered) = latest.filter(|r| r.schema.schema_type == schema_type).filter(named) {
        match (fits(registered), spec.schema_id) {
            (Ok(true), _) => return Ok(Some(SinkSchema::Registered(registered.clone()))),
            (Err(e), Some(_)) => return Err(e),
            (Ok(false) | Err(_), _) => {}
        }
    }
    match spec.schema_id {
        Some(id) => Err(FormatError::definition(format!(
            "schema {id} is to be written with, but it was not given; it must be a {schema_type} schema that the registry has"
        ))),
        None => Ok(None),
    }
}
