//! The operators that were rewritten to calls, over numbers, texts, lists and dates.

use jiff::SignedDuration;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::datetime::{PyDate, PyDateTime};
use super::pystr;
use super::timedelta::PyTimeDelta;

/// `a + b`.
pub(super) fn add(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(Value::from([a, b].concat()));
    }
    if let (Some(x), Some(y)) = (list(a), list(b))
        && a.is_tuple() == b.is_tuple()
        && !a.is_tuple()
    {
        return Ok(Value::from([x?, y?].concat()));
    }
    let moved = shift(a, b, 1).or_else(|| shift(b, a, 1));
    let moved = moved.or_else(|| Some(PyTimeDelta::of(a)?.plus(PyTimeDelta::of(b)?.0)));
    moved.unwrap_or_else(|| numbers("+", a, b, i128::checked_add, |x, y| x + y))
}

/// `a - b`.
pub(super) fn sub(a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(moved) = shift(a, b, -1) {
        return moved;
    }
    if let (Some(x), Some(y)) = (PyDateTime::of(a), PyDateTime::of(b)) {
        return x.since(y).map(|d| Value::from_object(PyTimeDelta(d, x.is_naive())));
    }
    if let (Some(x), Some(y)) =
        (a.downcast_object_ref::<PyDate>(), b.downcast_object_ref::<PyDate>())
    {
        return Ok(Value::from_object(PyTimeDelta(x.0.duration_since(y.0), false)));
    }
    if let (Some(x), Some(y)) = (PyTimeDelta::of(a), PyTimeDelta::of(b)) {
        return x.plus(-y.0);
    }
    numbers("-", a, b, i128::checked_sub, |x, y| x - y)
}

/// `a % b`: a remainder as Python has it, or `printf` formatting.
pub(super) fn rem(state: &mut State<'_, '_>, a: &Value, b: &Value) -> Result<Value, Error> {
    if a.as_str().is_some() {
        if b.kind() == ValueKind::Map {
            return Err(unsupported("%", a, b));
        }
        let mut args = vec![a.clone()];
        if b.is_tuple() {
            args.extend(list(b).transpose()?.unwrap_or_default());
        } else {
            args.push(b.clone());
        }
        return state.apply_filter("format", &args);
    }
    let zero = f64::try_from(b.clone()).is_ok_and(|b| b == 0.0);
    if zero {
        return Err(Error::new(ErrorKind::InvalidOperation, "modulo by zero"));
    }
    let int = |x: i128, y: i128| x.checked_rem(y)?.checked_add(y)?.checked_rem(y);
    numbers("%", a, b, int, |x, y| x - y * (x / y).floor())
}

/// `a ~ b`.
pub(super) fn concat(a: &Value, b: &Value) -> Result<Value, Error> {
    Ok(Value::from(pystr::str(a)? + &pystr::str(b)?))
}

/// The filter `join`.
pub(super) fn join(value: &Value, joiner: Option<String>, options: Kwargs) -> Result<Value, Error> {
    let joiner = match joiner {
        Some(joiner) => joiner,
        None => options.get::<Option<String>>("d")?.unwrap_or_default(),
    };
    let attribute = options.get::<Option<String>>("attribute")?;
    options.assert_all_used()?;
    let mut parts = Vec::new();
    for item in value.try_iter()?.checked() {
        let item = item?;
        parts.push(match &attribute {
            Some(name) => pystr::str(&item.get_attr(name)?)?,
            None => pystr::str(&item)?,
        });
    }
    Ok(Value::from(parts.join(&joiner)))
}

/// A date moved by a distance; none when the operands are something else.
fn shift(date: &Value, delta: &Value, sign: i32) -> Option<Result<Value, Error>> {
    let delta: SignedDuration = PyTimeDelta::of(delta)?.0;
    let delta = if sign < 0 { -delta } else { delta };
    if let Some(date) = date.downcast_object_ref::<PyDate>() {
        return Some(date.plus(delta));
    }
    Some(PyDateTime::of(date)?.plus(delta))
}

fn list(value: &Value) -> Option<Result<Vec<Value>, Error>> {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
        .then(|| value.try_iter()?.checked().collect())
}

fn numbers(
    op: &str,
    a: &Value,
    b: &Value,
    int: fn(i128, i128) -> Option<i128>,
    float: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    let numeric = |v: &Value| v.is_number() || v.kind() == ValueKind::Bool;
    if !(numeric(a) && numeric(b)) {
        return Err(unsupported(op, a, b));
    }
    let whole = |v: &Value| v.is_integer() || v.kind() == ValueKind::Bool;
    if whole(a) && whole(b) {
        let result = int(integer(a)?, integer(b)?).ok_or_else(|| unsupported(op, a, b))?;
        return Ok(i64::try_from(result).map_or_else(|_| Value::from(result), Value::from));
    }
    Ok(Value::from(float(real(a)?, real(b)?)))
}

fn integer(value: &Value) -> Result<i128, Error> {
    if value.kind() == ValueKind::Bool {
        Ok(i128::from(value.is_true()))
    } else {
        value.clone().try_into()
    }
}

fn real(value: &Value) -> Result<f64, Error> {
    if value.kind() == ValueKind::Bool {
        return Ok(f64::from(u8::from(value.is_true())));
    }
    value.clone().try_into()
}

fn unsupported(op: &str, a: &Value, b: &Value) -> Error {
    if a.is_undefined() || b.is_undefined() {
        return Error::new(ErrorKind::UndefinedError, format!("an operand of {op} is not defined"));
    }
    let text = format!("operator {op} does not work on {} and {}", a.kind(), b.kind());
    Error::new(ErrorKind::InvalidOperation, text)
}
