//! Instants at a fixed distance.

use jiff::{SignedDuration, Timestamp};

use super::ScheduleError;

/// A fixed distance between runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeltaTicks {
    step: SignedDuration,
}

impl DeltaTicks {
    /// A distance in seconds, at least a microsecond.
    pub(super) fn new(seconds: f64) -> Result<Self, ScheduleError> {
        let invalid = || ScheduleError::Delta { seconds: seconds.to_string() };
        let step = SignedDuration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
        // Times are kept in microseconds.
        let micros = i64::try_from(step.as_micros()).map_err(|_| invalid())?;
        if micros < 1 {
            Err(invalid())
        } else {
            Ok(Self { step: SignedDuration::from_micros(micros) })
        }
    }

    pub(super) fn next(&self, at: Timestamp) -> Option<Timestamp> {
        at.checked_add(self.step).ok()
    }

    pub(super) fn back(&self, at: Timestamp) -> Timestamp {
        at.checked_sub(self.step).unwrap_or(Timestamp::MIN)
    }

    /// The last multiple of the step counted from `anchor` that is not after `at`.
    pub(super) fn floor(&self, at: Timestamp, anchor: Timestamp) -> Timestamp {
        let micros = i64::try_from(self.step.as_micros()).unwrap_or(i64::MAX).max(1);
        let over = (at.as_microsecond() - anchor.as_microsecond()).rem_euclid(micros);
        Timestamp::from_microsecond(at.as_microsecond() - over).unwrap_or(at)
    }
}
