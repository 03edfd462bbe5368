//! The execution API: what workers ask while they run attempts. One [`ExecutionService`], called
//! directly in one process and over HTTP by a fleet.
//!
//! It never decides a state: leases and tokens are the store's compare-and-set, rules the engine's.

mod grant;
mod http;
mod metrics;
mod service;
mod token;
mod versions;

pub use http::router;
pub use service::{ExecutionError, ExecutionOptions, ExecutionService};
pub use token::Token;
