//! Rows of a view as ordered streams: those of the partitions here, those that other instances send, and several merged into one.
//!
//! *Invariant*: a stream's items come strictly in the order of (range, encoded key, partition), keys and partitions reversed in a descending one;
//! so does what [`Merge`] makes of them. A stream of another instance that does not is refused: it would hide or repeat rows.

use std::cmp::Ordering;

use super::row::RowReader;
use super::walk::{After, Walk};
use super::{Budget, KeyRange, ViewError, ViewParts, ViewRef, ViewRow};
use crate::expr::Expr;
use crate::types::{Timestamp, Value};

/// What a stream gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which of the asked ranges it is in, from 0.
    pub range: u32,
    /// The encoded key.
    pub key: Vec<u8>,
    /// The partition.
    pub partition: i32,
    /// The row; `None`: a limit was reached behind this key, and nothing comes after it although there may be more.
    pub row: Option<ViewRow>,
}

impl Item {
    fn order(&self, other: &Self, reverse: bool) -> Ordering {
        let place = self.key.cmp(&other.key).then(self.partition.cmp(&other.partition));
        let place = if reverse { place.reverse() } else { place };
        // where two streams stand at one place, what ends comes last
        self.range
            .cmp(&other.range)
            .then(place)
            .then(other.row.is_some().cmp(&self.row.is_some()))
    }

    /// Where a page goes on behind it.
    pub(super) fn after(&self) -> After {
        After {
            key: self.key.clone(),
            partition: self.partition,
        }
    }
}

/// Rows in order. Calls may wait for another instance, so they belong on threads that may.
pub trait RowStream {
    /// The next item; `None` after the last one.
    ///
    /// # Errors
    /// When rows cannot be read, another instance fails, or a limit ends a stream that must be whole.
    fn next(&mut self, budget: &mut Budget<'_>) -> Result<Option<Item>, ViewError>;

    /// Whether anything comes behind what was given last. The end of its use: what comes may be lost by it.
    ///
    /// # Errors
    /// As [`Self::next`].
    fn more(&mut self, budget: &mut Budget<'_>) -> Result<bool, ViewError> {
        Ok(self.next(budget)?.is_some())
    }
}

/// What is to be read.
pub(super) struct Scan<'a> {
    /// Ranges of keys, in the order in which they are wanted.
    pub ranges: Vec<KeyRange>,
    /// Greatest key first.
    pub reverse: bool,
    /// Goes on behind this key; with one range only.
    pub after: Option<After>,
    /// Lets rows pass for which this is TRUE, at this time of the wall clock.
    pub filter: Option<(&'a Expr, Timestamp)>,
    /// A limit ends the stream with an item that says so, and is no error.
    pub lenient: bool,
}

/// The rows of the partitions that are open here.
pub(super) struct LocalStream<'a> {
    view: &'a ViewRef,
    parts: &'a ViewParts,
    scan: Scan<'a>,
    reader: RowReader<'a>,
    range: usize,
    walk: Option<Walk>,
    /// Where a limit was reached.
    cut: Option<Item>,
    ended: bool,
}

impl<'a> LocalStream<'a> {
    pub fn new(view: &'a ViewRef, parts: &'a ViewParts, scan: Scan<'a>) -> Self {
        Self {
            reader: RowReader::new(view.view()),
            view,
            parts,
            scan,
            range: 0,
            walk: None,
            cut: None,
            ended: false,
        }
    }

    /// The walk over the range that it is in; `None` behind the last one.
    fn walk(&mut self) -> Option<&mut Walk> {
        if self.walk.is_none() {
            let range = self.scan.ranges.get(self.range)?;
            let (plan, snapshots) = (&self.view.view().plan, &self.parts.snapshots);
            let after = self.scan.after.as_ref();
            self.walk = Some(Walk::new(plan, snapshots, range, self.scan.reverse, after));
        }
        self.walk.as_mut()
    }

    fn passes(&self, row: &ViewRow) -> Result<bool, ViewError> {
        let Some((filter, now)) = self.scan.filter else {
            return Ok(true);
        };
        let context = row.context(now);
        let passes = filter.eval(&context).map_err(|error| ViewError::Row {
            key: format!("{:?}", &*row.key),
            message: error.message,
        })?;
        Ok(passes == Value::Boolean(true))
    }
}

impl RowStream for LocalStream<'_> {
    fn next(&mut self, budget: &mut Budget<'_>) -> Result<Option<Item>, ViewError> {
        if let Some(cut) = self.cut.take() {
            self.ended = true;
            return Ok(Some(cut));
        }
        while !self.ended {
            let Some(walk) = self.walk() else { break };
            let Some(candidate) = walk.next()? else {
                self.walk = None;
                self.range += 1;
                continue;
            };
            let limit = budget.scan();
            if !self.scan.lenient {
                limit.clone()?;
            }
            let row = self.reader.of_candidate(&self.parts.snapshots, &candidate)?;
            let mut item = Item {
                range: self.range as u32,
                key: candidate.key,
                partition: candidate.partition,
                row: None,
            };
            match limit {
                Ok(()) => {}
                // what ends early is still an answer, and goes on behind this key
                Err(ViewError::Limit { .. }) => self.cut = Some(item.clone()),
                Err(other) => return Err(other),
            }
            if let Some(row) = row
                && self.passes(&row)?
            {
                item.row = Some(row);
                return Ok(Some(item));
            }
            if let Some(cut) = self.cut.take() {
                self.ended = true;
                return Ok(Some(cut));
            }
        }
        self.ended = true;
        Ok(None)
    }

    fn more(&mut self, _: &mut Budget<'_>) -> Result<bool, ViewError> {
        while !self.ended {
            let Some(walk) = self.walk() else { break };
            if walk.next()?.is_some() {
                return Ok(true);
            }
            self.walk = None;
            self.range += 1;
        }
        self.ended = true;
        Ok(false)
    }
}

/// Several streams as one.
pub(super) struct Merge<'a> {
    streams: Vec<Source<'a>>,
    reverse: bool,
    ended: bool,
}

struct Source<'a> {
    stream: Box<dyn RowStream + 'a>,
    head: Head,
    /// What it gave before, its row aside.
    last: Option<Item>,
}

enum Head {
    /// Not asked since the last one was taken.
    Unknown,
    Item(Item),
    End,
}

impl<'a> Merge<'a> {
    pub fn new(streams: Vec<Box<dyn RowStream + 'a>>, reverse: bool) -> Self {
        let source = |stream| Source {
            stream,
            head: Head::Unknown,
            last: None,
        };
        Self {
            streams: streams.into_iter().map(source).collect(),
            reverse,
            ended: false,
        }
    }
}

impl Source<'_> {
    fn look(&mut self, reverse: bool, budget: &mut Budget<'_>) -> Result<Option<&Item>, ViewError> {
        if matches!(self.head, Head::Unknown) {
            self.head = match self.stream.next(budget)? {
                Some(item) => {
                    let forward = |last: &Item| match item.row {
                        Some(_) => last.order(&item, reverse) == Ordering::Less,
                        None => last.order(&item, reverse) != Ordering::Greater,
                    };
                    if !self.last.as_ref().is_none_or(forward) {
                        return Err(ViewError::Peer(
                            "its rows are not in the order of their keys; the answer was thrown away".into(),
                        ));
                    }
                    self.last = Some(Item {
                        row: None,
                        range: item.range,
                        key: item.key.clone(),
                        partition: item.partition,
                    });
                    Head::Item(item)
                }
                None => Head::End,
            };
        }
        Ok(match &self.head {
            Head::Item(item) => Some(item),
            Head::Unknown | Head::End => None,
        })
    }
}

impl RowStream for Merge<'_> {
    fn next(&mut self, budget: &mut Budget<'_>) -> Result<Option<Item>, ViewError> {
        if self.ended {
            return Ok(None);
        }
        let mut best: Option<(usize, Item)> = None;
        for at in 0..self.streams.len() {
            let Some(item) = self.streams[at].look(self.reverse, budget)? else {
                continue;
            };
            let first = best
                .as_ref()
                .is_none_or(|(_, best)| item.order(best, self.reverse) == Ordering::Less);
            if first {
                // the row stays where it is until it is known to be the next one
                let place = Item {
                    range: item.range,
                    key: item.key.clone(),
                    partition: item.partition,
                    row: None,
                };
                best = Some((at, place));
            }
        }
        let Some((at, _)) = best else {
            self.ended = true;
            return Ok(None);
        };
        let Head::Item(item) = std::mem::replace(&mut self.streams[at].head, Head::Unknown) else {
            return Ok(None);
        };
        // behind this key one of the streams says nothing: neither can the whole
        self.ended = item.row.is_none();
        Ok(Some(item))
    }

    fn more(&mut self, budget: &mut Budget<'_>) -> Result<bool, ViewError> {
        if self.ended {
            return Ok(false);
        }
        for source in &mut self.streams {
            let more = match source.head {
                Head::Item(_) => true,
                Head::Unknown => source.stream.more(budget)?,
                Head::End => false,
            };
            if more {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
