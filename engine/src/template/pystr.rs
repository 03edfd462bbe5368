//! `str()` and `repr()` of values as Python has them.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::datetime::{PyDate, PyDateTime};
use super::object::PyObject;
use super::timedelta::PyTimeDelta;

/// Python's `str()`. Errors on undefined values and on objects whose text is not known.
pub(super) fn str(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    if let Some(at) = value.downcast_object_ref::<PyDateTime>() {
        return Ok(at.text());
    }
    if let Some(date) = value.downcast_object_ref::<PyDate>() {
        return Ok(date.0.to_string());
    }
    let known =
        match (value.downcast_object_ref::<PyTimeDelta>(), value.downcast_object_ref::<PyObject>())
        {
            (Some(delta), _) => delta.text(),
            (_, Some(object)) => object.text.clone(),
            _ => return repr(value),
        };
    known.ok_or_else(|| cannot(value))
}

/// Python's `repr()`.
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::new(
            ErrorKind::UndefinedError,
            "a name or attribute in the template is not defined",
        )),
        ValueKind::None | ValueKind::Bool | ValueKind::String => Ok(format!("{value:?}")),
        ValueKind::Number if value.is_integer() => Ok(value.to_string()),
        ValueKind::Number => f64::try_from(value.clone()).map(float),
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()?.checked() {
                let key = key?;
                items.push(format!("{}: {}", repr(&key)?, repr(&value.get_item(&key)?)?));
            }
            Ok(format!("{{{}}}", items.join(", ")))
        }
        ValueKind::Seq | ValueKind::Iterable if value.len().is_some() => {
            let items: Vec<String> =
                value.try_iter()?.checked().map(|item| repr(&item?)).collect::<Result<_, _>>()?;
            Ok(match (value.is_tuple(), items.as_slice()) {
                (true, [only]) => format!("({only},)"),
                (true, _) => format!("({})", items.join(", ")),
                (false, _) => format!("[{}]", items.join(", ")),
            })
        }
        _ => Err(cannot(value)),
    }
}

fn cannot(value: &Value) -> Error {
    let text = format!("a value of type {} cannot be printed here", value.kind());
    Error::new(ErrorKind::InvalidOperation, text)
}

/// A float's shortest text in Python's notation.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}
