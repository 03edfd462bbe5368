//! Duties that move runs forward: DAG files, schedule ticks, run starts, planning, dispatch, intake of
//! outcomes, reaping of lost leases.
//!
//! Any number of schedulers may run at once; there is no leader. Every decision is committed by
//! compare-and-set in the store, and whoever loses the race loads the run again. A scheduler keeps
//! nothing that the store could not give back to the next one. It never runs a task.

mod dispatch;
mod duty;
mod error;
mod gauges;
mod glob;
mod heartbeat;
mod intake;
mod metrics;
mod options;
mod planner;
mod reap;
mod routes;
mod run_span;
mod service;
mod signals;
mod start;
mod sweep;
mod tick;

pub mod dagfiles;

pub use duty::{Duty, DutyRunner};
pub use error::Error;
pub use options::{IgnoreSyntax, Route, SchedulerOptions};
pub use service::{Scheduler, SchedulerDeps, SchedulerHandle};
