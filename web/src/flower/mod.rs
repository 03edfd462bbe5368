//! The monitor of a fleet: what Flower is to Celery. It listens to events, asks workers and queues, keeps
//! a bounded history, and answers under Flower's HTTP API and metric names. It has no pages.
//!
//! Nothing depends on it: events are best effort, and what it missed stays unknown.

mod api;
mod error;
mod history;
mod inspect;
mod link;
mod metrics;
mod options;
mod service;
pub mod state;
mod watch;

pub use error::FlowerError;
pub use options::{Credentials, FlowerOptions};
pub use service::{FlowerDeps, FlowerHandle, FlowerService};
