//! The same plan under other numbers of its stores and sub-topologies.

use super::{Aggregate, History, Op, StoreId, SubId, TablePlan, Topology};

impl Topology {
    /// The plan in which store `id` has the number `stores[id]` and sub-topology `id` the number `subs[id]`.
    ///
    /// # Panics
    /// When one of them is no permutation of the numbers there are.
    pub fn renumbered(&self, stores: &[StoreId], subs: &[SubId]) -> Self {
        let numbers = Numbers { stores };
        let mut out = self.clone();
        for node in &mut out.nodes {
            node.sub = subs[node.sub];
            numbers.op(&mut node.op);
        }
        for store in &mut out.stores {
            numbers.of(&mut store.id);
            store.sub = subs[store.sub];
        }
        out.stores.sort_by_key(|store| store.id);
        for sub in &mut out.subs {
            sub.id = subs[sub.id];
            sub.stores.iter_mut().for_each(|id| numbers.of(id));
            sub.stores.sort_unstable();
        }
        out.subs.sort_by_key(|sub| sub.id);
        for view in &mut out.views {
            view.sub = subs[view.sub];
            numbers.plan(&mut view.plan);
        }
        let dense = |ids: &mut dyn Iterator<Item = usize>| ids.enumerate().all(|(at, id)| at == id);
        assert!(
            dense(&mut out.stores.iter().map(|store| usize::from(store.id))),
            "numbers of stores"
        );
        assert!(
            dense(&mut out.subs.iter().map(|sub| sub.id)),
            "numbers of sub-topologies"
        );
        out
    }
}

struct Numbers<'a> {
    stores: &'a [StoreId],
}

impl Numbers<'_> {
    fn of(&self, id: &mut StoreId) {
        *id = self.stores[usize::from(*id)];
    }

    fn all<'i>(&self, ids: impl IntoIterator<Item = &'i mut StoreId>) {
        ids.into_iter().for_each(|id| self.of(id));
    }

    fn op(&self, op: &mut Op) {
        match op {
            Op::Source(source) => {
                self.all(&mut source.store);
                source.history.iter_mut().for_each(|history| self.history(history));
            }
            Op::Aggregate(aggregate) => self.aggregate(aggregate),
            Op::WindowAggregate(windows) => {
                self.aggregate(&mut windows.aggregate);
                self.all(
                    [&mut windows.time, &mut windows.ends]
                        .into_iter()
                        .chain(&mut windows.open),
                );
            }
            Op::StreamTableJoin(join) => {
                self.plan(&mut join.right);
                for (store, history) in join.as_of.iter_mut().flat_map(|as_of| &mut as_of.histories) {
                    self.of(store);
                    self.history(history);
                }
            }
            Op::TableTableJoin(join) => {
                self.plan(&mut join.left);
                self.plan(&mut join.right);
            }
            Op::StreamStreamJoin(join) => {
                let own = [&mut join.left, &mut join.right, &mut join.progress];
                self.all(own.into_iter().chain(&mut join.unmatched));
            }
            Op::ForeignKeySubscribe(subscribe) => self.all([&mut subscribe.rows, &mut subscribe.versions]),
            // the stores of its right side are numbers of global tables, which stay
            Op::GlobalJoin(join) => self.all(&mut join.results),
            Op::ForeignKeyAnswer(answer) => {
                self.plan(&mut answer.right);
                self.all([&mut answer.subscribers, &mut answer.fan_outs]);
            }
            Op::ForeignKeyJoin(join) => self.all([&mut join.rows, &mut join.results]),
            Op::Filter(_)
            | Op::Project(_)
            | Op::Rank
            | Op::FlatMap(_)
            | Op::SelectKey(_)
            | Op::Repartition(_)
            | Op::Sink(_) => {}
        }
    }

    fn history(&self, history: &mut History) {
        self.all([&mut history.versions, &mut history.ends, &mut history.time]);
    }

    fn aggregate(&self, aggregate: &mut Aggregate) {
        self.of(&mut aggregate.store);
        self.all(&mut aggregate.elements);
    }

    fn plan(&self, plan: &mut TablePlan) {
        match plan {
            TablePlan::Store(id) => self.of(id),
            TablePlan::Aggregate(aggregate) => self.aggregate(aggregate),
            TablePlan::Filter(input, _) | TablePlan::Project(input, _) => self.plan(input),
            TablePlan::Join(left, right, ..) => {
                self.plan(left);
                self.plan(right);
            }
        }
    }
}
