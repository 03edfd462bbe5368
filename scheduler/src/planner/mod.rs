//! Duty: owns the plans of running runs and turns events into committed decisions.
//!
//! One task owns everything, so there are no locks. Inputs are outcomes (intake, reaper), started
//! runs, timers and wake-ups; whatever is at hand is applied together and committed in one
//! transaction. The store stays the truth: after any doubt (conflict, error) a plan is dropped and
//! loaded again, and inputs are kept until a commit has taken them. It never publishes and never
//! waits for the broker.

mod apply;
mod audit;
mod commit;
mod plans;
mod work;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tradewind_engine::PlanOptions;
use tradewind_proto::clock::{SharedClock, SharedIds};
use tradewind_proto::workload::Outcome;
use tradewind_store::model::Queueing;
use tradewind_store::{Error as StoreError, Store};
use uuid::Uuid;

use crate::dispatch::Job;
use crate::duty::Duty;
use crate::metrics::Metrics;
use crate::signals::Signals;
use plans::Plans;
use work::Work;

/// Inputs that may wait for the planner; senders wait beyond that.
pub(crate) const INPUT_QUEUE_MAX: usize = 4096;
/// Inputs applied together.
const BATCH_MAX: usize = 256;
/// Runs looked at in one round for timers or the audit.
const ROUND_RUNS_MAX: usize = 256;
/// Audits asked for by wake-ups are at least so far apart.
const AUDIT_GAP_MIN: Duration = Duration::from_millis(100);
/// Wait after the store failed, doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest wait after the store failed.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Where inputs go.
pub(crate) type PlannerSender = mpsc::Sender<Input>;

/// Something that moves runs.
#[derive(Debug)]
pub(crate) enum Input {
    /// An attempt ended.
    Outcome(Box<OutcomeInput>),
    /// A run was started.
    Started(Uuid),
}

/// An outcome on its way through the planner.
#[derive(Debug)]
pub(crate) struct OutcomeInput {
    pub(crate) outcome: Outcome,
    pub(crate) ticket: Ticket,
    /// When it was read from the inbox; none for the reaper's.
    pub(crate) received: Option<Instant>,
}

/// Tells whoever sent an outcome that it need not be kept any longer.
pub(crate) struct Ticket {
    tag: String,
    settle: mpsc::UnboundedSender<String>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({})", self.tag)
    }
}

impl Ticket {
    /// A ticket that reports `tag` to `settle`.
    pub(crate) fn new(tag: String, settle: mpsc::UnboundedSender<String>) -> Self {
        Self { tag, settle }
    }

    fn settle(self) {
        // A closed channel is an intake that has gone: the item will come again as a duplicate.
        let _closed = self.settle.send(self.tag);
    }
}

/// Plans runs.
#[derive(Debug)]
pub(crate) struct Planner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) signals: Arc<Signals>,
    pub(crate) metrics: Metrics,
    pub(crate) dispatch: mpsc::Sender<Job>,
    pub(crate) queueing: Queueing,
    pub(crate) plan_options: PlanOptions,
    pub(crate) poll_interval: Duration,
    pub(crate) audit_interval: Duration,
    pub(crate) cached_runs: usize,
    /// Held by the running duty for as long as it runs.
    pub(crate) inputs: Mutex<mpsc::Receiver<Input>>,
}

#[async_trait]
impl Duty for Planner {
    fn name(&self) -> &'static str {
        "planner"
    }

    async fn run(&self, stop: CancellationToken) {
        let mut inputs = self.inputs.lock().await;
        let mut owner = Owner::new(self);
        let mut backoff = BACKOFF_MIN;
        while owner.gather(&mut inputs, &stop).await {
            match owner.round().await {
                Ok(()) => backoff = BACKOFF_MIN,
                Err(error) => {
                    warn!(%error, pending = owner.work.len(), "planning waits for the store");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }
}

/// The state of the running duty.
struct Owner<'a> {
    duty: &'a Planner,
    plans: Plans,
    work: Work,
    /// The store refused a commit of many runs: find the one that it is about.
    one_by_one: bool,
    /// Slots may be free: let the store queue what waits.
    queue: bool,
    next_poll: Instant,
    next_audit: Instant,
    last_audit: Instant,
    /// Where the audit's round through known runs goes on.
    cursor: Option<Uuid>,
    buffer: Vec<Input>,
}

impl<'a> Owner<'a> {
    fn new(duty: &'a Planner) -> Self {
        let now = Instant::now();
        Self {
            duty,
            plans: Plans::new(duty.cached_runs),
            work: Work::default(),
            one_by_one: false,
            queue: true,
            next_poll: now + duty.poll_interval,
            next_audit: now,
            last_audit: now,
            cursor: None,
            buffer: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Waits for something to do and takes what is at hand. `false` when stopping.
    async fn gather(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        stop: &CancellationToken,
    ) -> bool {
        if stop.is_cancelled() {
            return false;
        }
        if self.work.is_empty() && !self.queue {
            let until = self.next_poll.min(self.next_audit).min(self.next_timer());
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                received = inputs.recv_many(&mut self.buffer, BATCH_MAX) => {
                    if received == 0 {
                        // All senders are gone: only a stop can follow.
                        stop.cancelled().await;
                        return false;
                    }
                }
                () = self.duty.signals.queueing.notified() => self.queue = true,
                () = self.duty.signals.audit.notified() => {
                    let soon = self.last_audit + AUDIT_GAP_MIN;
                    self.next_audit = self.next_audit.min(soon.max(Instant::now()));
                }
                () = tokio::time::sleep_until(until) => {}
            }
        }
        while self.buffer.len() < BATCH_MAX {
            let Ok(input) = inputs.try_recv() else { break };
            self.buffer.push(input);
        }
        for input in self.buffer.drain(..) {
            self.work.add(input);
        }
        true
    }

    /// The next timer on tokio's clock; far away when there is none.
    fn next_timer(&self) -> Instant {
        let now = self.duty.clock.now();
        let wait = self.plans.next_timer().map_or(self.duty.poll_interval, |at| {
            Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
        });
        Instant::now() + wait.min(self.duty.poll_interval)
    }

    /// One round: timers, audit, then decisions and their commit.
    async fn round(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if now >= self.next_poll {
            self.next_poll = now + self.duty.poll_interval;
            self.queue = true;
        }
        self.due_timers();
        if now >= self.next_audit {
            self.last_audit = now;
            self.next_audit = now + self.duty.audit_interval;
            self.audit().await?;
        }
        self.settle_work().await
    }

    fn due_timers(&mut self) {
        for (run, ours) in self.plans.due(self.duty.clock.now(), ROUND_RUNS_MAX) {
            // What another scheduler moved last, it also wakes: look at the store before deciding.
            if ours { self.work.wake(run) } else { self.work.reload(run) }
        }
    }
}
