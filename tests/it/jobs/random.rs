//! Choices that a seed gives again.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// Of `SEED`, or of the system's randomness; the seed is told.
    pub fn of_run(what: &str) -> Self {
        let given = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
        println!("{what}: SEED={seed}");
        Self(seed)
    }

    /// Another one that goes its own way.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Below `n`, the small ones much more often (about Zipf's law).
    pub fn skewed(&mut self, n: u64) -> u64 {
        let most = 1 + self.below(n);
        let less = 1 + self.below(most);
        self.below(less)
    }

    /// True about `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
