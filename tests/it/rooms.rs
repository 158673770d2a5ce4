//! Checks the room table (ARCHITECTURE.md) against the code: who imports whom, and who alone may use the big foreign crates.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may import, tests aside.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("expr", &["types"]),
    ("topology", &["types", "expr"]),
    ("formats", &["types"]),
    ("log", &["types"]),
    ("state", &["types"]),
    ("operators", &["types", "expr", "topology", "state"]),
    (
        "engine",
        &["types", "expr", "topology", "formats", "log", "state", "operators"],
    ),
    ("sql", &["types", "expr", "topology"]),
    (
        "views",
        &["types", "expr", "topology", "state", "operators", "engine", "sql"],
    ),
    ("http", &["types", "expr", "topology", "views", "engine"]),
    ("dev", &["types", "log", "formats"]),
    (
        "cli",
        &[
            "types",
            "expr",
            "topology",
            "formats",
            "log",
            "state",
            "operators",
            "engine",
            "sql",
            "views",
            "http",
            "dev",
        ],
    ),
];

/// Imports that the table does not foresee, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Foreign crates that have one home: the crate, and the folders or files that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("rdkafka", &["src/log/kafka"]),
    ("rocksdb", &["src/state/rocks"]),
    ("kafka_protocol", &["src/dev/broker", "src/log/core"]),
    ("clap", &["src/cli"]),
    ("object_store", &["src/engine/snapshots/s3.rs"]),
    ("axum", &["src/http", "src/dev/registry"]),
    ("hyper_util", &["src/http"]),
];

/// Rooms that are functions of their inputs (see ARCHITECTURE.md, Invariants).
const DETERMINISTIC: &[&str] = &[
    "src/types",
    "src/expr",
    "src/topology",
    "src/operators",
    "src/sql",
    "src/log/core",
    "src/log/sim",
    "src/state/mod.rs",
    "src/state/buffer",
    "src/engine/task",
    "src/engine/worker",
    "src/engine/queue.rs",
    "src/engine/outbox.rs",
    "src/engine/names.rs",
    "src/engine/fingerprint.rs",
];

/// What must not stand there, and what takes its place.
const NOT_DETERMINISTIC: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("Utc::now", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("thread::sleep", "the caller waits"),
    (
        "collections::HashMap",
        "FxHashMap, IndexMap or BTreeMap: the order of a HashMap differs from run to run",
    ),
    (
        "collections::HashSet",
        "FxHashSet, IndexSet or BTreeSet: the order of a HashSet differs from run to run",
    ),
    ("Uuid::new_v4", "identities are arguments"),
];

/// Macros that print; answers and complaints go through `cli::output`, everything else is a log line.
const PRINTING: &[&str] = &["println!", "eprintln!", "print!(", "eprint!(", "dbg!("];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The code of a file: comments and what stands behind `#[cfg(test)]` (by our convention the rest of the file) are left out.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let lines = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]" || is_test_mod_declaration(&text));
    lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// `#[cfg(test)] mod tests;` near the top of a `mod.rs` does not end its code.
fn is_test_mod_declaration(text: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| line.trim() != "#[cfg(test)]").skip(1);
    lines.next().is_some_and(|line| line.trim_end().ends_with(';'))
}

fn is_test_file(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests.rs" | "tests")))
}

fn room_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// The rooms named by `crate::room` and `crate::{room::..., other}`.
fn imported_rooms(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_word(rest)),
            Some(list) => {
                let mut depth = 0usize;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.extend(first_word(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for path in sources().iter().filter(|path| !is_test_file(path)) {
        let Some(room) = room_of(path) else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: the room table has no room `{room}`", path.display()));
            continue;
        };
        for import in imported_rooms(&code(path)) {
            let is_room = ROOMS.iter().any(|(name, _)| *name == import);
            let excepted = EXCEPTIONS.iter().any(|(a, b, _)| *a == room && *b == import);
            if is_room && import != room && !allowed.contains(&import.as_str()) && !excepted {
                wrong.push(format!("{}: `{room}` may not import `{import}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn foreign_crates_stay_in_their_homes() {
    let mut wrong = Vec::new();
    for path in sources() {
        let inside = path
            .strip_prefix(root())
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        let code = code(&path);
        for (name, homes) in HOMES {
            let uses = code
                .match_indices(&format!("{name}::"))
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if uses && !homes.iter().any(|home| inside.starts_with(home)) {
                wrong.push(format!("{inside}: `{name}` is at home in {}", homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_knows_no_clock_and_no_hash_order() {
    let mut wrong = Vec::new();
    for path in sources().iter().filter(|path| !is_test_file(path)) {
        let inside = path
            .strip_prefix(root())
            .expect("below the root")
            .to_string_lossy()
            .into_owned();
        let code = code(path);
        if DETERMINISTIC.iter().any(|home| inside.starts_with(home)) {
            let found = NOT_DETERMINISTIC.iter().filter(|(word, _)| code.contains(word));
            wrong.extend(found.map(|(word, instead)| format!("{inside}: {word}: {instead}")));
        }
        if !inside.starts_with("src/cli/output.rs") {
            let found = PRINTING.iter().filter(|word| code.contains(**word));
            wrong.extend(found.map(|word| format!("{inside}: {word} (use cli::output, or tracing)")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The architecture page shows the same table.
#[test]
fn the_architecture_page_names_every_room() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for (room, _) in ROOMS {
        assert!(
            page.contains(&format!("| `{room}` |")),
            "ARCHITECTURE.md has no row for `{room}`"
        );
    }
    assert!(
        page.lines().count() <= 200,
        "ARCHITECTURE.md has grown beyond 200 lines"
    );
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let code = "use crate::types::{A, B}; use crate::{log::X, state::{Y, engine}, expr}; fn f() { crate::sql::g(); $crate::http::h() }";
    let expected: BTreeSet<String> = ["types", "log", "state", "expr", "sql"].map(str::to_owned).into();
    assert_eq!(imported_rooms(code), expected);
}
