//! From the described operators to the finished [`Topology`]: views, sub-topologies, and whose topic decides where keys are.

use std::sync::Arc;

use super::{Builder, Node, Op, Relation, SourceTopic, SubTopology, Topology, View, prune};
use crate::types::{Format, window_columns};

impl Builder {
    /// The finished topology.
    ///
    /// # Errors
    /// When topics of different key formats would have to be partitioned alike; the message names them.
    pub fn build(self) -> Result<Topology, String> {
        let needed = prune::needed_columns(&self);
        let mut wiring = super::wire::Wiring::new(&self, &needed);
        for id in 0..self.nodes.len() {
            wiring.add(id);
        }
        let views = self.views.iter().map(|(relation, node)| {
            let physical = wiring.node(*node);
            let of = &self.relations[*relation];
            let mut schema = of.schema.clone();
            if of.window.is_some() {
                schema.key.extend(window_columns());
            }
            View {
                name: of.name.clone(),
                schema,
                plan: wiring.view_plan(physical, of.schema.value.len()),
                sub: physical,
            }
        });
        let mut views: Vec<View> = views.collect();
        let (mut nodes, mut stores, globals) = wiring.finish();
        let mut subs = connected(&mut nodes, &self.relations);
        for view in &mut views {
            view.sub = nodes[view.sub].sub;
        }
        for (store, owner) in stores.iter_mut() {
            store.sub = nodes[*owner].sub;
            subs[store.sub].stores.push(store.id);
        }
        let mut topology = Topology {
            name: self.name,
            relations: self.relations,
            nodes,
            subs,
            stores: stores.into_iter().map(|(store, _)| store).collect(),
            views,
            properties: self.properties,
            inserts: self.inserts,
            asserts: self.asserts,
            globals,
        };
        for sub in 0..topology.subs.len() {
            topology.subs[sub].partitioned_like = partitioning(&topology, sub)?;
        }
        Ok(topology)
    }
}

/// Numbers the connected parts in the order of their first nodes. Sources of one topic are connected, too: a group has one offset a
/// partition, so one task reads it for all of them.
fn connected(nodes: &mut [Node], relations: &[Relation]) -> Vec<SubTopology> {
    let mut parent: Vec<usize> = (0..nodes.len()).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for node in nodes.iter() {
        for input in &node.inputs {
            let (a, b) = (root(&mut parent, node.id), root(&mut parent, *input));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut readers: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for node in nodes.iter() {
        let Some(topic) = external_topic(&node.op, relations) else {
            continue;
        };
        let first = *readers.entry(topic).or_insert(node.id);
        let (a, b) = (root(&mut parent, node.id), root(&mut parent, first));
        parent[a.max(b)] = a.min(b);
    }
    let mut subs: Vec<SubTopology> = Vec::new();
    let mut of_root = std::collections::BTreeMap::new();
    for node in nodes.iter_mut() {
        let next = subs.len();
        let id = *of_root.entry(root(&mut parent, node.id)).or_insert(next);
        if id == next {
            subs.push(SubTopology {
                id,
                ..SubTopology::default()
            });
        }
        node.sub = id;
        subs[id].nodes.push(node.id);
        if matches!(node.op, Op::Source(_)) {
            subs[id].sources.push(node.id);
        }
    }
    subs
}

/// The topic that a source reads, unless it is internal.
fn external_topic<'a>(op: &Op, relations: &'a [Relation]) -> Option<&'a str> {
    let Op::Source(source) = op else { return None };
    let SourceTopic::External(name) = &source.topic else {
        return None;
    };
    let relation = relations.iter().find(|relation| relation.name == *name)?;
    Some(&relation.topic.name)
}

/// The relation whose topic decides where keys are, and a check that no other topic disagrees.
fn partitioning(topology: &Topology, sub: usize) -> Result<Option<Arc<str>>, String> {
    let mut first: Option<&Relation> = None;
    for id in &topology.subs[sub].sources {
        let Op::Source(source) = &topology.nodes[*id].op else {
            continue;
        };
        let SourceTopic::External(name) = &source.topic else {
            continue;
        };
        let Some(relation) = topology.relation(name).filter(|r| !r.schema.key.is_empty()) else {
            continue;
        };
        match first {
            Some(other) if !same_partitioning(relation.key_format.format, other.key_format.format) => {
                return Err(format!(
                    "{} and {} meet in one join, but their keys are written as {} and {}, so that equal keys are in different partitions",
                    other.name, relation.name, other.key_format.format, relation.key_format.format
                ));
            }
            Some(_) => {}
            None => first = Some(relation),
        }
    }
    Ok(first.map(|r| r.name.clone()))
}

/// Whether equal keys have equal bytes in both formats, which is what puts them in partitions of the same number.
pub fn same_partitioning(a: Format, b: Format) -> bool {
    a == b
}
