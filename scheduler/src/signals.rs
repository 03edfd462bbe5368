//! Wake-ups between duties, and their relay from the store. Hints only: every duty also polls.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tradewind_store::Store;

use crate::duty::Duty;

/// One flag per duty that can be woken. A wake-up while the duty is busy is kept.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// A schedule may be due.
    pub(crate) tick: Notify,
    /// A queued run may be startable.
    pub(crate) start: Notify,
    /// Slots may have become free.
    pub(crate) queueing: Notify,
    /// Somebody may have changed runs behind the planner's back.
    pub(crate) audit: Notify,
    /// The broker failed a call: it may have lost messages.
    pub(crate) suspect: Notify,
}

impl Signals {
    /// Wakes all that look at the store.
    pub(crate) fn all(&self) {
        self.tick.notify_one();
        self.start.notify_one();
        self.queueing.notify_one();
        self.audit.notify_one();
    }

    /// A run has ended: makes room for another.
    pub(crate) fn run_ended(&self) {
        self.tick.notify_one();
        self.start.notify_one();
    }
}

/// Relays the store's wake-ups.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) signals: Arc<Signals>,
}

#[async_trait]
impl Duty for Relay {
    fn name(&self) -> &'static str {
        "wakeups"
    }

    async fn run(&self, stop: CancellationToken) {
        let mut wakeups = self.store.wakeups();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = wakeups.recv() => match received {
                    Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => self.signals.all(),
                    Err(broadcast::error::RecvError::Closed) => {
                        // The store is closing; polling goes on until we are told to stop.
                        stop.cancelled().await;
                        return;
                    }
                },
            }
        }
    }
}
