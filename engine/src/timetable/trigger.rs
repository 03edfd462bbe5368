//! Trigger semantics: a run is due at an instant, which is also its logical date and empty interval.

use super::cron::CronTicks;
use super::delta::DeltaTicks;
use super::{DueRun, Scope, past_end};

/// The next tick of a cron expression; without catch-up not before the latest one in the past.
pub(super) fn cron(ticks: &CronTicks, scope: &Scope) -> Option<DueRun> {
    let mut at = match (scope.last, scope.earliest) {
        (Some(last), _) => ticks.next(last.interval_end.max(last.logical_date))?,
        (None, Some(earliest)) => ticks.align_up(earliest)?,
        (None, None) => ticks.align_up(scope.now)?,
    };
    if !scope.catchup {
        at = at.max(ticks.align_down(scope.now)?);
        if let Some(earliest) = scope.earliest {
            at = at.max(ticks.align_up(earliest)?);
        }
    }
    (!past_end(scope, at)).then(|| DueRun::exact(at))
}

/// The next multiple of the distance, counted from the last run or from `start_date`. Without
/// catch-up not before the latest one in the past; the rhythm is kept.
pub(super) fn delta(ticks: &DeltaTicks, scope: &Scope) -> Option<DueRun> {
    let mut at = match (scope.last, scope.earliest) {
        (Some(last), _) => ticks.next(last.interval_end.max(last.logical_date))?,
        (None, Some(earliest)) => earliest,
        (None, None) => scope.now,
    };
    if !scope.catchup {
        at = at.max(ticks.floor(scope.now, at));
        if let Some(earliest) = scope.earliest {
            at = at.max(earliest);
        }
    }
    (!past_end(scope, at)).then(|| DueRun::exact(at))
}
