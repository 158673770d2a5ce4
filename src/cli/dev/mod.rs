//! What `dev` has beside a running instance: broker and registry of its own, the sample, the live list.

mod local;
mod sample;
mod top;

pub use local::Local;
pub use sample::{Feed, create_topics};
pub use top::LiveList;
