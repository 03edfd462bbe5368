//! The attempts that this worker answers for: from the claim until their outcome is sent.
//! Never decides anything: it remembers, and passes stop requests on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tradewind_proto::AttemptId;
use tradewind_proto::execution::LeaseItem;

/// Why an attempt is stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Cleared, marked, or its run has ended.
    Cancelled,
    /// The lease was lost; another attempt has taken its place.
    Stale,
    /// The worker is draining.
    Drain,
}

#[derive(Debug)]
struct Entry {
    token: i64,
    cancel: CancellationToken,
    stop: Option<Stop>,
    running: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<BTreeMap<AttemptId, Entry>>);

impl Attempts {
    /// Starts answering for an attempt; the token is cancelled when it must stop.
    pub(crate) fn insert(&self, id: AttemptId, token: i64) -> CancellationToken {
        let cancel = CancellationToken::new();
        let entry = Entry { token, cancel: cancel.clone(), stop: None, running: true };
        self.lock().insert(id, entry);
        cancel
    }

    /// The process has ended; the lease stays ours until [`Attempts::remove`].
    pub(crate) fn ended(&self, id: AttemptId) -> Option<Stop> {
        let mut all = self.lock();
        let entry = all.get_mut(&id)?;
        entry.running = false;
        entry.stop
    }

    pub(crate) fn remove(&self, id: AttemptId) {
        self.lock().remove(&id);
    }

    /// Asks an attempt to stop; the first reason stays. False when it does not run (any more).
    pub(crate) fn stop(&self, id: AttemptId, why: Stop) -> bool {
        let mut all = self.lock();
        let Some(entry) = all.get_mut(&id).filter(|entry| entry.running) else { return false };
        entry.stop.get_or_insert(why);
        entry.cancel.cancel();
        true
    }

    /// Asks all to stop.
    pub(crate) fn stop_all(&self, why: Stop) {
        for entry in self.lock().values_mut().filter(|entry| entry.running) {
            entry.stop.get_or_insert(why);
            entry.cancel.cancel();
        }
    }

    /// What to renew.
    pub(crate) fn leases(&self) -> Vec<LeaseItem> {
        let item =
            |(id, entry): (&AttemptId, &Entry)| LeaseItem { attempt_id: *id, token: entry.token };
        self.lock().iter().map(item).collect()
    }

    pub(crate) fn running(&self) -> usize {
        self.lock().values().filter(|entry| entry.running).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
