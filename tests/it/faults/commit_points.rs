//! `kill -9` in every phase of a commit and in the middle of a restore, at the crash points of `engine::failpoint`.

#[cfg(feature = "failpoints")]
#[test]
fn a_kill_in_every_phase_of_a_commit_changes_no_output() {
    use super::numbers::{EVERY_CHANGE, Load, exact, ground};

    let ground = ground("phases");
    let load = Load::start(&ground);
    // at the first commit of a life, and at a later one; a life restores each of its few tasks once
    let points: [(&str, &[u32]); 5] = [
        ("mid-flush", &[1, 6]),
        ("outputs-sent", &[1, 6]),
        ("offsets-sent", &[1, 6]),
        ("committed-not-applied", &[1, 6]),
        ("mid-restore", &[1]),
    ];
    for (point, passes) in points {
        for nth in passes {
            let mut command = ground.command("one", &EVERY_CHANGE);
            command.env("MILLSTREAM_FAILPOINT", format!("{point}:{nth}"));
            ground.starting("one", command).dies();
        }
    }
    let mut instance = ground.start("one", &EVERY_CHANGE);
    load.stop();
    exact(&ground, &mut instance);
    assert_eq!(instance.process.lines("built anew"), Vec::<String>::new());
    instance.process.stop();
}

/// The variable that names a crash point is read by no build without the feature, releases included: its name is not even in the binary.
#[cfg(not(feature = "failpoints"))]
#[test]
fn a_build_without_the_feature_has_no_crash_points() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_millstream")).expect("the binary");
    let name = concat!("MILLSTREAM", "_FAILPOINT").as_bytes();
    let dash = |at: &usize| binary[at + 1..].starts_with(&name[1..]);
    let found = (0..binary.len() - name.len())
        .filter(|at| binary[*at] == name[0])
        .any(|at| dash(&at));
    assert!(!found, "crash points are part of this build");
}
