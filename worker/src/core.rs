//! What all duties of one worker share.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tradewind_broker::ResultBackend;
use tradewind_proto::clock::{SharedClock, SharedIds};
use uuid::Uuid;

use crate::attempts::Attempts;
use crate::finish::Finished;
use crate::fleet::core::Fleet;
pub(crate) use crate::fleet::core::{Tally, Ticket};
use crate::keys::Keys;
use crate::logs::LogHub;
use crate::metrics::Metrics;
use crate::{ExecutionApi, Runtimes, WorkerOptions};

pub(crate) struct Core {
    pub(crate) options: WorkerOptions,
    pub(crate) name: Arc<str>,
    pub(crate) hostname: Arc<str>,
    pub(crate) instance: Uuid,
    pub(crate) results: Arc<dyn ResultBackend>,
    pub(crate) api: Arc<dyn ExecutionApi>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) runtimes: Runtimes,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) attempts: Attempts,
    pub(crate) keys: Keys,
    pub(crate) logs: Arc<LogHub>,
    pub(crate) finished: mpsc::Sender<Finished>,
    /// The part that runs fleet tasks; slots are shared.
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) tally: Arc<Tally>,
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
