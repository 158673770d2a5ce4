//! `millstream test`: ksqlDB's tutorials as cases, and the program itself with cases on its standard input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millstream::cli::testing::find::find;
use serde_json::Value as Json;

fn shared() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("MILLSTREAM_SHARED").map_or_else(default, PathBuf::from)
}

#[test]
fn the_tutorials_of_ksqldb_pass() {
    let folder = shared().join("data/ksql-tutorials");
    if !folder.is_dir() {
        let line = format!("skipped: there is no {}\n", folder.display());
        std::io::stderr().write_all(line.as_bytes()).expect("standard error");
        return;
    }
    let found = find(&[folder]).expect("readable");
    assert_eq!(found.len(), 27);
    let mut failures = Vec::new();
    for job in found.into_iter().flat_map(|file| file.jobs) {
        let (report, _) = job.run();
        if !report.ok {
            failures.push(format!("{}: {}", report.name, report.error.unwrap_or_default()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Our own cases in ksqlDB's shape, `tests/cases`.
#[test]
fn our_cases_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let found = find(&[folder]).expect("readable");
    let reports = found.into_iter().flat_map(|file| file.jobs).map(|job| job.run().0);
    // of ours a refusal is for the reason that the case names, too
    let failed = reports.filter(|report| !report.ok || report.message_matches == Some(false));
    let told: Vec<String> = failed
        .map(|report| format!("{}: {}", report.name, report.error.unwrap_or_default()))
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

/// Runs the program with these lines; its answers, and whether it says that all is well.
fn answers(lines: &[String]) -> (Vec<Json>, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(["test", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    for line in lines {
        writeln!(input, "{line}").expect("it reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let parsed = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"));
    (parsed.collect(), output.status.code())
}

const CASE: &str = r#"{"name": "copy", "statements": [
    "CREATE STREAM A (ID INT KEY, X DOUBLE) WITH (kafka_topic='a', value_format='JSON')", "CREATE STREAM B AS SELECT * FROM A;"],
    "inputs": [{"topic": "a", "key": 1, "value": {"x": 1.5}, "timestamp": 7}],
    "outputs": [{"topic": "B", "key": 1, "value": {"X": 1.5}, "timestamp": 7}]}"#;

#[test]
fn a_case_a_line_is_answered_by_a_line_in_order() {
    let good = CASE.replace('\n', " ");
    let (found, status) = answers(std::slice::from_ref(&good));
    assert_eq!(status, Some(0));
    let expected: Json =
        serde_json::from_str(r#"{"name": "copy", "ok": true, "refused": false, "stage": null, "error": null}"#)
            .expect("JSON");
    assert_eq!(found, [expected]);

    let refused = r#"{"name": "r", "statements": ["CREATE STREAM B AS SELECT * FROM NOWHERE;"], "expectedException": {"message": "NOWHERE"}}"#;
    let lines = [
        "no case".to_owned(),
        good.replace("copy", "first"),
        good.replace("\"X\": 1.5", "\"X\": 2"),
        refused.to_owned(),
        good.replace("SELECT *", "SELECT NOTHING_LIKE_IT"),
        format!("{{\"name\": \"deep\", \"statements\": [\"{}\"]}}", "(".repeat(100_000)),
        good.replace("copy", "last"),
    ];
    let (found, status) = answers(&lines);
    assert_eq!(status, Some(1));
    let shown: Vec<(String, bool, bool, String)> = found
        .iter()
        .map(|answer| {
            let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            let flag = |field: &str| answer[field].as_bool().expect("a flag");
            (text("name"), flag("ok"), flag("refused"), text("stage"))
        })
        .collect();
    let expected = [
        ("a line", false, false, "parse"),
        ("first", true, false, ""),
        ("copy", false, false, "compare"),
        ("r", true, true, "plan"),
        ("copy", false, true, "plan"),
        ("deep", false, true, "parse"),
        ("last", true, false, ""),
    ];
    let expected = expected.map(|(name, ok, refused, stage)| (name.to_owned(), ok, refused, stage.to_owned()));
    assert_eq!(shown, expected);
    let difference = found[2]["error"].as_str().expect("a difference");
    assert!(difference.contains("value.X: expected 2, came 1.5"), "{difference}");
}
