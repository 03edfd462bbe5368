//! Seeded simulation of the whole orchestrator: real schedulers, real workers, the real SQLite driver,
//! in one thread and in virtual time, under faults at every seam. The same seed gives the same trace.
//!
//! It never replaces tests against real servers: the broker and the result backend are the memory
//! drivers, and task processes only sleep.

mod api;
mod broker;
mod check;
mod faults;
mod fleet;
mod life;
mod nemesis;
mod results;
mod rng;
mod runtime;
mod sim;
mod store;
mod summary;
mod time;
mod trace;
mod web;
mod workload;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use faults::Fault;
pub use sim::{Report, simulate};
pub use summary::Summary;
pub use trace::Event;
pub use world::{Bug, Options, Violation};

/// Locks; a panic elsewhere is reported by the simulation itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
