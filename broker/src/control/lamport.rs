//! The logical clock of Celery's control messages.

use std::sync::atomic::{AtomicU64, Ordering};

/// Largest value taken from others, so that a nonsensical one cannot make ours overflow.
const CLOCK_MAX: u64 = 1 << 53;

/// Rises with every message sent and runs ahead of every value seen.
#[derive(Debug, Default)]
pub(super) struct Lamport(AtomicU64);

impl Lamport {
    /// The value for a message that is sent now.
    pub(super) fn forward(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The highest value so far.
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes a value of somebody else into account.
    pub(super) fn adjust(&self, seen: u64) {
        self.0.fetch_max(seen.min(CLOCK_MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_ahead_of_what_it_has_seen() {
        let clock = Lamport::default();
        assert_eq!(clock.forward(), 1);
        clock.adjust(41);
        assert_eq!((clock.now(), clock.forward()), (41, 42));
        clock.adjust(7);
        assert_eq!(clock.forward(), 43);
        clock.adjust(u64::MAX);
        assert!(clock.forward() < u64::MAX);
    }
}
