//! Bringing a member of a consumer group (KIP-848) from what it has to what it should have.
//!
//! ```text
//!             something to give back                   all given back
//!   Stable ------------------------> Unrevoked ----------------------------+
//!     ^  ^                                                                 v
//!     |  +--- all partitions free --- Unreleased <--- some still owned by others
//!     +--- everything free ------------------------------------------------+
//! ```
//!
//! *Invariant*: a partition is given to a member only when no other member has it, neither assigned nor still to be given
//! back. A member reaches the target's epoch once it has nothing left to give back.

use super::assignor::{Place, Places};
use super::consumer::{ConsumerGroup, ConsumerMember};

/// Where a member stands on its way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It has what its epoch says.
    #[default]
    Stable,
    /// It has to give partitions back first.
    Unrevoked,
    /// It waits for partitions that others have to give back.
    Unreleased,
}

impl ConsumerGroup {
    fn is_owned(&self, place: &Place) -> bool {
        self.members
            .values()
            .any(|m| m.assigned.contains(place) || m.revoking.contains(place))
    }

    /// Moves a member one step on. `owned` is what it says it has, when it says so.
    pub(super) fn reconcile(&mut self, id: &str, owned: Option<&Places>, now_ms: i64) {
        let target_epoch = self.target_epoch;
        let Some(member) = self.members.get(id) else { return };
        let base_epoch = match member.state {
            MemberState::Stable if member.epoch == target_epoch => return,
            MemberState::Stable | MemberState::Unreleased => member.epoch,
            MemberState::Unrevoked => match owned {
                // It has given everything back: that completes its step to the next epoch.
                Some(owned) if owned.is_disjoint(&member.revoking) => (member.epoch + 1).min(target_epoch),
                Some(_) | None => return,
            },
        };
        let keep: Places = member.assigned.intersection(&member.target).copied().collect();
        let revoke: Places = member.assigned.difference(&keep).copied().collect();
        let still_has = |places: &Places| owned.is_none_or(|owned| !owned.is_disjoint(places));
        if !revoke.is_empty() && still_has(&revoke) {
            self.update(id, |m| {
                m.advance(base_epoch);
                m.state = MemberState::Unrevoked;
                m.assigned = keep;
                m.revoking = revoke;
                m.revoke_by_ms = Some(now_ms + m.rebalance_ms);
            });
            return;
        }
        let wanted: Places = member.target.difference(&keep).copied().collect();
        self.update(id, |m| {
            m.assigned = keep;
            m.revoking.clear();
            m.revoke_by_ms = None;
        });
        let (busy, free): (Vec<Place>, Vec<Place>) = wanted.into_iter().partition(|p| self.is_owned(p));
        self.update(id, |m| {
            m.advance(target_epoch);
            m.assigned.extend(free);
            m.state = if busy.is_empty() {
                MemberState::Stable
            } else {
                MemberState::Unreleased
            };
        });
    }

    fn update(&mut self, id: &str, change: impl FnOnce(&mut ConsumerMember)) {
        if let Some(member) = self.members.get_mut(id) {
            change(member);
        }
    }
}

impl ConsumerMember {
    fn advance(&mut self, epoch: i32) {
        if epoch != self.epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
    }
}
