//! The reader that the redis and postgres inboxes share: asks its source when woken, loses nothing
//! when a call is cancelled, and keeps the source's lease alive until it is dropped.
//!
//! One background task per reader (the keeper) renews the lease; it ends with the reader, after it
//! has given the reader's items back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::watchers::Watch;
use super::{Inbox, InboxItem};
use crate::Error;

/// How long a reader's items stay its own without a sign of life. With [`RENEW_EVERY`] and the
/// waiters' poll this keeps the promised redelivery within ten seconds.
pub(super) const LEASE: Duration = Duration::from_secs(8);
/// How often a living reader renews its lease.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Items taken at once at most, whatever the caller asks for.
const TAKE_MAX: usize = 4096;
/// First and longest wait after a failed take; it doubles in between.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The give-back of a dropped reader is tried this often and this long; after that the lease runs out.
const RELEASE_TRIES: u32 = 3;
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Where a reader's items come from: one server-side reader identity.
#[async_trait]
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// Takes what is there, up to `max`; runs to its end even when the reader is gone.
    async fn take(&self, max: usize) -> Result<Vec<InboxItem>, Error>;
    /// Removes items.
    async fn ack(&self, tags: &[String]) -> Result<(), Error>;
    /// Renews the lease.
    async fn renew(&self) -> Result<(), Error>;
    /// Gives back what is held, refuses later takes and wakes the other readers.
    async fn release(&self) -> Result<(), Error>;
}

/// A reader of one inbox.
#[derive(Debug)]
pub(super) struct Reader {
    source: Arc<dyn Source>,
    watch: Watch,
    /// Taken, not returned yet: left over from a cancelled call.
    ready: VecDeque<InboxItem>,
    /// A take that is under way; it outlives a cancelled call, so that its items are not lost.
    flight: Option<JoinHandle<Result<Vec<InboxItem>, Error>>>,
    backoff: Duration,
    _alive: DropGuard,
}

impl Reader {
    /// Starts the keeper and returns the reader.
    pub(super) fn start(source: Arc<dyn Source>, watch: Watch) -> Self {
        let alive = CancellationToken::new();
        tokio::spawn(keep(Arc::clone(&source), alive.clone()));
        Self {
            source,
            watch,
            ready: VecDeque::new(),
            flight: None,
            backoff: Duration::ZERO,
            _alive: alive.drop_guard(),
        }
    }

    async fn take(&mut self, max: usize) -> Result<(), Error> {
        if self.flight.is_none() {
            sleep(self.backoff).await;
            self.watch.mark();
            let source = Arc::clone(&self.source);
            self.flight = Some(tokio::spawn(async move { source.take(max).await }));
        }
        let Some(flight) = self.flight.as_mut() else {
            return Ok(());
        };
        let taken = flight.await;
        self.flight = None;
        match taken {
            Ok(Ok(items)) => {
                self.backoff = Duration::ZERO;
                self.ready.extend(items);
                Ok(())
            }
            Ok(Err(error)) => {
                self.backoff = (self.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
                Err(error)
            }
            // The runtime is going down, or the take panicked and said so itself.
            Err(_) => Err(Error::Closed),
        }
    }
}

#[async_trait]
impl Inbox for Reader {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let max = max.clamp(1, TAKE_MAX);
        loop {
            if !self.ready.is_empty() {
                let count = self.ready.len().min(max);
                return Ok(self.ready.drain(..count).collect());
            }
            self.take(max).await?;
            if self.ready.is_empty() {
                self.watch.woken().await;
            }
        }
    }

    async fn ack(&mut self, tags: &[String]) -> Result<(), Error> {
        if tags.is_empty() {
            return Ok(());
        }
        self.source.ack(tags).await
    }
}

async fn keep(source: Arc<dyn Source>, alive: CancellationToken) {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = alive.cancelled() => break,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            biased;
            () = alive.cancelled() => break,
            renewed = source.renew() => if let Err(error) = renewed {
                tracing::debug!(%error, "inbox lease not renewed");
            }
        }
    }
    for attempt in 1..=RELEASE_TRIES {
        match timeout(RELEASE_LIMIT, source.release()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::debug!(%error, attempt, "inbox items not given back"),
            Err(_) => tracing::debug!(attempt, "inbox items not given back in time"),
        }
        sleep(BACKOFF_MIN).await;
    }
}
