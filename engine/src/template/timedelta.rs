//! Python's `timedelta`.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::SignedDuration;
use minijinja::value::{DynObject, Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, ErrorKind, State};

const DAY: i64 = 86_400;

/// A distance in time. The flag: it prints as Python's own class does (a difference of two pendulum
/// dates prints differently, and not at all here).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PyTimeDelta(pub(super) SignedDuration, pub(super) bool);

impl PyTimeDelta {
    pub(super) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    pub(super) fn plus(&self, other: SignedDuration) -> Result<Value, Error> {
        let sum = self.0.checked_add(other).ok_or_else(out_of_range)?;
        Ok(Value::from_object(Self(sum, true)))
    }

    /// `timedelta(days=…, …)`.
    pub(super) fn construct(args: &[Value]) -> Result<Value, Error> {
        let (days, seconds, micros, options): (Option<f64>, Option<f64>, Option<f64>, Kwargs) =
            from_args(args)?;
        let mut total = 0.0;
        let mut take = |name: &str, given: Option<f64>, unit: f64| -> Result<(), Error> {
            let value = match given {
                Some(value) => value,
                None => options.get::<Option<f64>>(name)?.unwrap_or(0.0),
            };
            total += value * unit;
            Ok(())
        };
        take("days", days, 86_400e6)?;
        take("seconds", seconds, 1e6)?;
        take("microseconds", micros, 1.0)?;
        take("milliseconds", None, 1e3)?;
        take("minutes", None, 60e6)?;
        take("hours", None, 3_600e6)?;
        take("weeks", None, 604_800e6)?;
        options.assert_all_used()?;
        // Beyond this a float no longer counts single microseconds.
        if !total.is_finite() || total.abs() > 9e15 {
            return Err(out_of_range());
        }
        Ok(Value::from_object(Self(SignedDuration::from_micros(total.round() as i64), true)))
    }

    /// Days, seconds and microseconds, the last two never negative.
    fn parts(&self) -> (i64, i64, i64) {
        let micros = i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX);
        let seconds = micros.div_euclid(1_000_000);
        (seconds.div_euclid(DAY), seconds.rem_euclid(DAY), micros.rem_euclid(1_000_000))
    }

    /// Python's text; none for a difference of pendulum dates.
    pub(super) fn text(&self) -> Option<String> {
        let (days, seconds, micros) = self.parts();
        let days = match days {
            0 => String::new(),
            1 | -1 => format!("{days} day, "),
            _ => format!("{days} days, "),
        };
        let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        self.1.then(|| format!("{days}{hours}:{minutes:02}:{seconds:02}{fraction}"))
    }
}

pub(super) fn out_of_range() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the date or distance is out of range")
}

impl Object for PyTimeDelta {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_zero()
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let (days, seconds, micros) = self.parts();
        match key.as_str()? {
            "days" => Some(Value::from(days)),
            "seconds" if self.1 => Some(Value::from(seconds)),
            "microseconds" if self.1 => Some(Value::from(micros)),
            _ => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        from_args::<()>(args)?;
        match method {
            "total_seconds" => Ok(Value::from(self.0.as_secs_f64())),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        Some(self.0.cmp(&other.downcast_ref::<Self>()?.0))
    }
}
