//! Ticks of a schedule by themselves, for what is sent and not run: no logical dates, no intervals.

use jiff::Timestamp;

use super::ScheduleError;
use super::cron::CronTicks;
use super::delta::DeltaTicks;

/// The instants of a cron expression, or multiples of a distance counted from 1970: every process that
/// knows the schedule knows the same ticks.
#[derive(Debug, Clone)]
pub struct Ticks(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Cron(Box<CronTicks>),
    Every(DeltaTicks),
}

impl Ticks {
    /// Ticks of a cron expression (5 fields, or 6 with seconds at the end) in a time zone.
    ///
    /// # Errors
    /// When the expression or the zone cannot be read.
    pub fn cron(expr: &str, timezone: &str) -> Result<Self, ScheduleError> {
        Ok(Self(Kind::Cron(Box::new(CronTicks::new(expr, timezone)?))))
    }

    /// Ticks at a distance in seconds.
    ///
    /// # Errors
    /// When the distance is not above zero.
    pub fn every(seconds: f64) -> Result<Self, ScheduleError> {
        Ok(Self(Kind::Every(DeltaTicks::new(seconds)?)))
    }

    /// First tick after an instant; none when there is none ever again.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron(ticks) => ticks.next(at),
            Kind::Every(ticks) => ticks.next(ticks.floor(at, Timestamp::UNIX_EPOCH)),
        }
    }

    /// Last tick that is not after an instant.
    pub fn latest(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron(ticks) => ticks.align_down(at),
            Kind::Every(ticks) => Some(ticks.floor(at, Timestamp::UNIX_EPOCH)),
        }
    }
}
