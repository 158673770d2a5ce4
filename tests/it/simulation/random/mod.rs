//! Generated topologies and inputs on whole clusters under every kind of fault, from one seed; see [`scenario`]. The answer is an independent oracle's
//! ([`model`]). A scenario that fails is made smaller and kept in `tests/simulation`, where every test run replays it.
//!
//! `MILLSTREAM_SEEDS=n` runs so many seeds, from `MILLSTREAM_FIRST_SEED` on; `MILLSTREAM_SEED=n` runs one; `SIMULATE=path` replays a file.

mod check;
mod generate;
mod model;
mod plan;
mod readers;
mod run;
mod scenario;
mod shrink;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use run::{Survived, run};
use scenario::Scenario;

use super::fault::KINDS;

/// Seeds in every `make test`.
const SEEDS: u64 = 500;
/// So many seeds have met every kind of fault.
const ENOUGH_FOR_ALL_KINDS: u64 = 200;
/// One seed in so many is a long scenario.
const LONG_EVERY: u64 = 100;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a scenario; its panic as text. Panics are not printed meanwhile.
fn outcome(scenario: &Scenario) -> Result<Survived, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match QUIET.get() {
            true => LAST.set(info.to_string()),
            false => loud(info),
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(scenario)));
    QUIET.set(false);
    outcome.map_err(|_| LAST.take())
}

thread_local! {
    static LAST: Cell<String> = const { Cell::new(String::new()) };
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation")
}

/// Makes a failing scenario smaller, keeps it, and says how to repeat it.
fn report(scenario: &Scenario, reason: String) -> String {
    let judge = |scenario: &Scenario| outcome(scenario).err();
    let (small, why) = shrink::shrink(scenario, reason.clone(), &judge);
    let path = folder().join(format!("seed-{}.json", scenario.seed));
    let text = serde_json::to_string_pretty(&small).unwrap();
    let kept = match std::fs::write(&path, text + "\n") {
        Ok(()) => format!("kept as {}", path.display()),
        Err(error) => format!("not kept, {}: {error}", path.display()),
    };
    format!(
        "seed {}: {reason}\n\nmade smaller, {kept}; replay it with `make simulate CASE={}`:\n{}\n{} events\n{why}\n",
        scenario.seed,
        path.display(),
        small.plan.sql(small.partitions),
        small.events.len(),
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs a part of the seeds and prints what they survived.
fn seeds(part: u64, parts: u64) {
    let first = number("MILLSTREAM_FIRST_SEED").unwrap_or(0);
    let count = number("MILLSTREAM_SEEDS").unwrap_or(SEEDS);
    let only = number("MILLSTREAM_SEED");
    let seeds = (first..first + count).filter(|seed| seed % parts == part && only.is_none());
    let seeds: Vec<u64> = seeds.chain(only.filter(|seed| seed % parts == part)).collect();
    let (mut faults, mut failures): (BTreeMap<&str, u64>, Vec<String>) = (BTreeMap::new(), Vec::new());
    let (mut records, mut looks, mut slowest) = (0, 0, 0);
    for &seed in &seeds {
        let scenario = Scenario::generate(seed, seed % LONG_EVERY == LONG_EVERY - 1);
        match outcome(&scenario) {
            Ok(survived) => {
                for (kind, times) in survived.faults {
                    *faults.entry(kind).or_default() += times;
                }
                records += survived.records;
                looks += survived.looks;
                slowest = slowest.max(survived.settled_ms);
            }
            Err(reason) => failures.push(report(&scenario, reason)),
        }
        assert!(failures.len() < 5, "{}", failures.join("\n"));
    }
    let mut table = format!(
        "{} seeds, {records} records, {looks} looks of readers; at most {slowest} ms from the end of faults until all was processed\nfaults survived by kind:\n",
        seeds.len()
    );
    for (kind, times) in &faults {
        let _ = writeln!(table, "{times:>9}  {kind}");
    }
    println!("{table}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if seeds.len() as u64 >= ENOUGH_FOR_ALL_KINDS {
        let never: Vec<_> = KINDS.iter().filter(|kind| !faults.contains_key(*kind)).collect();
        assert!(never.is_empty(), "these faults never happened: {never:?}");
    }
}

#[test]
fn generated_topologies_are_exact_whatever_fails_even_seeds() {
    seeds(0, 2);
}

#[test]
fn generated_topologies_are_exact_whatever_fails_odd_seeds() {
    seeds(1, 2);
}

#[test]
fn the_same_scenario_gives_the_same_run() {
    for seed in [5, 6, 7] {
        let scenario = Scenario::generate(seed, false);
        assert_eq!(outcome(&scenario), outcome(&scenario), "seed {seed}");
    }
}

/// A scenario from a file.
fn read(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Scenarios that once failed; `SIMULATE` names one alone.
#[test]
fn replay() {
    let paths: Vec<PathBuf> = match std::env::var_os("SIMULATE") {
        Some(path) => {
            // one alone is looked at: what the engine and the log say of it helps
            let level = tracing::Level::DEBUG;
            let log = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(level)
                .without_time()
                .try_init();
            drop(log);
            vec![path.into()]
        }
        None => {
            let entries = std::fs::read_dir(folder()).unwrap();
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
            paths.sort();
            paths
        }
    };
    let failed = paths.iter().filter_map(|path| {
        let reason = outcome(&read(path)).err()?;
        Some(format!("{}: {reason}", path.display()))
    });
    let failed: Vec<String> = failed.collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
