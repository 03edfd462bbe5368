//! One message handed to a consumer, to be settled exactly once.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;

use crate::Error;

/// What arrived.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A message that could be read as an envelope; its body has not been looked at.
    Message(TaskMessage),
    /// Bytes that are no message (Redis: not kombu's JSON envelope). To be dead-lettered.
    Malformed {
        /// What was wrong.
        reason: String,
        /// The bytes, as they arrived.
        raw: Vec<u8>,
    },
    /// A message whose signature or encryption is not as it must be. To be dead-lettered; it stays
    /// there as it came.
    Refused {
        /// One of few fixed words, fit for a metric label.
        kind: &'static str,
        /// What was wrong.
        reason: String,
    },
}

/// A delivery that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// What arrived.
    pub payload: Payload,
    /// Whether the broker says it was delivered before.
    pub redelivered: bool,
}

/// A driver's side of a delivery.
#[async_trait]
pub trait Settle: fmt::Debug + Send + Sync {
    /// Reads what arrived. Asked for once, by whoever works on it and not by whoever fetched it, so that a batch
    /// is read where it is run; not after settling.
    fn read(&self) -> Arrived;
    /// Done: remove it.
    async fn ack(&self) -> Result<(), Error>;
    /// Back to the queue, to be delivered again now.
    async fn release(&self) -> Result<(), Error>;
    /// Back to the queue, not before `at`. Durable: survives this process.
    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error>;
    /// To the queue's dead-letter queue (`<queue>.dlq`) with `reason` in its headers, then ack.
    async fn dead_letter(&self, reason: &str) -> Result<(), Error>;
    /// Keeps it from being redelivered for another lease (no-op where a connection is the lease).
    async fn extend(&self) -> Result<(), Error>;
}

/// One delivery. Exactly one of the settling calls may be made; the second is
/// [`Error::AlreadySettled`]. Dropped unsettled, it is redelivered once its connection or lease ends.
#[derive(Debug)]
pub struct Delivery {
    /// Queue that it came from.
    pub queue: Arc<str>,
    arrived: OnceLock<Arrived>,
    settle: Box<dyn Settle>,
    settled: bool,
}

impl Delivery {
    /// A delivery of a driver.
    pub fn new(queue: Arc<str>, settle: Box<dyn Settle>) -> Self {
        Self { queue, arrived: OnceLock::new(), settle, settled: false }
    }

    /// What arrived.
    pub fn payload(&self) -> &Payload {
        &self.arrived().payload
    }

    /// Whether the broker says it was delivered before.
    pub fn redelivered(&self) -> bool {
        self.arrived().redelivered
    }

    /// What arrived, for whoever needs no copy of it: only settling is left to do.
    pub fn take(&mut self) -> Arrived {
        self.arrived.take().unwrap_or_else(|| self.settle.read())
    }

    /// Changes what is said to have arrived.
    pub(crate) fn change(mut self, change: impl FnOnce(Payload) -> Payload) -> Self {
        let Arrived { payload, redelivered } = self.take();
        self.arrived = Arrived { payload: change(payload), redelivered }.into();
        self
    }

    fn arrived(&self) -> &Arrived {
        self.arrived.get_or_init(|| self.settle.read())
    }

    /// Done: remove it.
    ///
    /// # Errors
    /// [`Error::AlreadySettled`], [`Error::Stale`], or the driver's.
    pub async fn ack(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.settle.ack().await
    }

    /// Back to the queue, to be delivered again now.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn release(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.settle.release().await
    }

    /// Back to the queue, not before `at`.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn requeue_at(&mut self, at: Timestamp) -> Result<(), Error> {
        self.begin()?;
        self.settle.requeue_at(at).await
    }

    /// To the dead-letter queue, with the reason.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn dead_letter(&mut self, reason: &str) -> Result<(), Error> {
        self.begin()?;
        self.settle.dead_letter(reason).await
    }

    /// Renews the lease of an unsettled delivery.
    ///
    /// # Errors
    /// As [`Delivery::ack`].
    pub async fn extend(&self) -> Result<(), Error> {
        if self.settled {
            return Err(Error::AlreadySettled);
        }
        self.settle.extend().await
    }

    fn begin(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.settled, true) { Err(Error::AlreadySettled) } else { Ok(()) }
    }
}
