//! The lives of a worker and of its tasks, drawn and enforced.

/// The life of a worker.
///
/// ```text
///            init producer, join the group
///   Opening ------------------------------> Running ------> Stopping
///      ^ ^                                   |    ^            |  |
///      | | fenced: everything is opened anew |    | aborted,   |  |
///      | +-----------------------------------+    | tasks are  |  |
///      |                       abort, error  v    | reopened   |  v
///      +-------------- fenced ----------- Recovering --------> Stopped
/// ```
/// From every state it can stop at once, when the user has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Clients are made, the producer is initialised, the group joined.
    Opening,
    /// Tasks are taken over, records processed, transactions committed.
    Running,
    /// A transaction is being aborted; what is uncommitted is dropped already.
    Recovering,
    /// The last commit before a stop.
    Stopping,
    /// Nothing is open any more.
    Stopped,
}

impl Life {
    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Opening => matches!(next, Self::Running | Self::Opening | Self::Stopped),
            Self::Running => matches!(next, Self::Recovering | Self::Opening | Self::Stopping | Self::Stopped),
            Self::Recovering => matches!(next, Self::Running | Self::Opening | Self::Stopped),
            Self::Stopping => matches!(next, Self::Stopped),
            Self::Stopped => false,
        }
    }

    /// Moves on.
    pub fn become_(&mut self, next: Self) {
        assert!(self.may_become(next), "a worker cannot go from {self:?} to {next:?}");
        *self = next;
    }
}

/// The life of a task at its worker.
///
/// ```text
///   assigned -> Opening -> Restoring -> Running -> Closing -> given back
///                  ^           |           |          ^
///                  +-----------+-----------+          |
///                  an abort or error: one recovery    |
///                  path, from the stored position     |
///                  Opening, Restoring: revoked -------+
/// ```
/// A lost task is dropped from every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskLife {
    /// Committed offsets are read and the store is opened.
    Opening,
    /// The changelogs are replayed up to their end.
    Restoring,
    /// Records are processed.
    Running,
    /// It goes elsewhere after the next commit.
    Closing,
}

impl TaskLife {
    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Opening => matches!(next, Self::Opening | Self::Restoring | Self::Closing),
            Self::Restoring => matches!(next, Self::Opening | Self::Running | Self::Closing),
            Self::Running => matches!(next, Self::Opening | Self::Closing),
            Self::Closing => matches!(next, Self::Closing),
        }
    }

    /// Moves on.
    pub fn become_(&mut self, next: Self) {
        assert!(self.may_become(next), "a task cannot go from {self:?} to {next:?}");
        *self = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a task cannot go from Opening to Running")]
    fn a_task_is_not_run_before_it_is_restored() {
        TaskLife::Opening.become_(TaskLife::Running);
    }

    #[test]
    #[should_panic(expected = "a worker cannot go from Stopped to Running")]
    fn a_stopped_worker_stays_stopped() {
        Life::Stopped.become_(Life::Running);
    }
}
