//! Periodic tasks: entries of the configuration are sent to their queues when they are due.
//!
//! Any number of beats may run with the same entries: each tick is claimed by compare-and-set on the
//! coordinator and sent once. Ticks that nobody was there for collapse into one.

mod due;
mod error;
mod options;
mod service;

pub use due::{Due, next_due};
pub use error::BeatError;
pub use options::{BeatEntry, BeatOptions, Every};
pub use service::{Beat, BeatDeps, BeatHandle};
