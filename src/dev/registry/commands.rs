//! What clients ask to be changed: each request is checked against the state and becomes events, or an error and nothing at all.
//!
//! Compatibility is decided by `formats`: Avro by Avro's Java rules, JSON Schema and Protocol Buffers by the main ones of Confluent's registry.

use std::sync::Arc;

use crate::formats::{
    Compatibility, CompatibilityLevel, SchemaReference, SchemaText, SchemaType, canonical_avro, check_compatibility,
    check_schema,
};

use super::error::ApiError;
use super::state::{Event, Found, Mode, Registry, Stored, VersionId};

/// A schema as a client sends it.
#[derive(Clone, Debug, Default)]
pub(super) struct Submitted {
    pub(super) text: String,
    pub(super) schema_type: SchemaType,
    pub(super) references: Vec<SchemaReference>,
    /// Only in mode IMPORT.
    pub(super) id: Option<u32>,
    /// Only in mode IMPORT.
    pub(super) version: Option<i32>,
}

/// Events to be stored and applied, and what to answer then.
type Outcome<T> = Result<(Vec<Event>, T), ApiError>;

impl Registry {
    /// Checks a schema and brings it into the form that is kept, with a copy whose references are resolved.
    pub(super) fn checked(&self, schema: &Submitted) -> Result<(Stored, SchemaText), ApiError> {
        if schema.text.trim().is_empty() {
            return Err(ApiError::invalid_schema("it is empty"));
        }
        let text = match schema.schema_type {
            SchemaType::Avro => canonical_avro(&schema.text).map_err(ApiError::invalid_schema)?,
            SchemaType::Json => {
                let json: serde_json::Value = serde_json::from_str(&schema.text).map_err(ApiError::invalid_schema)?;
                if !(json.is_object() || json.is_boolean()) {
                    return Err(ApiError::invalid_schema("a JSON Schema is an object or a boolean"));
                }
                json.to_string()
            }
            SchemaType::Protobuf => schema.text.trim().to_string(),
        };
        let stored = Stored {
            text,
            schema_type: schema.schema_type,
            references: schema.references.clone(),
        };
        let resolved = self.resolved(&stored)?;
        check_schema(&resolved).map_err(ApiError::invalid_schema)?;
        Ok((stored, resolved))
    }

    fn writable(&self, subject: Option<&str>) -> Result<(), ApiError> {
        match (self.mode(subject), subject) {
            (Mode::ReadOnly, Some(s)) => Err(ApiError::not_permitted(format!("Subject {s} is in read-only mode"))),
            (Mode::ReadOnly, None) => Err(ApiError::not_permitted("The registry is in read-only mode")),
            (Mode::ReadWrite | Mode::Import, _) => Ok(()),
        }
    }

    /// Registers a schema under a subject and answers its id and version.
    pub(super) fn register(&self, subject: &str, schema: &Submitted) -> Outcome<(u32, i32)> {
        self.writable(Some(subject))?;
        let importing = self.mode(Some(subject)) == Mode::Import;
        if !importing && (schema.id.is_some() || schema.version.is_some()) {
            return Err(ApiError::not_permitted(format!(
                "Subject {subject} is not in import mode"
            )));
        }
        let (stored, resolved) = self.checked(schema)?;
        let same = self.lookup_stored(subject, &stored, false);
        if let Some(found) = same.filter(|f| schema.id.is_none_or(|id| id == f.id)) {
            return Ok((Vec::new(), (found.id, found.version)));
        }
        if !importing {
            self.compatible(subject, self.level(subject), &resolved, &self.newest_first(subject)?)?;
        }
        let (id, version) = self.place(subject, schema, &stored)?;
        let event = Event::Schema {
            subject: subject.to_string(),
            version,
            id,
            stored: Arc::new(stored),
            deleted: false,
        };
        Ok((vec![event], (id, version)))
    }

    /// The id and version that a new schema gets.
    fn place(&self, subject: &str, schema: &Submitted, stored: &Stored) -> Result<(u32, i32), ApiError> {
        let id = match schema.id {
            None => self.id_of(stored).unwrap_or_else(|| self.next_id()),
            Some(id) => match self.by_id(id) {
                Ok(other) if **other != *stored => {
                    let message = format!("Overwrite new schema with id {id} is not permitted.");
                    return Err(ApiError::id_does_not_match(message));
                }
                _ => id,
            },
        };
        let newest = self.entries(subject).last().map_or(0, |(v, _)| v);
        let version = match schema.version {
            None => newest
                .checked_add(1)
                .ok_or_else(|| ApiError::store("the subject has too many versions"))?,
            Some(version) if version < 1 => return Err(ApiError::invalid_version(&version.to_string())),
            Some(version) => match self.entries(subject).find(|(v, _)| *v == version) {
                Some((_, entry)) if entry.id != id => {
                    let message = format!(
                        "Version {version} of subject {subject} has another schema, id {}",
                        entry.id
                    );
                    return Err(ApiError::id_does_not_match(message));
                }
                _ => version,
            },
        };
        Ok((id, version))
    }

    /// The version of a subject that has a schema.
    pub(super) fn lookup(&self, subject: &str, schema: &Submitted, deleted: bool) -> Result<Found, ApiError> {
        self.versions(subject, deleted)?;
        let (stored, _) = self.checked(schema)?;
        self.lookup_stored(subject, &stored, deleted)
            .ok_or_else(ApiError::schema_not_found)
    }

    fn lookup_stored(&self, subject: &str, stored: &Stored, deleted: bool) -> Option<Found> {
        let versions = self.entries(subject).rev().filter(|(_, e)| deleted || !e.deleted);
        let mut found = versions.filter_map(|(v, _)| self.version(subject, VersionId::Number(v), true).ok());
        found.find(|f| *f.stored == *stored)
    }

    fn newest_first(&self, subject: &str) -> Result<Vec<SchemaText>, ApiError> {
        let alive = self.entries(subject).rev().filter(|(_, e)| !e.deleted);
        alive
            .map(|(_, e)| self.by_id(e.id).and_then(|s| self.resolved(s)))
            .collect()
    }

    fn compatible(
        &self,
        subject: &str,
        level: CompatibilityLevel,
        new: &SchemaText,
        old: &[SchemaText],
    ) -> Result<(), ApiError> {
        match differences(level, new, old)? {
            Compatibility::Compatible => Ok(()),
            Compatibility::Incompatible(messages) => Err(ApiError::incompatible(subject, messages)),
        }
    }

    /// Whether a schema may follow all versions that the subject's level asks for.
    pub(super) fn check(&self, subject: &str, schema: &Submitted) -> Result<Compatibility, ApiError> {
        let (_, resolved) = self.checked(schema)?;
        differences(self.level(subject), &resolved, &self.newest_first(subject)?)
    }

    /// Whether a schema may follow one version.
    pub(super) fn check_version(
        &self,
        subject: &str,
        version: VersionId,
        schema: &Submitted,
    ) -> Result<Compatibility, ApiError> {
        let (_, resolved) = self.checked(schema)?;
        let old = match (self.version(subject, version, false), version) {
            (Ok(found), _) => vec![self.resolved(&found.stored)?],
            (Err(_), VersionId::Latest) => Vec::new(),
            (Err(e), VersionId::Number(_)) => return Err(e),
        };
        differences(self.level(subject), &resolved, &old)
    }

    /// Deletes a subject; answers its versions.
    pub(super) fn delete_subject(&self, subject: &str, permanent: bool) -> Outcome<Vec<i32>> {
        self.writable(Some(subject))?;
        let entries: Vec<_> = self.entries(subject).collect();
        let Some((newest, _)) = entries.last() else {
            return Err(ApiError::subject_not_found(subject));
        };
        let alive: Vec<i32> = entries.iter().filter(|(_, e)| !e.deleted).map(|(v, _)| *v).collect();
        if permanent {
            if !alive.is_empty() {
                return Err(ApiError::subject_not_soft_deleted(subject));
            }
            let all: Vec<i32> = entries.iter().map(|(v, _)| *v).collect();
            let mut events = vec![Event::NextId(self.next_id())];
            events.extend(all.iter().map(|v| gone(subject, *v)));
            return Ok((events, all));
        }
        if alive.is_empty() {
            return Err(ApiError::subject_soft_deleted(subject));
        }
        self.unreferenced(subject, &alive)?;
        let mut events = vec![Event::SubjectDeleted {
            subject: subject.to_string(),
            version: *newest,
        }];
        // as Confluent's: settings of a subject go with it
        if self.own_level(Some(subject)).is_some() {
            events.push(Event::Level(Some(subject.to_string()), None));
        }
        if self.own_mode(Some(subject)).is_some() {
            events.push(Event::Mode(Some(subject.to_string()), None));
        }
        Ok((events, alive))
    }

    /// Deletes a version; answers its number.
    pub(super) fn delete_version(&self, subject: &str, version: VersionId, permanent: bool) -> Outcome<i32> {
        self.writable(Some(subject))?;
        let found = self.version(subject, version, true)?;
        // the newest one that is alive, where there is one
        let found = match version {
            VersionId::Latest => self.version(subject, version, false).unwrap_or(found),
            VersionId::Number(_) => found,
        };
        let number = found.version;
        match (permanent, found.deleted) {
            (true, false) => Err(ApiError::version_not_soft_deleted(subject, number)),
            (false, true) => Err(ApiError::version_soft_deleted(subject, number)),
            (true, true) => Ok((vec![Event::NextId(self.next_id()), gone(subject, number)], number)),
            (false, false) => {
                self.unreferenced(subject, &[number])?;
                let event = Event::Schema {
                    subject: subject.to_string(),
                    version: number,
                    id: found.id,
                    stored: found.stored,
                    deleted: true,
                };
                Ok((vec![event], number))
            }
        }
    }

    fn unreferenced(&self, subject: &str, versions: &[i32]) -> Result<(), ApiError> {
        match versions.iter().find(|v| !self.referenced_by(subject, **v).is_empty()) {
            Some(version) => Err(ApiError::referenced(subject, *version)),
            None => Ok(()),
        }
    }

    /// Sets a level.
    pub(super) fn set_level(&self, subject: Option<&str>, level: &str) -> Outcome<CompatibilityLevel> {
        let level: CompatibilityLevel = level.parse().map_err(|_| ApiError::invalid_level())?;
        self.writable(subject)?;
        Ok((vec![Event::Level(subject.map(String::from), Some(level))], level))
    }

    /// Unsets a level; answers the one that was set.
    pub(super) fn unset_level(&self, subject: Option<&str>) -> Outcome<CompatibilityLevel> {
        self.writable(subject)?;
        let missing = || ApiError::subject_not_found(subject.unwrap_or_default());
        let level = self.own_level(subject).ok_or_else(missing)?;
        Ok((vec![Event::Level(subject.map(String::from), None)], level))
    }

    /// Sets a mode. IMPORT is for subjects without schemas, unless forced.
    pub(super) fn set_mode(&self, subject: Option<&str>, mode: &str, force: bool) -> Outcome<Mode> {
        let mode: Mode = mode.parse().map_err(|()| ApiError::invalid_mode())?;
        let used = match subject {
            Some(s) => self.entries(s).any(|(_, e)| !e.deleted),
            None => !self.subjects(false, false).is_empty(),
        };
        if mode == Mode::Import && used && !force && self.mode(subject) != Mode::Import {
            return Err(ApiError::not_permitted("Cannot import since found existing subjects"));
        }
        Ok((vec![Event::Mode(subject.map(String::from), Some(mode))], mode))
    }

    /// Unsets a mode; answers the one that was set.
    pub(super) fn unset_mode(&self, subject: Option<&str>) -> Outcome<Mode> {
        let missing = || ApiError::subject_not_found(subject.unwrap_or_default());
        let mode = self.own_mode(subject).ok_or_else(missing)?;
        Ok((vec![Event::Mode(subject.map(String::from), None)], mode))
    }
}

fn gone(subject: &str, version: i32) -> Event {
    Event::SchemaGone {
        subject: subject.to_string(),
        version,
    }
}

/// `old`: the newest first.
fn differences(level: CompatibilityLevel, new: &SchemaText, old: &[SchemaText]) -> Result<Compatibility, ApiError> {
    check_compatibility(level, new, old).map_err(ApiError::invalid_schema)
}
