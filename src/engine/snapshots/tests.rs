//! Manifests from outside, files that are not what they should be, buckets, and what instances serve to each other.

mod limits;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{OpenStores, TaskId};
use super::*;
use crate::state::memory::MemoryStores;
use crate::state::{ChangelogPosition, Store, StoreFactory, StorePosition};
use crate::types::TopicPartition;

const TASK: TaskId = TaskId { sub: 0, partition: 3 };
const DAY: i64 = 24 * 3_600_000;

/// A directory that is gone with the test.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("millstream-snapshots-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn position(offset: i64) -> StorePosition {
    StorePosition {
        changelogs: vec![ChangelogPosition {
            topic: "app.t.S.changelog".into(),
            topic_id: "id".into(),
            offset,
        }],
        inputs: vec![("in".into(), 3, 7)],
        applied_at: 10 * DAY,
        fingerprint: "plan".into(),
    }
}

fn wanted() -> Wanted {
    Wanted {
        topology: "t".into(),
        generation: 0,
        task: TASK,
        fingerprint: "plan".into(),
        logs: vec![WantedLog {
            tp: TopicPartition::new("app.t.S.changelog", 3),
            id: "id".into(),
            low: 100,
            end: 1_100,
        }],
        replay: 1_000,
        delete_retention_ms: 7 * DAY,
        now: 11 * DAY,
    }
}

fn rows(store: &dyn Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut each = |key: &[u8], value: &[u8]| rows.insert(key.to_vec(), value.to_vec()).is_none();
    store.scan(&[], None, &mut each).unwrap();
    rows
}

/// Stores of one process, with one that has rows.
fn stores(offset: i64) -> (Arc<OpenStores>, Box<dyn Store>) {
    let stores = Arc::new(OpenStores::new(Arc::new(MemoryStores::new())));
    let mut store = stores.take("t/g0/0_3").unwrap().unwrap();
    let mut writes = (0..50_u8).map(|n| (vec![0, 1, n], Some(vec![n; 100])));
    store.apply(&mut writes, &position(offset)).unwrap();
    (stores, store)
}

/// A snapshot in a directory bucket, put as the keeper does.
fn bucket_with(temp: &Temp, offset: i64) -> (Arc<Directory>, Manifest) {
    let (_, store) = stores(offset);
    let checkpoint = temp.path("checkpoint");
    store.reader().checkpoint(&checkpoint).unwrap();
    let manifest = Manifest::describe(("t", 0, TASK), position(offset), &checkpoint, &mut Known::default()).unwrap();
    let bucket = Arc::new(Directory::new(temp.path("bucket")));
    for file in &manifest.files {
        let name = format!("app/t/g0/0_3/files/{}", file.sha256);
        bucket.put(&name, &checkpoint.join(&file.name)).unwrap();
    }
    put_manifest(&bucket, &manifest);
    (bucket, manifest)
}

fn put_manifest(bucket: &Directory, manifest: &Manifest) {
    let name = "app/t/g0/0_3/manifests/0000000000001-one.json";
    bucket.put_bytes(name, manifest.to_bytes()).unwrap();
}

fn bringer(temp: &Temp, bucket: &Arc<Directory>) -> Bringer {
    let source = BucketSource::new("app", bucket.clone());
    Bringer::new(vec![Arc::new(source)], temp.path("in"), 1).unwrap()
}

/// Until something holds that another thread brings about.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(180), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What becomes of a fetch.
fn end(fetch: &mut dyn Fetch) -> Fetched {
    let mut fetched = Fetched::Pending;
    until("the end of a fetch", || {
        fetched = fetch.poll();
        !matches!(fetched, Fetched::Pending)
    });
    fetched
}

#[test]
fn a_snapshot_comes_back_with_every_row_and_its_position() {
    let temp = Temp::new();
    let (bucket, _) = bucket_with(&temp, 1_000);
    let mut fetch = bringer(&temp, &bucket).fetch(wanted());
    let Fetched::Ready { directory, from } = end(&mut *fetch) else {
        panic!("it was refused")
    };
    assert!(from.starts_with("file:///"), "{from}");
    let there = MemoryStores::new();
    there.import("t/g0/0_3", &directory).unwrap();
    let store = there.open("t/g0/0_3").unwrap();
    assert_eq!(store.position().unwrap(), Some(position(1_000)));
    assert_eq!(rows(&*store), rows(&*stores(1_000).1));
    drop(fetch);
    assert!(!directory.exists());
}

#[test]
fn damaged_and_incomplete_files_are_refused_and_nothing_of_them_stays() {
    for damage in ["cut", "changed", "longer", "missing"] {
        let temp = Temp::new();
        let (bucket, manifest) = bucket_with(&temp, 1_000);
        let file = manifest.files.iter().find(|file| file.name == "rows").unwrap();
        let path = temp.path("bucket/app/t/g0/0_3/files").join(&file.sha256);
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "cut" => bytes.truncate(bytes.len() - 1),
            "changed" => bytes[77] ^= 1,
            "longer" => bytes.push(0),
            _ => bytes.clear(),
        }
        if bytes.is_empty() {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, bytes).unwrap();
        }
        let mut fetch = bringer(&temp, &bucket).fetch(wanted());
        assert_eq!(end(&mut *fetch), Fetched::Nothing, "{damage}");
        drop(fetch);
        let left = fs::read_dir(temp.path("in")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{damage}");
    }
}

#[test]
fn an_older_snapshot_is_taken_where_the_newest_is_damaged() {
    let temp = Temp::new();
    let (bucket, manifest) = bucket_with(&temp, 1_000);
    let mut newer = manifest;
    newer.files[0].sha256 = "0".repeat(64);
    let name = "app/t/g0/0_3/manifests/0000000000002-one.json";
    bucket.put_bytes(name, newer.to_bytes()).unwrap();
    let mut fetch = bringer(&temp, &bucket).fetch(wanted());
    assert!(matches!(end(&mut *fetch), Fetched::Ready { .. }));
}

#[test]
fn a_manifest_cannot_name_what_is_no_file_of_its_own() {
    let temp = Temp::new();
    let (bucket, manifest) = bucket_with(&temp, 1_000);
    for name in [
        "../outside",
        "/etc/passwd",
        "a/b",
        "..",
        ".hidden",
        "",
        "a\\b",
        "C:x",
        "-rf",
        "nul\0",
        "new\nline",
        &"x".repeat(129),
    ] {
        let mut hostile = manifest.clone();
        hostile.files[0].name = name.to_owned();
        let refused = Manifest::parse(&hostile.to_bytes()).unwrap_err();
        assert!(refused.contains("no plain name"), "{name:?}: {refused}");
        put_manifest(&bucket, &hostile);
        assert_eq!(
            end(&mut *bringer(&temp, &bucket).fetch(wanted())),
            Fetched::Nothing,
            "{name:?}"
        );
        assert!(bucket.read(name, &mut |_| Ok(())).is_err(), "{name:?}");
    }
    assert!(!temp.path("outside").exists() && !temp.0.with_file_name("outside").exists());
    let mut twice = manifest.clone();
    twice.files.push(twice.files[0].clone());
    assert!(Manifest::parse(&twice.to_bytes()).unwrap_err().contains("twice"));
    let mut unhashed = manifest.clone();
    unhashed.files[0].sha256 = "../../x".into();
    assert!(
        Manifest::parse(&unhashed.to_bytes())
            .unwrap_err()
            .contains("no SHA-256")
    );
    let newer = Manifest {
        format: 2,
        ..manifest.clone()
    };
    assert!(Manifest::parse(&newer.to_bytes()).unwrap_err().contains("format 2"));
    let empty = Manifest {
        files: vec![],
        ..manifest
    };
    assert!(Manifest::parse(&empty.to_bytes()).is_err());
    assert!(Manifest::parse(b"{\"format\":1}").is_err() && Manifest::parse(b"\xff").is_err());
}

#[test]
fn a_snapshot_has_to_belong_to_the_task_and_its_changelog() {
    let temp = Temp::new();
    let (_, manifest) = bucket_with(&temp, 1_000);
    assert_eq!(wanted().refuse(&manifest), None);
    let changed = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        wanted().refuse(&manifest).unwrap_or_default()
    };
    for (reason, change) in [
        (
            "another task",
            &(|m: &mut Manifest| m.partition = 4) as &dyn Fn(&mut Manifest),
        ),
        ("another task", &|m: &mut Manifest| m.generation = 1),
        ("another task", &|m: &mut Manifest| m.topology = "u".into()),
        ("another plan", &|m: &mut Manifest| {
            m.position.fingerprint = "edited".into()
        }),
        ("another topic", &|m: &mut Manifest| {
            m.position.changelogs[0].topic_id = "made anew".into()
        }),
        ("does not know", &|m: &mut Manifest| m.position.changelogs.clear()),
        ("ends at 1100", &|m: &mut Manifest| {
            m.position.changelogs[0].offset = 1_101
        }),
        ("begins at 100", &|m: &mut Manifest| {
            m.position.changelogs[0].offset = 99
        }),
        ("deletes older than", &|m: &mut Manifest| {
            m.position.applied_at = 3 * DAY
        }),
        ("still have to be replayed", &|m: &mut Manifest| {
            m.position.changelogs[0].offset = 599
        }),
    ] {
        let refused = changed(change);
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
}

#[test]
fn fetching_is_given_up_when_nobody_waits_any_more() {
    struct Hanging(Arc<std::sync::Barrier>);
    impl Source for Hanging {
        fn name(&self) -> String {
            "hanging".into()
        }
        fn offers(&self, wanted: &Wanted) -> Result<Vec<Offer>, String> {
            let (_, store) = stores(1_000);
            let directory = std::env::temp_dir().join(format!("millstream-hanging-{}", uuid::Uuid::new_v4()));
            store.reader().checkpoint(&directory).unwrap();
            let of = (wanted.topology.as_str(), 0, TASK);
            let manifest = Manifest::describe(of, position(1_000), &directory, &mut Known::default()).unwrap();
            fs::remove_dir_all(directory).unwrap();
            Ok(vec![Offer {
                manifest: manifest.to_bytes(),
                id: "x".into(),
            }])
        }
        fn read(
            &self,
            _: &Wanted,
            _: &Offer,
            _: &FileEntry,
            sink: &mut dyn FnMut(&[u8]) -> Result<(), String>,
        ) -> Result<(), String> {
            self.0.wait();
            while sink(&[]).is_ok() {
                std::thread::yield_now();
            }
            self.0.wait();
            Err("given up".into())
        }
        fn close(&self, _: &Wanted, _: &Offer) {}
    }
    let temp = Temp::new();
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let bringer = Bringer::new(vec![Arc::new(Hanging(barrier.clone()))], temp.path("in"), 1).unwrap();
    let mut fetch = bringer.fetch(wanted());
    barrier.wait();
    assert_eq!(fetch.poll(), Fetched::Pending);
    drop(fetch);
    barrier.wait();
}

#[test]
fn a_transfer_that_drips_is_given_up() {
    let mut pace = Pace::new(Duration::ZERO);
    assert!(pace.moved(1 << 20).is_ok());
    assert!(pace.moved(100).unwrap_err().contains("100 bytes"));
    let mut patient = Pace::new(Duration::from_secs(3_600));
    assert!(patient.moved(0).is_ok());
}

#[test]
fn a_directory_keeps_what_was_put_and_shows_nothing_half_written() {
    let temp = Temp::new();
    let bucket = super::bucket(&format!("file://{}", temp.path("bucket").display())).unwrap();
    assert_eq!(bucket.list("a/b").unwrap(), vec![]);
    bucket.put_bytes("a/b/2", vec![2; 200_000]).unwrap();
    bucket.put_bytes("a/b/c/1", vec![1]).unwrap();
    bucket.put_bytes("a/other", vec![1]).unwrap();
    fs::write(temp.path("bucket/a/b/.unfinished-1-x"), b"half").unwrap();
    let listed: Vec<_> = bucket
        .list("a/b")
        .unwrap()
        .into_iter()
        .map(|e| (e.name, e.size))
        .collect();
    assert_eq!(listed, [("a/b/2".to_owned(), 200_000), ("a/b/c/1".to_owned(), 1)]);
    let mut read = Vec::new();
    let mut sink = |bytes: &[u8]| {
        read.extend_from_slice(bytes);
        Ok(())
    };
    bucket.read("a/b/2", &mut sink).unwrap();
    assert_eq!(read, vec![2; 200_000]);
    bucket.delete("a/b/2").unwrap();
    bucket.delete("a/b/2").unwrap();
    assert!(bucket.read("a/b/2", &mut |_| Ok(())).is_err());
    assert!(bucket.put_bytes("../x", vec![]).is_err() && bucket.list("..").is_err());
    for wrong in ["file://relative", "ftp://x", "/plain"] {
        assert!(super::bucket(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_served_is_whole_bounded_and_gone_afterwards() {
    let temp = Temp::new();
    let offers = Offers::new(temp.path("out")).unwrap().keep(Duration::from_secs(3_600));
    assert!(
        matches!(offers.open("t", 0, TASK), Err(OfferError::NotHere(_))),
        "nothing is served yet"
    );
    let (stores, store) = stores(1_000);
    offers.serve(&stores);
    // given back, but still open: the next owner asks for it
    stores.put("t/g0/0_3", store, 0);
    let opened = offers.open("t", 0, TASK).unwrap();
    let manifest = Manifest::parse(&opened.manifest).unwrap();
    assert_eq!(wanted().refuse(&manifest), None);
    for file in &manifest.files {
        let mut read = Vec::new();
        let mut offered = offers.file(&opened.id, &file.name).unwrap();
        std::io::Read::read_to_end(&mut offered.file, &mut read).unwrap();
        assert_eq!((offered.size, read.len() as u64), (file.size, file.size));
    }
    for (id, name) in [(&*opened.id, "../../secret"), (&*opened.id, "nothing"), ("..", "rows")] {
        assert!(
            matches!(offers.file(id, name), Err(OfferError::NotHere(_))),
            "{id} {name}"
        );
    }
    let more: Vec<Opened> = (0..3).map(|_| offers.open("t", 0, TASK).unwrap()).collect();
    assert_eq!(offers.open("t", 0, TASK).unwrap_err(), OfferError::Busy);
    offers.close(&more[0].id);
    assert!(offers.open("t", 0, TASK).is_ok());
    assert!(matches!(
        offers.open("t", 0, TaskId { sub: 0, partition: 9 }),
        Err(OfferError::NotHere(_))
    ));
    stores.close_idle(i64::MAX);
    offers.close(&opened.id);
    assert!(
        matches!(offers.open("t", 0, TASK), Err(OfferError::NotHere(_))),
        "closed"
    );
}

#[test]
fn a_checkpoint_that_nobody_reads_is_removed() {
    let temp = Temp::new();
    let offers = Offers::new(temp.path("out")).unwrap();
    let (stores, _store) = stores(1_000);
    offers.serve(&stores);
    let opened = offers.open("t", 0, TASK).unwrap();
    let reading = offers.file(&opened.id, "rows").unwrap();
    let offers = offers.keep(Duration::ZERO);
    assert_eq!(offers.sweep(), 1, "it is being read");
    drop(reading);
    assert_eq!(offers.sweep(), 0);
    assert!(!temp.path("out").join(&opened.id).exists());
}

#[test]
fn unchanged_files_are_neither_read_nor_put_again() {
    let temp = Temp::new();
    let (_, manifest) = bucket_with(&temp, 1_000);
    let checkpoint = temp.path("checkpoint");
    let mut known = Known::default();
    let of = ("t", 0, TASK);
    assert_eq!(
        Manifest::describe(of, position(1_000), &checkpoint, &mut known).unwrap(),
        manifest
    );
    let changed = Path::new("rows");
    let (path, meta) = (
        checkpoint.join(changed),
        fs::metadata(checkpoint.join(changed)).unwrap(),
    );
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    let back = fs::File::options().write(true).open(&path).unwrap();
    back.set_modified(meta.modified().unwrap()).unwrap();
    let same = Manifest::describe(of, position(1_000), &checkpoint, &mut known).unwrap();
    assert_eq!(same, manifest, "it was read again");
    back.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let other = Manifest::describe(of, position(1_000), &checkpoint, &mut known).unwrap();
    assert_ne!(other, manifest);
}
