//! The metadata store: what every run, attempt and log is known by. One trait by use case, two drivers
//! (SQLite, Postgres). No SQL type leaks; no rule lives here (those are the engine's).

mod error;
pub mod model;
mod traits;

pub use error::Error;
pub use traits::{AdminStore, AttemptStore, DagStore, DataStore, PlanStore, RunStore, Store};
