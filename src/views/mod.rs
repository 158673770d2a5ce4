//! Views: what is materialized, and reading it: by key, by key range, by query, and as a feed of committed changes.
//!
//! Everything here reads [`crate::state::Snapshot`]s, so it sees committed rows only and never makes a commit wait. Each answer carries the
//! [`Positions`] of the very snapshots that its rows came from.
//!
//! It is *not* a server: `http` turns requests into these calls. Nothing here waits, spawns or looks at a clock; limits of time are a
//! function that the caller passes in ([`Budget`]).

mod budget;
mod catalog;
mod cursor;
mod error;
mod keys;
mod page;
mod position;
mod pull;
mod push;
mod row;
mod walk;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use budget::{Budget, QueryLimits};
pub use catalog::{ViewParts, ViewRef, all_views, find_view};
pub use error::{Limit, ViewError};
pub use keys::{KeyRange, parse_key_text, parse_prefix_text, value_from_text};
pub use page::{Count, Page, PageRequest, Point, count_rows, page, point};
pub use position::Positions;
pub use pull::{QueryResult, compile, pull};
pub use push::{ChangeBatch, Feed, FeedError, RowChange};
pub use row::ViewRow;
