//! Decisions of a take-over: where the restore of a store begins, and where processing begins afterwards. Pure functions; `takeover` acts.

use super::super::snapshots::Fetch;
use crate::log::LogResult;
use crate::state::{ChangelogPosition, StorePosition};
use crate::topology::StoreId;
use crate::types::{Timestamp, TopicPartition};

/// One changelog partition being replayed.
pub(super) struct RestoreStore {
    pub store: StoreId,
    pub tp: TopicPartition,
    pub topic_id: String,
    /// The fetcher's number while it is read.
    pub slot: Option<u32>,
    /// The changelog's first offset when the task was taken over.
    pub low: i64,
    /// Where the replay began.
    pub from: i64,
    /// Everything before it has been handed to the task.
    pub position: i64,
    /// The changelog's end when the task was taken over.
    pub target: i64,
}

impl RestoreStore {
    pub fn is_done(&self) -> bool {
        self.position >= self.target
    }
}

/// A task's restore.
pub(super) struct Restore {
    pub stores: Vec<RestoreStore>,
    /// A snapshot that is looked for in the place of a long replay; nothing is replayed meanwhile.
    pub snapshot: Option<Box<dyn Fetch>>,
    /// The group's committed offsets of the task's inputs, read before the changelogs' ends.
    pub committed: Vec<Option<i64>>,
    /// When it began: once the replay has reached the ends that were read then, the store is whole as of this moment.
    pub began: Timestamp,
    /// Records restored.
    pub records: u64,
    /// For the rate: when counting began, and the records then.
    pub counted: (Timestamp, u64),
}

impl Restore {
    /// Offsets that the replay goes through.
    pub fn offsets(&self) -> u64 {
        self.stores
            .iter()
            .map(|s| (s.target - s.from).max(0).unsigned_abs())
            .sum()
    }
}

/// How far a task has come with a snapshot of its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SnapshotUse {
    /// None was asked for.
    #[default]
    Untried,
    /// One is asked for, or there was none: the changelog is what there is.
    Tried,
    /// The store is one.
    Imported,
}

/// A changelog as it is on the broker.
pub(in super::super) struct Changelog<'a> {
    pub tp: &'a TopicPartition,
    pub id: &'a str,
    pub low: i64,
    pub end: i64,
}

/// Where a replay begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Begin {
    /// The store is whole up to here.
    At(i64),
    /// The store cannot be trusted: it is cleared, all changelogs of the task are replayed from their beginning. Why.
    Rebuild(String),
}

/// Decides for one changelog of a store with a position.
pub(in super::super) fn begin(
    position: &StorePosition,
    log: &Changelog<'_>,
    now: Timestamp,
    delete_retention_ms: i64,
) -> Begin {
    let Some(known) = position
        .changelogs
        .iter()
        .find(|changelog| *changelog.topic == *log.tp.topic)
    else {
        return Begin::Rebuild(format!("the store does not know {}", log.tp));
    };
    if !known.topic_id.is_empty() && !log.id.is_empty() && known.topic_id != log.id {
        return Begin::Rebuild(format!(
            "{} is another topic than the one that the store was built from",
            log.tp
        ));
    }
    if known.offset > log.end {
        return Begin::Rebuild(format!(
            "the store is at offset {} of {}, which ends at {}",
            known.offset, log.tp, log.end
        ));
    }
    if known.offset < log.low {
        return Begin::Rebuild(format!(
            "the store is at offset {} of {}, which begins at {}",
            known.offset, log.tp, log.low
        ));
    }
    // a position may come from outside, see `snapshots`
    let age = now.saturating_sub(position.applied_at);
    if known.offset < log.end && age > delete_retention_ms {
        return Begin::Rebuild(format!(
            "the store was not updated for {} hours, and deletes older than {} hours may be gone from {}",
            age / 3_600_000,
            delete_retention_ms / 3_600_000,
            log.tp
        ));
    }
    Begin::At(known.offset)
}

/// Where an input is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At the group's committed offset.
    Committed(i64),
    /// It was never read: where the settings say.
    New,
}

/// Decides where the inputs of a task are read from.
///
/// # Errors
/// What the user has to know and do, when state and offsets do not fit each other.
pub(super) fn starts(
    names: (&str, &str),
    inputs: &[TopicPartition],
    committed: &[Option<i64>],
    position: &StorePosition,
    has_state: bool,
) -> Result<Vec<Start>, String> {
    let (group, topology) = names;
    let reflected = |tp: &TopicPartition| position.input(&tp.topic, tp.partition);
    let repair = |tp: &TopicPartition, offset: Option<i64>| {
        let to = offset.map_or("OFFSET".into(), |offset| offset.to_string());
        format!(
            "either give the group its offset back (kafka-consumer-groups --group {group} --topic {}:{} --reset-offsets --to-offset {to} \
             --execute) or rebuild with `millstream replay {topology}`",
            tp.topic, tp.partition
        )
    };
    let none_left = committed.iter().all(Option::is_none);
    let start = |(tp, committed): (&TopicPartition, &Option<i64>)| match (committed, reflected(tp)) {
        (Some(committed), Some(stored)) if *committed < stored => Err(format!(
            "group {group} says that {tp} was read up to offset {committed}, but the state reflects it up to {stored}; {}",
            repair(tp, Some(stored))
        )),
        (Some(committed), _) => Ok(Start::Committed(*committed)),
        (None, Some(stored)) => Err(format!(
            "group {group} has lost its offset of {tp} (Kafka forgets those of a group that is away for 7 days), while the state reflects it up \
             to offset {stored}; {}",
            repair(tp, Some(stored))
        )),
        (None, None) if none_left && has_state => Err(format!(
            "group {group} has no offset for {tp}, but there is state built from it; {}",
            repair(tp, None)
        )),
        (None, None) => Ok(Start::New),
    };
    inputs.iter().zip(committed).map(start).collect()
}

/// The position of a batch of restored rows. Input offsets are those of the last own batch until the replay is complete, and so is the time as of which
/// the store is whole: one that a crash leaves half replayed is as old as it was, else deletes that are compacted away meanwhile would be missed.
pub(super) fn note_restored(position: &mut StorePosition, restore: &Restore, fingerprint: &str) {
    position.changelogs = (restore.stores.iter())
        .map(|store| ChangelogPosition {
            topic: store.tp.topic.clone(),
            topic_id: store.topic_id.clone(),
            offset: store.position,
        })
        .collect();
    if restore.stores.iter().all(RestoreStore::is_done) {
        position.applied_at = restore.began;
    }
    position.fingerprint = fingerprint.to_string();
}

/// Replaces the input offsets of a position.
pub(super) fn set_inputs<'a>(position: &mut StorePosition, inputs: impl Iterator<Item = (&'a TopicPartition, i64)>) {
    position.inputs = inputs
        .map(|(tp, offset)| (tp.topic.clone(), tp.partition, offset))
        .collect();
}

/// The low and high watermark, for a changelog partition.
pub(super) fn watermarks(admin: &dyn crate::log::Admin, tp: &TopicPartition) -> LogResult<(i64, i64)> {
    admin.watermarks(tp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn position(offset: i64, inputs: &[i64]) -> StorePosition {
        StorePosition {
            changelogs: vec![ChangelogPosition {
                topic: "log".into(),
                topic_id: "id".into(),
                offset,
            }],
            inputs: inputs
                .iter()
                .enumerate()
                .map(|(p, offset)| ("in".into(), p as i32, *offset))
                .collect(),
            applied_at: 0,
            fingerprint: String::new(),
        }
    }

    #[test]
    fn a_store_that_cannot_be_trusted_is_rebuilt() {
        let tp = TopicPartition::new("log", 0);
        let decide = |offset: i64, id: &str, now: i64| {
            let log = Changelog {
                tp: &tp,
                id,
                low: 5,
                end: 10,
            };
            begin(&position(offset, &[]), &log, now, 7 * DAY)
        };
        assert_eq!(decide(7, "id", 6 * DAY), Begin::At(7));
        assert_eq!(
            decide(10, "id", 8 * DAY),
            Begin::At(10),
            "nothing was written since: nothing is missed"
        );
        for (offset, id, now, why) in [
            (7, "id", 8 * DAY, "deletes older than 168 hours"),
            (4, "id", 0, "begins at 5"),
            (11, "id", 0, "ends at 10"),
            (7, "other", 0, "another topic"),
        ] {
            let Begin::Rebuild(reason) = decide(offset, id, now) else {
                panic!("{why}")
            };
            assert!(reason.contains(why), "{reason}");
        }
    }

    #[test]
    fn a_store_that_is_half_replayed_stays_as_old_as_it_was() {
        let store = |position: i64| RestoreStore {
            store: 0,
            tp: TopicPartition::new("log", 0),
            topic_id: "id".into(),
            slot: None,
            low: 0,
            from: 3,
            position,
            target: 10,
        };
        let restore = |positions: [i64; 2]| Restore {
            stores: positions.map(store).into(),
            snapshot: None,
            committed: Vec::new(),
            began: 6 * DAY,
            records: 0,
            counted: (0, 0),
        };
        let mut position = position(3, &[1]);
        note_restored(&mut position, &restore([7, 10]), "plan");
        assert_eq!((position.changelogs[0].offset, position.applied_at), (7, 0));
        let log = Changelog {
            tp: &TopicPartition::new("log", 0),
            id: "id",
            low: 5,
            end: 12,
        };
        let again = begin(&position, &log, 8 * DAY, 7 * DAY);
        assert!(matches!(again, Begin::Rebuild(_)), "{again:?}");
        note_restored(&mut position, &restore([10, 10]), "plan");
        assert_eq!((position.changelogs[0].offset, position.applied_at), (10, 6 * DAY));
    }

    #[test]
    fn state_without_offsets_is_never_built_upon() {
        let inputs = [TopicPartition::new("in", 0), TopicPartition::new("in", 1)];
        let decide = |committed: &[Option<i64>], position: &StorePosition, has_state: bool| {
            starts(("g", "t"), &inputs, committed, position, has_state)
        };
        let empty = StorePosition::default();
        assert_eq!(decide(&[None, None], &empty, false), Ok(vec![Start::New, Start::New]));
        assert_eq!(
            decide(&[Some(3), None], &empty, true),
            Ok(vec![Start::Committed(3), Start::New])
        );
        assert_eq!(
            decide(&[Some(3), Some(9)], &position(0, &[3, 4]), true).unwrap().len(),
            2
        );
        for (committed, position, why) in [
            ([None, None], position(0, &[3, 4]), "has lost its offset of in-0"),
            ([Some(3), None], position(0, &[3, 4]), "has lost its offset of in-1"),
            ([None, None], empty, "there is state built from it"),
            ([Some(2), Some(4)], position(0, &[3, 4]), "reflects it up to 3"),
        ] {
            let error = decide(&committed, &position, true).unwrap_err();
            assert!(error.contains(why) && error.contains("millstream replay t"), "{error}");
        }
    }
}
