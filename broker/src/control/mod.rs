//! The control seam: best-effort broadcast of Celery's events and remote-control commands.
//!
//! Wire: exchange `celeryev` (topic, durable; fanout channels on Redis) and kombu's pidbox
//! (`celery.pidbox`, `reply.celery.pidbox`). Drivers: memory, redis, rabbitmq; [`open_bus`] picks one by
//! URL. Nothing here is durable and nobody may depend on it for correctness.

mod address;
mod buffer;
#[cfg(feature = "conformance")]
pub mod conformance;
mod lamport;
mod memory;
mod open;
mod options;
mod rabbitmq;
mod redis;
mod stream;
mod wire;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tradewind_proto::celery::{ControlRequest, Event, ReplyTo};

use crate::Error;

pub use memory::MemoryBus;
pub use open::open_bus;
pub use options::BusOptions;

/// Replies that one question collects at most.
const REPLIES_MAX: usize = 10_000;
/// Their text together, as it came over the wire.
const REPLIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Questions at a time; each holds a connection or channel, and further ones wait.
const ASKING_MAX: usize = 32;

/// One node's answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Node name.
    pub node: String,
    /// What it said.
    pub value: Value,
}

/// Events and remote control. Cheap to share behind an `Arc`. Links are made at first use and again after a loss.
#[async_trait]
pub trait ControlBus: fmt::Debug + Send + Sync + 'static {
    /// `memory`, `redis` or `rabbitmq`.
    fn kind(&self) -> &'static str;

    /// The highest logical clock that was sent or seen with commands and replies; a node's events run ahead
    /// of it, as in Celery, where both have one clock.
    fn clock(&self) -> u64 {
        0
    }

    /// Publishes events that are complete (`hostname`, `clock`, `timestamp`, … set): one as an object under
    /// its routing key; several task events as a list under `task.multi`.
    async fn publish_events(&self, events: &[Event]) -> Result<(), Error>;

    /// Everything on `celeryev` from now on. Returns when it is subscribed; an error says that the
    /// server is away now, and the call can be repeated.
    async fn subscribe_events(&self) -> Result<Box<dyn EventStream>, Error>;

    /// The command mailbox of a node (`celery@host`). Returns when it is open, as
    /// [`ControlBus::subscribe_events`].
    async fn open_mailbox(&self, node: &str) -> Result<Box<dyn Mailbox>, Error>;

    /// Answers a command that has a `reply_to`.
    async fn reply(&self, to: &ControlRequest, reply: Reply) -> Result<(), Error>;

    /// Broadcasts a command, with nobody waiting.
    async fn broadcast(&self, request: ControlRequest) -> Result<(), Error>;

    /// Broadcasts a command and collects replies for `wait`, or until `expected` nodes have answered
    /// (unset: as many as `destination` names). Sets `ticket` and `reply_to` itself.
    async fn ask(
        &self,
        request: ControlRequest,
        wait: Duration,
        expected: Option<usize>,
    ) -> Result<Vec<Reply>, Error>;

    /// Closes connections.
    async fn close(&self);
}

/// A monitor's view of all events. Reconnects by itself: an error is for the log, the next call tries
/// again. Only [`Error::Closed`] is final.
#[async_trait]
pub trait EventStream: fmt::Debug + Send {
    /// Waits for at least one event, then adds those at hand. Cancel-safe.
    async fn next(&mut self) -> Result<Vec<Event>, Error>;

    /// Events lost so far because this stream was not read fast enough.
    fn dropped(&self) -> u64 {
        0
    }
}

/// A node's commands: those for all and those that name it. Reconnects by itself, as [`EventStream`].
#[async_trait]
pub trait Mailbox: fmt::Debug + Send {
    /// Waits for the next command. Expired and foreign ones are skipped. Cancel-safe.
    async fn next(&mut self) -> Result<ControlRequest, Error>;
}

fn refused(what: &str, reason: String) -> Error {
    Error::Refused { service: "the control bus", what: what.to_owned(), reason }
}

/// Replies go to the fleet's own exchange, wherever a command asks for them.
fn check_reply_to(reply_to: &ReplyTo, exchange: &str) -> Result<(), Error> {
    if reply_to.exchange == exchange {
        return Ok(());
    }
    let asked = &reply_to.exchange;
    Err(refused("a reply", format!("to exchange {asked:?}; replies go to {exchange:?}")))
}
