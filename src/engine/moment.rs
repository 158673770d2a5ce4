//! A moment by two clocks: the time of day, which people read and which may be put back or forward, and a steady one, which waiting and ages are counted in.
//!
//! *Invariant*: nothing compares the steady times of two processes; each begins its own anywhere.

use std::ops::Add;

use crate::types::Timestamp;

/// A moment. Made by `engine::threads`, or by a simulation, whose time is virtual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, in milliseconds since the epoch.
    pub wall: Timestamp,
    /// Milliseconds by a clock that never goes back, since some moment of this process.
    pub steady: Timestamp,
}

impl Moment {
    /// One whose clocks show the same: where nobody puts them.
    pub const fn of(ms: Timestamp) -> Self {
        Self { wall: ms, steady: ms }
    }

    /// How long ago something was at least, in milliseconds. The longer time of the two clocks: the steady one stands still while the machine sleeps, and the
    /// other one may have been put back.
    pub fn age_of(self, earlier: Self) -> i64 {
        let by_day = self.wall.saturating_sub(earlier.wall);
        self.steady.saturating_sub(earlier.steady).max(by_day).max(0)
    }
}

impl Add<i64> for Moment {
    type Output = Self;

    /// So many milliseconds later, or earlier.
    fn add(self, ms: i64) -> Self {
        Self {
            wall: self.wall.saturating_add(ms),
            steady: self.steady.saturating_add(ms),
        }
    }
}
