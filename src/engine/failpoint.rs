//! Crash points inside a commit, for the tests that kill the process. Compiled to nothing without the feature `failpoints`.

/// A place where a test can make the process die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failpoint {
    /// Some records of a transaction have been handed over, not all.
    MidFlush,
    /// All records of a transaction are acknowledged.
    OutputsSent,
    /// The input offsets are part of the transaction.
    OffsetsSent,
    /// The transaction is committed; the stores do not hold it yet.
    CommittedNotApplied,
    /// A part of a changelog has been restored.
    MidRestore,
}

impl Failpoint {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::MidFlush,
        Self::OutputsSent,
        Self::OffsetsSent,
        Self::CommittedNotApplied,
        Self::MidRestore,
    ];

    /// Its name in `MILLSTREAM_FAILPOINT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MidFlush => "mid-flush",
            Self::OutputsSent => "outputs-sent",
            Self::OffsetsSent => "offsets-sent",
            Self::CommittedNotApplied => "committed-not-applied",
            Self::MidRestore => "mid-restore",
        }
    }
}

/// Kills the process when `MILLSTREAM_FAILPOINT=name[:nth]` names this point and it is passed for the nth time (from 1).
#[cfg(feature = "failpoints")]
pub fn failpoint(point: Failpoint) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("MILLSTREAM_FAILPOINT").ok()?;
        match text.split_once(':') {
            Some((name, nth)) => Some((name.to_string(), nth.parse().ok()?)),
            None => Some((text, 1)),
        }
    });
    let Some((name, nth)) = wanted else { return };
    if name == point.name() && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        // As `kill -9`: nothing is flushed, nothing is closed.
        // SAFETY: plain system calls without memory arguments.
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
    }
}

/// Does nothing: the feature `failpoints` is off.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn failpoint(_point: Failpoint) {}
