//! Faults of the real world: the real program over TCP with the embedded broker, to which is done what networks, disks and machines do. Afterwards
//! the outputs must be exactly what the input says, whatever happened; RELIABILITY.md has a row for each.
//!
//! `make test` runs the short ones. Long ones run where `MILLSTREAM_FAULTS` is set (`make test-faults`), and the soak where
//! `MILLSTREAM_SOAK_MINUTES` is (`make soak`).

mod commit_points;
mod disk;
mod ground;
mod kafka;
mod network;
mod numbers;
mod poison;
mod pressure;
mod process;
mod proxy;
mod soak;
mod zombie;

/// Whether the long ones are wanted; a line says that a test is skipped.
fn long(test: &str) -> bool {
    let wanted = std::env::var_os("MILLSTREAM_FAULTS").is_some();
    if !wanted {
        println!("skipped: {test} is long; `make test-faults` runs it");
    }
    wanted
}
