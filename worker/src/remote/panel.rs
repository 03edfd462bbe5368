//! What the duties of remote control share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;

use super::Range;
use crate::fleet::{FleetState, Tasks};

/// Largest value of a logical clock that is taken from others: a nonsensical one must not make ours overflow.
const CLOCK_MAX: u64 = 1 << 53;

/// A worker as remote control sees it.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) node: String,
    pub(super) pid: u32,
    pub(super) started: Timestamp,
    pub(super) clock: SharedClock,
    pub(super) state: Arc<FleetState>,
    pub(super) tasks: Tasks,
    /// Without credentials.
    pub(super) conf: Value,
    /// Without credentials.
    pub(super) broker: Value,
    pub(super) task_events: watch::Sender<bool>,
    /// Asks for a heartbeat now.
    pub(super) beat: Notify,
    pub(super) logical: AtomicU64,
    pub(super) range: Mutex<Option<Range>>,
    /// Events that no monitor could be sent.
    pub(super) dropped: AtomicU64,
}

impl Panel {
    /// The logical clock for a message that is sent now.
    pub(super) fn tick(&self) -> u64 {
        self.logical.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The logical clock as it stands.
    pub(super) fn logical(&self) -> u64 {
        self.logical.load(Ordering::Relaxed)
    }

    /// Takes a clock of somebody else into account.
    pub(super) fn adjust(&self, seen: u64) {
        self.logical.fetch_max(seen.min(CLOCK_MAX), Ordering::Relaxed);
    }

    /// The range of slots, if they follow demand.
    pub(super) fn range(&self) -> Option<Range> {
        *self.range.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_range(&self, range: Range) {
        *self.range.lock().unwrap_or_else(PoisonError::into_inner) = Some(range);
    }

    /// Counts events that are lost.
    pub(super) fn lose(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }
}

/// Seconds since 1970, as Python's `time.time()`.
pub(super) fn seconds(at: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit a double")]
    let micros = at.as_microsecond() as f64;
    micros / 1e6
}
