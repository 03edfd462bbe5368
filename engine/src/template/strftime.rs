//! `strftime` and `strptime` with Python's codes, in the C locale.

use jiff::Zoned;
use jiff::civil::{DateTime, Time};
use jiff::fmt::strtime;
use minijinja::{Error, ErrorKind};

/// Codes that mean the same to the formatter below as to Python.
const SAME: &str = "aAbBdeDFGHIjmMnpRSTtuUVwWyYzZ%";

/// Formats an instant. A naive one has no zone: `%z` and `%Z` are empty.
pub(super) fn format(at: &Zoned, naive: bool, pattern: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next().ok_or_else(|| bad(pattern))?;
        let mut flag = "";
        if code == '-' {
            flag = "-";
            code = chars.next().ok_or_else(|| bad(pattern))?;
        }
        match code {
            'f' => out.push_str(&format!("{:06}", at.subsec_nanosecond() / 1000)),
            's' => out.push_str(&at.timestamp().as_second().to_string()),
            'z' | 'Z' if naive => {}
            code if SAME.contains(code) => {
                let spec = format!("%{flag}{code}");
                out.push_str(&strtime::format(&spec, at).map_err(|_| bad(pattern))?);
            }
            _ => return Err(bad(pattern)),
        }
    }
    Ok(out)
}

/// Parses a text without zone. Members that the pattern does not name are midnight.
pub(super) fn parse(text: &str, pattern: &str) -> Result<DateTime, Error> {
    let parsed = strtime::parse(pattern, text).map_err(|e| {
        let text = format!("{text:?} does not match the date format {pattern:?}: {e}");
        Error::new(ErrorKind::InvalidOperation, text)
    })?;
    if parsed.offset().is_some() {
        return Err(bad(pattern));
    }
    let date = parsed.to_date().map_err(|_| bad(pattern))?;
    let time = if parsed.hour().is_some() {
        parsed.to_time().map_err(|_| bad(pattern))?
    } else {
        Time::midnight()
    };
    Ok(date.to_datetime(time))
}

fn bad(pattern: &str) -> Error {
    let text = format!("the date format {pattern:?} is not supported");
    Error::new(ErrorKind::InvalidOperation, text)
}
