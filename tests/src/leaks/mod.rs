//! Where secrets might come out: what to search for, and what a node's programs were given and wrote.

mod needles;
mod watch;

pub use needles::{Needles, Place};
pub use watch::{Seen, Watch, Written};
