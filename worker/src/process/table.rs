//! Which attempts have processes on this host now, and which had until a moment ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tradewind_proto::AttemptId;

#[derive(Debug, Default)]
struct State {
    /// Attempt → process id of its leader.
    active: BTreeMap<AttemptId, i32>,
    /// Attempts that ended since the last sweep, and before that one, with their leaders.
    ended: BTreeMap<AttemptId, i32>,
    ended_before: BTreeMap<AttemptId, i32>,
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
        self.enter(attempt, leader);
        Registration { table: self, attempt }
    }

    /// As [`ProcessTable::register`], for an owner that calls [`ProcessTable::leave`] itself.
    pub(crate) fn enter(&self, attempt: AttemptId, leader: i32) {
        self.lock().active.insert(attempt, leader);
    }

    /// The attempt has ended; twice does no harm.
    pub(crate) fn leave(&self, attempt: AttemptId) {
        let mut state = self.lock();
        if let Some(leader) = state.active.remove(&attempt) {
            state.ended.insert(attempt, leader);
        }
    }

    /// Attempts of which nothing may be left, and the leaders whose sessions must be gone. Only what
    /// is known to have ended: an attempt may start, and show its processes, while a sweep looks.
    pub(crate) fn sweep_view(&self) -> (BTreeSet<AttemptId>, BTreeSet<i32>) {
        let mut state = self.lock();
        let ended = std::mem::take(&mut state.ended);
        let mut all = std::mem::replace(&mut state.ended_before, ended.clone());
        all.extend(ended);
        let mut gone: BTreeSet<i32> = all.values().copied().collect();
        // A process id that was given to a new leader is not gone.
        gone.retain(|pid| !state.active.values().any(|leader| leader == pid));
        (all.into_keys().collect(), gone)
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
        self.table.leave(self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_sweep_names_what_has_ended_and_nothing_that_starts_meanwhile() {
        let (table, attempt) = (ProcessTable::default(), |n| AttemptId(Uuid::from_u128(n)));
        let lasting = table.register(attempt(1), 101);
        drop(table.register(attempt(2), 102));
        let (ended, gone) = table.sweep_view();
        // Starts after the view was taken, before /proc is read: in no set, so it is spared.
        let _new = table.register(attempt(3), 103);
        assert_eq!(ended, BTreeSet::from([attempt(2)]));
        assert_eq!(gone, BTreeSet::from([102]));
        drop(lasting);
        let (ended, gone) = table.sweep_view();
        assert_eq!(ended, BTreeSet::from([attempt(1), attempt(2)]), "each is looked for twice");
        assert_eq!(gone, BTreeSet::from([101, 102]));
        assert_eq!(table.sweep_view().0, BTreeSet::from([attempt(1)]));
    }
}
