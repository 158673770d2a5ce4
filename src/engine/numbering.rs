//! The numbers of a generation's stores and sub-topologies: given once, kept in the control record.
//!
//! Rows begin with their store's number, directories and the partitions of the tasks topic go by the sub-topology's, so that all of them would
//! be others' after a statement is put in between. What is known keeps its number; what is new comes behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::topology::{NodeId, Op, SourceTopic, StoreId, SubId, Topology};

/// Names in the order of the numbers. Empty: nothing is known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    /// Of stores.
    pub stores: Vec<String>,
    /// Of sub-topologies: what each reads, topics and (with a `/` before it) repartitions.
    pub subs: Vec<Vec<String>>,
}

impl Numbering {
    /// The numbers that a topology has.
    pub fn of(topology: &Topology) -> Self {
        Self {
            stores: topology.stores.iter().map(|store| store.name.to_string()).collect(),
            subs: (0..topology.subs.len()).map(|sub| inputs(topology, sub)).collect(),
        }
    }

    /// The topology with these numbers where they are known.
    ///
    /// # Errors
    /// What it does not have any more, in words: then there are no numbers that fit the state.
    pub fn apply(&self, topology: &Arc<Topology>) -> Result<Arc<Topology>, String> {
        let mut next = self.stores.len();
        let mut stores = Vec::with_capacity(topology.stores.len());
        for store in &topology.stores {
            let known = self.stores.iter().position(|name| **name == *store.name);
            stores.push(known.unwrap_or(next));
            next += usize::from(known.is_none());
        }
        if let Some(gone) = missing(&stores) {
            return Err(format!("store {} is no longer used", self.stores[gone]));
        }
        let mut next = self.subs.len();
        let mut subs: Vec<SubId> = Vec::with_capacity(topology.subs.len());
        for sub in 0..topology.subs.len() {
            let reads = inputs(topology, sub);
            let mut known =
                (0..self.subs.len()).filter(|known| self.subs[*known].iter().any(|name| reads.contains(name)));
            let (found, another) = (known.next(), known.next());
            if let Some(other) = found.filter(|found| another.is_some() || subs.contains(found)) {
                return Err(format!(
                    "what was read together is not any more, or the other way round: {}, now {}",
                    self.subs[other].join(", "),
                    reads.join(", ")
                ));
            }
            subs.push(found.unwrap_or(next));
            next += usize::from(found.is_none());
        }
        if let Some(gone) = missing(&subs) {
            return Err(format!("{} is no longer read", self.subs[gone].join(", ")));
        }
        let stores: Vec<StoreId> = (stores.into_iter())
            .map(|id| StoreId::try_from(id).unwrap_or(StoreId::MAX))
            .collect();
        Ok(Arc::new(topology.renumbered(&stores, &subs)))
    }

    /// Whether a store has everything before it that ever was: nothing that leads to it has been read yet.
    pub fn is_untouched(&self, topology: &Topology, store: &str) -> bool {
        let Some(store) = topology.stores.iter().find(|spec| &*spec.name == store) else {
            return false;
        };
        let (mut seen, mut left) = (BTreeSet::new(), vec![store.sub]);
        while let Some(sub) = left.pop() {
            if !seen.insert(sub) {
                continue;
            }
            let reads = inputs(topology, sub);
            if self.subs.iter().flatten().any(|known| reads.contains(known)) {
                return false;
            }
            for source in &topology.subs[sub].sources {
                if let Some(writer) = repartition_behind(topology, *source) {
                    left.push(topology.nodes[writer].sub);
                }
            }
        }
        !self.subs.is_empty()
    }
}

/// The first number that nothing has. Those after the last one that is taken are nobody's.
fn missing(taken: &[usize]) -> Option<usize> {
    (0..taken.len()).find(|number| !taken.contains(number))
}

fn repartition_behind(topology: &Topology, source: NodeId) -> Option<NodeId> {
    match &topology.nodes[source].op {
        Op::Source(source) => match source.topic {
            SourceTopic::Repartition(writer) => Some(writer),
            SourceTopic::External(_) => None,
        },
        _ => None,
    }
}

/// What a sub-topology reads, in order.
fn inputs(topology: &Topology, sub: SubId) -> Vec<String> {
    let name = |source: &NodeId| {
        let Op::Source(source) = &topology.nodes[*source].op else {
            return None;
        };
        match &source.topic {
            SourceTopic::External(relation) => Some(topology.relation(relation)?.topic.name.to_string()),
            SourceTopic::Repartition(writer) => match &topology.nodes[*writer].op {
                Op::Repartition(repartition) => Some(format!("/{}", repartition.name)),
                _ => None,
            },
        }
    };
    let names: BTreeSet<String> = topology.subs[sub].sources.iter().filter_map(name).collect();
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CompileContext, NoSchemas, SourceFile, compile};

    const TABLES: [&str; 3] = ["apples", "pears", "plums"];

    /// Counts of some of the streams.
    fn counts(of: &[&str]) -> Arc<Topology> {
        let statement = |name: &&str| {
            format!(
                "CREATE STREAM {name} (k STRING KEY, v BIGINT) WITH (KAFKA_TOPIC = '{name}', VALUE_FORMAT = 'JSON', PARTITIONS = 1);\n\
                 CREATE TABLE {name}_by_v AS SELECT v, COUNT(*) AS n FROM {name} GROUP BY v;\n"
            )
        };
        let text: String = of.iter().map(statement).collect();
        let file = SourceFile {
            name: "fruit.sql".into(),
            text,
        };
        Arc::new(compile(&file, &CompileContext { schemas: &NoSchemas }).unwrap())
    }

    #[test]
    fn what_is_known_keeps_its_numbers_whatever_comes_between() {
        let [apples, pears, plums] = TABLES;
        let before = counts(&[apples, plums]);
        let known = Numbering::of(&before);
        let after = counts(&[apples, pears, plums]);
        let numbered = known.apply(&after).unwrap();
        let now = Numbering::of(&numbered);
        assert_eq!(now.stores[..known.stores.len()], known.stores);
        assert_eq!(now.subs[..known.subs.len()], known.subs);
        assert_eq!((now.stores.len(), now.subs.len()), (3, 6));
        assert_eq!(known.apply(&before).unwrap(), before);
        for (at, store) in numbered.stores.iter().enumerate() {
            assert_eq!(usize::from(store.id), at);
            assert!(numbered.subs[store.sub].stores.contains(&store.id));
        }
    }

    #[test]
    fn only_a_store_behind_unread_topics_may_be_new() {
        let [apples, pears, plums] = TABLES;
        let known = Numbering::of(&counts(&[apples, plums]));
        let after = counts(&[apples, pears, plums]);
        let stores = |untouched: bool| -> Vec<&str> {
            let stores = after.stores.iter().map(|store| &*store.name);
            stores
                .filter(|store| known.is_untouched(&after, store) == untouched)
                .collect()
        };
        assert!(
            stores(true).iter().all(|name| name.contains("PEARS")) && stores(true).len() == 1,
            "{:?}",
            stores(true)
        );
        assert_eq!(stores(false).len(), 2);
        assert!(!Numbering::default().is_untouched(&after, stores(true)[0]));
    }

    #[test]
    fn numbers_of_what_is_gone_fit_nothing() {
        let [apples, pears, _] = TABLES;
        let known = Numbering::of(&counts(&[apples, pears]));
        assert!(known.apply(&counts(&[pears])).unwrap_err().contains("no longer"));
        assert_eq!(Numbering::default().apply(&counts(&[pears])).unwrap(), counts(&[pears]));
    }
}
