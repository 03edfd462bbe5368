//! Fleet tasks: handlers by task name, and the core that runs Celery messages with them.
//!
//! A Rust service registers handlers in [`Tasks`] and runs a [`FleetWorker`]; the full worker runs the
//! same core beside the orchestrator's workloads. Remote control reads and steers [`FleetState`].

mod args;
pub(crate) mod batch;
mod begin;
mod builtin;
mod context;
pub(crate) mod core;
mod decide;
mod error;
mod follow;
mod gather;
mod limits;
mod options;
pub(crate) mod pace;
mod places;
pub(crate) mod pool;
mod publish;
mod registry;
mod replace;
mod report;
mod retry;
pub(crate) mod revoked;
mod run;
mod settle;
mod state;
mod stop;
mod suspect;
pub mod testing;
mod worker;

pub use context::Context;
pub use error::{Failure, Retry, TaskError};
pub use gather::Batch;
pub use limits::Rate;
pub use options::{Conflict, KeyOf, Limit, TaskOptions, Unique};
pub use pool::Pool;
pub use registry::{Outcome, Registration, Tasks};
pub use retry::{Backoff, RetryPolicy};
pub use revoked::stamp_key;
pub use state::{Consuming, FleetState, Lifecycle, Seen, TaskLimits, View, What};
#[cfg(test)]
pub(crate) use stop::Stop;
pub use stop::StopReason;
pub use worker::{FleetWorker, FleetWorkerBuilder};

pub(crate) use registry::panic_text;
pub(crate) use testing::run_alone;
