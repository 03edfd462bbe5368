//! Which attempts have processes on this host now, and which had until a moment ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tradewind_proto::AttemptId;

#[derive(Debug, Default)]
struct State {
    /// Attempt → process id of its leader.
    active: BTreeMap<AttemptId, i32>,
    /// Leaders that ended since the last sweep, and in the sweep before.
    ended: BTreeSet<i32>,
    ended_before: BTreeSet<i32>,
}

/// Processes of attempts.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable(Mutex<State>);

/// Keeps an attempt in the table.
#[derive(Debug)]
pub(crate) struct Registration<'a> {
    table: &'a ProcessTable,
    attempt: AttemptId,
}

impl ProcessTable {
    pub(crate) fn register(&self, attempt: AttemptId, leader: i32) -> Registration<'_> {
        self.lock().active.insert(attempt, leader);
        Registration { table: self, attempt }
    }

    /// What a sweep must spare, and the leaders whose sessions must be gone.
    pub(crate) fn sweep_view(&self) -> (BTreeMap<AttemptId, i32>, BTreeSet<i32>) {
        let mut state = self.lock();
        let ended = std::mem::take(&mut state.ended);
        let mut gone = std::mem::replace(&mut state.ended_before, ended.clone());
        gone.extend(ended);
        // A process id that was given to a new leader is not gone.
        gone.retain(|pid| !state.active.values().any(|leader| leader == pid));
        (state.active.clone(), gone)
    }

    /// Whether a sweep could find anything.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.ended.is_empty() && state.ended_before.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        if let Some(leader) = state.active.remove(&self.attempt) {
            state.ended.insert(leader);
        }
    }
}
