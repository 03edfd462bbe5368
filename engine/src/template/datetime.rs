//! Python's `datetime` and `date`: naive, and with a zone as pendulum has it.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Unit, Zoned};
use minijinja::value::{DynObject, Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::strftime;
use super::timedelta::out_of_range;
use crate::timetable::time_zone;

/// What `str()` puts between date and time of a pendulum date. Pendulum 2 has `T`, pendulum 3 a space.
const PENDULUM_SEPARATOR: char = 'T';

/// A date with time.
#[derive(Debug, Clone)]
pub(super) enum PyDateTime {
    /// With a zone (pendulum).
    Aware(Zoned),
    /// Without one (`datetime.datetime`).
    Naive(DateTime),
}

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PyDate(pub(super) Date);

impl PyDateTime {
    pub(super) fn utc(at: Timestamp) -> Self {
        Self::Aware(at.to_zoned(TimeZone::UTC))
    }

    pub(super) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }

    pub(super) fn value(self) -> Value {
        Value::from_object(self)
    }

    pub(super) fn is_naive(&self) -> bool {
        matches!(self, Self::Naive(_))
    }

    fn civil(&self) -> DateTime {
        match self {
            Self::Aware(at) => at.datetime(),
            Self::Naive(at) => *at,
        }
    }

    /// The same kind of date with other members.
    fn with(&self, civil: DateTime) -> Result<Self, Error> {
        match self {
            Self::Aware(at) => {
                civil.to_zoned(at.time_zone().clone()).map(Self::Aware).map_err(|_| out_of_range())
            }
            Self::Naive(_) => Ok(Self::Naive(civil)),
        }
    }

    pub(super) fn plus(&self, delta: SignedDuration) -> Result<Value, Error> {
        let moved = match self {
            Self::Aware(at) => at.checked_add(delta).map(Self::Aware),
            Self::Naive(at) => at.checked_add(delta).map(Self::Naive),
        };
        moved.map(Self::value).map_err(|_| out_of_range())
    }

    pub(super) fn since(&self, other: &Self) -> Result<SignedDuration, Error> {
        match (self, other) {
            (Self::Aware(a), Self::Aware(b)) => Ok(a.timestamp().duration_since(b.timestamp())),
            (Self::Naive(a), Self::Naive(b)) => Ok(a.duration_since(*b)),
            _ => Err(invalid("a date with a zone and one without cannot be subtracted")),
        }
    }

    /// `2024-01-01`.
    pub(super) fn ds(&self) -> String {
        self.civil().date().to_string()
    }

    /// `20240101T000000`.
    pub(super) fn ts_nodash(&self) -> String {
        self.civil().strftime("%Y%m%dT%H%M%S").to_string()
    }

    /// `20240101T000000+0000`.
    pub(super) fn ts_nodash_with_tz(&self) -> String {
        self.isoformat().replace(['-', ':'], "")
    }

    pub(super) fn isoformat(&self) -> String {
        self.written('T')
    }

    /// `str()`.
    pub(super) fn text(&self) -> String {
        self.written(if self.is_naive() { ' ' } else { PENDULUM_SEPARATOR })
    }

    fn written(&self, separator: char) -> String {
        let civil = self.civil();
        let micros = civil.subsec_nanosecond() / 1000;
        let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
        let offset = match self {
            Self::Aware(at) => at.strftime("%:z").to_string(),
            Self::Naive(_) => String::new(),
        };
        let (date, time) = (civil.date(), civil.strftime("%H:%M:%S"));
        format!("{date}{separator}{time}{fraction}{offset}")
    }

    fn strftime(&self, pattern: &str) -> Result<Value, Error> {
        let zoned = match self {
            Self::Aware(at) => at.clone(),
            Self::Naive(at) => at.to_zoned(TimeZone::UTC).map_err(|_| out_of_range())?,
        };
        strftime::format(&zoned, self.is_naive(), pattern).map(Value::from)
    }

    /// `replace(year=…, …)`.
    fn replace(&self, args: &[Value]) -> Result<Value, Error> {
        let (options,): (Kwargs,) = from_args(args)?;
        let now = self.civil();
        let get = |name: &str, current: i64| -> Result<i64, Error> {
            Ok(options.get::<Option<i64>>(name)?.unwrap_or(current))
        };
        let new = civil(
            [
                get("year", now.year().into())?,
                get("month", now.month().into())?,
                get("day", now.day().into())?,
                get("hour", now.hour().into())?,
                get("minute", now.minute().into())?,
                get("second", now.second().into())?,
            ],
            get("microsecond", i64::from(now.subsec_nanosecond() / 1000))?,
        )?;
        options.assert_all_used()?;
        self.with(new).map(Self::value)
    }

    /// Pendulum's `add(days=…)` and `subtract`: calendar units by the calendar, others by elapsed time.
    fn add(&self, args: &[Value], sign: i64) -> Result<Value, Error> {
        let (options,): (Kwargs,) = from_args(args)?;
        let mut span = Span::new();
        for (name, unit) in [
            ("years", Unit::Year),
            ("months", Unit::Month),
            ("weeks", Unit::Week),
            ("days", Unit::Day),
            ("hours", Unit::Hour),
            ("minutes", Unit::Minute),
            ("seconds", Unit::Second),
            ("microseconds", Unit::Microsecond),
        ] {
            let count = options.get::<Option<i64>>(name)?.unwrap_or(0).saturating_mul(sign);
            span = with_unit(span, unit, count).map_err(|_| out_of_range())?;
        }
        options.assert_all_used()?;
        let Self::Aware(at) = self else { return Err(Error::from(ErrorKind::UnknownMethod)) };
        at.checked_add(span).map(|at| Self::Aware(at).value()).map_err(|_| out_of_range())
    }

    /// Pendulum's `start_of('month')` and `end_of`.
    fn bound(&self, args: &[Value], end: bool) -> Result<Value, Error> {
        let (unit,): (&str,) = from_args(args)?;
        let at = self.civil();
        let day = at.date();
        let back = |days: i8| day.checked_sub(Span::new().days(days)).map_err(|_| out_of_range());
        let first = match unit {
            "minute" | "hour" | "day" => day,
            "week" => back(day.weekday().to_monday_zero_offset())?,
            "month" => day.first_of_month(),
            "year" => day.first_of_year(),
            _ => {
                return Err(invalid(
                    "start_of and end_of take minute, hour, day, week, month or year",
                ));
            }
        };
        let (hour, minute) = match unit {
            "hour" => (at.hour(), 0),
            "minute" => (at.hour(), at.minute()),
            _ => (0, 0),
        };
        let start = first.at(hour, minute, 0, 0);
        let length = match unit {
            "minute" => Span::new().minutes(1),
            "hour" => Span::new().hours(1),
            "day" => Span::new().days(1),
            "week" => Span::new().weeks(1),
            "month" => Span::new().months(1),
            _ => Span::new().years(1),
        };
        if !end {
            return self.with(start).map(Self::value);
        }
        let last =
            start.checked_add(length).and_then(|at| at.checked_sub(Span::new().microseconds(1)));
        self.with(last.map_err(|_| out_of_range())?).map(Self::value)
    }

    fn in_zone(&self, args: &[Value]) -> Result<Value, Error> {
        let (name,): (&str,) = from_args(args)?;
        let zone = time_zone(name).map_err(|e| invalid(&e.to_string()))?;
        match self {
            Self::Aware(at) => Ok(Self::Aware(at.with_time_zone(zone)).value()),
            Self::Naive(_) => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn plain_method(&self, method: &str) -> Option<Value> {
        let weekday = self.civil().date().weekday();
        Some(match (method, self) {
            ("isoformat", _) => Value::from(self.isoformat()),
            ("date", _) => Value::from_object(PyDate(self.civil().date())),
            ("weekday", _) => Value::from(weekday.to_monday_zero_offset()),
            ("isoweekday", _) => Value::from(weekday.to_monday_one_offset()),
            ("timestamp", Self::Aware(at)) => {
                Value::from(at.timestamp().as_microsecond() as f64 / 1e6)
            }
            ("to_date_string", Self::Aware(_)) => Value::from(self.ds()),
            ("to_datetime_string", Self::Aware(at)) => {
                Value::from(at.strftime("%Y-%m-%d %H:%M:%S").to_string())
            }
            ("to_time_string", Self::Aware(at)) => Value::from(at.strftime("%H:%M:%S").to_string()),
            ("to_iso8601_string", Self::Aware(at)) if at.offset().is_zero() => {
                Value::from(self.isoformat().replace("+00:00", "Z"))
            }
            ("to_iso8601_string", Self::Aware(_)) => Value::from(self.isoformat()),
            _ => return None,
        })
    }
}

fn with_unit(span: Span, unit: Unit, count: i64) -> Result<Span, jiff::Error> {
    match unit {
        Unit::Year => span.try_years(count),
        Unit::Month => span.try_months(count),
        Unit::Week => span.try_weeks(count),
        Unit::Day => span.try_days(count),
        Unit::Hour => span.try_hours(count),
        Unit::Minute => span.try_minutes(count),
        Unit::Second => span.try_seconds(count),
        _ => span.try_microseconds(count),
    }
}

/// A date from year, month, day, hour, minute, second and microsecond.
pub(super) fn civil(parts: [i64; 6], micros: i64) -> Result<DateTime, Error> {
    let [year, month, day, hour, minute, second] = parts;
    let year = i16::try_from(year).map_err(|_| out_of_range())?;
    let small = |n: i64| i8::try_from(n).map_err(|_| out_of_range());
    let nanos = i32::try_from(micros).ok().filter(|m| (0..1_000_000).contains(m));
    let nanos = nanos.ok_or_else(out_of_range)? * 1000;
    DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanos,
    )
    .map_err(|_| out_of_range())
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.to_owned())
}

fn date_field(date: Date, name: &str) -> Option<Value> {
    Some(match name {
        "year" => Value::from(date.year()),
        "month" => Value::from(date.month()),
        "day" => Value::from(date.day()),
        _ => return None,
    })
}

impl Object for PyDateTime {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = self.civil();
        let name = key.as_str()?;
        Some(match (name, self.as_ref()) {
            ("hour", _) => Value::from(at.hour()),
            ("minute", _) => Value::from(at.minute()),
            ("second", _) => Value::from(at.second()),
            ("microsecond", _) => Value::from(at.subsec_nanosecond() / 1000),
            ("int_timestamp", Self::Aware(at)) => Value::from(at.timestamp().as_second()),
            ("timezone_name", Self::Aware(at)) => Value::from(at.time_zone().iana_name()?),
            ("day_of_year", Self::Aware(_)) => Value::from(at.date().day_of_year()),
            ("week_of_year", Self::Aware(_)) => Value::from(at.date().iso_week_date().week()),
            ("days_in_month", Self::Aware(_)) => Value::from(at.date().days_in_month()),
            ("quarter", Self::Aware(_)) => Value::from((at.date().month() + 2) / 3),
            _ => return date_field(at.date(), name),
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "strftime" => self.strftime(from_args::<(&str,)>(args)?.0),
            "replace" => self.replace(args),
            "add" => self.add(args, 1),
            "subtract" => self.add(args, -1),
            "start_of" if !self.is_naive() => self.bound(args, false),
            "end_of" if !self.is_naive() => self.bound(args, true),
            "in_timezone" | "in_tz" => self.in_zone(args),
            _ => {
                let value = self.plain_method(method);
                let value = value.ok_or_else(|| Error::from(ErrorKind::UnknownMethod))?;
                from_args::<()>(args).map(|()| value)
            }
        }
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        match (self.as_ref(), other.downcast_ref::<Self>()?) {
            (Self::Aware(a), Self::Aware(b)) => Some(a.timestamp().cmp(&b.timestamp())),
            (Self::Naive(a), Self::Naive(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl PyDate {
    pub(super) fn plus(&self, delta: SignedDuration) -> Result<Value, Error> {
        // Only whole days count, as in Python.
        let days = delta.as_secs().div_euclid(86_400);
        let span = Span::new().try_days(days).map_err(|_| out_of_range())?;
        let moved = self.0.checked_add(span).map_err(|_| out_of_range())?;
        Ok(Value::from_object(Self(moved)))
    }
}

impl Object for PyDate {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        date_field(self.0, key.as_str()?)
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let value = match method {
            "strftime" => {
                let at = PyDateTime::Naive(self.0.at(0, 0, 0, 0));
                return at.strftime(from_args::<(&str,)>(args)?.0);
            }
            "isoformat" => Value::from(self.0.to_string()),
            "weekday" => Value::from(self.0.weekday().to_monday_zero_offset()),
            "isoweekday" => Value::from(self.0.weekday().to_monday_one_offset()),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        from_args::<()>(args).map(|()| value)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        Some(self.0.cmp(&other.downcast_ref::<Self>()?.0))
    }
}
