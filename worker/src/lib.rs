//! The fleet process: take messages, claim attempts, run them, report how they ended.
//!
//! A worker never sees the metadata store: it talks to its queues, the result backend and the
//! execution API.

mod admit;
mod api;
mod attempts;
mod batch;
pub mod beat;
mod canary;
mod claim;
mod core;
mod error;
mod execute;
pub mod external;
mod fetch;
mod finish;
pub mod fleet;
mod heartbeat;
mod http_api;
mod keys;
mod logs;
mod metrics;
mod options;
mod process;
pub mod remote;
mod runtime;
mod worker;

pub use api::{ApiError, ExecutionApi};
pub use error::Error;
pub use http_api::HttpExecutionApi;
pub use logs::{AttemptLog, Stream};
pub use options::{CONCURRENCY_MAX, WorkerOptions};
pub use process::guard;
pub use runtime::{AttemptJob, Ended, Runtime, Runtimes};
pub use worker::{DrainReport, Worker, WorkerDeps, WorkerHandle};
