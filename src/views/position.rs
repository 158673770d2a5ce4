//! The input offsets that an answer reflects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::state::StorePosition;

/// Input topic and partition to the next offset to read: every record below it is in the answer, and none from it on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Positions(BTreeMap<Arc<str>, BTreeMap<i32, i64>>);

impl Positions {
    /// Adds what one snapshot reflects. A topic and partition seen twice keeps the lower offset: more cannot be promised.
    pub fn add(&mut self, position: &StorePosition) {
        for (topic, partition, offset) in &position.inputs {
            let partitions = self.0.entry(topic.clone()).or_default();
            let known = partitions.entry(*partition).or_insert(*offset);
            *known = (*known).min(*offset);
        }
    }

    /// Names an input of which nothing is reflected yet: a store that has seen no commit knows no offsets.
    pub fn add_input(&mut self, topic: &Arc<str>, partition: i32) {
        self.0.entry(topic.clone()).or_default().entry(partition).or_insert(0);
    }

    /// The offset of a topic's partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    /// Adds what another part of the answer reflects, as [`Self::add`] does.
    pub fn merge(&mut self, other: &Self) {
        for (topic, partitions) in &other.0 {
            let here = self.0.entry(topic.clone()).or_default();
            for (partition, offset) in partitions {
                let known = here.entry(*partition).or_insert(*offset);
                *known = (*known).min(*offset);
            }
        }
    }

    /// What [`Self::to_json`] has written; `None` for anything else.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        let mut positions = Self::default();
        for (topic, partitions) in json.as_object()? {
            let here = positions.0.entry(topic.as_str().into()).or_default();
            for (partition, offset) in partitions.as_object()? {
                here.insert(partition.parse().ok()?, offset.as_i64()?);
            }
        }
        Some(positions)
    }

    /// As JSON: `{"ratings": {"0": 120, "1": 98}}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

/// Whether everything that `a` reflects is in `b` too.
pub(super) fn covered(a: &StorePosition, b: &StorePosition) -> bool {
    let inputs = a.inputs.iter().all(|(topic, partition, offset)| {
        let found = b.inputs.iter().find(|(t, p, _)| t == topic && p == partition);
        found.is_some_and(|(_, _, have)| offset <= have)
    });
    let changelogs = a.changelogs.iter().all(|changelog| {
        let found = b.changelogs.iter().find(|c| c.topic == changelog.topic);
        found.is_some_and(|have| changelog.offset <= have.offset)
    });
    inputs && changelogs
}
