//! The row of one key: here, then everywhere else at the same time, until somebody has it.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{ReadOptions, Search, not_ready, parts_here, position_of, standby_of};
use crate::engine::cluster::Peer;
use crate::http::peers::{PeerError, Said};
use crate::http::state::Turn;
use crate::http::{ApiError, App};
use crate::types::{Value, encode_key};
use crate::views::{Blob, Item, Point, StandbyPart, ViewParts, ViewRef, What, point_in};

/// Each is looked at until one has the row: so many are done in no time.
const FEW_PARTITIONS: i32 = 32;

/// A row that was looked for, and whose copies were looked at.
pub(in crate::http) struct Found {
    /// The row, if there is one.
    pub point: Point,
    /// The copy that it is from; without a row, all that were asked.
    pub standbys: Vec<StandbyPart>,
}

/// Looks for the row of one key: here, then everywhere else at the same time, until one has it.
pub(in crate::http) async fn find_row(
    app: &App,
    turn: &mut Turn,
    view: &ViewRef,
    options: &ReadOptions,
    key: Vec<Value>,
) -> Result<Found, ApiError> {
    let (here, need, wanted) = (view.clone(), options.need.clone(), key.clone());
    let look_here = move || {
        if let Some(likely) = here.likely_partition(&wanted) {
            let mut parts = here.open_these(&[likely]);
            parts.set_aside(&need);
            let point = point_in(&here, &parts, &wanted)?;
            if point.row.is_some() {
                return Ok((point, parts));
            }
        }
        let parts = parts_here(&here, &need);
        Ok((point_in(&here, &parts, &wanted)?, parts))
    };
    let (point, parts) = match view.partitions() <= FEW_PARTITIONS {
        true => app.read_few(turn, look_here).await?,
        false => app.read_in(turn, move |_| look_here()).await?,
    };
    let mut found = Found {
        point,
        standbys: Vec::new(),
    };
    if found.point.row.is_some() || parts.missing.is_empty() {
        return Ok(found);
    }
    app.wait_elsewhere(turn)?;
    let mut search = Search::new(app, view, options, turn, parts);
    while search.goes_on() {
        let copies = search.parts.standbys.len();
        let groups = search.next_groups();
        if search.parts.standbys.len() > copies {
            let parts = std::mem::take(&mut search.parts);
            let (point, parts) = look(app, turn, view, parts, key.clone()).await?;
            app.wait_elsewhere(turn)?;
            search.parts = parts;
            if point.row.is_some() {
                let copies = search
                    .parts
                    .standbys
                    .iter()
                    .filter(|copy| copy.partition == point.partition);
                let standbys = copies.cloned().collect();
                return Ok(Found { point, standbys });
            }
            found.point.positions.merge(&point.positions);
        }
        if let Some(found) = search.ask_for_row(groups, &key, &mut found).await? {
            return Ok(found);
        }
    }
    let missing = search.missing();
    found.standbys.append(&mut search.parts.standbys);
    match missing.is_empty() {
        true => Ok(found),
        false => Err(not_ready(view, missing)),
    }
}

impl Search<'_> {
    /// Asks for a row until one has it; what the others reflect who have none is added to `without`.
    async fn ask_for_row(
        &mut self,
        groups: Vec<(Peer, Vec<i32>)>,
        key: &[Value],
        without: &mut Found,
    ) -> Result<Option<Found>, ApiError> {
        let mut encoded = Vec::new();
        encode_key(key, &mut encoded);
        let what = What::Point {
            key: Blob(encoded.clone()),
        };
        let mut heard = Vec::new();
        {
            let asked = groups.into_iter().map(|(peer, partitions)| async {
                let (partitions, answer) = self.ask(peer, partitions, &what).await;
                let whole = match answer {
                    Ok(answer) => {
                        let said = answer.said.clone();
                        let rows = answer.all().await.map_err(PeerError::because);
                        rows.map(|(rows, _)| (said, rows))
                    }
                    Err(error) => Err(error),
                };
                (partitions, whole)
            });
            let mut asked: FuturesUnordered<_> = asked.collect();
            while let Some((partitions, whole)) = asked.next().await {
                match whole {
                    Ok((said, mut rows)) => {
                        let row = rows.pop_front().filter(|item| item.key == encoded);
                        if let Some(found) = row.map(|item| found_there(item, &said)) {
                            return Ok(Some(found));
                        }
                        heard.push((partitions, Ok(said)));
                    }
                    Err(error) => heard.push((partitions, Err(error))),
                }
            }
        }
        for (partitions, said) in heard {
            if let Ok(said) = &said {
                said.parts
                    .iter()
                    .for_each(|part| without.point.positions.merge(&position_of(part)));
                without.standbys.extend(said.parts.iter().filter_map(standby_of));
            }
            match said {
                Ok(said) => self.note(&partitions, Ok(&said))?,
                Err(error) => self.note(&partitions, Err(error))?,
            }
        }
        Ok(None)
    }
}

fn found_there(item: Item, said: &Said) -> Found {
    let part = said.parts.iter().find(|part| part.partition == item.partition);
    Found {
        standbys: part.and_then(standby_of).into_iter().collect(),
        point: Point {
            row: item.row,
            partition: item.partition,
            positions: part.map(position_of).unwrap_or_default(),
        },
    }
}

async fn look(
    app: &App,
    turn: &mut Turn,
    view: &ViewRef,
    parts: ViewParts,
    key: Vec<Value>,
) -> Result<(Point, ViewParts), ApiError> {
    let view = view.clone();
    let work = move |_: &mut crate::views::Budget<'_>| Ok((point_in(&view, &parts, &key)?, parts));
    app.read_in(turn, work).await
}
