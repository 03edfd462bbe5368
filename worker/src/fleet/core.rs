//! What all parts of a worker's fleet half share.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tradewind_broker::client::Client;
use tradewind_broker::{Broker, Coordinator, ResultBackend};
use tradewind_proto::clock::{SharedClock, SharedIds};

use super::context::Services;
use super::pace::Pace;
use super::pool::{PLACES_PER_SLOT, Place, Pool, Slot};
use super::registry::Tasks;
use super::state::FleetState;
use super::suspect::Turns;
use crate::metrics::Metrics;

/// What a fleet half is made of.
pub(crate) struct Parts {
    pub(crate) name: Arc<str>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) results: Arc<dyn ResultBackend>,
    pub(crate) coordinator: Option<Arc<dyn Coordinator>>,
    pub(crate) client: Option<Client>,
    pub(crate) tasks: Tasks,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) state: Arc<FleetState>,
    pub(crate) settings: Settings,
}

/// Its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long results are kept.
    pub(crate) result_ttl: Duration,
    /// Between two lease renewals of a running task.
    pub(crate) renewal: Duration,
    /// A message whose workers died this often is quarantined.
    pub(crate) quarantine_after: u32,
}

/// The shared part.
pub(crate) struct Fleet {
    pub(crate) name: Arc<str>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) results: Arc<dyn ResultBackend>,
    pub(crate) coordinator: Option<Arc<dyn Coordinator>>,
    pub(crate) tasks: Tasks,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) state: Arc<FleetState>,
    pub(crate) settings: Settings,
    pub(crate) services: Arc<Services>,
    pub(crate) room: Room,
    pub(crate) pace: Pace,
    pub(crate) tally: Arc<Tally>,
    /// One at a time of those that may be poison.
    pub(crate) turns: Turns,
    /// Batches, attempts and tasks under way.
    pub(crate) work: TaskTracker,
    /// Take nothing more.
    pub(crate) draining: CancellationToken,
    /// Wait for nothing more.
    pub(crate) cold: CancellationToken,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Fleet {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new_cyclic(|fleet: &Weak<Self>| Self {
            services: Arc::new(Services {
                hostname: Arc::clone(&parts.name),
                results: Some(Arc::clone(&parts.results)),
                result_ttl: parts.settings.result_ttl,
                tasks: parts.tasks.clone(),
                client: parts.client,
                fleet: Weak::clone(fleet),
            }),
            name: parts.name,
            broker: parts.broker,
            results: parts.results,
            // Facts of one process alone are kept in the state, without a call.
            coordinator: parts.coordinator.filter(|coordinator| coordinator.shared()),
            tasks: parts.tasks,
            clock: parts.clock,
            ids: parts.ids,
            metrics: parts.metrics,
            room: Room::new(Arc::clone(parts.state.pool())),
            pace: Pace::default(),
            state: parts.state,
            settings: parts.settings,
            tally: Arc::default(),
            turns: Turns::default(),
            work: TaskTracker::new(),
            draining: CancellationToken::new(),
            cold: CancellationToken::new(),
        })
    }
}

impl Fleet {
    /// Most messages reserved and not settled, for so many slots. Tasks whose outcome is on its way need not
    /// keep the next ones from being taken, where nothing is taken ahead or tasks end at once.
    pub(crate) fn prefetch(&self, slots: u16) -> u16 {
        let is_quick = self.pace.beyond() >= usize::from(slots);
        let by_slots = self.broker.capabilities().takes_ahead && !is_quick;
        if by_slots { slots } else { slots.saturating_mul(PLACES_PER_SLOT) }
    }

    /// Says how full the pool is.
    pub(crate) fn gauge(&self) {
        let pool = self.state.pool();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.metrics.fleet.pool("async", count(pool.busy()), count(pool.size()));
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
    pool: Arc<Pool>,
}

/// The right to take one message.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Given back when the process or handler has ended. One beyond the slots has none yet.
    pub(crate) slot: Slot,
    /// Given back when the outcome is sent.
    pub(crate) unsent: Place,
}

impl Room {
    fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// Waits for one ticket. Cancel-safe. `None` never happens while the worker lives.
    pub(crate) async fn one(&self) -> Option<Ticket> {
        let unsent = self.pool.place().await?;
        let slot = self.pool.one().await?;
        Some(Ticket { slot, unsent })
    }

    /// For how many more messages there is room now, this many of them beyond the slots.
    pub(crate) fn free(&self, beyond: usize) -> usize {
        self.pool.free_places().min(self.pool.free().saturating_add(beyond))
    }

    /// The ticket of a message that has come, with a slot if one is free.
    pub(crate) fn next(&self) -> Ticket {
        let slot = self.pool.another().unwrap_or_else(|| self.pool.later());
        Ticket { slot, unsent: self.pool.next_place() }
    }
}
