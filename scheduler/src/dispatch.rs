//! Duty: publishes the attempts that a commit has queued, and marks them as published.
//!
//! Nothing is lost when it fails or dies: what is not marked stays in the outbox for the sweep.
//! Never waits on behalf of the planner.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info_span, warn};
use tradewind_broker::{Broker, Capabilities, Error as BrokerError, Outgoing, trace};
use tradewind_proto::AttemptId;
use tradewind_proto::clock::{SharedClock, to_micros};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;
use tradewind_proto::sign::SigningKey;
use tradewind_proto::workload::Workload;
use tradewind_store::model::Dispatch;
use tradewind_store::{Error as StoreError, Store};

use crate::duty::Duty;
use crate::heartbeat::encode_key;
use crate::metrics::Metrics;
use crate::signals::Signals;

/// Commits whose dispatches may wait for the broker; later ones are left to the sweep.
pub(crate) const DISPATCH_QUEUE_MAX: usize = 256;
/// Commits published together.
const BATCH_MAX: usize = 64;
/// Attempts published but not marked yet: beyond this they are left unmarked, and published again.
const UNMARKED_MAX: usize = 20_000;
/// Marking waits this long: most attempts are claimed by then, and have left the outbox.
const MARK_DELAY: Duration = Duration::from_millis(100);
/// Highest priority that a message carries (RabbitMQ queues are declared with ten levels).
const PRIORITY_MAX: u8 = 9;

/// Attempts queued by one commit.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) items: Vec<Dispatch>,
    /// When the oldest outcome behind it was read from the inbox.
    pub(crate) received: Option<Instant>,
}

/// Publishes attempts.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) signals: Arc<Signals>,
    pub(crate) metrics: Metrics,
    pub(crate) wire: Wire,
    /// Held by the running duty for as long as it runs.
    pub(crate) jobs: Mutex<mpsc::Receiver<Job>>,
}

#[async_trait]
impl Duty for Dispatcher {
    fn name(&self) -> &'static str {
        "dispatch"
    }

    async fn run(&self, stop: CancellationToken) {
        let mut receiver = self.jobs.lock().await;
        let mut publisher = Publisher::new(self.wire.clone());
        let mut unmarked = Vec::new();
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                received = receiver.recv_many(&mut jobs, BATCH_MAX) => {
                    if received == 0 {
                        stop.cancelled().await;
                        break;
                    }
                    self.publish(&mut publisher, &mut jobs, &mut unmarked).await;
                }
                () = tokio::time::sleep(MARK_DELAY), if !unmarked.is_empty() => {
                    self.mark(&mut unmarked).await;
                }
            }
            if unmarked.len() >= UNMARKED_MAX / 2 {
                self.mark(&mut unmarked).await;
            }
        }
        while let Ok(job) = receiver.try_recv() {
            jobs.push(job);
        }
        self.publish(&mut publisher, &mut jobs, &mut unmarked).await;
        self.mark(&mut unmarked).await;
    }
}

impl Dispatcher {
    async fn publish(
        &self,
        publisher: &mut Publisher,
        jobs: &mut Vec<Job>,
        unmarked: &mut Vec<AttemptId>,
    ) {
        let received = jobs.iter().filter_map(|job| job.received).min();
        let items: Vec<Dispatch> = jobs.drain(..).flat_map(|job| job.items).collect();
        if items.is_empty() {
            return;
        }
        let asked = items.len();
        let sent = publisher.publish(&items).await;
        if sent.len() < asked {
            self.signals.suspect.notify_one();
        }
        if let (Some(received), false) = (received, sent.is_empty()) {
            self.metrics.intake_to_publish.observe(received.elapsed().as_secs_f64());
        }
        unmarked.extend(sent);
    }

    async fn mark(&self, unmarked: &mut Vec<AttemptId>) {
        if unmarked.is_empty() {
            return;
        }
        match self.store.mark_sent(unmarked, self.clock.now()).await {
            Ok(()) => unmarked.clear(),
            Err(error) => {
                debug!(%error, count = unmarked.len(), "attempts not marked as published yet");
                unmarked.truncate(UNMARKED_MAX);
            }
        }
    }
}

/// What every message needs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) inbox: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
}

/// Publishes dispatches; remembers which queues it has declared, and that workers can find our key.
#[derive(Debug)]
pub(crate) struct Publisher {
    wire: Wire,
    declared: BTreeSet<String>,
    key_known: bool,
}

impl Publisher {
    /// A publisher that has declared nothing yet.
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, declared: BTreeSet::new(), key_known: false }
    }

    /// Declares queues again before the next publication: the broker may have lost them.
    pub(crate) fn forget_queues(&mut self) {
        self.declared.clear();
    }

    /// Publishes; returns the attempts that the broker has taken responsibility for. Failures are
    /// logged here.
    pub(crate) async fn publish(&mut self, items: &[Dispatch]) -> Vec<AttemptId> {
        if let Err(error) = self.announce_key().await {
            warn!(%error, count = items.len(), "key not in the store; the attempts stay in the outbox");
            return Vec::new();
        }
        if let Err(error) = self.declare(items).await {
            warn!(%error, count = items.len(), "queues not declared; the attempts stay in the outbox");
            return Vec::new();
        }
        let capabilities = self.wire.broker.capabilities();
        let mut ids = Vec::with_capacity(items.len());
        let mut batch = Vec::with_capacity(items.len());
        for item in items {
            if let Some(message) = self.message(item, capabilities) {
                ids.push(item.attempt_id);
                batch.push(Outgoing { queue: item.queue.clone(), message });
            }
        }
        let results = self.wire.broker.publish_many(batch).await;
        let failed = results.iter().filter(|result| result.is_err()).count();
        if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
            warn!(%error, failed, "attempts not published; they stay in the outbox");
            self.forget_queues();
        }
        ids.into_iter()
            .zip(results)
            .filter(|(_, result)| result.is_ok())
            .map(|(id, _)| id)
            .collect()
    }

    /// Before the first message: a worker that cannot find its signer's key buries it.
    async fn announce_key(&mut self) -> Result<(), StoreError> {
        if !self.key_known {
            let key = encode_key(self.wire.key.public());
            self.wire.store.add_key(&key, self.wire.clock.now()).await?;
            self.key_known = true;
        }
        Ok(())
    }

    async fn declare(&mut self, items: &[Dispatch]) -> Result<(), BrokerError> {
        let queues = items.iter().map(|item| &item.queue);
        let new: BTreeSet<String> =
            queues.filter(|queue| !self.declared.contains(*queue)).cloned().collect();
        if !new.is_empty() {
            self.wire.broker.declare(&new.iter().cloned().collect::<Vec<_>>()).await?;
            self.declared.extend(new);
        }
        Ok(())
    }

    fn message(&self, item: &Dispatch, capabilities: Capabilities) -> Option<TaskMessage> {
        let trace_parent = dispatch_trace(item);
        let workload = Workload {
            attempt: item.attempt_id.0.as_u128(),
            token: item.token,
            dag_id: item.dag_id.clone(),
            run_id: item.run_id.clone(),
            task_id: item.task_id.clone(),
            map_index: item.map_index,
            try_number: item.try_number,
            queue: item.queue.clone(),
            reply_to: self.wire.inbox.clone(),
            trace_parent: trace_parent.clone(),
            queued_at: to_micros(item.queued_at),
        };
        let frame = match self.wire.key.seal(&workload) {
            Ok(frame) => frame,
            Err(error) => {
                warn!(%error, attempt = %item.attempt_id, "attempt cannot be made a message");
                return None;
            }
        };
        let mut message = TaskMessage::frame(names::TASK_WORKLOAD, item.attempt_id.0, frame);
        message.reply_to = Some(self.wire.inbox.clone());
        message.priority = priority(item.priority, capabilities);
        describe(&mut message, item);
        if !trace_parent.is_empty() {
            message.set_header(names::HEADER_TRACEPARENT, trace_parent);
        }
        Some(message)
    }
}

/// Headers for people and monitors; our own workers read the signed body instead.
fn describe(message: &mut TaskMessage, item: &Dispatch) {
    message.set_header("dag_id", item.dag_id.as_str());
    message.set_header("run_id", item.run_id.as_str());
    message.set_header("task_id", item.task_id.as_str());
    message.set_header("map_index", item.map_index);
    message.set_header("operator", item.operator.as_str());
    message.set_header("retries", item.try_number.saturating_sub(1));
    let mapped =
        if item.map_index < 0 { String::new() } else { format!(", map_index={}", item.map_index) };
    message.set_header(
        "argsrepr",
        format!("('{}.{}', '{}'{mapped})", item.dag_id, item.task_id, item.run_id),
    );
}

/// The `traceparent` of a span for this attempt below the run's; the run's own when tracing is off.
fn dispatch_trace(item: &Dispatch) -> String {
    if item.trace_parent.is_empty() {
        return String::new();
    }
    let span = info_span!(
        "dispatch",
        dag_id = item.dag_id,
        run_id = item.run_id,
        task_id = item.task_id,
        try_number = item.try_number,
        attempt_id = %item.attempt_id,
    );
    trace::set_parent(&span, &item.trace_parent);
    let own = trace::traceparent(&span);
    if own.is_empty() { item.trace_parent.clone() } else { own }
}

/// Weights are sums over a graph and can be large; brokers have ten levels. One level per doubling
/// keeps the order, roughly.
fn priority(weight: i32, capabilities: Capabilities) -> u8 {
    if !capabilities.priorities {
        return 0;
    }
    let level = u32::try_from(weight).ok().and_then(u32::checked_ilog2).unwrap_or(0);
    let level = u8::try_from(level).unwrap_or(PRIORITY_MAX).min(PRIORITY_MAX);
    if capabilities.zero_first { PRIORITY_MAX - level } else { level }
}

#[cfg(test)]
mod tests {
    use tradewind_broker::Capabilities;

    use super::priority;

    #[test]
    fn heavier_is_never_later() {
        let amqp = Capabilities {
            durable: true,
            shared: true,
            priorities: true,
            zero_first: false,
            takes_ahead: true,
        };
        let redis = Capabilities { zero_first: true, ..amqp };
        let weights = [i32::MIN, -1, 0, 1, 2, 3, 4, 100, 512, 100_000, i32::MAX];
        for pair in weights.windows(2) {
            assert!(priority(pair[0], amqp) <= priority(pair[1], amqp));
            assert!(priority(pair[0], redis) >= priority(pair[1], redis));
        }
        assert_eq!((priority(1, amqp), priority(i32::MAX, amqp)), (0, 9));
        assert_eq!((priority(1, redis), priority(i32::MAX, redis)), (9, 0));
        assert_eq!(priority(5, Capabilities { priorities: false, ..amqp }), 0);
    }
}
