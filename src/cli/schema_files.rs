//! The directory of schemas: `SUBJECT.avsc`, one Avro schema a file.
//!
//! The file's stem is the subject, as in `movies-value.avsc`; a stem that ends neither in `-key` nor in `-value` means the values of a topic.

use std::path::{Path, PathBuf};

use crate::formats::{MemoryRegistry, SchemaSource, SchemaText};

/// A schema of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFile {
    /// The file.
    pub path: PathBuf,
    /// The subject it belongs to.
    pub subject: String,
    /// The schema.
    pub schema: SchemaText,
}

impl SchemaFile {
    /// Reads one file.
    ///
    /// # Errors
    /// With the file's name: it cannot be read, or is no JSON.
    pub fn read(path: &Path) -> Result<Self, String> {
        let show = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{show}: {error}"))?;
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
            return Err(format!("{show}:{}:{}: not JSON: {error}", error.line(), error.column()));
        }
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let subject = match stem.ends_with("-key") || stem.ends_with("-value") {
            true => stem,
            false => format!("{stem}-value"),
        };
        Ok(Self {
            path: path.to_owned(),
            subject,
            schema: SchemaText::avro(text),
        })
    }
}

/// All schemas of a directory, by name; none where there is no such directory.
///
/// # Errors
/// The problems of all files at once.
pub fn read_dir(dir: &Path) -> Result<Vec<SchemaFile>, Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(vec![format!("{}: {error}", dir.display())]),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "avsc"));
    paths.sort();
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        match SchemaFile::read(&path) {
            Ok(file) => files.push(file),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

/// A registry in memory that holds the directory's schemas: what `check` and `explain` ask where there is no other.
///
/// # Errors
/// The problems of all files at once.
pub fn registry_of(dir: &Path) -> Result<MemoryRegistry, Vec<String>> {
    let registry = MemoryRegistry::new();
    match register(&read_dir(dir)?, &registry) {
        Ok(()) => Ok(registry),
        Err(RegisterFailure::Problems(problems)) => Err(problems),
        Err(RegisterFailure::Away(reason)) => Err(vec![reason]),
    }
}

/// Why a directory was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterFailure {
    /// The registry refused some: each with its file.
    Problems(Vec<String>),
    /// The registry is away: try again.
    Away(String),
}

/// Registers schemas; those that the registry has already stay as they are.
///
/// # Errors
/// See [`RegisterFailure`].
pub fn register(files: &[SchemaFile], registry: &dyn SchemaSource) -> Result<(), RegisterFailure> {
    let mut problems = Vec::new();
    for file in files {
        match registry.register(&file.subject, &file.schema) {
            Ok(_) => {}
            Err(error) if error.is_retryable() => return Err(RegisterFailure::Away(error.to_string())),
            Err(error) => problems.push(format!("{}: {error}", file.path.display())),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(RegisterFailure::Problems(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_schemas_are_sound() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let registry = registry_of(&dir).expect("sound");
        let movies = registry
            .latest("movies-value")
            .expect("the registry answers")
            .expect("registered");
        assert!(movies.schema.text.contains("release_year"));
        assert!(read_dir(Path::new("/does/not/exist")).expect("empty").is_empty());
    }
}
