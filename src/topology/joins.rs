//! The joins of the plan.

use super::{AsOf, StoreId, TablePlan};
use crate::expr::Expr;

/// Inner, left, right or full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Both sides.
    Inner,
    /// All of the left side.
    Left,
    /// All of the right side.
    Right,
    /// All of both.
    Full,
}

/// A stream enriched by a table of the same key. The joined value is the left value columns followed by the right ones.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamTableJoin {
    /// Inner or left.
    pub kind: JoinKind,
    /// How the table's row of a key is found.
    pub right: TablePlan,
    /// The time at which it is looked up; `None`: the newest row.
    pub as_of: Option<AsOf>,
}

/// Two tables of the same key. The joined value is the left value columns followed by the right ones.
#[derive(Clone, Debug, PartialEq)]
pub struct TableTableJoin {
    /// Any kind.
    pub kind: JoinKind,
    /// How the left row of a key is found.
    pub left: TablePlan,
    /// How the right row of a key is found.
    pub right: TablePlan,
}

/// Two streams of the same key. The joined value is the left value columns followed by the right ones.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamStreamJoin {
    /// Any kind.
    pub kind: JoinKind,
    /// How near in time records must be.
    pub window: JoinWindow,
    /// A further condition over the joined row: only pairs for which it is TRUE match.
    pub residual: Option<Expr>,
    /// Left records: (segment of time, key, timestamp, number) to the value columns.
    pub left: StoreId,
    /// Right records, likewise.
    pub right: StoreId,
    /// How far it has come: one row.
    pub progress: StoreId,
    /// Records of outer joins that wait for their window to close: (timestamp, 1 for left, key, number). `None` where they need not wait.
    pub unmatched: Option<StoreId>,
}

/// `WITHIN`, in milliseconds: a left record of time t matches right ones from t - before to t + after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindow {
    /// How much older the right record may be.
    pub before: i64,
    /// How much newer the right record may be.
    pub after: i64,
    /// `GRACE PERIOD`: a window closes so long after its end. Outer joins then give unmatched rows once it has closed; without a grace period
    /// they give them at once, and again when a match comes, as ksqlDB does.
    pub grace: Option<i64>,
}

impl JoinWindow {
    const DAY: i64 = 86_400_000;
    const SHORTEST_SEGMENT: i64 = 60_000;

    /// How long records are kept for matches, by the time of their own side.
    pub fn retention(&self) -> i64 {
        let size = self.before.saturating_add(self.after);
        match self.grace {
            Some(grace) => size.saturating_add(grace),
            None => size.max(Self::DAY),
        }
    }

    /// Records are forgotten a segment at a time, as Kafka Streams does; so what is a bit older than the retention may still match.
    pub fn segment(&self) -> i64 {
        (self.retention() / 2).max(Self::SHORTEST_SEGMENT)
    }
}

/// The left side of a foreign-key join. It gives out records for the right side's tasks: foreign key to (primary key, version, whether it
/// subscribes), through a repartition topic.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKeySubscribe {
    /// The foreign key's columns, over the left row.
    pub foreign_key: Vec<Expr>,
    /// The left rows as they were last given out: primary key to (version, foreign key, value columns).
    pub rows: StoreId,
    /// The last version given: one row. Each change of a left row is a new version, so that an answer to an older one is known as such.
    pub versions: StoreId,
}

/// The right side of a foreign-key join, with the subscriptions as left input. It gives out records for the left side's tasks: primary key to
/// (version, whether there is a right row, its value columns), through a repartition topic.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKeyAnswer {
    /// How the right row of a foreign key is found.
    pub right: TablePlan,
    /// Who asked for which key: (foreign key, primary key) to the version.
    pub subscribers: StoreId,
    /// Whose subscribers are still being told of a change: foreign key to how far that has come.
    pub fan_outs: StoreId,
    /// How many columns the left primary key has.
    pub primary_key: usize,
}

/// The results of a foreign-key join; its inputs are the left table and the answers. The joined value is the left value columns followed by
/// the right ones.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKeyJoin {
    /// Inner or left.
    pub kind: JoinKind,
    /// The rows of [`ForeignKeySubscribe`].
    pub rows: StoreId,
    /// How many columns the foreign key has.
    pub foreign_key: usize,
    /// The joined rows.
    pub results: StoreId,
}
