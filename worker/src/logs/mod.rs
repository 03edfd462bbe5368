//! Task output on its way to the log store. Producers never wait: what cannot be shipped in time is
//! dropped oldest first, and a line says so.

mod buffer;
mod lines;
mod ship;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tradewind_proto::AttemptId;
use tradewind_proto::clock::SharedClock;

use buffer::Buffers;
pub(crate) use lines::pump;
pub(crate) use ship::ship;

/// Shipped without waiting for the interval once this much has gathered.
const URGENT_BYTES: usize = 64 * 1024;

/// Where a line came from; the second word of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
    /// The worker itself, about the task.
    Worker,
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Worker => "worker",
        }
    }
}

/// Output of all attempts of one worker.
#[derive(Debug)]
pub(crate) struct LogHub {
    clock: SharedClock,
    buffers: Mutex<Buffers>,
    /// Something was written to an empty hub.
    dirty: Notify,
    /// Somebody waits, or much has gathered.
    urgent: Notify,
    /// Changes after every shipment.
    shipped: watch::Sender<u64>,
}

impl LogHub {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            buffers: Mutex::default(),
            dirty: Notify::new(),
            urgent: Notify::new(),
            shipped: watch::channel(0).0,
        })
    }

    /// The log of one attempt.
    pub(crate) fn open(self: &Arc<Self>, attempt: AttemptId, token: i64) -> AttemptLog {
        self.lock().open(attempt, token);
        AttemptLog { hub: Arc::clone(self), attempt }
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of one attempt.
#[derive(Debug, Clone)]
pub struct AttemptLog {
    hub: Arc<LogHub>,
    attempt: AttemptId,
}

impl AttemptLog {
    /// Appends one line, without its line end. Never blocks; size limits apply.
    pub fn line(&self, stream: Stream, text: &[u8]) {
        let now = self.hub.clock.now();
        let (was_empty, bytes) = {
            let mut buffers = self.hub.lock();
            let was_empty = buffers.bytes() == 0;
            buffers.append(self.attempt, now, stream.as_str(), text);
            (was_empty, buffers.bytes())
        };
        if was_empty {
            self.hub.dirty.notify_one();
        }
        if bytes >= URGENT_BYTES {
            self.hub.urgent.notify_one();
        }
    }

    /// Waits until everything written so far is in the log store, at most `limit`.
    pub async fn flush(&self, limit: Duration) -> bool {
        let mut shipped = self.hub.shipped.subscribe();
        let clear = async {
            while !self.hub.lock().is_clear(self.attempt) {
                self.hub.urgent.notify_one();
                if shipped.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, clear).await.is_ok()
    }

    /// No more lines will come.
    pub(crate) fn close(&self) {
        let now = self.hub.clock.now();
        let was_empty = {
            let mut buffers = self.hub.lock();
            let was_empty = buffers.bytes() == 0;
            buffers.close(self.attempt, now);
            was_empty
        };
        if was_empty {
            self.hub.dirty.notify_one();
        }
    }
}
