//! This instance's share of an answer that another one gathers.
//!
//! *Invariant*: a share is read from the partitions here and nowhere else, so no question goes around in a circle; its rows are those that the asker
//! would read from the same snapshots.

use super::pull::{best_rows, enough_rows, scan_of};
use super::stream::{Item, LocalStream, RowStream, Scan};
use super::walk::After;
use super::wire::{Blob, FrameWriter, ShareRequest, SharedEnd, SharedPart, SharedParts, WIRE_VERSION, What};
use super::{Budget, KeyRange, Positions, ViewError, ViewParts, ViewRef, all_views, compile, count_rows, point_in};
use crate::engine::{Published, view_fingerprint};
use crate::types::{decode_key, encode_key};

/// Why a share is refused; the asker looks elsewhere, or says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Whether this instance can read a question of a version.
///
/// # Errors
/// [`Refused`] when not.
pub fn speaks(wire: u32) -> Result<(), Refused> {
    match wire == WIRE_VERSION {
        true => Ok(()),
        false => Err(Refused(format!(
            "this instance speaks version {WIRE_VERSION} of what instances say to each other, the question is of version {wire}; run the same release everywhere"
        ))),
    }
}

/// The view that is asked for.
///
/// # Errors
/// [`Refused`] unless it is exactly the one that the asker means.
pub fn shared_view(published: &Published, instance: &str, request: &ShareRequest) -> Result<ViewRef, Refused> {
    let other = |what: String| Err(Refused(what));
    speaks(request.wire)?;
    if request.instance != instance {
        return other(format!(
            "this is instance {instance}, the question is for {}",
            request.instance
        ));
    }
    let named =
        |view: &ViewRef| *view.published.topology.name == *request.topology && *view.view().name == *request.view;
    let Some(view) = all_views(published).into_iter().find(named) else {
        return other(format!(
            "there is no view {} of topology {} here",
            request.view, request.topology
        ));
    };
    let generation = view.published.generation;
    if generation != request.generation {
        return other(format!(
            "generation {generation} of topology {} answers here, the question is for generation {}",
            request.topology, request.generation
        ));
    }
    if view_fingerprint(&view.published.topology, view.view()) != request.fingerprint {
        return other(format!(
            "view {} is made by another plan here; the instances run different SQL or releases",
            request.view
        ));
    }
    Ok(view)
}

/// What the answer begins with.
pub fn shared_parts(parts: &ViewParts) -> SharedParts {
    let of = |(at, (partition, _)): (usize, &(i32, std::sync::Arc<dyn crate::state::Snapshot>))| {
        let mut positions = Positions::default();
        parts.add_position(at, &mut positions);
        let standby = parts.standbys.iter().find(|standby| standby.partition == *partition);
        SharedPart {
            partition: *partition,
            position: positions.to_json(),
            behind_ms: standby.map(|standby| standby.behind_ms),
        }
    };
    let missing = parts.missing.iter();
    SharedParts {
        parts: parts.snapshots.iter().enumerate().map(of).collect(),
        missing: missing.filter_map(|m| Some((m.partition?, m.reason.clone()))).collect(),
    }
}

/// Sends a frame; an error ends the share.
pub type Send<'a> = dyn FnMut(Vec<u8>) -> Result<(), ViewError> + 'a;

/// Reads and sends the rows, and the end.
///
/// # Errors
/// When rows cannot be read, a limit is reached, or `send` fails.
pub fn share(
    published: &Published,
    view: &ViewRef,
    parts: &ViewParts,
    request: &ShareRequest,
    budget: &mut Budget<'_>,
    send: &mut Send<'_>,
) -> Result<(), ViewError> {
    let most = request.max_frame;
    match &request.what {
        What::Point { key } => share_point(view, parts, &key.0, most, send),
        What::Rows {
            from,
            to,
            descending,
            after,
            limit,
        } => {
            let scan = Scan {
                ranges: vec![KeyRange {
                    from: from.0.clone(),
                    to: to.as_ref().map(|to| to.0.clone()),
                }],
                reverse: *descending,
                after: after.as_ref().map(|(key, partition)| After {
                    key: key.0.clone(),
                    partition: *partition,
                }),
                filter: None,
                lenient: true,
            };
            share_rows(LocalStream::new(view, parts, scan), Some(*limit), most, budget, send)
        }
        What::Select { sql, now } => {
            let (found, query) = compile(published, sql)?;
            if found.view().name != view.view().name || found.published.topology.name != view.published.topology.name {
                return Err(ViewError::Peer(format!(
                    "the query reads view {} there",
                    found.view().name
                )));
            }
            let mut rows = LocalStream::new(view, parts, scan_of(&query, *now));
            match best_rows(&query, &mut rows, *now, budget)? {
                Some(best) => share_items(best, most, send),
                None => share_rows(rows, enough_rows(&query), most, budget, send),
            }
        }
        What::Count => {
            let count = count_rows(view, parts, budget)?;
            send(FrameWriter::default().end(&SharedEnd {
                cut: None,
                counted: count.rows,
                exact: count.exact,
            }))
        }
    }
}

fn share_point(
    view: &ViewRef,
    parts: &ViewParts,
    encoded: &[u8],
    most: u64,
    send: &mut Send<'_>,
) -> Result<(), ViewError> {
    let key = decode_key(encoded).map_err(|error| ViewError::Peer(format!("the key asked for: {error}")))?;
    let found = point_in(view, parts, &key)?;
    let mut writer = FrameWriter::default();
    if let Some(row) = found.row {
        let mut key = Vec::new();
        encode_key(&row.key, &mut key);
        let item = Item {
            range: 0,
            key,
            partition: found.partition,
            row: Some(row),
        };
        if let Some(frame) = writer.row(&item, most)? {
            send(frame)?;
        }
    }
    send(writer.end(&SharedEnd::default()))
}

fn share_rows(
    mut rows: LocalStream<'_>,
    limit: Option<u64>,
    most: u64,
    budget: &mut Budget<'_>,
    send: &mut Send<'_>,
) -> Result<(), ViewError> {
    let mut writer = FrameWriter::default();
    let mut left = limit.unwrap_or(u64::MAX);
    let mut end = SharedEnd::default();
    while left > 0 {
        let Some(item) = rows.next(budget)? else { break };
        let place = (item.range, Blob(item.key.clone()), item.partition);
        if item.row.is_none() {
            end.cut = Some(place);
            break;
        }
        if let Some(frame) = writer.row(&item, most)? {
            send(frame)?;
        }
        left -= 1;
        // whoever needs what comes behind it is told that there may be more
        if left == 0 && rows.more(budget)? {
            end.cut = Some(place);
        }
    }
    send(writer.end(&end))
}

fn share_items(items: Vec<Item>, most: u64, send: &mut Send<'_>) -> Result<(), ViewError> {
    let mut writer = FrameWriter::default();
    for item in &items {
        if let Some(frame) = writer.row(item, most)? {
            send(frame)?;
        }
    }
    send(writer.end(&SharedEnd::default()))
}
