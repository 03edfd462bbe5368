//! Measuring this machine: each figure stands beside a baseline of the same run, or a stated target.

pub(crate) mod drain;
pub(crate) mod hop;
mod percentiles;
mod workloads;

pub(crate) use percentiles::Percentiles;
