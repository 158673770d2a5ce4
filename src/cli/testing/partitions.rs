//! How many partitions the topics of a case have, where the case says so: joined inputs must have the same number.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topology::{Op, SourceTopic, SubTopology, Topology};

use super::case::TopicDecl;

/// Partitions of topics, as far as they are known: listed with their number, made with `PARTITIONS`, or derived from such.
pub struct Partitions(BTreeMap<Arc<str>, i32>);

impl Partitions {
    /// What the case lists.
    pub fn new(declared: &[TopicDecl]) -> Self {
        let given = declared
            .iter()
            .filter_map(|topic| Some((topic.name.as_str().into(), topic.partitions?)));
        Self(given.collect())
    }

    /// Checks the inputs of a query, and notes what it makes.
    ///
    /// # Errors
    /// Inputs that are joined as they are and have different numbers; a topic that exists and is wanted with another number.
    pub fn check(&mut self, query: &Topology) -> Result<(), String> {
        for relation in &query.relations {
            if let Some(given) = relation.topic.partitions {
                let topic = &relation.topic.name;
                let is = *self.0.entry(topic.clone()).or_insert(given);
                if is != given {
                    let name = &relation.name;
                    return Err(format!(
                        "the topic {topic} exists with {is} partitions, {name} wants {given}"
                    ));
                }
            }
        }
        for sub in &query.subs {
            let inputs = self.inputs(query, sub);
            let (Some(least), Some(most)) = (
                inputs.iter().min_by_key(|(.., count)| count),
                inputs.iter().max_by_key(|(.., count)| count),
            ) else {
                continue;
            };
            if least.2 != most.2 {
                let text =
                    |(name, topic, count): &(Arc<str>, Arc<str>, i32)| format!("{name} (topic {topic}: {count})");
                return Err(format!("partitions do not match: {}, {}", text(least), text(most)));
            }
        }
        let of_sources = query
            .subs
            .iter()
            .find_map(|sub| self.inputs(query, sub).first().map(|(.., count)| *count));
        if let Some(count) = of_sources {
            for relation in query.relations.iter().filter(|relation| relation.derived) {
                self.0.entry(relation.topic.name.clone()).or_insert(count);
            }
        }
        Ok(())
    }

    /// Name, topic and partitions of the relations that a sub-topology reads.
    fn inputs(&self, query: &Topology, sub: &SubTopology) -> Vec<(Arc<str>, Arc<str>, i32)> {
        let read = sub.sources.iter().filter_map(|id| match &query.nodes[*id].op {
            Op::Source(source) => match &source.topic {
                SourceTopic::External(name) => query.relation(name),
                SourceTopic::Repartition(_) => None,
            },
            _ => None,
        });
        let known = read.filter_map(|relation| {
            let topic = relation.topic.name.clone();
            let count = *self.0.get(&topic)?;
            Some((relation.name.clone(), topic, count))
        });
        known.collect()
    }
}
