//! Whether the broker can be reached: said once when it goes and once when it is back, by whatever duty
//! notices first.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// Ways on which the broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The stream of events.
    Events,
    /// Commands to workers.
    Commands,
}

/// The state of all ways.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    events_failed: bool,
    commands_failed: bool,
    /// Seconds since 1970 when the first way failed; none while all are fine.
    since: Option<f64>,
}

impl Link {
    /// A way has failed.
    pub(super) fn failed(&self, way: Way, error: &dyn Display, now: f64) {
        if self.note(|state| state.failed(way, now)) {
            tracing::warn!(%error, "the broker cannot be reached: events are missed until it is back");
        } else {
            tracing::debug!(%error, ?way, "the broker can still not be reached");
        }
    }

    /// A way works.
    pub(super) fn works(&self, way: Way, now: f64) {
        if let Some(seconds) = self.note(|state| state.works(way, now)) {
            let seconds = (seconds * 10.0).round() / 10.0;
            tracing::info!(seconds, "the broker is back");
        }
    }

    fn note<T>(&self, note: impl FnOnce(&mut State) -> T) -> T {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// Whether this is news.
    fn failed(&mut self, way: Way, now: f64) -> bool {
        match way {
            Way::Events => self.events_failed = true,
            Way::Commands => self.commands_failed = true,
        }
        let news = self.since.is_none();
        self.since.get_or_insert(now);
        news
    }

    /// How long the broker was away, if this is the end of it. Events come on a connection that is made
    /// anew, which shows that commands will pass too.
    fn works(&mut self, way: Way, now: f64) -> Option<f64> {
        match way {
            Way::Events => *self = Self { since: self.since, ..Self::default() },
            Way::Commands => self.commands_failed = false,
        }
        if self.events_failed || self.commands_failed {
            return None;
        }
        self.since.take().map(|since| (now - since).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_has_one_beginning_and_one_end() {
        let mut state = State::default();
        assert_eq!(state.works(Way::Events, 1.0), None);
        assert!(state.failed(Way::Commands, 2.0));
        assert!(!state.failed(Way::Events, 3.0) && !state.failed(Way::Commands, 4.0));
        assert_eq!(state.works(Way::Commands, 5.0), None, "events are still missed");
        assert_eq!(state.works(Way::Events, 6.0), Some(4.0));
        assert_eq!(state.works(Way::Events, 7.0), None);
        assert!(state.failed(Way::Commands, 8.0), "the next one is news again");
        assert_eq!(state.works(Way::Commands, 8.5), Some(0.5));
    }
}
