//! A message that a worker sends to itself: the proof that what it publishes can be consumed.

use std::fmt;

use async_trait::async_trait;

use crate::Error;

/// Sends itself messages over the connections that a broker's consumers and publishers use, by a queue of
/// its own that disappears with it. No other consumer, no event and no listing of queues sees them.
#[async_trait]
pub trait Canary: fmt::Debug + Send {
    /// Sends one message and waits until it has come back. Waits for ever when nothing answers: the caller
    /// has the time limit. After an error, or when it was cut off, the next call begins anew.
    async fn round_trip(&mut self) -> Result<(), Error>;
}
