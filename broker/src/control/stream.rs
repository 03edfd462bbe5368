//! Event stream and mailbox of every driver: the reading ends of buffers that a task fills.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;
use tradewind_proto::celery::{ControlRequest, Event};

use super::buffer::Buffer;
use super::{EventStream, Mailbox};
use crate::Error;

/// Events that one call returns at most.
const BATCH_MAX: usize = 1_000;
/// Commands that a node may leave unread; then the oldest are dropped.
pub(super) const COMMANDS_MAX: usize = 1_000;

/// A monitor's subscription.
#[derive(Debug)]
pub(super) struct BufferedEvents {
    pub(super) buffer: Arc<Buffer<Event>>,
    /// Fills the buffer; none where senders do so themselves.
    pub(super) _filler: Option<AbortOnDropHandle<()>>,
}

#[async_trait]
impl EventStream for BufferedEvents {
    async fn next(&mut self) -> Result<Vec<Event>, Error> {
        self.buffer.take(BATCH_MAX).await
    }

    fn dropped(&self) -> u64 {
        self.buffer.dropped()
    }
}

/// A node's subscription.
#[derive(Debug)]
pub(super) struct BufferedMailbox {
    pub(super) buffer: Arc<Buffer<ControlRequest>>,
    /// See [`BufferedEvents`].
    pub(super) _filler: Option<AbortOnDropHandle<()>>,
}

#[async_trait]
impl Mailbox for BufferedMailbox {
    async fn next(&mut self) -> Result<ControlRequest, Error> {
        let mut taken = self.buffer.take(1).await?;
        taken.pop().ok_or(Error::Closed)
    }
}
