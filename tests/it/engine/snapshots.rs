//! A lost disk that comes back by a snapshot and the changelog's tail; snapshots that are refused, and the same rows from the changelog alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use millstream::engine::snapshots::{
    Bringer, BucketSource, Directory, Keeper, KeeperSettings, Manifest, Rounds, SnapshotParts,
};
use millstream::engine::{Engine, TaskId};
use millstream::state::memory::MemoryStores;

use super::cluster::{Cluster, started};
use crate::patience::until;
use crate::simulation::plan;

const MOVIES: i64 = 150;
/// Ratings after the snapshot was put.
const TAIL: i64 = 5;
/// Changelog records of a tail: a rating changes a row or two, and transactions have markers.
const TAIL_RECORDS: u64 = 60;

/// A directory that is gone with the test.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        let name = format!("snapshots-{}", uuid::Uuid::new_v4());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Rows = BTreeMap<(TaskId, Vec<u8>), Vec<u8>>;

/// A cluster with state, of which a bucket has snapshots that lack the last few ratings.
struct Test {
    cluster: Cluster,
    temp: Temp,
    rows: Rows,
}

fn bucket_of(temp: &Temp) -> Arc<Directory> {
    Arc::new(Directory::new(temp.0.join("bucket")))
}

fn keeper_of(temp: &Temp, keep: usize) -> KeeperSettings {
    KeeperSettings {
        app: "millstream".into(),
        instance: "one".into(),
        interval: Duration::from_secs(3_600),
        keep,
        grace: Duration::ZERO,
        directory: temp.0.join("put"),
    }
}

/// The stored rows of all tasks, all of which run.
fn rows(engine: &Engine) -> Rows {
    let published = engine.published().topology("movies").expect("deployed");
    let mut rows = Rows::new();
    for task in published.tasks() {
        let snapshot = task.reader().expect("runs").snapshot().expect("open");
        let mut each = |key: &[u8], value: &[u8]| rows.insert((task.id, key.to_vec()), value.to_vec()).is_none();
        snapshot.scan(&[], None, false, &mut each).expect("read");
    }
    rows
}

fn all_running(engine: &Engine) {
    started(engine);
    let published = engine.published().topology("movies").expect("deployed");
    until("all tasks", || published.all_running());
}

fn restored(engine: &Engine) -> u64 {
    let published = engine.published().topology("movies").expect("deployed");
    published.metrics.restored.load(SeqCst)
}

impl Test {
    fn new() -> Self {
        let temp = Temp::new();
        let cluster = Cluster::new();
        for movie in 0..MOVIES {
            cluster.movie(movie);
            cluster.rate(movie, 3.0);
        }
        let engine = cluster.start(&plan::topology());
        all_running(&engine);
        until("all results", || cluster.rated().len() == MOVIES as usize);
        let mut rounds = Rounds::new(keeper_of(&temp, 2), engine.published(), bucket_of(&temp)).expect("a directory");
        assert_eq!(rounds.put_all(&|| false), 4, "one a task with state");
        assert_eq!(rounds.put_all(&|| false), 0, "nothing has changed");
        for movie in 0..TAIL {
            cluster.rate(movie, 4.0);
        }
        until("the tail", || {
            (0..TAIL).all(|movie| cluster.rated()[&movie] == (2, 7.0))
        });
        let rows = rows(&engine);
        engine.stop();
        Self { cluster, temp, rows }
    }

    fn snapshots(&self) -> SnapshotParts {
        let source = BucketSource::new("millstream", bucket_of(&self.temp));
        let bringer = Bringer::new(vec![Arc::new(source)], self.temp.0.join("in"), 10).expect("a directory");
        SnapshotParts {
            from: Some(Arc::new(bringer)),
            offers: None,
        }
    }

    /// Starts with an empty disk, compares all rows, stops: how many changelog records were replayed.
    fn lose_the_disk(&mut self) -> u64 {
        self.cluster.snapshots = self.snapshots();
        let engine = self
            .cluster
            .start_instance(&plan::topology(), "one", Arc::new(MemoryStores::new()));
        all_running(&engine);
        assert_eq!(rows(&engine), self.rows);
        let restored = restored(&engine);
        engine.stop();
        restored
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let tasks = std::fs::read_dir(self.temp.0.join("bucket/millstream/movies/g0")).expect("snapshots were put");
        for task in tasks {
            let entries = std::fs::read_dir(task.expect("a task").path().join(folder)).expect("whole snapshots");
            found.extend(entries.map(|entry| entry.expect("a file").path()));
        }
        found
    }

    /// Rewrites every manifest.
    fn change(&self, change: impl Fn(&mut Manifest)) {
        for path in self.files("manifests") {
            let mut manifest = Manifest::parse(&std::fs::read(&path).expect("read")).expect("a manifest");
            change(&mut manifest);
            std::fs::write(&path, manifest.to_bytes()).expect("written");
        }
    }
}

#[test]
fn a_lost_disk_comes_back_by_snapshot_and_tail() {
    let mut test = Test::new();
    let restored = test.lose_the_disk();
    assert!(restored <= TAIL_RECORDS, "{restored} records were replayed");
    // And it goes on from there.
    let engine = test.cluster.start(&plan::topology());
    started(&engine);
    test.cluster.rate(0, 2.0);
    until("the next result", || test.cluster.rated()[&0] == (3, 9.0));
    engine.stop();
}

#[test]
fn a_snapshot_that_is_wrong_in_any_way_is_refused_and_the_changelog_gives_the_same_rows() {
    let mut test = Test::new();
    let whole = test
        .files("manifests")
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).expect("read")));
    let whole: Vec<(PathBuf, Vec<u8>)> = whole.collect();
    let wrongs: [(&str, fn(&mut Manifest)); 8] = [
        ("another plan", |m| m.position.fingerprint = "other".into()),
        ("another changelog", |m| {
            m.position.changelogs[0].topic_id = "other".into()
        }),
        ("beyond the end", |m| m.position.changelogs[0].offset = 1_000_000),
        ("too old", |m| m.position.applied_at = 0),
        ("another task", |m| m.partition += 1),
        ("a path", |m| m.files[0].name = "../../../0_0/files".into()),
        ("another hash", |m| m.files[0].sha256 = "0".repeat(64)),
        ("another size", |m| m.files[0].size += 1),
    ];
    for (what, wrong) in wrongs {
        test.change(wrong);
        let restored = test.lose_the_disk();
        assert!(
            restored >= MOVIES as u64,
            "{what}: only {restored} records were replayed"
        );
        for (path, bytes) in &whole {
            std::fs::write(path, bytes).expect("written");
        }
    }
    for path in test.files("files") {
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    }
    let restored = test.lose_the_disk();
    assert!(restored >= MOVIES as u64, "cut: only {restored} records were replayed");
}

/// The manifest says the right thing, every hash is right, and the store inside is another one.
#[test]
fn a_snapshot_whose_store_is_not_what_its_manifest_says_is_refused() {
    let mut test = Test::new();
    let folder = |path: &Path| path.parent().and_then(Path::parent).expect("in a task").to_owned();
    for path in test.files("manifests") {
        let mut manifest = Manifest::parse(&std::fs::read(&path).expect("read")).expect("a manifest");
        let files = folder(&path).join("files");
        let mut position = manifest.position.clone();
        position.fingerprint = "other".into();
        let forged = files.join("forged");
        std::fs::create_dir_all(&forged).expect("made");
        std::fs::write(forged.join("position"), serde_json::to_vec(&position).expect("json")).expect("written");
        let of = ("movies", 0, manifest.task());
        let described = Manifest::describe(of, position, &forged, &mut Default::default()).expect("described");
        std::fs::rename(forged.join("position"), files.join(&described.files[0].sha256)).expect("moved");
        std::fs::remove_dir_all(&forged).expect("removed");
        let mut files = manifest.files.iter_mut();
        let entry = files.find(|file| file.name == "position").expect("a position");
        entry.sha256.clone_from(&described.files[0].sha256);
        entry.size = described.files[0].size;
        std::fs::write(&path, manifest.to_bytes()).expect("written");
    }
    let restored = test.lose_the_disk();
    assert!(restored >= MOVIES as u64, "only {restored} records were replayed");
}

#[test]
fn only_the_newest_snapshots_and_their_files_are_kept() {
    let temp = Temp::new();
    let cluster = Cluster::new();
    let engine = cluster.start(&plan::topology());
    all_running(&engine);
    let mut rounds = Rounds::new(keeper_of(&temp, 2), engine.published(), bucket_of(&temp)).expect("a directory");
    let count = |folder: &str| {
        let task = temp.0.join("bucket/millstream/movies/g0");
        let tasks = std::fs::read_dir(task)
            .expect("put")
            .map(|entry| entry.expect("a task").path());
        tasks
            .map(|task| std::fs::read_dir(task.join(folder)).expect("there").count())
            .max()
            .unwrap_or(0)
    };
    for round in 1..=4_i64 {
        for movie in 0..10 {
            cluster.rate(movie, 1.0);
        }
        cluster.movie(round);
        until("all results", || {
            let rated = cluster.rated();
            rated.get(&1).is_some_and(|(n, _)| *n == round)
        });
        let done = engine.published().topology("movies").expect("deployed");
        until("no lag", || done.tasks().iter().all(|task| task.lag() == 0));
        rounds.put_all(&|| false);
        assert!(count("manifests") <= 2, "{} manifests", count("manifests"));
        // rows and position of each
        assert!(count("files") <= 4, "{} files", count("files"));
    }
    assert_eq!(count("manifests"), 2);
    let keeper = Keeper::start(keeper_of(&temp, 2), engine.published(), bucket_of(&temp)).expect("a thread");
    drop(keeper);
    engine.stop();
}
