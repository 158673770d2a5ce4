//! Two times from one clock: the time of day, which may be put back, and one that never goes back, which waiting and intervals are counted in.
//!
//! *Invariant*: [`Clock::steady`] grows with the clock, and stands where the clock is put back: who waits a second waits no longer than that.

use crate::types::Timestamp;

/// The clock of a worker.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<Timestamp>,
    /// How far it was put back, all times together.
    put_back: i64,
}

impl Clock {
    /// The steady time for the time of day.
    pub fn steady(&mut self, wall: Timestamp) -> Timestamp {
        let back = self.last.map_or(0, |last| (last - wall).max(0));
        if back > 0 {
            self.put_back = self.put_back.saturating_add(back);
        }
        self.last = Some(wall);
        wall.saturating_add(self.put_back)
    }

    /// The time of day of a steady time.
    pub fn wall(&self, steady: Timestamp) -> Timestamp {
        steady.saturating_sub(self.put_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_time_does_not_go_back() {
        let mut clock = Clock::default();
        let walls = [1_000, 1_010, 400, 405, 2_000, 1_999, 2_001];
        let steady: Vec<_> = walls.iter().map(|wall| clock.steady(*wall)).collect();
        assert_eq!(steady, [1_000, 1_010, 1_010, 1_015, 2_610, 2_610, 2_612]);
        assert_eq!(clock.wall(2_612), 2_001);
    }
}
