//! Duty: reads outcomes from the inbox, hands them to the planner, and acks them once they are
//! committed. Decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tradewind_broker::{Error as BrokerError, Inbox, InboxItem, ResultBackend};
use tradewind_proto::sign::open_outcome;

use crate::duty::Duty;
use crate::metrics::Metrics;
use crate::planner::{Input, OutcomeInput, PlannerSender, Ticket};
use crate::signals::Signals;

/// Items read at once.
const BATCH_MAX: usize = 256;
/// Items read and not acked; at this many nothing more is read.
const IN_FLIGHT_MAX: usize = 2048;
/// Errors in a row after which the inbox is opened anew.
const ERRORS_MAX: u32 = 3;
/// Wait after an error, doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest wait after an error.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// When stopping: longest wait for what the planner still holds.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Reads the results inbox.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) results: Arc<dyn ResultBackend>,
    pub(crate) inbox: String,
    pub(crate) planner: PlannerSender,
    pub(crate) metrics: Metrics,
    pub(crate) signals: Arc<Signals>,
}

#[async_trait]
impl Duty for Intake {
    fn name(&self) -> &'static str {
        "intake"
    }

    async fn run(&self, stop: CancellationToken) {
        let mut backoff = BACKOFF_MIN;
        while !stop.is_cancelled() {
            match self.results.open_inbox(&self.inbox).await {
                Ok(inbox) => {
                    backoff = BACKOFF_MIN;
                    Reading::new(self, inbox).run(&stop).await;
                }
                Err(error) => {
                    warn!(inbox = self.inbox, %error, "inbox not opened; trying again");
                    self.signals.suspect.notify_one();
                    wait(&stop, backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }
}

async fn wait(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// One opened inbox, with what was read from it.
struct Reading<'a> {
    intake: &'a Intake,
    inbox: Box<dyn Inbox>,
    /// Read, with the planner.
    in_flight: BTreeSet<String>,
    /// Committed, to be acked.
    settled: Vec<String>,
    settle: mpsc::UnboundedSender<String>,
    settlements: mpsc::UnboundedReceiver<String>,
    errors: u32,
}

impl<'a> Reading<'a> {
    fn new(intake: &'a Intake, inbox: Box<dyn Inbox>) -> Self {
        // Unbounded by type, bounded by IN_FLIGHT_MAX: one message per item in flight.
        let (settle, settlements) = mpsc::unbounded_channel();
        let in_flight = BTreeSet::new();
        Self { intake, inbox, in_flight, settled: Vec::new(), settle, settlements, errors: 0 }
    }

    async fn run(&mut self, stop: &CancellationToken) {
        while self.errors < ERRORS_MAX {
            let room = self.in_flight.len() < IN_FLIGHT_MAX;
            let mut tags = Vec::new();
            let result = tokio::select! {
                biased;
                () = stop.cancelled() => return self.drain().await,
                _ = self.settlements.recv_many(&mut tags, IN_FLIGHT_MAX) => {
                    self.note(tags);
                    self.ack().await
                }
                batch = self.inbox.next_batch(BATCH_MAX), if room => match batch {
                    Ok(items) => self.take(items, stop).await,
                    Err(error) => Err(error),
                },
            };
            match result {
                Ok(()) => self.errors = 0,
                Err(error) => self.failed(&error, stop).await,
            }
        }
    }

    async fn failed(&mut self, error: &BrokerError, stop: &CancellationToken) {
        self.errors += 1;
        warn!(inbox = self.intake.inbox, %error, "inbox failed; trying again");
        self.intake.signals.suspect.notify_one();
        wait(stop, (BACKOFF_MIN * 2u32.pow(self.errors)).min(BACKOFF_MAX)).await;
    }

    async fn take(
        &mut self,
        items: Vec<InboxItem>,
        stop: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let received = Instant::now();
        let mut garbage = false;
        for item in items {
            match open_outcome(&item.body) {
                Ok(outcome) => {
                    let ticket = Ticket::new(item.tag.clone(), self.settle.clone());
                    self.in_flight.insert(item.tag);
                    let input = OutcomeInput { outcome, ticket, received: Some(received) };
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(()),
                        // Closed only when the planner has stopped: the item is redelivered.
                        _closed = self.intake.planner.send(Input::Outcome(Box::new(input))) => {}
                    }
                }
                Err(error) => {
                    garbage = true;
                    self.intake.metrics.garbage.inc();
                    warn!(inbox = self.intake.inbox, bytes = item.body.len(), %error,
                        "dropped an inbox item that is no outcome");
                    self.settled.push(item.tag);
                }
            }
        }
        if garbage { self.ack().await } else { Ok(()) }
    }

    fn note(&mut self, tags: Vec<String>) {
        for tag in tags {
            self.in_flight.remove(&tag);
            self.settled.push(tag);
        }
    }

    async fn ack(&mut self) -> Result<(), BrokerError> {
        while let Ok(tag) = self.settlements.try_recv() {
            self.note(vec![tag]);
        }
        if self.settled.is_empty() {
            return Ok(());
        }
        self.inbox.ack(&self.settled).await?;
        self.settled.clear();
        Ok(())
    }

    /// Stopping: what the planner still commits is acked, so that nobody applies it again.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_MAX;
        while !self.in_flight.is_empty() {
            match tokio::time::timeout_at(deadline, self.settlements.recv()).await {
                Ok(Some(tag)) => self.note(vec![tag]),
                Ok(None) | Err(_) => break,
            }
        }
        if let Ok(Err(error)) = tokio::time::timeout_at(deadline, self.ack()).await {
            warn!(%error, "outcomes not acked; they are delivered again and recognized");
        }
    }
}
