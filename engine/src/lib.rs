//! The rules of orchestration, pure: no clock, no I/O, no async. Time and ids come in as arguments.

pub mod model;
pub mod limits;
