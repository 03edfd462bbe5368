//! The HTTP side: execution API for workers, pages for people, health and metrics.
//!
//! It reads the store and asks it for use cases (trigger, pause); it never decides a state, and it
//! never talks to a scheduler.

mod error;
pub mod execution;
pub mod flower;
mod listen;
pub mod ops;
mod options;
mod server;
mod ui;

pub use error::Error;
pub use execution::{ExecutionError, ExecutionOptions, ExecutionService, Token};
pub use flower::{
    Credentials, FlowerDeps, FlowerError, FlowerHandle, FlowerOptions, FlowerService,
};
pub use listen::BoundServer;
pub use ops::{Readiness, always_ready, ops_router};
pub use options::WebOptions;
pub use server::{WebDeps, WebServer};
