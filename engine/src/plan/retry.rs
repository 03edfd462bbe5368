//! When a failed try is repeated.

use jiff::{SignedDuration, Timestamp};
use tradewind_proto::dag::TaskSpec;

use crate::model::RunInfo;

/// Longest delay that backoff may reach, in seconds (Airflow's own limit).
const BACKOFF_SECONDS_MAX: f64 = 86_400.0;

/// When the next try is due after a try that ended at `ended`.
///
/// Fixed: `retry_delay`. With backoff: `ceil(delay * factor^(try - 1))`, at least 1, plus a jitter of
/// 0 to that many seconds, at most a day and at most `max_retry_delay`. The jitter is the FNV-1a hash of
/// `dag#task#logical_date#try`: the same everywhere for the same try, so that a plan computed twice
/// agrees, but spread over runs. (Airflow hashes the same text with SHA-1.)
pub fn retry_at(spec: &TaskSpec, run: &RunInfo, try_number: u32, ended: Timestamp) -> Timestamp {
    let factor = spec.retry_exponential_backoff.filter(|f| *f > 0.0);
    let seconds = match factor {
        None => spec.retry_delay,
        Some(factor) => backoff(spec, run, try_number, factor),
    };
    later(ended, seconds)
}

fn backoff(spec: &TaskSpec, run: &RunInfo, try_number: u32, factor: f64) -> f64 {
    let power = f64::from(try_number.saturating_sub(1));
    let base = (spec.retry_delay * factor.powf(power)).ceil();
    let base =
        if base.is_finite() { base.clamp(1.0, BACKOFF_SECONDS_MAX) } else { BACKOFF_SECONDS_MAX };
    let date = run.logical_date.map(|at| at.to_string()).unwrap_or_default();
    let text = format!("{}#{}#{date}#{try_number}", run.dag_id, spec.task_id);
    let jitter = (fnv1a(text.as_bytes()) % 1_000_000) as f64 / 1_000_000.0 * base;
    let delay = (base + jitter.floor()).min(BACKOFF_SECONDS_MAX);
    spec.max_retry_delay.map_or(delay, |max| delay.min(max))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// An instant some seconds later; a negative or broken distance counts as zero, one that is too long
/// ends at the last representable instant.
pub(super) fn later(from: Timestamp, seconds: f64) -> Timestamp {
    if seconds.is_nan() || seconds <= 0.0 {
        return from;
    }
    let distance = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX);
    from.checked_add(distance).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, run_info, task};

    #[test]
    fn a_fixed_delay_counts_from_the_end() {
        let mut spec = task("a", &[]);
        spec.retry_delay = 90.0;
        assert_eq!(retry_at(&spec, &run_info("d"), 3, at(10)), at(100));
    }

    #[test]
    fn backoff_doubles_within_its_jitter_and_is_reproducible() {
        let mut spec = task("a", &[]);
        spec.retry_delay = 10.0;
        spec.retry_exponential_backoff = Some(2.0);
        let run = run_info("d");
        for (try_number, base) in [(1, 10), (2, 20), (3, 40), (6, 320)] {
            let due = retry_at(&spec, &run, try_number, at(0));
            assert!(due >= at(base) && due < at(2 * base), "try {try_number}: {due}");
            assert_eq!(due, retry_at(&spec, &run, try_number, at(0)));
        }
        let jitters: std::collections::BTreeSet<_> = (1..40)
            .map(|n| {
                spec.task_id = format!("t{n}");
                retry_at(&spec, &run, 6, at(0))
            })
            .collect();
        assert!(jitters.len() > 20, "the jitter spreads tasks: {}", jitters.len());
    }

    #[test]
    fn backoff_has_its_caps() {
        let mut spec = task("a", &[]);
        spec.retry_delay = 3600.0;
        spec.retry_exponential_backoff = Some(3.0);
        assert_eq!(retry_at(&spec, &run_info("d"), 500, at(0)), at(86_400));
        spec.max_retry_delay = Some(60.0);
        assert_eq!(retry_at(&spec, &run_info("d"), 500, at(0)), at(60));
        spec.retry_delay = 0.0;
        spec.max_retry_delay = None;
        assert!(retry_at(&spec, &run_info("d"), 1, at(0)) >= at(1));
    }
}
