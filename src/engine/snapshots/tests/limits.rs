//! Bounds: of waiting for a snapshot, of tries, of what stays on the disk; and what one bad manifest may spoil.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use super::super::super::Published;
use super::*;

/// Until something holds that another thread brings about.
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(180), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

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
