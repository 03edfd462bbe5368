//! What all duties of one worker share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tradewind_broker::{Broker, ResultBackend};
use tradewind_proto::clock::{SharedClock, SharedIds};
use uuid::Uuid;

use crate::attempts::Attempts;
use crate::finish::Finished;
use crate::keys::Keys;
use crate::logs::LogHub;
use crate::metrics::Metrics;
use crate::{ExecutionApi, Handlers, Runtimes, WorkerOptions};

/// Ended attempts and tasks whose outcome is not safe yet, as a multiple of the slots.
const UNSENT_PER_SLOT: usize = 4;

pub(crate) struct Core {
    pub(crate) options: WorkerOptions,
    pub(crate) name: Arc<str>,
    pub(crate) hostname: Arc<str>,
    pub(crate) instance: Uuid,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) results: Arc<dyn ResultBackend>,
    pub(crate) api: Arc<dyn ExecutionApi>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) handlers: Handlers,
    pub(crate) runtimes: Runtimes,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) attempts: Attempts,
    pub(crate) keys: Keys,
    pub(crate) logs: Arc<LogHub>,
    pub(crate) finished: mpsc::Sender<Finished>,
    pub(crate) room: Room,
    pub(crate) tally: Tally,
    /// Batches, attempts and tasks under way.
    pub(crate) work: TaskTracker,
    /// Take nothing more.
    pub(crate) draining: CancellationToken,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("name", &self.name).field("instance", &self.instance).finish()
    }
}

/// Counts for the drain report.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) finished: AtomicU64,
    pub(crate) handed_back: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) unsent: AtomicU64,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Room for work: a slot while it runs, and a place until its outcome is safe.
#[derive(Debug)]
pub(crate) struct Room {
    slots: Arc<Semaphore>,
    unsent: Arc<Semaphore>,
}

/// The right to take one message.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Given back when the process or handler has ended.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Given back when the outcome is sent.
    pub(crate) unsent: OwnedSemaphorePermit,
}

impl Room {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            unsent: Arc::new(Semaphore::new(slots * UNSENT_PER_SLOT)),
        }
    }

    /// Waits for one ticket. Cancel-safe. `None` never happens while the worker lives.
    pub(crate) async fn one(&self) -> Option<Ticket> {
        let unsent = Arc::clone(&self.unsent).acquire_owned().await.ok()?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        Some(Ticket { slot, unsent })
    }

    /// One more ticket, if there is one now.
    pub(crate) fn another(&self) -> Option<Ticket> {
        let unsent = Arc::clone(&self.unsent).try_acquire_owned().ok()?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Ticket { slot, unsent })
    }
}
