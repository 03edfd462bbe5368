//! Arguments of commands, read as a Python function would read its keywords. Pure.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Map, Value};

/// Most ids of one command.
const IDS_MAX: usize = 50_000;

/// What Celery answers when a command raises: `{"error": repr(exception)}`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal(pub(super) String);

impl Refusal {
    /// Python's `repr` of an exception with a text.
    pub(super) fn raised(class: &str, text: &str) -> Self {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        Self(format!("{class}({quote}{text}{quote})"))
    }
}

/// The arguments of one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) method: &'a str,
    pub(super) all: &'a Map<String, Value>,
}

impl<'a> Arguments<'a> {
    /// An argument that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.all.get(name).filter(|value| !value.is_null())
    }

    /// An argument that must be there.
    pub(super) fn need(&self, name: &str) -> Result<&'a Value, Refusal> {
        self.all.get(name).ok_or_else(|| {
            let method = self.method;
            let text = format!("{method}() missing 1 required positional argument: '{name}'");
            Refusal::raised("TypeError", &text)
        })
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, Refusal> {
        let value = self.need(name)?;
        value.as_str().ok_or_else(|| self.wrong(name, "must be a text", value))
    }

    /// One text or a list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let value = self.need(name)?;
        let wrong = || self.wrong(name, "must be an id or a list of ids", value);
        match value {
            Value::Null => Ok(Vec::new()),
            Value::String(one) => Ok(vec![one.clone()]),
            Value::Array(many) if many.len() <= IDS_MAX => {
                many.iter().map(|id| id.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// A truth value; Python's command line sends texts.
    pub(super) fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => {
                matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "1" | "on")
            }
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            _ => false,
        }
    }

    /// A whole number; Python's command line sends texts.
    pub(super) fn count(&self, name: &str) -> Result<Option<u16>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
        };
        number.map(Some).ok_or_else(|| self.wrong(name, "must be a number of slots", value))
    }

    /// Seconds; none: no limit.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let limit = number.filter(|seconds: &f64| *seconds > 0.0);
        match limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(limit) => Ok(Some(limit)),
            None if number == Some(0.0) => Ok(None),
            None => Err(self.wrong(name, "must be seconds", value)),
        }
    }

    /// A signal by name or number; SIGTERM if none is given.
    pub(super) fn signal(&self) -> Result<Signal, Refusal> {
        let Some(value) = self.get("signal") else { return Ok(Signal::SIGTERM) };
        let signal = match value {
            Value::Number(number) => number
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .and_then(|n| Signal::try_from(n).ok()),
            Value::String(name) => {
                let name = name.to_ascii_uppercase();
                let number = name.parse::<i32>().ok().and_then(|n| Signal::try_from(n).ok());
                let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
                number.or_else(|| full.parse().ok())
            }
            _ => None,
        };
        signal.ok_or_else(|| self.wrong("signal", "is no signal", value))
    }

    fn wrong(&self, name: &str, how: &str, value: &Value) -> Refusal {
        let shown: String = value.to_string().chars().take(100).collect();
        Refusal::raised("ValueError", &format!("{}: {name} {how}, not {shown}", self.method))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::Signal;
    use serde_json::{Value, json};

    use super::{Arguments, Refusal};

    fn with<T>(all: Value, read: impl FnOnce(Arguments<'_>) -> T) -> T {
        read(Arguments { method: "revoke", all: all.as_object().expect("object") })
    }

    #[test]
    fn ids_come_alone_or_as_a_list() {
        let ids = |value| with(json!({"task_id": value}), |a| a.texts("task_id"));
        assert_eq!(ids(json!("a")), Ok(vec!["a".to_owned()]));
        assert_eq!(ids(json!(["a", "b"])).map(|ids| ids.len()), Ok(2));
        assert!(ids(json!([1])).is_err() && ids(json!({})).is_err());
        let text = "TypeError(\"revoke() missing 1 required positional argument: 'task_id'\")";
        assert_eq!(with(json!({}), |a| a.texts("task_id")), Err(Refusal(text.to_owned())));
    }

    #[test]
    fn the_command_lines_texts_are_read_too() {
        assert!(with(json!({"terminate": "true"}), |a| a.flag("terminate")));
        assert!(!with(json!({"terminate": "false"}), |a| a.flag("terminate")));
        assert_eq!(with(json!({"n": "3"}), |a| a.count("n")), Ok(Some(3)));
        assert!(with(json!({"n": -1}), |a| a.count("n")).is_err());
        assert_eq!(
            with(json!({"soft": 1.5}), |a| a.seconds("soft")),
            Ok(Some(Duration::from_millis(1500)))
        );
        assert_eq!(with(json!({"soft": null}), |a| a.seconds("soft")), Ok(None));
        assert!(with(json!({"soft": "x"}), |a| a.seconds("soft")).is_err());
        for value in [json!("KILL"), json!("sigkill"), json!(9), json!("9")] {
            assert_eq!(with(json!({"signal": value}), |a| a.signal()), Ok(Signal::SIGKILL));
        }
        assert_eq!(with(json!({}), |a| a.signal()), Ok(Signal::SIGTERM));
        assert!(with(json!({"signal": "NOPE"}), |a| a.signal()).is_err());
    }
}
