//! What can be said about periodic tasks in configuration.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tradewind_engine::timetable::Ticks;
use tradewind_proto::celery::Request;
use tradewind_proto::limits::NAME_CHARS_MAX;
use tradewind_proto::names::DEFAULT_QUEUE;

use super::BeatError;

/// Shortest distance between two ticks of an entry, in seconds.
const EVERY_SECONDS_MIN: f64 = 0.1;

/// A distance: seconds as a number, or a text such as `30s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "f64")]
pub struct Every(pub f64);

impl From<Every> for f64 {
    fn from(every: Every) -> Self {
        every.0
    }
}

impl TryFrom<Value> for Every {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let wrong =
            || format!("every = {value}: use seconds, or a text such as \"30s\" or \"1h 30m\"");
        let seconds = match &value {
            Value::Number(number) => number.as_f64().ok_or_else(wrong)?,
            Value::String(text) => {
                text.parse::<SignedDuration>().map_err(|_| wrong())?.as_secs_f64()
            }
            _ => return Err(wrong()),
        };
        Ok(Self(seconds))
    }
}

/// One entry of `[beat]`. Exactly one of `schedule` and `every` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BeatEntry {
    /// Task name.
    pub task: String,
    /// Cron expression.
    pub schedule: Option<String>,
    /// Distance between two ticks, which are counted from 1970.
    pub every: Option<Every>,
    /// IANA name of the zone that the expression is meant in. Default UTC.
    pub timezone: Option<String>,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map<String, Value>,
    /// Queue. Default: that of the beat's options.
    pub queue: Option<String>,
    /// Priority of the message.
    pub priority: u8,
    /// Seconds after its tick in which the task must have started.
    pub expires: Option<f64>,
    /// Hard time limit in seconds.
    pub time_limit: Option<f64>,
    /// Soft time limit in seconds.
    pub soft_time_limit: Option<f64>,
    /// Store no result.
    pub ignore_result: bool,
    /// Leave the entry in the file and do not send it.
    pub disabled: bool,
}

/// Options of a [`super::Beat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BeatOptions {
    /// Queue of entries that name none. Default `default`.
    pub default_queue: String,
    /// Milliseconds after which another beat sends the tick of one that died over it. Default 20000.
    pub lease_ms: u64,
    /// Entries by name.
    pub entries: BTreeMap<String, BeatEntry>,
}

impl Default for BeatOptions {
    fn default() -> Self {
        let default_queue = DEFAULT_QUEUE.to_owned();
        Self { default_queue, lease_ms: 20_000, entries: BTreeMap::new() }
    }
}

impl BeatEntry {
    /// Checks an entry and reads its schedule.
    ///
    /// # Errors
    /// [`BeatError::Entry`] with what to write instead.
    pub fn ticks(&self, name: &str) -> Result<Ticks, BeatError> {
        self.check().map_err(|reason| BeatError::Entry { entry: name.to_owned(), reason })
    }

    fn check(&self) -> Result<Ticks, String> {
        if self.task.is_empty() {
            return Err("has no task: name the task that is to be sent".to_owned());
        }
        if let Some(queue) = &self.queue
            && (queue.is_empty() || queue.chars().count() > NAME_CHARS_MAX)
        {
            return Err(format!("queue {queue:?} must have 1 to {NAME_CHARS_MAX} characters"));
        }
        for (option, value) in [
            ("expires", self.expires),
            ("time_limit", self.time_limit),
            ("soft_time_limit", self.soft_time_limit),
        ] {
            match value {
                Some(value) if !(value > 0.0 && value.is_finite()) => {
                    return Err(format!("{option} = {value}: use seconds above 0"));
                }
                _ => {}
            }
        }
        let text = |error: &dyn fmt::Display| error.to_string();
        match (&self.schedule, self.every) {
            (Some(expr), None) => {
                let zone = self.timezone.as_deref().unwrap_or("UTC");
                Ticks::cron(expr, zone).map_err(|error| text(&error))
            }
            (None, Some(_)) if self.timezone.is_some() => {
                Err("timezone has no meaning for every: leave it out, or use schedule".to_owned())
            }
            (None, Some(Every(seconds))) if seconds.is_nan() || seconds < EVERY_SECONDS_MIN => {
                Err(format!("every = {seconds} s: use at least {EVERY_SECONDS_MIN} s"))
            }
            (None, Some(Every(seconds))) => Ticks::every(seconds).map_err(|error| text(&error)),
            (None, None) => {
                Err("has no schedule: give schedule = \"*/5 * * * *\" or every = \"30s\""
                    .to_owned())
            }
            (Some(_), Some(_)) => Err("has both schedule and every: give one".to_owned()),
        }
    }

    /// What is sent for a tick.
    pub(super) fn request(&self, id: String, tick: Timestamp) -> Request {
        let expires = self.expires.map(|seconds| {
            let after = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX);
            tick.checked_add(after).unwrap_or(Timestamp::MAX)
        });
        Request {
            args: self.args.clone(),
            kwargs: self.kwargs.clone(),
            expires,
            time_limit: self.time_limit,
            soft_time_limit: self.soft_time_limit,
            ignore_result: self.ignore_result,
            origin: Some("tradewind-beat".to_owned()),
            priority: self.priority,
            ..Request::new(self.task.clone(), id)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::clock::from_micros;

    use super::{BeatEntry, Every};

    #[test]
    fn entries_are_read_and_become_requests() {
        let entry: BeatEntry = serde_json::from_value(json!({
            "task": "t", "every": "1h 30m", "args": [1], "kwargs": {"k": 2}, "expires": 1.5,
        }))
        .expect("entry");
        assert_eq!(entry.every, Some(Every(5400.0)));
        entry.ticks("x").expect("valid");
        let request = entry.request("id".to_owned(), from_micros(1_000_000));
        assert_eq!((request.task.as_str(), &request.args), ("t", &vec![json!(1)]));
        assert_eq!(request.expires, Some(from_micros(2_500_000)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_entry() {
        for (entry, text) in [
            (json!({"every": 1}), "no task"),
            (json!({"task": "t"}), "no schedule"),
            (json!({"task": "t", "every": 1, "schedule": "* * * * *"}), "both"),
            (json!({"task": "t", "every": 0}), "at least"),
            (json!({"task": "t", "every": 5, "timezone": "UTC"}), "timezone"),
            (json!({"task": "t", "schedule": "61 * * * *"}), "61"),
            (json!({"task": "t", "schedule": "* * * * *", "timezone": "Mars/Base"}), "Mars/Base"),
            (json!({"task": "t", "every": 5, "expires": 0}), "expires"),
        ] {
            let entry: BeatEntry = serde_json::from_value(entry).expect("entry");
            let error = entry.ticks("nightly").expect_err(text).to_string();
            assert!(error.contains("[beat.\"nightly\"]") && error.contains(text), "{error}");
        }
        for entry in [json!({"task": "t", "every": "soon"}), json!({"task": "t", "evry": 1})] {
            assert!(serde_json::from_value::<BeatEntry>(entry).is_err());
        }
    }
}
