//! Typed looks at the members of a request, wherever the protocol keeps them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::BadMessage;

/// Most characters of a task name or id: what Celery's database backend can store is shorter.
const NAME_BYTES_MAX: usize = 1024;

pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

fn wrong(name: &str, wanted: &str) -> BadMessage {
    BadMessage::new("header", format!("{name} is not {wanted}"))
}

impl Fields<'_> {
    /// A member that is there and not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A string that must be there.
    pub(super) fn required(&self, name: &str) -> Result<String, BadMessage> {
        match self.text(name)? {
            Some(text) if !text.is_empty() && text.len() <= NAME_BYTES_MAX => Ok(text),
            Some(_) => Err(wrong(name, &format!("a text of 1 to {NAME_BYTES_MAX} bytes"))),
            None => Err(BadMessage::new("header", format!("{name} is missing"))),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, BadMessage> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(name, "a text")),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, BadMessage> {
        self.get(name)
            .map(|value| value.as_i64().ok_or_else(|| wrong(name, "a whole number")))
            .transpose()
    }

    pub(super) fn retries(&self) -> Result<u32, BadMessage> {
        let count = self.integer("retries")?.unwrap_or(0);
        u32::try_from(count).map_err(|_| wrong("retries", "a count"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, BadMessage> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// ISO 8601; without an offset it is UTC, as Celery reads it.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, BadMessage> {
        let Some(text) = self.text(name)?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        parse_time(&text).map(Some).ok_or_else(|| wrong(name, "an ISO 8601 time"))
    }

    /// `[hard, soft]`, in this order, each seconds or null.
    pub(super) fn time_limits(&self) -> Result<(Option<f64>, Option<f64>), BadMessage> {
        let bad = || wrong("timelimit", "[seconds or null, seconds or null]");
        let Some(value) = self.get("timelimit") else { return Ok((None, None)) };
        let limits = value.as_array().filter(|limits| limits.len() == 2).ok_or_else(bad)?;
        let seconds = |value: &Value| match value {
            Value::Null => Ok(None),
            other => other.as_f64().filter(|seconds| *seconds >= 0.0).map(Some).ok_or_else(bad),
        };
        Ok((seconds(&limits[0])?, seconds(&limits[1])?))
    }
}

/// ISO 8601; without an offset it is UTC.
pub(in crate::celery) fn parse_time(text: &str) -> Option<Timestamp> {
    let civil = || {
        let at = text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(at.timestamp())
    };
    text.parse::<Timestamp>().ok().or_else(civil)
}
