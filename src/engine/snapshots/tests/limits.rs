//! Bounds: of waiting for a snapshot, of tries, of what stays on the disk; and what one bad manifest may spoil.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use super::super::super::Published;
use super::*;

#[test]
fn a_checkpoint_that_was_left_goes_without_another_request() {
    let temp = Temp::new();
    let offers = Offers::new(temp.path("out")).unwrap().keep(Duration::ZERO);
    let (stores, _store) = stores(1_000);
    offers.serve(&stores);
    for _ in 0..2 {
        let opened = offers.open("t", 0, TASK).unwrap();
        until("its end", || !temp.path("out").join(&opened.id).exists());
    }
}

#[test]
fn a_checkpoint_that_nobody_waits_for_while_it_is_made_leaves_its_place() {
    let temp = Temp::new();
    let offers = Offers::new(temp.path("out")).unwrap();
    let (stores, _store) = stores(1_000);
    offers.serve(&stores);
    for _ in 0..9 {
        let opening = offers.begin("t", 0, TASK).unwrap();
        let left = opening.finish(&mut || false).unwrap_err();
        assert!(left.to_string().contains("nobody waits"), "{left}");
        drop(offers.begin("t", 0, TASK).unwrap());
    }
    assert_eq!(fs::read_dir(temp.path("out")).map_or(0, Iterator::count), 0);
    assert!(offers.open("t", 0, TASK).is_ok());
}

#[test]
fn hashes_that_were_made_for_one_request_are_there_for_the_next() {
    let temp = Temp::new();
    let directory = temp.path("checkpoint");
    fs::create_dir_all(&directory).unwrap();
    for name in ["1.sst", "2.sst", "3.sst"] {
        fs::write(directory.join(name), name).unwrap();
    }
    let mut known = Known::default();
    let mut describe = |most: usize| {
        let mut read = 0;
        let described = Manifest::describe_telling(("t", 0, TASK), position(1), &directory, &mut known, &mut || {
            read += 1;
            match read > most {
                true => Err(std::io::Error::other("the asker has gone")),
                false => Ok(()),
            }
        });
        (described.is_ok(), read)
    };
    assert_eq!(describe(2), (false, 3), "two files are read");
    assert_eq!(describe(9), (true, 1), "the third one is read");
    assert_eq!(describe(0), (true, 0));
}

/// Files without an end, a few bytes at a time; how often it was asked.
#[derive(Default)]
struct Dripping {
    asked: AtomicUsize,
    /// It has ended what it was reading.
    ended: AtomicUsize,
    /// It has nothing any more.
    dry: AtomicBool,
}

impl Source for Dripping {
    fn name(&self) -> String {
        "dripping".into()
    }

    fn offers(&self, wanted: &Wanted) -> Result<Vec<Offer>, String> {
        self.asked.fetch_add(1, SeqCst);
        if self.dry.load(SeqCst) {
            return Ok(Vec::new());
        }
        let manifest = Manifest {
            format: 1,
            topology: wanted.topology.clone(),
            generation: wanted.generation,
            sub: wanted.task.sub,
            partition: wanted.task.partition,
            position: position(1_000),
            files: vec![FileEntry {
                name: "rows".into(),
                size: u64::MAX,
                sha256: "0".repeat(64),
            }],
        };
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
        let read = loop {
            if let Err(reason) = sink(&[]) {
                break Err(reason);
            }
            std::thread::yield_now();
        };
        self.ended.fetch_add(1, SeqCst);
        read
    }

    fn close(&self, _: &Wanted, _: &Offer) {}
}

/// A bringer over one such source, with a clock that stands, in milliseconds.
fn dripping(temp: &Temp) -> (Bringer, Arc<Dripping>, Arc<AtomicU64>) {
    let (source, clock) = (Arc::new(Dripping::default()), Arc::new(AtomicU64::new(0)));
    let shown = clock.clone();
    let bringer = Bringer::new(vec![source.clone()], temp.path("in"), 1).unwrap();
    let bringer = bringer.stopwatch(Arc::new(move || Duration::from_millis(shown.load(SeqCst))));
    (bringer, source, clock)
}

fn wanted_of(partition: i32, replay: u64) -> Wanted {
    Wanted {
        task: TaskId { sub: 0, partition },
        replay,
        ..wanted()
    }
}

#[test]
fn a_snapshot_that_drips_is_not_waited_for_longer_than_a_replay_takes() {
    let temp = Temp::new();
    let (bringer, source, clock) = dripping(&temp);
    // two come at a time; the third waits for its turn
    let mut short: Vec<_> = (0..2).map(|p| bringer.fetch(wanted_of(p, 1_000))).collect();
    until("two transfers", || source.asked.load(SeqCst) == 2);
    short.push(bringer.fetch(wanted_of(2, 1_000)));
    clock.store(29_999, SeqCst);
    assert!(short.iter_mut().all(|fetch| fetch.poll() == Fetched::Pending));
    clock.store(30_000, SeqCst);
    // the one that waits is the first to go: it gets no turn of the others
    for fetch in short.iter_mut().rev() {
        assert_eq!(fetch.poll(), Fetched::Nothing);
        assert_eq!(fetch.poll(), Fetched::Nothing);
    }
    until("the end of the transfers", || source.ended.load(SeqCst) == 2);
    // a long replay is worth a longer wait
    let mut long = bringer.fetch(wanted_of(3, 10_000_000));
    until("its turn", || source.asked.load(SeqCst) == 3);
    clock.store(30_000 + 99_999, SeqCst);
    assert_eq!(long.poll(), Fetched::Pending);
    clock.store(30_000 + 100_000, SeqCst);
    assert_eq!(long.poll(), Fetched::Nothing);
    until("its end", || source.ended.load(SeqCst) == 3);
    drop((short, long));
    until("an empty directory", || {
        fs::read_dir(temp.path("in")).map_or(0, Iterator::count) == 0
    });
}

#[test]
fn a_snapshot_that_is_thrown_away_again_and_again_is_not_begun_for_ever() {
    let temp = Temp::new();
    let (bringer, source, clock) = dripping(&temp);
    for tries in 1..=2 {
        let mut fetch = bringer.fetch(wanted_of(0, 1_000));
        assert_eq!(fetch.poll(), Fetched::Pending);
        until("a transfer", || source.asked.load(SeqCst) == tries);
        // a worker that begins anew drops it
        drop(fetch);
        until("its end", || source.ended.load(SeqCst) == tries);
    }
    source.dry.store(true, SeqCst);
    assert_eq!(bringer.fetch(wanted_of(0, 1_000)).poll(), Fetched::Nothing);
    assert_eq!(source.asked.load(SeqCst), 2);
    assert_eq!(end(&mut *bringer.fetch(wanted_of(1, 1_000))), Fetched::Nothing);
    assert_eq!(source.asked.load(SeqCst), 3, "another task's");
    clock.store(3_600_000, SeqCst);
    assert_eq!(end(&mut *bringer.fetch(wanted_of(0, 1_000))), Fetched::Nothing);
    assert_eq!(source.asked.load(SeqCst), 4, "an hour later");
}

/// A bucket of which one thing cannot be read.
struct Failing {
    bucket: Directory,
    unreadable: &'static str,
}

impl Bucket for Failing {
    fn name(&self) -> String {
        self.bucket.name()
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, String> {
        self.bucket.list(prefix)
    }
    fn read(&self, name: &str, sink: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        match name.ends_with(self.unreadable) {
            true => Err("403: not yours".into()),
            false => self.bucket.read(name, sink),
        }
    }
    fn put(&self, name: &str, file: &Path) -> Result<(), String> {
        self.bucket.put(name, file)
    }
    fn put_bytes(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        self.bucket.put_bytes(name, bytes)
    }
    fn delete(&self, name: &str) -> Result<(), String> {
        self.bucket.delete(name)
    }
}

#[test]
fn a_manifest_that_cannot_be_read_does_not_hide_the_other_snapshots() {
    for unreadable in ["0000000000000-old.json", "0000000000002-new.json"] {
        let temp = Temp::new();
        let (bucket, manifest) = bucket_with(&temp, 1_000);
        let name = format!("app/t/g0/0_3/manifests/{unreadable}");
        bucket.put_bytes(&name, manifest.to_bytes()).unwrap();
        let failing = Failing {
            bucket: Directory::new(temp.path("bucket")),
            unreadable,
        };
        let source = BucketSource::new("app", Arc::new(failing));
        let bringer = Bringer::new(vec![Arc::new(source)], temp.path("in"), 1).unwrap();
        let mut fetch = bringer.fetch(wanted());
        assert!(matches!(end(&mut *fetch), Fetched::Ready { .. }), "{unreadable}");
    }
}

#[test]
fn pruning_keeps_files_that_an_unreadable_manifest_may_name_and_passes_a_damaged_one_by() {
    let newest = "0000000000009-two.json";
    for (damage, files_stay) in [("unreadable", true), ("newer", true), ("torn", false)] {
        let temp = Temp::new();
        let (bucket, manifest) = bucket_with(&temp, 1_000);
        let bytes = match damage {
            "newer" => b"{\"format\": 2, \"else\": 7}".to_vec(),
            "torn" => manifest.to_bytes()[..100].to_vec(),
            _ => manifest.to_bytes(),
        };
        bucket
            .put_bytes("app/t/g0/0_3/manifests/0000000000000-one.json", manifest.to_bytes())
            .unwrap();
        bucket
            .put_bytes(&format!("app/t/g0/0_3/manifests/{newest}"), bytes)
            .unwrap();
        bucket
            .put_bytes(&format!("app/t/g0/0_3/files/{}", "a".repeat(64)), vec![1])
            .unwrap();
        let settings = KeeperSettings {
            app: "app".into(),
            instance: "one".into(),
            interval: Duration::from_secs(3_600),
            keep: 2,
            grace: Duration::ZERO,
            directory: temp.path("put"),
        };
        let failing = Failing {
            bucket: Directory::new(temp.path("bucket")),
            unreadable: if damage == "unreadable" { newest } else { "nothing" },
        };
        let rounds = Rounds::new(settings, Arc::new(Published::new()), Arc::new(failing)).unwrap();
        assert_eq!(rounds.prune("t/g0/0_3"), Ok(()), "{damage}");
        let left = |folder: &str| bucket.list(&format!("app/t/g0/0_3/{folder}")).unwrap().len();
        assert_eq!(left("manifests"), 2, "{damage}");
        assert_eq!(
            left("files"),
            manifest.files.len() + usize::from(files_stay),
            "{damage}"
        );
    }
}
