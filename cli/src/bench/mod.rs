//! Measuring this machine: each figure stands beside a baseline of the same run, or a stated target.

pub(crate) mod drain;
mod fleet;
pub(crate) mod hop;
mod percentiles;
pub(crate) mod publish;
mod python;
mod report;
pub(crate) mod roundtrip;
pub(crate) mod scale;
mod usage;
mod workloads;

pub(crate) use percentiles::Percentiles;
pub(crate) use report::{Report, rounded};
