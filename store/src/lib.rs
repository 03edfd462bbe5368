//! The metadata store: what every run, attempt and log is known by. One trait by use case, two drivers
//! (SQLite, Postgres). No SQL type leaks; no rule lives here (those are the engine's).

mod admin;
mod claims;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod logs;
pub mod manual;
pub mod model;
mod open;
mod past;
mod picking;
mod postgres;
mod rows;
mod specs;
mod sqlite;
mod sync;
mod traits;
mod url;

use std::time::Duration;

pub use error::Error;
pub use open::{Options, open};
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use traits::{AdminStore, AttemptStore, DagStore, DataStore, PlanStore, RunStore, Store};

/// A duration in the databases' unit; the longest that fits for longer ones.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}
