//! Duty: publishes what the dispatcher could not, and again what the broker may have lost.
//!
//! A duplicate does no harm (the second claim is refused), so it publishes when in doubt.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use tradewind_proto::AttemptId;
use tradewind_proto::clock::SharedClock;
use tradewind_store::model::Dispatch;
use tradewind_store::{Error as StoreError, Store};

use crate::dispatch::{Publisher, Wire};
use crate::duty::Duty;
use crate::metrics::Metrics;
use crate::signals::Signals;

/// Outbox rows published together.
const PAGE: u32 = 256;
/// Pages in one pass; the rest comes with the next pass.
const PAGES_MAX: usize = 64;
/// Passes over everything unclaimed after the broker has restarted. The second is for attempts that
/// were published before the restart and marked after the first.
const LOST_PASSES: u32 = 2;
/// Passes over everything unclaimed after our own start: the broker may have restarted while nobody
/// looked, on the same host or, in one process, with us.
const START_PASSES: u32 = 1;
/// How often the broker is asked whether it is still the same.
const INCARNATION_INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps the outbox.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) signals: Arc<Signals>,
    pub(crate) metrics: Metrics,
    pub(crate) wire: Wire,
    pub(crate) interval: Duration,
    pub(crate) republish_base: Duration,
}

#[async_trait]
impl Duty for Sweep {
    fn name(&self) -> &'static str {
        "sweep"
    }

    async fn run(&self, stop: CancellationToken) {
        let mut publisher = Publisher::new(self.wire.clone());
        let mut incarnation: Option<String> = None;
        let mut lost = START_PASSES;
        let mut next_pass = Instant::now() + self.interval;
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.signals.suspect.notified() => {}
                () = tokio::time::sleep_until(next_pass.min(next_look)) => {}
            }
            let now = Instant::now();
            if self.broker_changed(&mut incarnation).await {
                lost = LOST_PASSES;
            }
            next_look = now + INCARNATION_INTERVAL;
            if lost > 0 || now >= next_pass {
                next_pass = now + self.interval;
                match self.pass(&mut publisher, lost > 0).await {
                    Ok(true) => lost = lost.saturating_sub(1),
                    Ok(false) => {}
                    Err(error) => debug!(%error, "outbox not swept"),
                }
            }
        }
    }
}

impl Sweep {
    /// Whether the broker is another one than at the last look. The first look tells nothing.
    async fn broker_changed(&self, known: &mut Option<String>) -> bool {
        let Ok(current) = self.wire.broker.incarnation().await else { return false };
        let changed = known.as_ref().is_some_and(|known| *known != current);
        if changed {
            warn!(%current, "the broker has restarted; publishing all unclaimed attempts again");
        }
        *known = Some(current);
        changed
    }

    /// Says whether everything that was to be published again was.
    async fn pass(&self, publisher: &mut Publisher, lost: bool) -> Result<bool, StoreError> {
        if lost {
            publisher.forget_queues();
        }
        let mut seen = BTreeSet::new();
        for _ in 0..PAGES_MAX {
            let before = self.clock.now() - self.interval;
            let page = self.store.unsent(before, PAGE).await?;
            let full = page.len() == PAGE as usize;
            if !self.publish_unsent(publisher, page, &mut seen).await? || !full {
                break;
            }
        }
        self.republish(publisher, lost).await
    }

    /// Publishes a page; `false` when it made no progress.
    async fn publish_unsent(
        &self,
        publisher: &mut Publisher,
        mut page: Vec<Dispatch>,
        seen: &mut BTreeSet<AttemptId>,
    ) -> Result<bool, StoreError> {
        page.retain(|item| seen.insert(item.attempt_id));
        if page.is_empty() {
            return Ok(false);
        }
        debug!(count = page.len(), "publishing attempts left in the outbox");
        let sent = publisher.publish(&page).await;
        if sent.is_empty() {
            return Ok(false);
        }
        self.store.mark_sent(&sent, self.clock.now()).await?;
        Ok(true)
    }

    async fn republish(&self, publisher: &mut Publisher, all: bool) -> Result<bool, StoreError> {
        // The same instant for all pages: each one holds what the others did not.
        let now = self.clock.now();
        for _ in 0..PAGES_MAX {
            let page = self.store.republishable(self.republish_base, all, PAGE, now).await?;
            if page.is_empty() {
                break;
            }
            let sent = publisher.publish(&page).await;
            self.metrics.republished.inc_by(sent.len() as u64);
            if sent.is_empty() {
                // They count as published: without `all` their turn comes after the back-off.
                return Ok(false);
            }
        }
        Ok(true)
    }
}
