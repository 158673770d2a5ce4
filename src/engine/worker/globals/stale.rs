//! Decides whether the store of the global tables can be read on. Pure functions; the loader acts. *Invariant*: what may have missed a record is built anew.

use super::{Open, Part};
use crate::state::{ChangelogPosition, StorePosition};
use crate::types::Timestamp;

/// Whether two identities of a topic are one; a broker that has none says nothing.
pub(super) fn is_same(id: &str, other: &str) -> bool {
    id == other || id.is_empty() || other.is_empty()
}

/// Why a store cannot be read on; `None`: it can.
pub(super) fn stale(
    stored: &StorePosition,
    open: &Open,
    lows: &[i64],
    (fingerprint, now, retention_ms): (&str, Timestamp, i64),
) -> Option<String> {
    if stored.fingerprint != fingerprint {
        return Some("their columns or formats have changed".into());
    }
    let known = |id: &&ChangelogPosition| {
        let mut others = stored.changelogs.iter();
        others.any(|other| other.topic == id.topic && is_same(&other.topic_id, &id.topic_id))
    };
    if let Some(other) = open.ids.iter().find(|id| !known(id)) {
        return Some(format!("{} was made anew", other.topic));
    }
    let offset = |part: &Part| stored.input(&part.tp.topic, part.tp.partition);
    let is_behind = |part: &Part| offset(part).is_some_and(|offset| offset < part.target);
    if now - stored.applied_at > retention_ms && open.parts.iter().any(is_behind) {
        return Some("deletions since the last start may be gone already".into());
    }
    let outside = open
        .parts
        .iter()
        .zip(lows)
        .find(|(part, low)| offset(part).is_some_and(|offset| offset < **low || offset > part.target));
    outside.map(|(part, _)| format!("the records after the last one read of {} are gone", part.tp))
}
