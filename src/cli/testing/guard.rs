//! Runs a piece of work so that it cannot stop the process by a panic or by time: on a thread of its own with a large stack, waited for only so
//! long. What overflows even that stack, or takes all memory, ends the process: therefore cases run in child processes, see [`super::pool`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// A case may take so long.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Only touched pages are taken; deep recursion over a hostile case ends in an error of its own long before.
const STACK_BYTES: usize = 512 << 20;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Escape {
    /// It panicked: a bug of ours.
    Panic(String),
    /// It took too long. Its thread goes on.
    TooLong,
    /// There was no thread for it.
    NoThread(String),
}

impl std::fmt::Display for Escape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "the case made millstream panic, which is a bug of it: {message}"),
            Self::TooLong => write!(f, "the case took longer than {} seconds", TIME_LIMIT.as_secs()),
            Self::NoThread(why) => write!(f, "there is no thread for the case: {why}"),
        }
    }
}

/// Runs `work`.
///
/// # Errors
/// When it gives no result.
pub fn guarded<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Escape> {
    let (to, from) = sync_channel(1);
    let thread = thread::Builder::new().name("case".into()).stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Escape::Panic(text(&*panic)));
        // nobody listens any more when it took too long
        let _ = to.send(result);
    });
    let thread = spawned.map_err(|e| Escape::NoThread(e.to_string()))?;
    match from.recv_timeout(limit) {
        Ok(result) => {
            // it is about to end: the next one is not to be started beside it, since a child's address space holds few such stacks
            let _ = thread.join();
            result
        }
        Err(RecvTimeoutError::Timeout) => Err(Escape::TooLong),
        Err(RecvTimeoutError::Disconnected) => Err(Escape::Panic("its thread ended".into())),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_panics_and_silence_are_told_apart() {
        assert_eq!(guarded(TIME_LIMIT, || 1), Ok(1));
        let panicked = guarded(TIME_LIMIT, || -> u8 { panic!("no {}", 1) });
        assert_eq!(panicked, Err(Escape::Panic("no 1".into())));
        let (keep, wait) = sync_channel::<()>(0);
        let stuck = guarded(Duration::from_millis(1), move || {
            // it never comes: the sender is kept
            let _ = wait.recv();
        });
        assert_eq!(stuck, Err(Escape::TooLong));
        drop(keep);
    }

    #[test]
    fn recursion_may_be_deep() {
        fn deep(n: u32) -> u32 {
            let frame = std::hint::black_box([n; 64]);
            if n == 0 { 0 } else { deep(n - 1).max(frame[0]) }
        }
        assert_eq!(guarded(TIME_LIMIT, || deep(100_000)), Ok(100_000));
    }
}
