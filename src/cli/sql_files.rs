//! The directory of topologies: `NAME.sql`, one topology a file; read and compiled with all problems of all files at once.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::formats::{RegistryError, SchemaSource, columns_of};
use crate::sql::{CompileContext, Diagnostic, SchemaLookup, SourceFile, compile};
use crate::topology::Topology;
use crate::types::{Column, SerdeSpec};

/// Reads `files`, or all `*.sql` of `dir` where none are named, by name.
///
/// # Errors
/// [`Failure::Usage`] with everything that cannot be read or has no usable name.
pub fn read(dir: &Path, files: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    let paths = if files.is_empty() { list(dir)? } else { files.to_vec() };
    let (mut sources, mut problems): (Vec<SourceFile>, Vec<String>) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let source = SourceFile {
                    name: name.as_str().into(),
                    text,
                };
                if let Some(problem) = name_problem(source.topology(), &sources) {
                    problems.push(format!("{name}: {problem}"));
                }
                sources.push(source);
            }
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    if problems.is_empty() {
        Ok(sources)
    } else {
        Err(Failure::usage(problems.join("\n")))
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let show = dir.display();
    let entries = std::fs::read_dir(dir).map_err(|error| {
        Failure::usage(format!(
            "{show}: {error}; name the directory of SQL files with --topologies DIR"
        ))
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::usage(format!(
            "{show} holds no *.sql file; name the directory of SQL files with --topologies DIR"
        )));
    }
    Ok(paths)
}

/// A topology's name becomes part of topic names.
fn name_problem(name: &str, others: &[SourceFile]) -> Option<String> {
    /// Kafka's limit for a topic's name is 249; the application, the relation and the purpose stand in it, too.
    const LONGEST: usize = 80;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) || name.len() > LONGEST {
        return Some("the file's name becomes the topology's: use letters, digits, _ and -, at most 80".to_owned());
    }
    let other = others.iter().find(|other| other.topology() == name)?;
    Some(format!("{} is a topology of the same name", other.name))
}

/// Why files were not compiled.
#[derive(Debug)]
pub enum CompileFailure {
    /// The files are wrong: all problems of all of them.
    Diagnostics(Vec<Diagnostic>),
    /// The registry that has to tell columns is away: try again.
    RegistryAway(String),
}

/// Compiles all files.
///
/// # Errors
/// See [`CompileFailure`].
pub fn compile_all(
    files: &[SourceFile],
    schemas: &Arc<dyn SchemaSource>,
) -> Result<Vec<Arc<Topology>>, CompileFailure> {
    let (topologies, diagnostics): (Vec<_>, Vec<_>) =
        compile_each(files, schemas)?.into_iter().partition(Result::is_ok);
    if diagnostics.is_empty() {
        return Ok(topologies.into_iter().flatten().collect());
    }
    Err(CompileFailure::Diagnostics(
        diagnostics.into_iter().filter_map(Result::err).flatten().collect(),
    ))
}

/// The outcome of each file.
///
/// # Errors
/// Only [`CompileFailure::RegistryAway`].
pub fn compile_each(
    files: &[SourceFile],
    schemas: &Arc<dyn SchemaSource>,
) -> Result<Vec<Result<Arc<Topology>, Vec<Diagnostic>>>, CompileFailure> {
    let lookup = RegistryLookup {
        schemas,
        away: RefCell::new(None),
    };
    let compiled = files
        .iter()
        .map(|file| compile(file, &CompileContext { schemas: &lookup }).map(Arc::new))
        .collect();
    match lookup.away.into_inner() {
        Some(reason) => Err(CompileFailure::RegistryAway(reason)),
        None => Ok(compiled),
    }
}

/// The registry as the compiler sees it; remembers that it was away, which is no error of a file.
struct RegistryLookup<'a> {
    schemas: &'a Arc<dyn SchemaSource>,
    away: RefCell<Option<String>>,
}

impl SchemaLookup for RegistryLookup<'_> {
    fn columns(&self, subject: &str, spec: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        let found = match spec.schema_id {
            Some(id) => self.schemas.by_id(id).map(Some),
            None => self.schemas.latest(subject),
        };
        match found {
            Ok(None) => Ok(None),
            Ok(Some(schema)) => columns_of(&schema, spec, subject.ends_with("-key"))
                .map(Some)
                .map_err(|error| error.to_string()),
            Err(error @ RegistryError::Unavailable(_)) => {
                self.away.replace(Some(error.to_string()));
                Err(error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::schema_files::registry_of;

    /// The shipped topologies compile against the shipped schemas.
    #[test]
    fn the_projects_own_topologies_compile() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = read(&root.join("topologies"), &[]).expect("readable");
        let schemas: Arc<dyn SchemaSource> = Arc::new(registry_of(&root.join("schemas")).expect("sound"));
        match compile_all(&files, &schemas) {
            Ok(topologies) => {
                let names: Vec<&str> = topologies.iter().map(|topology| &*topology.name).collect();
                assert_eq!(names, ["orders", "ratings", "retail"]);
                let views = |i: usize| {
                    topologies[i]
                        .views
                        .iter()
                        .map(|view| view.name.to_string())
                        .collect::<Vec<_>>()
                };
                for view in [
                    "CURRENT_ORDERS",
                    "ORDERS_BY_STATE",
                    "CUSTOMER_ORDERS",
                    "PAID_ORDERS",
                    "ORDERS_OF_CUSTOMER",
                ] {
                    assert!(views(0).iter().any(|name| name == view), "{view} of {:?}", views(0));
                }
                assert!(views(1).iter().any(|name| name == "RATED_MOVIES"));
            }
            Err(CompileFailure::Diagnostics(all)) => {
                let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
                panic!("{}", texts.join("\n\n"));
            }
            Err(CompileFailure::RegistryAway(reason)) => panic!("{reason}"),
        }
    }

    #[test]
    fn names_that_no_topic_can_have_are_refused() {
        assert!(name_problem("orders-2", &[]).is_none());
        assert!(name_problem("my orders", &[]).is_some());
        let other = SourceFile {
            name: "a/x.sql".into(),
            text: String::new(),
        };
        assert!(name_problem("x", &[other]).is_some_and(|problem| problem.contains("a/x.sql")));
    }
}
