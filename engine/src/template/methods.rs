//! Methods of Python's `str`, `dict` and `list` that do not change them.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

use super::pystr;

/// Called for methods that a value does not have itself.
pub(super) fn call(
    _: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => text(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => dict(value, method, args),
        ValueKind::Seq => list(value, method, args),
        _ => unknown(),
    }
}

/// The items of a list of texts.
pub(super) fn strings(list: &Value) -> Result<Vec<String>, Error> {
    let text = |item: Value| match item.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let text = format!("a text is expected, not {}", item.kind());
            Err(Error::new(ErrorKind::InvalidOperation, text))
        }
    };
    list.try_iter()?.checked().map(|item| text(item?)).collect()
}

fn unknown() -> Result<Value, Error> {
    Err(Error::from(ErrorKind::UnknownMethod))
}

fn dict(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let keys = || value.try_iter().map(Iterator::collect::<Vec<Value>>);
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "keys" => from_args::<()>(args).and_then(|()| keys().map(Value::from)),
        "values" => {
            from_args::<()>(args)?;
            let values: Result<Vec<Value>, Error> =
                keys()?.iter().map(|key| value.get_item(key)).collect();
            values.map(Value::from)
        }
        "items" => {
            from_args::<()>(args)?;
            let pair = |key: &Value| {
                let pair = vec![key.clone(), value.get_item(key)?];
                Ok(Value::from(minijinja::value::Tuple::from(pair)))
            };
            keys()?.iter().map(pair).collect::<Result<Vec<Value>, Error>>().map(Value::from)
        }
        _ => unknown(),
    }
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (&Value,) = match method {
        "count" | "index" => from_args(args)?,
        _ => return unknown(),
    };
    let items: Vec<Value> = value.try_iter()?.collect();
    if method == "count" {
        return Ok(Value::from(items.iter().filter(|item| *item == wanted).count()));
    }
    let at = items.iter().position(|item| item == wanted);
    at.map(Value::from)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the value is not in the list"))
}

fn text(s: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "upper" | "lower" | "capitalize" | "title" | "isdigit" | "isalpha" | "isalnum"
        | "isupper" | "islower" | "isspace" | "splitlines" => {
            from_args::<()>(args).and_then(|()| simple(s, method))
        }
        "strip" | "lstrip" | "rstrip" => strip(s, method, args),
        "split" | "rsplit" => split(s, method == "rsplit", args),
        "replace" => {
            let (old, new, count): (&str, &str, Option<usize>) = from_args(args)?;
            Ok(Value::from(count.map_or_else(|| s.replace(old, new), |n| s.replacen(old, new, n))))
        }
        "startswith" | "endswith" => affix(s, method == "startswith", args),
        "removeprefix" => {
            let (part,): (&str,) = from_args(args)?;
            Ok(Value::from(s.strip_prefix(part).unwrap_or(s)))
        }
        "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            Ok(Value::from(s.strip_suffix(part).unwrap_or(s)))
        }
        "find" => {
            let (part,): (&str,) = from_args(args)?;
            let at = s.find(part).and_then(|at| i64::try_from(s[..at].chars().count()).ok());
            Ok(Value::from(at.unwrap_or(-1)))
        }
        "count" => {
            let (part,): (&str,) = from_args(args)?;
            Ok(Value::from(if part.is_empty() {
                s.chars().count() + 1
            } else {
                s.matches(part).count()
            }))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            Ok(Value::from(strings(items)?.join(s)))
        }
        "zfill" | "ljust" | "rjust" | "center" => pad(s, method, args),
        "format" => python_format(s, args),
        _ => unknown(),
    }
}

fn simple(s: &str, method: &str) -> Result<Value, Error> {
    let all = |test: fn(char) -> bool| Value::from(!s.is_empty() && s.chars().all(test));
    let cased = s.chars().any(char::is_alphabetic);
    Ok(match method {
        "upper" => Value::from(s.to_uppercase()),
        "lower" => Value::from(s.to_lowercase()),
        "capitalize" => {
            let mut chars = s.chars();
            let first: String =
                chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
            Value::from(first + &chars.as_str().to_lowercase())
        }
        "title" => Value::from(title(s)),
        "isdigit" if s.is_ascii() => all(|c| c.is_ascii_digit()),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "isupper" => Value::from(cased && s == s.to_uppercase()),
        "islower" => Value::from(cased && s == s.to_lowercase()),
        // Python also splits at rarer line ends.
        "splitlines"
            if s.chars().all(|c| c == '\n' || !c.is_whitespace() || c == ' ' || c == '\t') =>
        {
            Value::from(s.lines().map(str::to_owned).collect::<Vec<_>>())
        }
        _ => return unknown(),
    })
}

fn title(s: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for c in s.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphabetic();
    }
    out
}

fn strip(s: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    let gone = |c: char| chars.map_or_else(|| c.is_whitespace(), |chars| chars.contains(c));
    Ok(Value::from(match method {
        "lstrip" => s.trim_start_matches(gone),
        "rstrip" => s.trim_end_matches(gone),
        _ => s.trim_matches(gone),
    }))
}

fn split(s: &str, from_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, max): (Option<&str>, Option<i64>) = from_args(args)?;
    let max = max.and_then(|n| usize::try_from(n).ok());
    let parts: Vec<&str> = match (separator, max) {
        (Some(""), _) => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        (Some(by), None) => s.split(by).collect(),
        (Some(by), Some(n)) if from_right => {
            let mut parts: Vec<&str> = s.rsplitn(n + 1, by).collect();
            parts.reverse();
            parts
        }
        (Some(by), Some(n)) => s.splitn(n + 1, by).collect(),
        (None, None) => s.split_whitespace().collect(),
        (None, Some(_)) => return unknown(),
    };
    Ok(Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>()))
}

fn affix(s: &str, start: bool, args: &[Value]) -> Result<Value, Error> {
    let (parts,): (&Value,) = from_args(args)?;
    let test = |part: &str| if start { s.starts_with(part) } else { s.ends_with(part) };
    if let Some(part) = parts.as_str() {
        return Ok(Value::from(test(part)));
    }
    let found = parts.try_iter()?.any(|part| part.as_str().is_some_and(test));
    Ok(Value::from(found))
}

fn pad(s: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    /// Widest text that padding may make.
    const WIDTH_MAX: usize = 10_000;
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let missing = width.min(WIDTH_MAX).saturating_sub(s.chars().count());
    let fill = fill.unwrap_or(" ");
    Ok(Value::from(match method {
        "ljust" => s.to_owned() + &fill.repeat(missing),
        "rjust" => fill.repeat(missing) + s,
        "zfill" => {
            let (sign, digits) = s.split_at(usize::from(s.starts_with(['-', '+'])));
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
        _ => return unknown(),
    }))
}

/// `str.format`. Only for arguments whose text both engines agree on.
fn python_format(s: &str, args: &[Value]) -> Result<Value, Error> {
    let mut plain = Vec::new();
    for arg in args {
        let known = arg.is_kwargs() || arg.is_integer() || arg.as_str().is_some();
        plain.push(if known { arg.clone() } else { Value::from(pystr::str(arg)?) });
    }
    format(FormatStyle::StrFormat, s, &plain).map(Value::from)
}
