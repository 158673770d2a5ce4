//! The embedded registry as the engine sees it, without HTTP.

use crate::formats::{Compatibility, RegisteredSchema, RegistryError, SchemaSource, SchemaText};

use super::EmbeddedRegistry;
use super::commands::Submitted;
use super::error::ApiError;
use super::state::{Found, Registry, VersionId};

fn submitted(schema: &SchemaText) -> Submitted {
    let mut references = schema.references.clone();
    // identity is by name; what was resolved elsewhere is resolved here again
    references.iter_mut().for_each(|r| r.resolved = None);
    Submitted {
        text: schema.text.clone(),
        schema_type: schema.schema_type,
        references,
        id: None,
        version: None,
    }
}

fn registered(registry: &Registry, found: &Found) -> Result<RegisteredSchema, ApiError> {
    Ok(RegisteredSchema {
        id: found.id,
        subject: found.subject.clone(),
        version: found.version,
        schema: registry.resolved(&found.stored)?,
    })
}

impl SchemaSource for EmbeddedRegistry {
    fn by_id(&self, id: u32) -> Result<RegisteredSchema, RegistryError> {
        let answer = self.read(|registry| {
            let stored = registry.by_id(id)?.clone();
            let found = registry.all(true).find(|f| f.id == id).unwrap_or_else(|| Found {
                subject: String::new(),
                version: 0,
                id,
                deleted: false,
                stored,
            });
            registered(registry, &found)
        });
        Ok(answer?)
    }

    fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        let answer = self.read(|registry| match registry.version(subject, VersionId::Latest, false) {
            Ok(found) => registered(registry, &found).map(Some),
            Err(_) => Ok(None),
        });
        Ok(answer?)
    }

    fn version(&self, subject: &str, version: i32) -> Result<RegisteredSchema, RegistryError> {
        let answer = self.read(|registry| {
            let found = registry.version(subject, VersionId::Number(version), true)?;
            registered(registry, &found)
        });
        Ok(answer?)
    }

    fn register(&self, subject: &str, schema: &SchemaText) -> Result<RegisteredSchema, RegistryError> {
        let (_, version) = self.change(|registry| registry.register(subject, &submitted(schema)))?;
        self.version(subject, version)
    }

    fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError> {
        Ok(self.read(|registry| registry.check(subject, &submitted(schema)))?)
    }
}
