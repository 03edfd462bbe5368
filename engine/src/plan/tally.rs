//! Counts over all task instances of a run, kept up to date so that the end check is cheap.

use tradewind_proto::state::TaskState;

/// How many task instances are in which situation.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Not in a terminal state.
    pub(super) unfinished: usize,
    /// Hold an attempt, or wait outside for a trigger.
    pub(super) in_flight: usize,
    /// Failed themselves.
    pub(super) failed: usize,
    /// Effective leaves that failed, themselves or by an upstream.
    pub(super) failed_leaves: usize,
}

impl Tally {
    pub(super) fn add(&mut self, state: TaskState, leaf: bool) {
        for (counter, applies) in self.places(state, leaf) {
            *counter += usize::from(applies);
        }
    }

    pub(super) fn remove(&mut self, state: TaskState, leaf: bool) {
        for (counter, applies) in self.places(state, leaf) {
            *counter = counter.saturating_sub(usize::from(applies));
        }
    }

    fn places(&mut self, state: TaskState, leaf: bool) -> [(&mut usize, bool); 4] {
        let own = state == TaskState::Failed;
        [
            (&mut self.unfinished, !state.is_terminal()),
            (&mut self.in_flight, holds_attempt(state) || state == TaskState::Deferred),
            (&mut self.failed, own),
            (&mut self.failed_leaves, leaf && (own || state == TaskState::UpstreamFailed)),
        ]
    }
}

/// Whether the newest attempt is still open in this state.
pub(super) fn holds_attempt(state: TaskState) -> bool {
    state == TaskState::Scheduled || state.holds_slot()
}
