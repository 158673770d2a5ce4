//! Cases in files: golden text (`*.case`), case files (`*.json` with `tests`), and triplets (`statements.sql`, `input.json`, `output.json`).
//!
//! A case travels as a line, since a child process runs it: see [`Job`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::case::{JsonCase, expand};
use super::drive::{self, Lookup};
use super::guard::{TIME_LIMIT, guarded};
use super::{CaseReport, Stage, strip};
use crate::engine::golden::Case;
use crate::formats::{MemoryRegistry, SchemaSource};
use crate::sql::{CompileContext, SourceFile, compile};

/// A case on its way to the process that runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Golden text.
    Golden {
        /// The file's name.
        name: String,
        /// Its text.
        text: String,
    },
    /// A case object, expanded.
    Case(Json),
    /// A line that should be a case object.
    Line(String),
    /// What is no case: its name, and why.
    Broken(String, String),
}

/// What a path holds.
#[derive(Debug, Default)]
pub struct Found {
    /// The file, as given.
    pub file: String,
    /// Its cases.
    pub jobs: Vec<Job>,
}

const STATEMENTS: &str = "statements.sql";
const INPUT: &str = "input.json";
const OUTPUT: &str = "output.json";

/// All cases of files and directories, in the order of names.
///
/// # Errors
/// A path that cannot be read.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
        if meta.is_dir() {
            walk(path, &mut found)?;
        } else {
            found.push(file(path)?);
        }
    }
    Ok(found)
}

fn walk(directory: &Path, found: &mut Vec<Found>) -> Result<(), String> {
    let told = |e: std::io::Error| format!("{}: {e}", directory.display());
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(told)? {
        entries.push(entry.map_err(told)?.path());
    }
    entries.sort();
    let has = |name: &str| entries.iter().any(|path| path.file_name().is_some_and(|n| n == name));
    let is_triplet = has(STATEMENTS) && has(OUTPUT);
    if is_triplet {
        let input = has(INPUT).then(|| directory.join(INPUT));
        let (sql, output) = (directory.join(STATEMENTS), directory.join(OUTPUT));
        found.push(triplet(&sql, input.as_deref(), Some(&output))?);
    }
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // a link to a directory above would never end
            if !name.starts_with('.') && !path.is_symlink() {
                walk(&path, found)?;
            }
        } else if name.ends_with(".case")
            || (name.ends_with(".json") && !(is_triplet && (name == INPUT || name == OUTPUT)))
        {
            let one = file(&path)?;
            if !one.jobs.is_empty() {
                found.push(one);
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The cases of a file; of a JSON file without cases none.
fn file(path: &Path) -> Result<Found, String> {
    let text = read(path)?;
    let name = path.display().to_string();
    let jobs = if path.extension().is_some_and(|e| e == "json") {
        json_file(&name, &text)
    } else {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        vec![Job::Golden { name: stem, text }]
    };
    Ok(Found { file: name, jobs })
}

fn json_file(name: &str, text: &str) -> Vec<Job> {
    let parsed: Json = match serde_json::from_str(&strip::comments(text)) {
        Ok(parsed) => parsed,
        Err(e) => return vec![Job::Broken(name.to_owned(), format!("it is no JSON: {e}"))],
    };
    let mut jobs = Vec::new();
    for (i, case) in parsed["tests"].as_array().into_iter().flatten().enumerate() {
        match expand(case) {
            Ok(cases) => jobs.extend(cases.into_iter().map(Job::Case)),
            Err(e) => jobs.push(Job::Broken(format!("{name}, case {}", i + 1), e)),
        }
    }
    jobs
}

/// A case of ksqlDB's test runner.
///
/// # Errors
/// A file that cannot be read.
pub fn triplet(statements: &Path, input: Option<&Path>, output: Option<&Path>) -> Result<Found, String> {
    let mut case = json!({ "statements": [read(statements)?] });
    let parent = statements.parent().and_then(Path::file_name);
    let name = parent.map_or_else(
        || statements.display().to_string(),
        |p| p.to_string_lossy().into_owned(),
    );
    case["name"] = name.clone().into();
    let mut broken = None;
    for (path, field) in [(input, "inputs"), (output, "outputs")] {
        let Some(path) = path else { continue };
        match serde_json::from_str::<Json>(&strip::comments(&read(path)?)) {
            Ok(json) if json[field].is_array() => case[field] = json[field].clone(),
            Ok(_) => broken = Some(format!("{} has no list `{field}`", path.display())),
            Err(e) => broken = Some(format!("{}: {e}", path.display())),
        }
    }
    let job = match broken {
        Some(why) => Job::Broken(name, why),
        None => Job::Case(case),
    };
    Ok(Found {
        file: statements.display().to_string(),
        jobs: vec![job],
    })
}

impl Job {
    /// The name of the case, as far as it has one.
    pub fn name(&self) -> String {
        let of = |case: &Json| case["name"].as_str().unwrap_or("a case without name").to_owned();
        match self {
            Self::Golden { name, .. } | Self::Broken(name, _) => name.clone(),
            Self::Case(case) => of(case),
            Self::Line(line) => serde_json::from_str(line).map_or_else(|_| "a line".to_owned(), |case| of(&case)),
        }
    }

    /// Runs it, so that it can do no harm but to memory. The flag says that a thread was left behind.
    pub fn run(self) -> (CaseReport, bool) {
        let name = self.name();
        match guarded(TIME_LIMIT, move || self.attempt()) {
            Ok(report) => (report, false),
            Err(escape) => {
                let left = escape == super::guard::Escape::TooLong;
                (CaseReport::failed(&name, Stage::Run, escape), left)
            }
        }
    }

    fn attempt(self) -> CaseReport {
        match self {
            Self::Golden { name, text } => golden(&name, &text),
            Self::Case(case) => json_case(&case),
            Self::Line(line) => match serde_json::from_str::<Json>(&line) {
                Ok(case) => match expand(&case) {
                    Ok(cases) => cases.first().map_or_else(|| disabled(&case), json_case),
                    Err(e) => CaseReport::failed(case["name"].as_str().unwrap_or_default(), Stage::Parse, e),
                },
                Err(e) => CaseReport::failed("a line", Stage::Parse, format!("it is no JSON: {e}")),
            },
            Self::Broken(name, why) => CaseReport::failed(&name, Stage::Parse, why),
        }
    }
}

fn disabled(case: &Json) -> CaseReport {
    let mut report = CaseReport::passed(case["name"].as_str().unwrap_or_default());
    report.notes.push("it is not enabled".into());
    report
}

fn json_case(case: &Json) -> CaseReport {
    match JsonCase::read(case) {
        Ok(case) => drive::run(&case),
        Err(e) => CaseReport::failed(case["name"].as_str().unwrap_or_default(), Stage::Parse, e),
    }
}

fn golden(name: &str, text: &str) -> CaseReport {
    let case = match Case::parse(text) {
        Ok(case) => case,
        Err(e) => return CaseReport::failed(name, Stage::Parse, e),
    };
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    if let Err(e) = case.register_schemas(&schemas) {
        return CaseReport::failed(name, Stage::Parse, e);
    }
    let file = SourceFile {
        name: format!("{name}.sql").into(),
        text: case.sql.clone(),
    };
    let lookup = Lookup(schemas.clone());
    match compile(&file, &CompileContext { schemas: &lookup }) {
        Err(diagnostics) => {
            let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            CaseReport {
                refused: true,
                ..CaseReport::failed(name, Stage::Plan, all.join("\n\n"))
            }
        }
        Ok(topology) => match case.run(Arc::new(topology), &schemas) {
            Ok(()) => CaseReport::passed(name),
            Err(e) => CaseReport::failed(name, Stage::Compare, e),
        },
    }
}
