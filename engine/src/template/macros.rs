//! Airflow's `macros`: dates only. What needs a clock or random numbers is left to Python.

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Error, ErrorKind};

use super::datetime::{PyDateTime, civil};
use super::object::PyObject;
use super::timedelta::{PyTimeDelta, out_of_range};
use super::{pystr, strftime};

/// The `macros` object.
pub(super) fn build() -> Value {
    PyObject::new()
        .method("ds_add", ds_add)
        .method("ds_format", ds_format)
        .method("timedelta", PyTimeDelta::construct)
        .method("datetime", datetime)
        .field("timedelta", PyObject::new().callable(PyTimeDelta::construct).value())
        .field("datetime", PyObject::new().callable(datetime).method("strptime", strptime).value())
        .value()
}

/// `ds_add(ds, days)`.
fn ds_add(args: &[Value]) -> Result<Value, Error> {
    let (ds, days): (&Value, i64) = from_args(args)?;
    let at = strftime::parse(&pystr::str(ds)?, "%Y-%m-%d")?;
    let span = jiff::Span::new().try_days(days).map_err(|_| out_of_range())?;
    let moved = at.date().checked_add(span).map_err(|_| out_of_range())?;
    Ok(Value::from(moved.to_string()))
}

/// `ds_format(ds, input_format, output_format)`.
fn ds_format(args: &[Value]) -> Result<Value, Error> {
    let (ds, input, output): (&Value, &str, &str) = from_args(args)?;
    let at = strftime::parse(&pystr::str(ds)?, input)?;
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| out_of_range())?;
    strftime::format(&zoned, true, output).map(Value::from)
}

/// `datetime(year, month, day, …)`, without zone.
fn datetime(args: &[Value]) -> Result<Value, Error> {
    let (values, options): (&[Value], Kwargs) = from_args(args)?;
    const NAMES: [&str; 7] = ["year", "month", "day", "hour", "minute", "second", "microsecond"];
    let mut parts = [0_i64; 7];
    if values.len() > NAMES.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    for (i, name) in NAMES.iter().enumerate() {
        let given = match values.get(i) {
            Some(value) => Some(i64::try_from(value.clone())?),
            None => options.get::<Option<i64>>(name)?,
        };
        parts[i] = match given {
            Some(value) => value,
            None if i < 3 => return Err(Error::from(ErrorKind::MissingArgument)),
            None => 0,
        };
    }
    options.assert_all_used()?;
    let [year, month, day, hour, minute, second, micros] = parts;
    let at = civil([year, month, day, hour, minute, second], micros)?;
    Ok(PyDateTime::Naive(at).value())
}

/// `datetime.strptime(text, format)`.
fn strptime(args: &[Value]) -> Result<Value, Error> {
    let (text, pattern): (&str, &str) = from_args(args)?;
    strftime::parse(text, pattern).map(|at| PyDateTime::Naive(at).value())
}
