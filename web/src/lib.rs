//! The HTTP side: execution API for workers, pages for people, health and metrics.

pub mod execution;
