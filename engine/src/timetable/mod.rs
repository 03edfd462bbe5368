//! When runs are due. Reads a DAG's schedule and its last automated run; knows no clock.
//!
//! Interval semantics (Airflow 2): a run covers a data interval, is created at its end, and its
//! logical date is the start. Trigger semantics (Airflow 3): one instant is all of them.

mod cron;
mod delta;
mod fields;
mod interval;
mod ticks;
mod trigger;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use thiserror::Error;
use tradewind_proto::dag::{DagSpec, Schedule};
use tradewind_proto::state::RunType;

use cron::CronTicks;
use delta::DeltaTicks;
pub use ticks::Ticks;

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// The cron expression does not parse.
    #[error("cron expression {expr:?} is not valid: {reason}")]
    Cron {
        /// The expression.
        expr: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The time zone is not known.
    #[error("time zone {name:?} is not known; use an IANA name such as Europe/Berlin")]
    TimeZone {
        /// The name.
        name: String,
    },
    /// The distance between runs is not a positive number.
    #[error("a schedule of {seconds} seconds is not possible; it must be more than 0")]
    Delta {
        /// The distance, as text.
        seconds: String,
    },
}

/// The newest automated run of a DAG (scheduled or backfilled, not manual).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// Its logical date.
    pub logical_date: Timestamp,
    /// End of its data interval.
    pub interval_end: Timestamp,
}

/// A run that is due at `run_after`, which may be in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueRun {
    /// Logical date; rises with every run of a DAG.
    pub logical_date: Timestamp,
    /// Start of the data interval.
    pub interval_start: Timestamp,
    /// End of the data interval.
    pub interval_end: Timestamp,
    /// Earliest creation.
    pub run_after: Timestamp,
}

impl DueRun {
    fn exact(at: Timestamp) -> Self {
        Self { logical_date: at, interval_start: at, interval_end: at, run_after: at }
    }

    fn interval(start: Timestamp, end: Timestamp) -> Self {
        Self { logical_date: start, interval_start: start, interval_end: end, run_after: end }
    }
}

/// What the next run starts from.
#[derive(Debug, Clone, Copy)]
struct Scope {
    last: Option<LastRun>,
    earliest: Option<Timestamp>,
    latest: Option<Timestamp>,
    now: Timestamp,
    catchup: bool,
}

/// The run after `last`, or the first one. None when the schedule has no more runs, or is not valid
/// ([`check`] says why).
///
/// A DAG without `start_date` and without a last run has its first run at the next tick after `now`:
/// keep that answer until it is due, a later question has a later answer.
pub fn next_run(
    spec: &DagSpec,
    last: Option<&LastRun>,
    now: Timestamp,
    catchup: bool,
) -> Option<DueRun> {
    let scope = Scope {
        last: last.copied(),
        earliest: spec.start_date,
        latest: spec.end_date,
        now,
        catchup,
    };
    match &spec.schedule {
        Schedule::None => None,
        Schedule::Once => once(&scope),
        Schedule::Continuous => continuous(&scope),
        Schedule::Cron { expr, timezone, interval } => {
            let ticks = CronTicks::new(expr, timezone).ok()?;
            if *interval { interval::cron(&ticks, &scope) } else { trigger::cron(&ticks, &scope) }
        }
        Schedule::Delta { seconds, interval } => {
            let ticks = DeltaTicks::new(*seconds).ok()?;
            if *interval { interval::delta(&ticks, &scope) } else { trigger::delta(&ticks, &scope) }
        }
    }
}

/// Data interval of a run that is triggered by hand: the last complete one before `run_after`, or the
/// instant itself where the schedule has no intervals.
pub fn manual_interval(spec: &DagSpec, run_after: Timestamp) -> (Timestamp, Timestamp) {
    let inferred = match &spec.schedule {
        Schedule::Cron { expr, timezone, interval: true } => {
            CronTicks::new(expr, timezone).ok().and_then(|t| interval::last_complete(&t, run_after))
        }
        Schedule::Delta { seconds, interval: true } => {
            let ticks = DeltaTicks::new(*seconds).ok();
            ticks.map(|ticks| (ticks.back(run_after), run_after))
        }
        _ => None,
    };
    inferred.unwrap_or((run_after, run_after))
}

/// Whether a schedule can be used at all.
pub fn check(schedule: &Schedule) -> Result<(), ScheduleError> {
    match schedule {
        Schedule::None | Schedule::Once | Schedule::Continuous => Ok(()),
        Schedule::Cron { expr, timezone, .. } => CronTicks::new(expr, timezone).map(|_| ()),
        Schedule::Delta { seconds, .. } => DeltaTicks::new(*seconds).map(|_| ()),
    }
}

/// A time zone by IANA name, or a fixed offset such as `+05:30`.
pub fn time_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    fixed_offset(name)
        .or_else(|| TimeZone::get(name).ok())
        .ok_or_else(|| ScheduleError::TimeZone { name: name.to_owned() })
}

fn fixed_offset(name: &str) -> Option<TimeZone> {
    let sign = match name.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = name[1..].split_once(':')?;
    let seconds =
        i32::from(hours.parse::<u8>().ok()?) * 3600 + i32::from(minutes.parse::<u8>().ok()?) * 60;
    Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed)
}

/// A run's default name, in Airflow's form: `scheduled__2024-01-01T00:00:00+00:00`. Airflow 2 names
/// runs by logical date, Airflow 3 by `run_after`; the caller passes the one that applies.
pub fn run_id(run_type: RunType, at: Timestamp) -> String {
    format!("{run_type}__{}", isoformat(at))
}

/// Python's `isoformat()` of an instant in UTC: six fractional digits or none.
pub fn isoformat(at: Timestamp) -> String {
    let micros = at.subsec_microsecond();
    let base = at.strftime("%Y-%m-%dT%H:%M:%S");
    if micros == 0 { format!("{base}+00:00") } else { format!("{base}.{micros:06}+00:00") }
}

fn once(scope: &Scope) -> Option<DueRun> {
    let at = scope.earliest.unwrap_or(scope.now);
    (scope.last.is_none() && !past_end(scope, at)).then(|| DueRun::exact(at))
}

/// From the end of the last run to now; the first one from `start_date`, and none without it.
fn continuous(scope: &Scope) -> Option<DueRun> {
    let earliest = scope.earliest?;
    let start = match scope.last {
        None => earliest,
        Some(last) => last.interval_end.max(earliest).max(just_after(last.logical_date)),
    };
    let end = start.max(scope.now);
    (!past_end(scope, end)).then(|| DueRun::interval(start, end))
}

fn just_after(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(at)
}

fn past_end(scope: &Scope, at: Timestamp) -> bool {
    scope.latest.is_some_and(|latest| at > latest)
}

#[cfg(test)]
mod tests;
