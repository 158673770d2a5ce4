//! Our own disk: full for a while. What is committed stays, what cannot be stored is waited for, and with room it goes on.

use std::path::Path;
use std::process::Command;

use super::long;
use super::numbers::{EVERY_CHANGE, Load, exact, ground, progress, send};
use crate::patience::until;

/// State that is flushed again and again.
const SMALL: [&str; 6] = [
    "--rocksdb-memory",
    "8MiB",
    "--rocksdb-write-buffer",
    "1MiB",
    "--flush-interval",
    "200ms",
];

/// No file of the data directory may grow: every flush of a store fails.
#[test]
fn a_full_disk_is_waited_for_and_what_is_committed_stays() {
    let ground = ground("disk");
    let mut instance = ground.start("one", &[&EVERY_CHANGE[..], &SMALL].concat());
    let load = Load::start(&ground);
    progress(&ground);
    instance.process.limit_files(Some(0));
    println!("{}", instance.process.says("a store failed"));
    println!("{}", instance.not_ready("File too large"));
    instance.process.limit_files(None);
    instance.is_ready();
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    assert_eq!(instance.process.lines("built anew"), Vec::<String>::new());
    instance.process.stop();
}

/// A restart while the disk is full waits, too.
#[test]
fn a_start_on_a_full_disk_waits_for_room() {
    if !long("a start on a full disk") {
        return;
    }
    let ground = ground("disk-start");
    let mut instance = ground.start("one", &EVERY_CHANGE);
    send(&ground, 0, 500);
    exact(&ground, &mut instance);
    instance.process.kill();
    send(&ground, 500, 500);
    let mut instance = ground.start("one", &EVERY_CHANGE);
    instance.process.limit_files(Some(0));
    send(&ground, 1_000, 500);
    until("what was sent", || {
        instance.process.must_live();
        !instance.process.lines("a store failed").is_empty() || instance.health().0 == 200
    });
    instance.process.limit_files(None);
    exact(&ground, &mut instance);
    instance.process.stop();
}

/// A file system of a few mebibytes, which takes the right to mount one.
struct Tiny(std::path::PathBuf);

impl Tiny {
    fn mount(place: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(place).expect("made");
        mounted(place, &["-t", "tmpfs", "-o", &format!("size={size}"), "tiny"]).then(|| Self(place.to_owned()))
    }

    fn resize(&self, size: &str) {
        assert!(
            mounted(&self.0, &["-o", &format!("remount,size={size}"), "tiny"]),
            "remounted"
        );
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mounted(place: &Path, arguments: &[&str]) -> bool {
    let status = Command::new("mount")
        .args(arguments)
        .arg(place)
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The same with a disk that is really full.
#[test]
fn a_tiny_disk_that_runs_full_is_waited_for() {
    if !long("a tiny disk") {
        return;
    }
    let ground = ground("tiny");
    let Some(tiny) = Tiny::mount(&ground.data_dir("one"), "3m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let mut instance = ground.start("one", &[&EVERY_CHANGE[..], &SMALL].concat());
    let load = Load::start(&ground);
    progress(&ground);
    // somebody else fills it
    let filler = ground.data_dir("one").join("filler");
    let full = std::fs::write(&filler, vec![1_u8; 3 << 20]);
    assert!(full.is_err(), "the disk is full");
    println!("{}", instance.process.says("No space left on device"));
    println!("{}", instance.not_ready("No space left on device"));
    tiny.resize("64m");
    instance.is_ready();
    progress(&ground);
    load.stop();
    exact(&ground, &mut instance);
    instance.process.stop();
}
