//! Data-interval semantics: a run covers [start, end), is due at the end, and is named by the start.

use jiff::Timestamp;

use super::cron::CronTicks;
use super::delta::DeltaTicks;
use super::{DueRun, Scope, past_end};

/// The next interval between two ticks of a cron expression.
pub(super) fn cron(ticks: &CronTicks, scope: &Scope) -> Option<DueRun> {
    let aligned = match scope.earliest {
        Some(at) => Some(ticks.align_up(at)?),
        None => None,
    };
    let earliest = if scope.catchup {
        aligned
    } else {
        let (latest_start, _) = last_complete(ticks, scope.now)?;
        Some(aligned.map_or(latest_start, |at| at.max(latest_start)))
    };
    let start = match scope.last {
        None => earliest?,
        Some(last) => {
            // The schedule may have changed: the old end need not be a tick of the new one.
            let mut start = ticks.align_down(last.interval_end)?;
            start = earliest.map_or(start, |at| at.max(start));
            if start <= last.logical_date {
                start = ticks.next(last.logical_date)?;
            }
            start
        }
    };
    let end = ticks.next(start)?;
    (!past_end(scope, start)).then(|| DueRun::interval(start, end))
}

/// The newest interval that ends at or before an instant.
pub(super) fn last_complete(ticks: &CronTicks, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let end = ticks.align_down(at)?;
    Some((ticks.prev(end)?, end))
}

/// The next interval of a fixed length. Without catch-up it jumps to the newest complete one, counted
/// from the epoch.
pub(super) fn delta(ticks: &DeltaTicks, scope: &Scope) -> Option<DueRun> {
    let earliest = if scope.catchup {
        scope.earliest
    } else {
        let newest = ticks.back(ticks.floor(scope.now, Timestamp::UNIX_EPOCH));
        Some(scope.earliest.map_or(newest, |at| at.max(newest)))
    };
    let start = match scope.last {
        None => earliest?,
        Some(last) => {
            let start = earliest.map_or(last.interval_end, |at| at.max(last.interval_end));
            if start <= last.logical_date { ticks.next(last.logical_date)? } else { start }
        }
    };
    let end = ticks.next(start)?;
    (!past_end(scope, start)).then(|| DueRun::interval(start, end))
}
