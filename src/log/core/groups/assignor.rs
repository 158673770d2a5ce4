//! The server-side assignors of KIP-848: who should own which partition.
//!
//! Pure functions of subscriptions, partition counts and the assignment before. *Invariant*: every partition of a topic
//! that somebody subscribes to goes to exactly one of its subscribers.

use super::super::error::{ErrorCode, Result};
use std::collections::{BTreeMap, BTreeSet};

/// A partition, by its topic's number.
pub(super) type Place = (u64, i32);
/// Partitions that belong together.
pub(super) type Places = BTreeSet<Place>;

/// How partitions are spread over members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assignor {
    /// Evenly, moving as little as possible.
    #[default]
    Uniform,
    /// Neighbouring partitions of each topic together, so that equal numbers of different topics meet.
    Range,
}

impl Assignor {
    /// Finds an assignor by Kafka's name for it.
    pub fn parse(name: &str) -> Result<Assignor> {
        match name {
            "uniform" => Ok(Assignor::Uniform),
            "range" => Ok(Assignor::Range),
            _ => Err(ErrorCode::UnsupportedAssignor),
        }
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }
}

/// What an assignor knows of a member.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscriber {
    /// Numbers of the topics that it subscribes to.
    pub(super) topics: BTreeSet<u64>,
    /// What it was assigned before.
    pub(super) before: Places,
}

/// Assigns the partitions of `counts` (partitions a topic number) to the subscribers.
pub(super) fn assign(
    assignor: Assignor,
    subscribers: &BTreeMap<String, Subscriber>,
    counts: &BTreeMap<u64, i32>,
) -> BTreeMap<String, Places> {
    match assignor {
        Assignor::Range => range(subscribers, counts),
        Assignor::Uniform => uniform(subscribers, counts),
    }
}

fn range(subscribers: &BTreeMap<String, Subscriber>, counts: &BTreeMap<u64, i32>) -> BTreeMap<String, Places> {
    let mut out: BTreeMap<String, Places> = subscribers.keys().map(|id| (id.clone(), Places::new())).collect();
    for (topic, count) in counts {
        let takers: Vec<&String> = subscribers
            .iter()
            .filter(|(_, s)| s.topics.contains(topic))
            .map(|(id, _)| id)
            .collect();
        let (each, extra) = match takers.len() as i32 {
            0 => continue,
            n => (count / n, count % n),
        };
        let mut next = 0;
        for (index, id) in takers.into_iter().enumerate() {
            let take = each + i32::from((index as i32) < extra);
            if let Some(places) = out.get_mut(id) {
                places.extend((next..next + take).map(|p| (*topic, p)));
            }
            next += take;
        }
    }
    out
}

fn uniform(subscribers: &BTreeMap<String, Subscriber>, counts: &BTreeMap<u64, i32>) -> BTreeMap<String, Places> {
    let mut out: BTreeMap<String, Places> = BTreeMap::new();
    let mut taken = Places::new();
    for (id, subscriber) in subscribers {
        let exists = |p: &&Place| counts.get(&p.0).is_some_and(|count| p.1 < *count);
        let kept = subscriber
            .before
            .iter()
            .filter(exists)
            .filter(|p| subscriber.topics.contains(&p.0));
        let kept: Places = kept.filter(|p| taken.insert(**p)).copied().collect();
        out.insert(id.clone(), kept);
    }
    let free = counts
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(|p| (*topic, p)))
        .filter(|p| !taken.contains(p));
    for place in free.collect::<Vec<_>>() {
        if let Some(id) = least_loaded(&out, subscribers, place.0)
            && let Some(places) = out.get_mut(&id)
        {
            places.insert(place);
        }
    }
    while let Some((from, to, place)) = next_move(&out, subscribers) {
        out.entry(from).or_default().remove(&place);
        out.entry(to).or_default().insert(place);
    }
    out
}

fn least_loaded(
    out: &BTreeMap<String, Places>,
    subscribers: &BTreeMap<String, Subscriber>,
    topic: u64,
) -> Option<String> {
    let takers = subscribers
        .iter()
        .filter(|(_, s)| s.topics.contains(&topic))
        .map(|(id, _)| id);
    takers.min_by_key(|id| out.get(*id).map_or(0, Places::len)).cloned()
}

/// A partition that should move from a member to one that has at least two fewer. Every move makes the sum of squares of
/// the loads smaller, so there is a last one.
fn next_move(
    out: &BTreeMap<String, Places>,
    subscribers: &BTreeMap<String, Subscriber>,
) -> Option<(String, String, Place)> {
    let mut givers: Vec<(&String, &Places)> = out.iter().collect();
    givers.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    for (from, places) in givers {
        let topics: BTreeSet<u64> = places.iter().map(|p| p.0).collect();
        for topic in topics.into_iter().rev() {
            let to = least_loaded(out, subscribers, topic)?;
            if out.get(&to).map_or(0, Places::len) + 2 <= places.len() {
                let place = places.range(..=(topic, i32::MAX)).next_back()?;
                return Some((from.clone(), to, *place));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(topics: &[u64], before: &[Place]) -> Subscriber {
        Subscriber {
            topics: topics.iter().copied().collect(),
            before: before.iter().copied().collect(),
        }
    }

    fn check_complete(
        subscribers: &BTreeMap<String, Subscriber>,
        counts: &BTreeMap<u64, i32>,
        out: &BTreeMap<String, Places>,
    ) {
        let mut seen = Places::new();
        for (id, places) in out {
            for place in places {
                assert!(subscribers[id].topics.contains(&place.0));
                assert!(seen.insert(*place), "{place:?} given twice");
            }
        }
        let wanted = counts
            .iter()
            .filter(|(t, _)| subscribers.values().any(|s| s.topics.contains(t)))
            .map(|(_, n)| *n as usize);
        assert_eq!(seen.len(), wanted.sum::<usize>());
    }

    #[test]
    fn uniform_is_even_and_sticky() {
        let counts = BTreeMap::from([(1, 8)]);
        let mut members = BTreeMap::from([("a".to_string(), subscriber(&[1], &[]))]);
        let first = uniform(&members, &counts);
        assert_eq!(first["a"].len(), 8);
        members.get_mut("a").unwrap().before = first["a"].clone();
        members.insert("b".into(), subscriber(&[1], &[]));
        let second = uniform(&members, &counts);
        check_complete(&members, &counts, &second);
        assert_eq!((second["a"].len(), second["b"].len()), (4, 4));
        assert!(second["a"].is_subset(&first["a"]));
    }

    #[test]
    fn uniform_respects_different_subscriptions() {
        let counts = BTreeMap::from([(1, 5), (2, 3), (3, 4)]);
        let members = BTreeMap::from([
            ("a".to_string(), subscriber(&[1], &[])),
            ("b".to_string(), subscriber(&[1, 2], &[(1, 0), (1, 1), (1, 2), (9, 9)])),
            ("c".to_string(), subscriber(&[2], &[(2, 7)])),
        ]);
        let out = uniform(&members, &counts);
        check_complete(&members, &counts, &out);
        let loads: Vec<usize> = out.values().map(Places::len).collect();
        assert!(
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1,
            "{loads:?}"
        );
    }

    #[test]
    fn range_keeps_equal_numbers_together() {
        let counts = BTreeMap::from([(1, 5), (2, 5)]);
        let members = BTreeMap::from([
            ("a".to_string(), subscriber(&[1, 2], &[])),
            ("b".to_string(), subscriber(&[1, 2], &[])),
        ]);
        let out = range(&members, &counts);
        check_complete(&members, &counts, &out);
        let numbers = |id: &str, topic| out[id].iter().filter(|p| p.0 == topic).map(|p| p.1).collect::<Vec<_>>();
        assert_eq!(numbers("a", 1), [0, 1, 2]);
        assert_eq!(numbers("a", 1), numbers("a", 2));
    }
}
