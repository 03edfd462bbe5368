//! The broker seam: durable at-least-once queues.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tradewind_proto::message::TaskMessage;

use crate::{Delivery, Error};

/// How RabbitMQ keeps a queue; other drivers ignore it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Durable classic queue: what Celery declares by default.
    #[default]
    Classic,
    /// Replicated quorum queue.
    Quorum,
}

/// What a driver can do beyond the common contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Survives a restart of every process (false for memory).
    pub durable: bool,
    /// Several processes can share it (false for memory).
    pub shared: bool,
    /// Messages carry priorities that the queue honours.
    pub priorities: bool,
    /// Priority 0 is served first (kombu on Redis); otherwise the highest number is.
    pub zero_first: bool,
}

/// One message to publish.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Target queue.
    pub queue: String,
    /// The message.
    pub message: TaskMessage,
}

/// Size of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct QueueStats {
    /// Waiting to be delivered.
    pub ready: u64,
    /// Delivered and not settled, where the driver can tell; delayed messages are counted here too.
    pub unacked: u64,
    /// Consumers, where the driver can tell.
    pub consumers: u64,
}

/// Durable at-least-once queues. Cheap to share behind an `Arc`.
#[async_trait]
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// `memory`, `redis` or `rabbitmq`.
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Makes queues and their dead-letter queues exist. Idempotent.
    async fn declare(&self, queues: &[String]) -> Result<(), Error>;

    /// Publishes one message; returns once the broker has taken responsibility for it (RabbitMQ:
    /// persistent, `mandatory`, confirmed). An error means "not known to be published".
    async fn publish(&self, queue: &str, message: TaskMessage) -> Result<(), Error>;

    /// Publishes many at the price of few round trips. One result per item, in order.
    async fn publish_many(&self, batch: Vec<Outgoing>) -> Vec<Result<(), Error>>;

    /// Opens a consumer of several queues; a slow queue never blocks another. Missing queues are
    /// declared. `prefetch` is the most that is ever reserved for this consumer and unsettled.
    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error>;

    /// Size of a queue; zero for one that does not exist.
    async fn stats(&self, queue: &str) -> Result<QueueStats, Error>;

    /// The first messages of a queue, left where they are.
    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error>;

    /// Drops what is ready in a queue and says how many.
    async fn purge(&self, queue: &str) -> Result<u64, Error>;

    /// A name that changes when the server may have lost confirmed messages (Redis: its `run_id`,
    /// because it may be configured without persistence). Publishers then publish again.
    async fn incarnation(&self) -> Result<String, Error>;

    /// Whether the server answers now.
    async fn health(&self) -> Result<(), Error>;

    /// Closes connections; consumers end.
    async fn close(&self);
}

/// A stream of deliveries. Reconnects by itself: an error is for the log, the next call tries again.
#[async_trait]
pub trait Consumer: fmt::Debug + Send {
    /// Waits for at least one delivery, then adds those at hand, up to `max` (≥ 1). Cancel-safe:
    /// a dropped future loses no delivery.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error>;

    /// Gives back what is reserved but was not returned yet, and reserves nothing until the next
    /// call of [`Consumer::next_batch`]. For a worker that has no free slot.
    async fn pause(&mut self) -> Result<(), Error>;

    /// Stops: what was not returned goes back to its queue; returned deliveries can still be settled.
    async fn close(&mut self) -> Result<(), Error>;
}
