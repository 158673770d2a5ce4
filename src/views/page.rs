//! Rows by key and by key range, a page at a time.

use super::cursor;
use super::row::RowReader;
use super::stream::{LocalStream, Merge, RowStream, Scan};
use super::walk::{After, Walk};
use super::{Budget, KeyRange, Positions, ViewError, ViewParts, ViewRef, ViewRow};
use crate::types::{Value, encode_key};

/// What other instances send of an answer.
#[derive(Default)]
pub struct Remote {
    /// Their rows, a stream an instance.
    pub streams: Vec<Box<dyn RowStream>>,
    /// The input offsets that these rows reflect.
    pub positions: Positions,
}

impl Remote {
    /// These rows and those of a stream of our own as one.
    pub(super) fn with<'a>(self, local: LocalStream<'a>, reverse: bool) -> Box<dyn RowStream + 'a> {
        if self.streams.is_empty() {
            return Box::new(local);
        }
        let mut streams: Vec<Box<dyn RowStream + 'a>> = vec![Box::new(local)];
        for stream in self.streams {
            streams.push(stream);
        }
        Box::new(Merge::new(streams, reverse))
    }
}

/// What a page is asked for.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Keys.
    pub range: KeyRange,
    /// Greatest key first.
    pub descending: bool,
    /// Rows at most.
    pub limit: usize,
    /// The cursor of the page before.
    pub cursor: Option<String>,
}

/// A page of rows in key order.
#[derive(Debug)]
pub struct Page {
    /// The rows.
    pub rows: Vec<ViewRow>,
    /// Where the next page begins; `None` after the last one.
    pub cursor: Option<String>,
    /// The input offsets that the rows reflect.
    pub positions: Positions,
}

/// Where a request's page begins: behind the last key of the page before.
///
/// # Errors
/// [`ViewError::BadRequest`] for text that is no cursor, or the cursor of another request.
pub fn page_start(view: &ViewRef, request: &PageRequest) -> Result<Option<After>, ViewError> {
    let id = cursor::request_id(view, &request.range, request.descending);
    let text = request.cursor.as_deref();
    text.map(|text| cursor::decode(text, id)).transpose()
}

/// Reads a page. Each partition's part is one committed snapshot.
///
/// A page may be shorter than its limit when the budget ends first (a filter that lets few rows pass): its cursor then goes on from there.
///
/// # Errors
/// For a wrong cursor, a partition that is not here, a row that cannot be computed.
pub fn page(
    view: &ViewRef,
    parts: &ViewParts,
    request: &PageRequest,
    budget: &mut Budget<'_>,
) -> Result<Page, ViewError> {
    page_with(view, parts, Remote::default(), request, budget)
}

/// As [`page`], with rows that other instances send.
///
/// # Errors
/// As [`page`], and when another instance fails.
pub fn page_with(
    view: &ViewRef,
    parts: &ViewParts,
    remote: Remote,
    request: &PageRequest,
    budget: &mut Budget<'_>,
) -> Result<Page, ViewError> {
    let id = cursor::request_id(view, &request.range, request.descending);
    let scan = Scan {
        ranges: vec![request.range.clone()],
        reverse: request.descending,
        after: page_start(view, request)?,
        filter: None,
        lenient: true,
    };
    let mut positions = parts.positions();
    positions.merge(&remote.positions);
    let mut stream = remote.with(LocalStream::new(view, parts, scan), request.descending);
    let mut rows = Vec::new();
    let mut last = None;
    let mut more = true;
    while rows.len() < request.limit {
        let Some(item) = stream.next(budget)? else {
            more = false;
            break;
        };
        last = Some(item.after());
        let Some(row) = item.row else { break };
        let used = budget.hold(row.heap_bytes());
        rows.push(row);
        // a page that ends early is still an answer; a single row too large for the budget is one as well
        match used {
            Ok(()) => {}
            Err(ViewError::Limit { .. }) => break,
            Err(other) => return Err(other),
        }
    }
    let full = rows.len() >= request.limit;
    let more = more && (!full || stream.more(budget)?);
    Ok(Page {
        rows,
        cursor: last.filter(|_| more).map(|after| cursor::encode(id, &after)),
        positions,
    })
}

/// The answer of a point read.
#[derive(Debug)]
pub struct Point {
    /// The row, if there is one.
    pub row: Option<ViewRow>,
    /// The partition that has it; -1 without a row.
    pub partition: i32,
    /// The input offsets of the snapshot it came from; without a row, of all that were asked.
    pub positions: Positions,
}

/// Reads the row of one key.
///
/// Which partition holds a key depends on how the producers of its topic wrote and placed it (a schema id is part of an Avro key's bytes, and not
/// every client places keys as Kafka's Java clients do), so every partition is asked, each for one key, until one has it.
///
/// # Errors
/// [`ViewError::NotReady`] when no partition at hand has the key and others are missing.
pub fn point(view: &ViewRef, key: &[Value]) -> Result<Point, ViewError> {
    let parts = view.open_available();
    let found = point_in(view, &parts, key)?;
    if found.row.is_none() && !parts.missing.is_empty() {
        return Err(parts.not_ready(view));
    }
    Ok(found)
}

/// Looks for the row of one key in open partitions.
///
/// # Errors
/// When the stores cannot be read.
pub fn point_in(view: &ViewRef, parts: &ViewParts, key: &[Value]) -> Result<Point, ViewError> {
    let mut encoded = Vec::new();
    encode_key(key, &mut encoded);
    let mut reader = RowReader::new(view.view());
    for (part, (partition, snapshot)) in parts.snapshots.iter().enumerate() {
        if let Some(row) = reader.of_key(&**snapshot, &encoded)? {
            let mut positions = Positions::default();
            parts.add_position(part, &mut positions);
            return Ok(Point {
                row: Some(row),
                partition: *partition,
                positions,
            });
        }
    }
    Ok(Point {
        row: None,
        partition: -1,
        positions: parts.positions(),
    })
}

/// How many rows a view has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Rows counted.
    pub rows: u64,
    /// There are no more; else the count was stopped.
    pub exact: bool,
}

/// Counts rows, until `budget` ends.
///
/// # Errors
/// When the stores cannot be read.
pub fn count_rows(view: &ViewRef, parts: &ViewParts, budget: &mut Budget<'_>) -> Result<Count, ViewError> {
    let mut walk = Walk::new(&view.view().plan, &parts.snapshots, &KeyRange::all(), false, None);
    let mut reader = RowReader::new(view.view());
    let mut rows = 0;
    while let Some(candidate) = walk.next()? {
        if let Err(ViewError::Limit { .. }) = budget.scan() {
            return Ok(Count { rows, exact: false });
        }
        rows += u64::from(reader.of_candidate(&parts.snapshots, &candidate)?.is_some());
    }
    Ok(Count {
        rows,
        exact: parts.missing.is_empty(),
    })
}
