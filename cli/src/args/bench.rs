//! Arguments of `bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Time from an upstream's end to its downstream's start, and the fan-out rate
    Hop(HopArgs),
    /// Messages published per second, beside a bare client loop on the same broker
    Publish(FleetBenchArgs),
    /// No-op messages per second, beside a bare client loop on the same broker
    Drain(FleetBenchArgs),
    /// Time from sending a task to holding its result
    Roundtrip(FleetBenchArgs),
    /// Waiting tasks per second with 1, 2, 4 and 8 worker processes
    Scale(ScaleArgs),
    /// A worker of a bench (started by it)
    #[command(hide = true)]
    Worker(BenchWorkerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct HopArgs {
    /// Tasks in the chain
    #[arg(long, default_value_t = 50)]
    pub(crate) tasks: u32,
    /// Runs of each chain
    #[arg(long, default_value_t = 3)]
    pub(crate) runs: u32,
    /// Width of the fan-out; 0 = none
    #[arg(long, default_value_t = 1000)]
    pub(crate) fan_out: u32,
    /// Task instances run at once
    #[arg(long, default_value_t = 16)]
    pub(crate) concurrency: u32,
}

#[derive(Debug, Args)]
pub(crate) struct FleetBenchArgs {
    /// Messages
    #[arg(long, default_value_t = 20_000)]
    pub(crate) messages: u32,
    /// Tasks run at once
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: u32,
    /// Python with Celery, to be measured beside
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Worker processes, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    pub(crate) workers: Vec<u32>,
    /// Tasks per worker process
    #[arg(long, default_value_t = 400)]
    pub(crate) tasks: u32,
    /// Tasks that a worker process runs at once
    #[arg(long, default_value_t = 16)]
    pub(crate) concurrency: u32,
    /// Milliseconds that a task waits
    #[arg(long, default_value_t = 100)]
    pub(crate) wait: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchWorkerArgs {
    /// Queue to consume
    #[arg(long)]
    pub(crate) queue: String,
    /// Tasks run at once
    #[arg(long)]
    pub(crate) concurrency: u16,
    /// Milliseconds that a task waits
    #[arg(long)]
    pub(crate) wait: u32,
}
