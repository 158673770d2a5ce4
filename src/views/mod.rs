//! Views: what is materialized, and reading it: by key, by key range, by query, and as a feed of committed changes.
//!
//! Everything here reads [`crate::state::Snapshot`]s, so it sees committed rows only and never makes a commit wait. Each answer carries the
//! [`Positions`] of the very snapshots that its rows came from.
//!
//! Partitions that are elsewhere come as streams of rows ([`RowStream`]) that `http` opens at other instances, and a share of another instance's
//! answer is read here ([`share`]).
//!
//! It is *not* a server: `http` turns requests into these calls. Nothing here waits (but for such a stream), spawns or looks at a clock; limits of
//! time are a function that the caller passes in ([`Budget`]).

mod budget;
mod catalog;
mod catchup;
mod cursor;
mod error;
mod keys;
mod page;
mod position;
mod pull;
mod push;
mod row;
mod share;
mod stream;
mod token;
mod walk;
mod wire;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use budget::{Budget, QueryLimits};
pub use catalog::{Missing, StandbyPart, ViewParts, ViewRef, age, all_views, find_view};
pub use catchup::{CatchUp, Need};
pub use error::{Limit, ViewError};
pub use keys::{KeyRange, parse_key_text, parse_prefix_text, value_from_text};
pub use page::{Count, Page, PageRequest, Point, Remote, count_rows, page, page_start, page_with, point, point_in};
pub use position::Positions;
pub use pull::{QueryResult, compile, pull, pull_with};
pub use push::{ChangeBatch, Feed, FeedError, RowChange};
pub use row::ViewRow;
pub use share::{Refused, share, shared_parts, shared_view, speaks};
pub use stream::{Item, RowStream};
pub use token::Token;
pub use walk::After;
pub use wire::{
    Blob, Frame, FrameReader, FrameWriter, ShareRequest, SharedEnd, SharedPart, SharedParts, WIRE_VERSION, What,
    WireError, sent_range,
};
