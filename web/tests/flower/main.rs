//! The monitor on the in-process bus, with a scripted worker: HTTP API, metrics, life.

mod api;
mod fleet;
mod life;
mod metrics;
