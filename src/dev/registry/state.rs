//! What a registry knows, and how events change it. No I/O, no clock: the same events give the same state.
//!
//! *Invariant*: an id never changes its schema, nor is it given out again, even after the schema was deleted for good.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use crate::formats::{CompatibilityLevel, RegistryError, SchemaReference, SchemaText, SchemaType};

use super::error::ApiError;

/// What may be done with a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    #[default]
    ReadWrite,
    /// Nothing is changed.
    ReadOnly,
    /// Schemas are registered with ids and versions from elsewhere, unchecked.
    Import,
}

impl Mode {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "READWRITE",
            Self::ReadOnly => "READONLY",
            Self::Import => "IMPORT",
        }
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let modes = [Self::ReadWrite, Self::ReadOnly, Self::Import];
        modes.into_iter().find(|m| m.as_str().eq_ignore_ascii_case(s)).ok_or(())
    }
}

/// A schema as it is kept: its text in canonical form, its references by name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The text.
    pub text: String,
    /// The language.
    pub schema_type: SchemaType,
    /// What it uses.
    pub references: Vec<SchemaReference>,
}

/// One thing that happened; one record of the `_schemas` topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A version was registered, or (soft) deleted.
    Schema {
        /// Its subject.
        subject: String,
        /// Its version.
        version: i32,
        /// Its id.
        id: u32,
        /// The schema.
        stored: Arc<Stored>,
        /// Soft deleted.
        deleted: bool,
    },
    /// A version was deleted for good.
    SchemaGone {
        /// Its subject.
        subject: String,
        /// Its version.
        version: i32,
    },
    /// All versions of a subject up to one were soft deleted.
    SubjectDeleted {
        /// The subject.
        subject: String,
        /// The newest version then.
        version: i32,
    },
    /// A compatibility level was set, or unset. Without subject: the global one.
    Level(Option<String>, Option<CompatibilityLevel>),
    /// A mode was set, or unset. Without subject: the global one.
    Mode(Option<String>, Option<Mode>),
    /// Ids below this were given out.
    NextId(u32),
}

/// A version of a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) deleted: bool,
}

/// A version with all that is to be said of it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) version: i32,
    pub(super) id: u32,
    pub(super) deleted: bool,
    pub(super) stored: Arc<Stored>,
}

/// `latest`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VersionId {
    Latest,
    Number(i32),
}

impl FromStr for VersionId {
    type Err = ApiError;

    fn from_str(s: &str) -> Result<Self, ApiError> {
        match s {
            "latest" | "-1" => Ok(Self::Latest),
            number => match number.parse() {
                Ok(n) if n >= 1 => Ok(Self::Number(n)),
                _ => Err(ApiError::invalid_version(s)),
            },
        }
    }
}

/// Everything that was registered and set.
#[derive(Debug, Default)]
pub struct Registry {
    subjects: BTreeMap<String, BTreeMap<i32, Entry>>,
    schemas: BTreeMap<u32, Arc<Stored>>,
    levels: BTreeMap<String, CompatibilityLevel>,
    global_level: Option<CompatibilityLevel>,
    modes: BTreeMap<String, Mode>,
    global_mode: Option<Mode>,
    /// The highest id that was given out.
    last_id: u32,
}

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Schema {
                subject,
                version,
                id,
                stored,
                deleted,
            } => {
                self.last_id = self.last_id.max(id);
                let entries = self.subjects.entry(subject).or_default();
                let before = entries.insert(version, Entry { id, deleted });
                if let Some(before) = before.filter(|e| e.id != id) {
                    self.forget_unused(before.id);
                }
                self.schemas.insert(id, stored);
            }
            Event::SchemaGone { subject, version } => {
                let Some(entries) = self.subjects.get_mut(&subject) else {
                    return;
                };
                let gone = entries.remove(&version);
                if entries.is_empty() {
                    self.subjects.remove(&subject);
                }
                if let Some(entry) = gone {
                    self.forget_unused(entry.id);
                }
            }
            Event::SubjectDeleted { subject, version } => {
                let entries = self.subjects.get_mut(&subject).into_iter().flatten();
                entries
                    .filter(|(v, _)| **v <= version)
                    .for_each(|(_, e)| e.deleted = true);
            }
            Event::Level(None, level) => self.global_level = level,
            Event::Mode(None, mode) => self.global_mode = mode,
            Event::Level(Some(subject), level) => set(&mut self.levels, subject, level),
            Event::Mode(Some(subject), mode) => set(&mut self.modes, subject, mode),
            Event::NextId(next) => self.last_id = self.last_id.max(next.saturating_sub(1)),
        }
    }

    fn forget_unused(&mut self, id: u32) {
        if !self.subjects.values().flat_map(BTreeMap::values).any(|e| e.id == id) {
            self.schemas.remove(&id);
        }
    }

    pub(super) fn next_id(&self) -> u32 {
        self.last_id.saturating_add(1)
    }

    /// Subjects in order; one whose versions are all soft deleted counts as deleted.
    pub(super) fn subjects(&self, deleted: bool, deleted_only: bool) -> Vec<&str> {
        let wanted = |entries: &BTreeMap<i32, Entry>| {
            let alive = entries.values().any(|e| !e.deleted);
            if deleted_only { !alive } else { alive || deleted }
        };
        self.subjects
            .iter()
            .filter(|(_, e)| wanted(e))
            .map(|(s, _)| s.as_str())
            .collect()
    }

    /// Versions of a subject; an error when there is none.
    pub(super) fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<i32>, ApiError> {
        let entries = self.subjects.get(subject).into_iter().flatten();
        let versions: Vec<i32> = entries
            .filter(|(_, e)| deleted || !e.deleted)
            .map(|(v, _)| *v)
            .collect();
        if versions.is_empty() {
            return Err(ApiError::subject_not_found(subject));
        }
        Ok(versions)
    }

    /// All versions of a subject, deleted ones included.
    pub(super) fn entries(&self, subject: &str) -> impl DoubleEndedIterator<Item = (i32, Entry)> + '_ {
        self.subjects.get(subject).into_iter().flatten().map(|(v, e)| (*v, *e))
    }

    fn found(&self, subject: &str, version: i32, entry: Entry) -> Option<Found> {
        Some(Found {
            subject: subject.to_string(),
            version,
            id: entry.id,
            deleted: entry.deleted,
            stored: self.schemas.get(&entry.id)?.clone(),
        })
    }

    /// All versions of all subjects, in order.
    pub(super) fn all(&self, deleted: bool) -> impl Iterator<Item = Found> + '_ {
        let versions = self
            .subjects
            .iter()
            .flat_map(|(s, entries)| entries.iter().map(move |(v, e)| (s, *v, *e)));
        versions
            .filter(move |(_, _, e)| deleted || !e.deleted)
            .filter_map(|(s, v, e)| self.found(s, v, e))
    }

    /// One version.
    pub(super) fn version(&self, subject: &str, version: VersionId, deleted: bool) -> Result<Found, ApiError> {
        let versions = self.versions(subject, deleted)?;
        let number = match version {
            VersionId::Latest => *versions.last().ok_or_else(|| ApiError::subject_not_found(subject))?,
            VersionId::Number(n) => n,
        };
        let entry = self
            .subjects
            .get(subject)
            .and_then(|e| e.get(&number))
            .filter(|e| deleted || !e.deleted);
        entry
            .and_then(|e| self.found(subject, number, *e))
            .ok_or_else(|| ApiError::version_not_found(number))
    }

    /// The schema of an id; soft deleted ones are still read, since records carry them.
    pub(super) fn by_id(&self, id: u32) -> Result<&Arc<Stored>, ApiError> {
        self.schemas.get(&id).ok_or_else(|| ApiError::id_not_found(id))
    }

    /// The id of a schema under any subject.
    pub(super) fn id_of(&self, stored: &Stored) -> Option<u32> {
        self.schemas.iter().find(|(_, s)| ***s == *stored).map(|(id, _)| *id)
    }

    /// Ids of schemas that refer to a version.
    pub(super) fn referenced_by(&self, subject: &str, version: i32) -> Vec<u32> {
        let refers = |s: &Stored| {
            s.references
                .iter()
                .any(|r| r.subject == subject && r.version == version)
        };
        let alive = |id: u32| {
            self.subjects
                .values()
                .flat_map(BTreeMap::values)
                .any(|e| e.id == id && !e.deleted)
        };
        self.schemas
            .iter()
            .filter(|(id, s)| refers(s) && alive(**id))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The compatibility level that a subject has of its own; of no subject, the global one.
    pub(super) fn own_level(&self, subject: Option<&str>) -> Option<CompatibilityLevel> {
        match subject {
            Some(s) => self.levels.get(s).copied(),
            None => Some(self.global_level.unwrap_or_default()),
        }
    }

    /// The compatibility level that counts for a subject.
    pub(super) fn level(&self, subject: &str) -> CompatibilityLevel {
        self.own_level(Some(subject)).or(self.global_level).unwrap_or_default()
    }

    /// The mode that a subject has of its own; of no subject, the global one.
    pub(super) fn own_mode(&self, subject: Option<&str>) -> Option<Mode> {
        match subject {
            Some(s) => self.modes.get(s).copied(),
            None => Some(self.global_mode.unwrap_or_default()),
        }
    }

    /// The mode that counts for a subject, or globally.
    pub(super) fn mode(&self, subject: Option<&str>) -> Mode {
        self.own_mode(subject).or(self.global_mode).unwrap_or_default()
    }

    /// A schema with all that it refers to.
    pub(super) fn resolved(&self, stored: &Stored) -> Result<SchemaText, ApiError> {
        let mut text = SchemaText {
            text: stored.text.clone(),
            schema_type: stored.schema_type,
            references: stored.references.clone(),
        };
        let resolved = text.resolve_with(&mut |subject, version| {
            let found = self.version(subject, VersionId::Number(version), true).map_err(|_| {
                RegistryError::Invalid(format!(
                    "No schema reference found for subject \"{subject}\" and version {version}"
                ))
            })?;
            let stored = &found.stored;
            Ok(SchemaText {
                text: stored.text.clone(),
                schema_type: stored.schema_type,
                references: stored.references.clone(),
            })
        });
        resolved.map_err(ApiError::invalid_schema)?;
        Ok(text)
    }
}

fn set<T>(map: &mut BTreeMap<String, T>, subject: String, value: Option<T>) {
    match value {
        Some(value) => drop(map.insert(subject, value)),
        None => drop(map.remove(&subject)),
    }
}
