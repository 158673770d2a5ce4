//! A histogram that many threads can write to: the shape that Prometheus wants.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets in milliseconds; one more bucket holds the rest.
pub const BUCKETS_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/// Durations by bucket, with their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let ms = took.as_micros().div_ceil(1_000) as u64;
        let bucket = BUCKETS_MS
            .iter()
            .position(|bound| ms <= *bound)
            .unwrap_or(BUCKETS_MS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// How many durations were at most each of [`BUCKETS_MS`]; then all.
    pub fn cumulative(&self) -> [u64; BUCKETS_MS.len() + 1] {
        let mut total = 0;
        std::array::from_fn(|i| {
            total += self.buckets[i].load(Relaxed);
            total
        })
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// Their sum in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us.load(Relaxed) as f64 / 1e6
    }

    /// An upper bound of the quantile `q` (0 to 1) in milliseconds; `None` without data.
    pub fn quantile_ms(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = (q * count as f64).ceil().max(1.0) as u64;
        let bucket = self.cumulative().iter().position(|n| *n >= rank)?;
        Some(BUCKETS_MS.get(bucket).copied().unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_by_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), None);
        for ms in [1, 3, 4, 60_000] {
            histogram.record(Duration::from_millis(ms));
        }
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.cumulative()[..3], [1, 1, 3]);
        assert_eq!(histogram.quantile_ms(0.5), Some(5));
        assert_eq!(histogram.quantile_ms(1.0), Some(u64::MAX));
        assert!((histogram.sum_seconds() - 60.008).abs() < 1e-9);
    }
}
