//! Seeded faults: what becomes of a call.

use super::Call;

/// A small, fast generator (SplitMix64): the same seed gives the same numbers for ever.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            (self.next_u64() % bound as u64) as usize
        }
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < per_mille as usize
    }
}

/// How often what goes wrong, in calls of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A request is lost: it has no effect.
    pub lost_request: u32,
    /// An answer is lost: the effect is there, the caller does not know. Of a commit: its fate is unknown.
    pub lost_answer: u32,
    /// The process dies, before or after the effect of a writing call.
    pub crash: u32,
    /// A fetch hands out fewer records than it could, one partition before the other, or none.
    pub slow_fetch: u32,
}

/// What is planned for one call: see [`super::SimProcess::plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// The request has no effect; the caller hears nothing.
    LostRequest,
    /// The effect is there; the caller hears nothing.
    LostAnswer,
    /// The effect comes after so many milliseconds: the caller's place may have timed out by then.
    LateRequest(i64),
    /// The answer comes so many milliseconds after the effect.
    LateAnswer(i64),
    /// The process dies before the effect.
    CrashBefore,
    /// The process dies after the effect.
    CrashAfter,
}

impl CallFault {
    /// What it is counted as.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::LostRequest => "lost request",
            Self::LostAnswer => "lost answer",
            Self::LateRequest(_) => "late request",
            Self::LateAnswer(_) => "late answer",
            Self::CrashBefore | Self::CrashAfter => "crash at a call",
        }
    }

    /// What becomes of the call, and how late.
    pub(super) fn fate(self) -> (Fate, i64) {
        match self {
            Self::LostRequest => (Fate::LostRequest, 0),
            Self::LostAnswer => (Fate::LostAnswer, 0),
            Self::LateRequest(ms) => (Fate::LateRequest, ms),
            Self::LateAnswer(ms) => (Fate::LateAnswer, ms),
            Self::CrashBefore => (Fate::CrashBefore, 0),
            Self::CrashAfter => (Fate::CrashAfter, 0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    LostRequest,
    LostAnswer,
    LateRequest,
    LateAnswer,
    CrashBefore,
    CrashAfter,
}

impl Faults {
    pub(super) fn draw(&self, rng: &mut Rng, kind: Call) -> Fate {
        // One number a call, whatever the faults are, so that switching them off does not shift the rest of a run.
        let n = rng.below(1_000) as u32;
        let after = rng.next_u64().is_multiple_of(2);
        let writes = matches!(kind, Call::Write | Call::Commit);
        if n < self.lost_request {
            return Fate::LostRequest;
        }
        let n = n - self.lost_request;
        if n < self.lost_answer {
            return if writes { Fate::LostAnswer } else { Fate::LostRequest };
        }
        let n = n - self.lost_answer;
        match (n < self.crash && writes, after) {
            (false, _) => Fate::Works,
            (true, false) => Fate::CrashBefore,
            (true, true) => Fate::CrashAfter,
        }
    }
}
