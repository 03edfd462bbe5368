//! Event stream and mailbox of every driver: the reading ends of buffers that a task fills from the
//! server, reconnecting after each loss.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tradewind_proto::celery::{ControlRequest, Event};
use tradewind_proto::clock::SharedClock;
use tradewind_proto::headers::Headers;

use super::buffer::Buffer;
use super::lamport::Lamport;
use super::{EventStream, Mailbox, address, wire};
use crate::Error;

/// Events that one call returns at most.
const BATCH_MAX: usize = 1_000;
/// Commands that a node may leave unread; then the oldest are dropped.
pub(super) const COMMANDS_MAX: usize = 1_000;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

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

/// A subscription on a server, as a driver provides it.
pub(super) trait Source: Send + 'static {
    /// Connects and subscribes; gives up an older link first.
    fn open(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits for the next message and hands it to `intake`. An error says that the link is gone.
    fn receive<T: Send>(
        &mut self,
        intake: &mut Intake<T>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

type Read<T> = dyn FnMut(&Headers, &str, &[u8]) -> Result<Vec<T>, String> + Send;

/// Reads messages into a buffer.
pub(super) struct Intake<T> {
    what: &'static str,
    buffer: Arc<Buffer<T>>,
    read: Box<Read<T>>,
    skipped: u64,
}

impl<T> Intake<T> {
    /// Takes a message.
    pub(super) fn take(&mut self, headers: &Headers, content_type: &str, body: &[u8]) {
        match (self.read)(headers, content_type, body) {
            Ok(items) if items.is_empty() => {}
            Ok(items) => self.buffer.push(items, body.len()),
            Err(reason) => self.skip(&reason),
        }
    }

    /// Passes over what is no message.
    pub(super) fn skip(&mut self, reason: &str) {
        self.skipped += 1;
        let (what, count) = (self.what, self.skipped);
        // Anybody can write nonsense here for ever; the log must not grow with it.
        if count.is_power_of_two() {
            tracing::warn!(what, count, reason, "unreadable control messages skipped");
        } else {
            tracing::debug!(what, count, reason, "unreadable control message skipped");
        }
    }
}

/// Subscribes to events.
pub(super) async fn events(
    mut source: impl Source,
    buffered_max: usize,
    stop: CancellationToken,
) -> Result<Box<dyn EventStream>, Error> {
    source.open().await?;
    let buffer = Arc::new(Buffer::new("events", buffered_max));
    let intake = Intake {
        what: "events",
        buffer: Arc::clone(&buffer),
        read: Box::new(|_, content_type, body| wire::read_events(content_type, body)),
        skipped: 0,
    };
    let filler = tokio::spawn(fill(source, intake, stop));
    Ok(Box::new(BufferedEvents { buffer, _filler: Some(AbortOnDropHandle::new(filler)) }))
}

/// Subscribes to the commands of a node.
pub(super) async fn mailbox(
    mut source: impl Source,
    node: &str,
    lamport: Arc<Lamport>,
    clock: SharedClock,
    stop: CancellationToken,
) -> Result<Box<dyn Mailbox>, Error> {
    source.open().await?;
    let buffer = Arc::new(Buffer::new("commands", COMMANDS_MAX));
    let node = node.to_owned();
    let intake = Intake {
        what: "commands",
        buffer: Arc::clone(&buffer),
        read: Box::new(move |headers, content_type, body| {
            match wire::read_command(headers, content_type, body, &lamport, &*clock)? {
                Some(request) if address::is_meant(&request, &node) => Ok(vec![request]),
                Some(_) => Ok(Vec::new()),
                None => {
                    tracing::info!(node, "a command that came too late is ignored");
                    Ok(Vec::new())
                }
            }
        }),
        skipped: 0,
    };
    let filler = tokio::spawn(fill(source, intake, stop));
    Ok(Box::new(BufferedMailbox { buffer, _filler: Some(AbortOnDropHandle::new(filler)) }))
}

/// Fills a buffer until the bus is closed or the reader is dropped.
async fn fill<T: Send>(mut source: impl Source, mut intake: Intake<T>, stop: CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = receive_for_ever(&mut source, &mut intake) => {}
    }
    intake.buffer.close();
}

async fn receive_for_ever<T: Send>(source: &mut impl Source, intake: &mut Intake<T>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let error = loop {
            match source.receive(intake).await {
                Ok(()) => backoff = BACKOFF_MIN,
                Err(error) => break error,
            }
        };
        intake.buffer.fail(error);
        loop {
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match source.open().await {
                Ok(()) => break,
                Err(error) => intake.buffer.fail(error),
            }
        }
    }
}
