//! How many messages may be taken beyond the free slots: as many as surely end in no time. A batch of
//! no-ops is then larger than the pool; tasks that wait for anything are taken by slots alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is taken beyond the slots is to have run within this time, or others could have run it sooner.
const WITHIN: Duration = Duration::from_millis(5);
/// So many at first; doubled from batch to batch.
const FIRST: usize = 32;

/// How a batch went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// Handlers started.
    pub(crate) size: usize,
    /// Those that did not end at once.
    pub(crate) waited: usize,
    /// From the first start to the last.
    pub(crate) took: Duration,
}

/// Follows the batches of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    beyond: AtomicUsize,
}

impl Pace {
    /// Messages that may be taken beyond the free slots.
    pub(crate) fn beyond(&self) -> usize {
        self.beyond.load(Ordering::Relaxed)
    }

    /// Takes note of a batch.
    pub(crate) fn note(&self, batch: Batch) {
        // Batches may end at the same time; either one's word is as good.
        self.beyond.store(next(self.beyond(), batch), Ordering::Relaxed);
    }
}

fn next(beyond: usize, batch: Batch) -> usize {
    if batch.waited > 0 {
        return 0;
    }
    if batch.size == 0 {
        return beyond;
    }
    let runs = WITHIN.as_nanos() * batch.size as u128 / batch.took.as_nanos().max(1);
    let runs = usize::try_from(runs).unwrap_or(usize::MAX);
    beyond.saturating_mul(2).max(FIRST).min(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(size: usize, took: Duration) -> Batch {
        Batch { size, waited: 0, took }
    }

    #[test]
    fn quick_batches_let_it_grow_to_what_runs_in_time() {
        let ten_us_each = quick(64, Duration::from_micros(640));
        let mut beyond = 0;
        let seen: Vec<usize> = std::iter::repeat_with(|| {
            beyond = next(beyond, ten_us_each);
            beyond
        })
        .take(6)
        .collect();
        assert_eq!(seen, [32, 64, 128, 256, 500, 500]);
    }

    #[test]
    fn one_that_waits_or_computes_for_long_ends_it() {
        let waits = Batch { size: 64, waited: 1, took: Duration::from_micros(64) };
        assert_eq!(next(256, waits), 0);
        assert_eq!(next(256, quick(1, Duration::from_millis(6))), 0);
        assert_eq!(next(256, quick(10, Duration::from_millis(10))), 5);
    }

    #[test]
    fn a_batch_without_starts_says_nothing() {
        assert_eq!(next(128, quick(0, Duration::from_secs(1))), 128);
    }
}
