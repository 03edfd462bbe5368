//! Instants of a cron expression in a time zone.
//!
//! Across clock changes: an expression that names hours means wall-clock time (an instant in the gap
//! moves forward by the gap, one in the fold is the later of the two); one that runs every hour steps
//! by elapsed time, so that the repeated hour is not lost.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{ScheduleError, fields, time_zone};

/// A parsed expression.
#[derive(Debug, Clone)]
pub(super) struct CronTicks {
    cron: Cron,
    zone: TimeZone,
    every_hour: bool,
}

impl CronTicks {
    /// Parses a preset, or an expression of 5 or 6 fields (the sixth is seconds, at the end).
    pub(super) fn new(expr: &str, timezone: &str) -> Result<Self, ScheduleError> {
        let zone = time_zone(timezone)?;
        let invalid = |reason| ScheduleError::Cron { expr: expr.to_owned(), reason };
        let fields = fields::normalize(expr).map_err(invalid)?;
        let parser =
            CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build();
        let cron = parser.parse(&fields.pattern).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { cron, zone, every_hour: fields.every_hour })
    }

    /// First tick after an instant; none when the expression never comes true again.
    pub(super) fn next(&self, at: Timestamp) -> Option<Timestamp> {
        let local = self.zone.to_datetime(at);
        let tick = self.cron.find_next_occurrence(&local, false).ok()?;
        self.resolve(at, local, tick)
    }

    /// Last tick before an instant.
    pub(super) fn prev(&self, at: Timestamp) -> Option<Timestamp> {
        let local = self.zone.to_datetime(at);
        // The parser's search works in whole seconds: within a second its start is before `at`.
        let tick =
            self.cron.find_previous_occurrence(&local, local.subsec_nanosecond() > 0).ok()?;
        self.resolve(at, local, tick)
    }

    /// The instant itself if it is a tick, else the next one.
    pub(super) fn align_up(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.next(at)?;
        if self.prev(next) == Some(at) { Some(at) } else { Some(next) }
    }

    /// The instant itself if it is a tick, else the last one.
    pub(super) fn align_down(&self, at: Timestamp) -> Option<Timestamp> {
        let prev = self.prev(at)?;
        if self.next(prev) == Some(at) { Some(at) } else { Some(prev) }
    }

    fn resolve(&self, at: Timestamp, local: DateTime, tick: DateTime) -> Option<Timestamp> {
        if self.every_hour {
            let elapsed: SignedDuration = tick.duration_since(local);
            return at.checked_add(elapsed).ok();
        }
        self.zone.to_ambiguous_timestamp(tick).later().ok()
    }
}
