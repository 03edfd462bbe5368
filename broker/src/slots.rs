//! Counts what a consumer has reserved and not settled, to hold it to its prefetch.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Slots {
    used: AtomicUsize,
    limit: usize,
    freed: Notify,
}

impl Slots {
    pub(crate) fn new(prefetch: u16) -> Self {
        let limit = usize::from(prefetch.max(1));
        Self { used: AtomicUsize::new(0), limit, freed: Notify::new() }
    }

    /// How many more may be reserved.
    pub(crate) fn free(&self) -> usize {
        self.limit.saturating_sub(self.used.load(Ordering::Acquire))
    }

    pub(crate) fn take(&self, count: usize) {
        self.used.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
        self.freed.notify_one();
    }

    /// Waits until at least one is free. For one waiter: the consumer itself.
    pub(crate) async fn wait(&self) -> usize {
        loop {
            let free = self.free();
            if free > 0 {
                return free;
            }
            // A permit left by an earlier `give_back` only costs one more look.
            self.freed.notified().await;
        }
    }
}
