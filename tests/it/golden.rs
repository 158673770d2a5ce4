//! Runs the golden cases of `tests/golden` in one call stack. Their format is described in `millstream::engine::golden`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use millstream::engine::golden::Case;
use millstream::formats::{MemoryRegistry, SchemaSource, columns_of};
use millstream::sql::{CompileContext, SchemaLookup, SourceFile, compile};
use millstream::topology::Topology;
use millstream::types::{Column, SerdeSpec};

/// The registry as the compiler sees it.
struct Lookup(Arc<dyn SchemaSource>);

impl SchemaLookup for Lookup {
    fn columns(&self, subject: &str, spec: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        let Some(schema) = self.0.latest(subject).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let columns = columns_of(&schema, spec, subject.ends_with("-key"));
        columns.map(Some).map_err(|e| e.to_string())
    }
}

/// The topology of a case's SQL.
pub fn compile_case(name: &str, case: &Case, schemas: &Arc<dyn SchemaSource>) -> Result<Topology, String> {
    let file = SourceFile {
        name: format!("{name}.sql").into(),
        text: case.sql.clone(),
    };
    let lookup = Lookup(schemas.clone());
    compile(&file, &CompileContext { schemas: &lookup }).map_err(|diagnostics| {
        let all = diagnostics.iter().map(|d| format!("\n{d}"));
        all.collect::<String>()
    })
}

fn run(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let case = Case::parse(&text).map_err(|e| e.to_string())?;
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    case.register_schemas(&schemas)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let topology = compile_case(&stem, &case, &schemas)?;
    case.run(Arc::new(topology), &schemas).map_err(|e| e.to_string())
}

#[test]
fn golden_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let only = std::env::var("CASE").unwrap_or_default();
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|e| e == "case") && path.to_string_lossy().contains(&only));
    assert!(!paths.is_empty(), "no cases in {}", folder.display());
    let mut failures = String::new();
    for path in &paths {
        if let Err(e) = run(path) {
            failures.push_str(&format!(
                "\n{}: {e}\n",
                path.file_name().unwrap_or_default().to_string_lossy()
            ));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
