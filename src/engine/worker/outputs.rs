//! What workers write of their results, while a generation is built and afterwards.

use std::sync::atomic::AtomicBool;

/// How a replay writes its outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputMode {
    /// Stream outputs are not written: their readers have seen them already.
    pub mute_streams: bool,
    /// Records of table outputs say which generation made them, so that what an old one wrote in between can be told apart.
    pub mark_generation: bool,
}

/// An [`OutputMode`] that can change while workers run.
#[derive(Debug, Default)]
pub struct OutputSwitches {
    /// See [`OutputMode::mute_streams`].
    pub mute_streams: AtomicBool,
    /// See [`OutputMode::mark_generation`].
    pub mark_generation: AtomicBool,
}

impl From<OutputMode> for OutputSwitches {
    fn from(mode: OutputMode) -> Self {
        Self {
            mute_streams: AtomicBool::new(mode.mute_streams),
            mark_generation: AtomicBool::new(mode.mark_generation),
        }
    }
}
