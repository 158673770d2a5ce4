//! `tests/corpus`: small inputs of each kind, good ones and those that something broke on, replayed as they are and with random changes.
//! What is done with them is what the fuzz targets do (`fuzz/inputs.rs`); what a fuzzer finds is put there under the name of what broke.

#[path = "../../fuzz/inputs.rs"]
mod inputs;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// The kinds of inputs: what `inputs::run` knows.
const ALL: [&str; 7] = ["sql", "avro", "protobuf", "json", "delimited", "broker", "peers"];

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("readable").path();
            (path.display().to_string(), fs::read(&path).expect("readable"))
        })
        .collect();
    all.sort();
    assert!(all.len() > 4, "{}", folder.display());
    all
}

/// Where something breaks, the panic does not say of what input: this does.
struct Told<'a>(&'a str);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0);
        }
    }
}

#[test]
fn every_input_of_the_corpus_is_taken_or_refused() {
    for name in ALL {
        for (path, data) in corpus(name) {
            let _told = Told(&path);
            inputs::run(name, &data);
        }
    }
}

/// A change of an input: where, what, and how much.
type Edit = (prop::sample::Index, u8, u8);

/// Bytes replaced, put in, taken out, repeated.
fn changed(data: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = data.to_vec();
    for (at, kind, byte) in edits {
        let at = at.index(out.len() + 1);
        let end = (at + usize::from(*byte % 16)).min(out.len());
        match kind % 5 {
            0 if at < out.len() => out[at] = *byte,
            1 => out.insert(at, *byte),
            2 => drop(out.drain(at..end)),
            3 => {
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
            _ => out.truncate(at),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn changed_inputs_are_taken_or_refused(
        kind in 0..ALL.len(),
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec(any::<Edit>(), 1..6),
    ) {
        let name = ALL[kind];
        let all = corpus(name);
        let (_, data) = &all[which.index(all.len())];
        inputs::run(name, &changed(data, &edits));
    }
}
