//! Duty: reports attempts whose lease has run out as lost.
//!
//! Kills nothing because of an outage of our own side: when the store, or we, were away, workers could
//! not renew. Leases then get another term before any is judged. The same holds while the API
//! through which workers renew is silent, up to a limit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tradewind_proto::clock::SharedClock;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::{Outcome, OutcomeHead};
use tradewind_store::model::ExpiredLease;
use tradewind_store::{Error as StoreError, Store};

use crate::duty::Duty;
use crate::metrics::Metrics;
use crate::planner::{Input, OutcomeInput, PlannerSender, Ticket};

/// Lost attempts handed over in one pass.
const EXPIRED_MAX: u32 = 512;
/// Job type of the processes that answer workers.
const API_JOB: &str = "WebJob";
/// API processes looked at, those with the newest heartbeat.
const API_JOBS_MAX: u32 = 8;

/// Looks for expired leases.
#[derive(Debug)]
pub(crate) struct Reap {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) planner: PlannerSender,
    pub(crate) metrics: Metrics,
    pub(crate) interval: Duration,
    pub(crate) outage_gap: Duration,
    pub(crate) lease: Duration,
    /// An API process whose heartbeat is older than this does not answer workers.
    pub(crate) api_silence: Duration,
    /// An API that is silent for longer is not coming back soon: leases are judged again.
    pub(crate) api_outage_max: Duration,
}

/// When the store last answered us, on both clocks: the host may sleep, its clock may jump.
#[derive(Debug, Clone, Copy)]
struct Seen {
    instant: Instant,
    wall: Timestamp,
}

impl Seen {
    fn gap(self, wall: Timestamp) -> Duration {
        let stepped = Duration::try_from(wall.duration_since(self.wall)).unwrap_or_default();
        self.instant.elapsed().max(stepped)
    }
}

#[async_trait]
impl Duty for Reap {
    fn name(&self) -> &'static str {
        "reap"
    }

    async fn run(&self, stop: CancellationToken) {
        // Unbounded by type, bounded by EXPIRED_MAX: one message per attempt handed over.
        let (settle, mut settled) = mpsc::unbounded_channel();
        let mut pending = BTreeSet::new();
        let mut seen = self.seen();
        let mut api_away = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
            while let Ok(tag) = settled.try_recv() {
                pending.remove(&tag);
            }
            match self.pass(&mut seen, &mut api_away).await {
                Ok(expired) => {
                    if self.report(expired, &mut pending, &settle, &stop).await.is_none() {
                        return;
                    }
                }
                Err(error) => warn!(%error, "could not look for expired leases; trying again"),
            }
        }
    }
}

impl Reap {
    fn seen(&self) -> Seen {
        Seen { instant: Instant::now(), wall: self.clock.now() }
    }

    /// One look. After an outage leases are extended instead, and judged from the next pass on.
    async fn pass(
        &self,
        seen: &mut Seen,
        api_away: &mut bool,
    ) -> Result<Vec<ExpiredLease>, StoreError> {
        let now = self.clock.now();
        let gap = seen.gap(now);
        if gap > self.outage_gap {
            let extended = self.store.extend_leases(self.term(now)).await?;
            info!(gap_ms = gap.as_millis(), extended, "we were away; every lease got another term");
            *seen = self.seen();
            return Ok(Vec::new());
        }
        if self.api_silent(now).await? {
            if !std::mem::replace(api_away, true) {
                warn!("the API that workers renew through is silent; no lease is judged meanwhile");
            }
            self.store.extend_leases(self.term(now)).await?;
            *seen = self.seen();
            return Ok(Vec::new());
        }
        if std::mem::take(api_away) {
            // Workers need a moment to find the API again.
            let extended = self.store.extend_leases(self.term(now)).await?;
            info!(extended, "the API answers again; every lease got another term");
        }
        // Should this call wait out an outage, it still judges by the time before it.
        let expired = self.store.expired_leases(now, EXPIRED_MAX).await?;
        *seen = self.seen();
        Ok(expired)
    }

    /// A full lease from now: what a worker that is well asks for within its next heartbeats. Not the
    /// time that was missed, which several schedulers would each add.
    fn term(&self, now: Timestamp) -> Timestamp {
        let lease = SignedDuration::try_from(self.lease).unwrap_or(SignedDuration::MAX);
        now.saturating_add(lease).unwrap_or(now)
    }

    /// Whether there are API processes, none of them has a fresh heartbeat, and not for too long.
    async fn api_silent(&self, now: Timestamp) -> Result<bool, StoreError> {
        let jobs = self.store.jobs(Some(API_JOB), API_JOBS_MAX).await?;
        let newest = jobs.iter().filter(|job| !job.ended).map(|job| job.heartbeat_at).max();
        Ok(newest.is_some_and(|at| {
            let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            age > self.api_silence && age <= self.api_outage_max
        }))
    }

    /// Hands lost attempts to the planner, each once while it holds it. None when stopping.
    async fn report(
        &self,
        expired: Vec<ExpiredLease>,
        pending: &mut BTreeSet<String>,
        settle: &mpsc::UnboundedSender<String>,
        stop: &CancellationToken,
    ) -> Option<()> {
        for lease in expired {
            let tag = lease.attempt_id.to_string();
            if !pending.insert(tag.clone()) {
                continue;
            }
            self.metrics.lease_expiries.inc();
            warn!(attempt = %lease.attempt_id, task_id = lease.task_id, worker = lease.worker,
                "lease ran out; the attempt counts as lost");
            let ticket = Ticket::new(tag, settle.clone());
            let outcome = self.lost(lease);
            let input = OutcomeInput { outcome, ticket, received: None };
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                sent = self.planner.send(Input::Outcome(Box::new(input))) => sent.ok()?,
            }
        }
        Some(())
    }

    fn lost(&self, lease: ExpiredLease) -> Outcome {
        let message = format!("worker {} stopped renewing the lease", lease.worker);
        let head = OutcomeHead {
            attempt_id: lease.attempt_id,
            token: lease.token,
            run: lease.run,
            task_id: lease.task_id,
            map_index: lease.map_index,
            worker: lease.worker,
        };
        let now = self.clock.now();
        let mut outcome = Outcome::new(head, OutcomeState::Lost, lease.claimed_at, now);
        outcome.message = message;
        outcome
    }
}
