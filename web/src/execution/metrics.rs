//! What the execution API counts and times.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tradewind_proto::names::metric;

/// Upper bounds in seconds: from half a millisecond, because hops are that short here.
const HOP_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Upper bounds in seconds: a queue may be empty, or hours behind.
const WAIT_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0];

/// A write that can be refused because its token is old.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Claim,
    Heartbeat,
    Log,
}

impl Write {
    const ALL: [Self; 3] = [Self::Claim, Self::Heartbeat, Self::Log];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Heartbeat => "heartbeat",
            Self::Log => "log",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    stale_writes: IntCounterVec,
    queue_wait: HistogramVec,
    hop: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stale_writes = IntCounterVec::new(
            Opts::new(metric::STALE_WRITES, "Writes refused because their token was old"),
            &["write"],
        )?;
        for write in Write::ALL {
            stale_writes.with_label_values(&[write.as_str()]);
        }
        let queue_wait = HistogramVec::new(
            HistogramOpts::new(metric::QUEUE_WAIT, "Time from queued to claimed")
                .buckets(WAIT_BUCKETS.to_vec()),
            &["queue"],
        )?;
        let hop = Histogram::with_opts(
            HistogramOpts::new(
                metric::HOP,
                "Time from the end of the last upstream to the claim of its downstream",
            )
            .buckets(HOP_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(stale_writes.clone()))?;
        registry.register(Box::new(queue_wait.clone()))?;
        registry.register(Box::new(hop.clone()))?;
        Ok(Self { stale_writes, queue_wait, hop })
    }

    pub(crate) fn stale(&self, write: Write, count: u64) {
        self.stale_writes.with_label_values(&[write.as_str()]).inc_by(count);
    }

    pub(crate) fn waited(&self, queue: &str, seconds: f64) {
        self.queue_wait.with_label_values(&[queue]).observe(seconds.max(0.0));
    }

    pub(crate) fn hopped(&self, seconds: f64) {
        self.hop.observe(seconds.max(0.0));
    }
}
