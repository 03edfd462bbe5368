//! The rules of orchestration, pure: no clock, no I/O, no async. Time and ids come in as arguments.

pub mod graph;
pub mod limits;
pub mod model;
pub mod plan;
pub mod template;
pub mod timetable;
pub mod trigger;
pub mod trigger_rule;
pub mod validate;

#[cfg(test)]
mod testing;

pub use graph::{CompiledDag, Graph, GraphError};
pub use plan::{PlanOptions, RunPlan, Verdict};
