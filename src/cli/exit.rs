//! The end of the process.
//!
//! Threads may still be at work then: a worker whose stop was cut off, RocksDB's and librdkafka's own. So the handlers and destructors that `exit` runs,
//! which destroy the locks of those threads, are left out. *Invariant*: whatever has to be kept is kept before; a kill may come at any moment anyway.

/// Ends the process at once with this code; who has printed has flushed.
pub fn now(code: u8) -> ! {
    // SAFETY: ends the process; nothing is used afterwards
    unsafe { libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const CHILD: &str = "MILLSTREAM_TEST_EXIT";

    extern "C" fn destroy() {
        std::process::abort();
    }

    #[test]
    fn who_is_still_at_work_at_the_end_meets_no_destroyed_lock() {
        if std::env::var_os(CHILD).is_some() {
            // SAFETY: a handler that lives as long as the program; as the destructors of RocksDB's locks are registered
            let registered = unsafe { libc::atexit(destroy) };
            assert_eq!(registered, 0);
            super::now(7);
        }
        let name = "cli::exit::tests::who_is_still_at_work_at_the_end_meets_no_destroyed_lock";
        let mut child = Command::new(std::env::current_exe().expect("this test"));
        let ended = child.args(["--exact", name]).env(CHILD, "1").output().expect("it runs");
        assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    }
}
