//! The fleet process: take messages, claim attempts, run them, report how they ended.
//!
//! A worker never sees the metadata store: it talks to its queues, the result backend and the
//! execution API.

mod api;
mod http_api;

pub use api::{ApiError, ExecutionApi};
pub use http_api::HttpExecutionApi;
