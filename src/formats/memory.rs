//! A registry in memory, for tests and for the simulation: no HTTP, no persistence, no deletes. Registering takes every schema;
//! checking holds it against the latest one (BACKWARD).

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::source::{Compatibility, RegisteredSchema, RegistryError, SchemaSource, SchemaText};

/// Schemas by subject; ids count from 1. It can be switched off, to test what happens when a registry is away.
#[derive(Default)]
pub struct MemoryRegistry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    schemas: BTreeMap<u32, SchemaText>,
    /// Ids by subject, in the order of versions.
    subjects: BTreeMap<String, Vec<u32>>,
    away: bool,
    questions: usize,
}

impl MemoryRegistry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every question fail as [`RegistryError::Unavailable`], or answers again.
    pub fn set_away(&self, away: bool) {
        self.inner.lock().away = away;
    }

    /// How many questions were asked.
    pub fn questions(&self) -> usize {
        self.inner.lock().questions
    }

    /// Registers a schema with an id of the caller's, as when a registry is copied.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] when the id belongs to another schema.
    pub fn register_as(&self, subject: &str, schema: &SchemaText, id: u32) -> Result<RegisteredSchema, RegistryError> {
        self.ask(|inner| {
            let schema = inner.resolved(schema)?;
            if inner.schemas.get(&id).is_some_and(|known| *known != schema) {
                return Err(RegistryError::Invalid(format!("the id {id} belongs to another schema")));
            }
            inner.schemas.insert(id, schema);
            let version = inner.version_of(subject, id);
            inner.entry(subject, version)
        })
    }

    fn ask<T>(&self, answer: impl FnOnce(&mut Inner) -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let mut inner = self.inner.lock();
        inner.questions += 1;
        if inner.away {
            return Err(RegistryError::Unavailable("it was switched off".into()));
        }
        answer(&mut inner)
    }
}

impl Inner {
    fn entry(&self, subject: &str, version: usize) -> Result<RegisteredSchema, RegistryError> {
        let missing = || RegistryError::NotFound(format!("Version {version} of subject {subject} not found."));
        let ids = self.subjects.get(subject).ok_or_else(missing)?;
        let id = *version.checked_sub(1).and_then(|i| ids.get(i)).ok_or_else(missing)?;
        Ok(RegisteredSchema {
            id,
            subject: subject.to_string(),
            version: version as i32,
            schema: self.schemas.get(&id).cloned().ok_or_else(missing)?,
        })
    }

    /// The version under which a subject has a schema; it gets one if it has none.
    fn version_of(&mut self, subject: &str, id: u32) -> usize {
        let ids = self.subjects.entry(subject.to_string()).or_default();
        match ids.iter().position(|i| *i == id) {
            Some(i) => i + 1,
            None => {
                ids.push(id);
                ids.len()
            }
        }
    }

    fn resolved(&self, schema: &SchemaText) -> Result<SchemaText, RegistryError> {
        let mut schema = schema.clone();
        schema.resolve_with(&mut |subject, version| {
            let version = usize::try_from(version).unwrap_or(0);
            Ok(self.entry(subject, version)?.schema)
        })?;
        Ok(schema)
    }
}

impl SchemaSource for MemoryRegistry {
    fn by_id(&self, id: u32) -> Result<RegisteredSchema, RegistryError> {
        self.ask(|inner| {
            let found = inner.subjects.iter().find_map(|(subject, ids)| {
                let position = ids.iter().position(|i| *i == id)?;
                Some((subject.clone(), position + 1))
            });
            let (subject, version) = found.ok_or_else(|| RegistryError::NotFound(format!("Schema {id} not found")))?;
            inner.entry(&subject, version)
        })
    }

    fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        self.ask(|inner| match inner.subjects.get(subject).map(Vec::len) {
            Some(n) => inner.entry(subject, n).map(Some),
            None => Ok(None),
        })
    }

    fn version(&self, subject: &str, version: i32) -> Result<RegisteredSchema, RegistryError> {
        self.ask(|inner| inner.entry(subject, usize::try_from(version).unwrap_or(0)))
    }

    fn register(&self, subject: &str, schema: &SchemaText) -> Result<RegisteredSchema, RegistryError> {
        self.ask(|inner| {
            let schema = inner.resolved(schema)?;
            let id = match inner.schemas.iter().find(|(_, s)| **s == schema) {
                Some((id, _)) => *id,
                None => {
                    let id = inner
                        .schemas
                        .last_key_value()
                        .map_or(1, |(last, _)| last.saturating_add(1));
                    inner.schemas.insert(id, schema);
                    id
                }
            };
            let version = inner.version_of(subject, id);
            inner.entry(subject, version)
        })
    }

    fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError> {
        self.ask(|inner| {
            let schema = inner.resolved(schema)?;
            let newest = inner.subjects.get(subject).and_then(|ids| ids.last());
            let old: Vec<SchemaText> = newest
                .and_then(|id| inner.schemas.get(id).cloned())
                .into_iter()
                .collect();
            super::check_compatibility(super::CompatibilityLevel::Backward, &schema, &old)
                .map_err(RegistryError::Invalid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shared_between_subjects_and_stable() {
        let registry = MemoryRegistry::new();
        let a = registry.register("a", &SchemaText::avro("\"int\"")).unwrap();
        let b = registry.register("b", &SchemaText::avro("\"int\"")).unwrap();
        let c = registry.register("b", &SchemaText::avro("\"long\"")).unwrap();
        assert_eq!((a.id, b.id, c.id, c.version), (1, 1, 2, 2));
        assert_eq!(registry.latest("b").unwrap().unwrap(), c);
        assert_eq!(registry.latest("c").unwrap(), None);
        assert_eq!(registry.by_id(2).unwrap(), c);
        let d = registry.register_as("d", &SchemaText::avro("\"string\""), 7).unwrap();
        assert_eq!((d.id, registry.by_id(7).unwrap()), (7, d));
        assert!(registry.register_as("d", &SchemaText::avro("\"int\""), 7).is_err());
        registry.set_away(true);
        assert!(registry.by_id(2).unwrap_err().is_retryable());
    }
}
