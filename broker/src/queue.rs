//! The broker seam: durable at-least-once queues.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;

use crate::{Canary, DeadLetter, Delivery, Error, QueueBinding, Selection};

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
    /// The server hands messages out before they are asked for, up to the prefetch; otherwise nothing is
    /// reserved that a call of [`Consumer::next_batch`] did not ask for.
    pub takes_ahead: bool,
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
    /// Without queues it waits until one is added.
    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error>;

    /// Size of a queue; zero for one that does not exist.
    async fn stats(&self, queue: &str) -> Result<QueueStats, Error>;

    /// The first messages of a queue, left where they are.
    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error>;

    /// Drops what is ready in a queue and says how many.
    async fn purge(&self, queue: &str) -> Result<u64, Error>;

    /// Makes a queue receive what is published to an exchange under matching routing keys. Declares
    /// queue and exchange; idempotent. An exchange that exists with another type is an error.
    async fn bind(&self, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
        let _ = (queue, binding);
        Err(self.cannot("bind queues to exchanges"))
    }

    /// Publishes to every queue that an exchange routes the key to. The exchange `""` routes to the
    /// queue named like the key. [`Error::Unroutable`] when there is none.
    async fn publish_routed(
        &self,
        exchange: &str,
        routing_key: &str,
        message: TaskMessage,
    ) -> Result<(), Error> {
        let _ = (exchange, routing_key, message);
        Err(self.cannot("publish to exchanges"))
    }

    /// The dead letters of a queue (or of a dead-letter queue itself), oldest first, left where they
    /// are: at most `max`, after the one whose id is `after` (from the start when that one is gone).
    /// RabbitMQ: reads the queue from its start and puts all back, so that other readers miss what
    /// is in hand for a moment.
    async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        let _ = (queue, max, after);
        Err(self.cannot("list dead letters"))
    }

    /// Puts dead letters back into the queues that they came from, without the reason in their
    /// headers, and says how many. Letters that arrive meanwhile are left. None is lost when this is
    /// cut off; on RabbitMQ one may then be there twice.
    async fn replay(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        let _ = (queue, selection);
        Err(self.cannot("replay dead letters"))
    }

    /// Removes dead letters for good and says how many. Letters that arrive meanwhile are left.
    async fn drop_dead(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        let _ = (queue, selection);
        Err(self.cannot("drop dead letters"))
    }

    /// The names of all queues that exist, sorted, dead-letter queues included; `None` where the
    /// server does not tell (RabbitMQ without its management API).
    async fn all_queues(&self) -> Result<Option<Vec<String>>, Error> {
        Ok(None)
    }

    /// When the oldest ready message of a queue was sent, from its header
    /// [`tradewind_proto::names::HEADER_SENT_AT`]; `None` for an empty queue, or when it does not
    /// say. RabbitMQ: when the next one was sent; takes it and puts it back, which marks it as
    /// redelivered. Quorum queues are not asked: that would move the message to their end.
    async fn oldest(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        let _ = queue;
        Ok(None)
    }

    /// The error of a driver that cannot do something.
    #[doc(hidden)]
    fn cannot(&self, what: &'static str) -> Error {
        Error::Unsupported { driver: self.kind(), what }
    }

    /// A name that changes when the server may have lost confirmed messages (Redis: its `run_id`,
    /// because it may be configured without persistence). Publishers then publish again.
    async fn incarnation(&self) -> Result<String, Error>;

    /// What proves that messages can be consumed; none where that cannot fail (memory).
    fn canary(&self) -> Option<Box<dyn Canary>> {
        None
    }

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

    /// Changes the most that is ever reserved and unsettled. Of what is reserved already nothing is given
    /// back. Drivers that reserve only what is asked for may keep what they were opened with. Not
    /// cancel-safe: after a cut only [`Consumer::close`] is.
    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), Error> {
        let _ = prefetch;
        Ok(())
    }

    /// Takes from one more queue, which is declared if it is missing. Idempotent.
    async fn add_queue(&mut self, queue: &str) -> Result<(), Error> {
        let _ = queue;
        Err(Error::Unsupported { driver: "this driver's consumer", what: "add queues" })
    }

    /// Takes from a queue no more: what is reserved from it and was not returned goes back;
    /// returned deliveries can still be settled. Idempotent.
    async fn cancel_queue(&mut self, queue: &str) -> Result<(), Error> {
        let _ = queue;
        Err(Error::Unsupported { driver: "this driver's consumer", what: "cancel queues" })
    }

    /// Whether it is subscribed as far as it knows; false after a loss until it takes again. A link that
    /// fell silent is noticed by a [`Canary`].
    fn live(&self) -> bool {
        true
    }

    /// The queues that it takes from, in the order of their adding.
    fn queues(&self) -> Vec<String> {
        Vec::new()
    }

    /// Stops: what was not returned goes back to its queue; returned deliveries can still be settled.
    async fn close(&mut self) -> Result<(), Error>;
}
