//! What a result backend stores of a task: Celery's meta object, and the tuples that describe its children.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::encode::wire_time;
use super::state;

/// The meta object. Members beyond the first seven are left out when empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// State name ([`state`]).
    pub status: String,
    /// The return value, or an [`ExceptionInfo`], or what a custom state says.
    #[serde(default)]
    pub result: Value,
    /// Traceback text of a failure.
    #[serde(default)]
    pub traceback: Option<String>,
    /// What it sent: [`ResultTuple`]s.
    #[serde(default)]
    pub children: Option<Vec<Value>>,
    /// When it ended; ISO 8601.
    #[serde(default)]
    pub date_done: Option<String>,
    /// Task id.
    #[serde(default)]
    pub task_id: String,
    /// Group, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Task that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Task name (`result_extended`, as all that follow).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Positional arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// Keyword arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kwargs: Option<Value>,
    /// Node that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// How often it was retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Queue it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An exception as Celery's JSON results hold it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExceptionInfo {
    /// Class name.
    pub exc_type: String,
    /// Its arguments.
    pub exc_message: Vec<Value>,
    /// Module of the class. A Python client makes a class up when it has not imported the module.
    pub exc_module: Option<String>,
}

impl ExceptionInfo {
    /// An exception with a message as its only argument.
    pub fn new(module: &str, class: &str, message: &str) -> Self {
        Self {
            exc_type: class.to_owned(),
            exc_message: vec![json!(message)],
            exc_module: Some(module.to_owned()),
        }
    }

    /// Reads one; older backends have a text for the message.
    pub fn from_value(value: &Value) -> Option<Self> {
        let exc_type = value.get("exc_type")?.as_str()?.to_owned();
        let exc_message = match value.get("exc_message") {
            Some(Value::Array(args)) => args.clone(),
            None | Some(Value::Null) => Vec::new(),
            Some(one) => vec![one.clone()],
        };
        let exc_module = value.get("exc_module").and_then(Value::as_str).map(str::to_owned);
        Some(Self { exc_type, exc_message, exc_module })
    }

    /// `ValueError: no such file`, for people.
    pub fn text(&self) -> String {
        let shown = |arg: &Value| arg.as_str().map_or_else(|| super::repr(arg), str::to_owned);
        let args: Vec<String> = self.exc_message.iter().map(shown).collect();
        if args.is_empty() {
            self.exc_type.clone()
        } else {
            format!("{}: {}", self.exc_type, args.join(", "))
        }
    }

    /// `ValueError('no such file')`, Python's repr, for events.
    pub fn repr(&self) -> String {
        let args: Vec<String> = self.exc_message.iter().map(super::repr).collect();
        format!("{}({})", self.exc_type, args.join(", "))
    }
}

impl Meta {
    /// A meta in some state with a result.
    pub fn new(task_id: &str, status: &str, result: Value) -> Self {
        Self {
            status: status.to_owned(),
            result,
            children: Some(Vec::new()),
            task_id: task_id.to_owned(),
            ..Self::default()
        }
    }

    /// The end of a task that returned.
    pub fn success(task_id: &str, result: Value, at: Timestamp) -> Self {
        Self { date_done: Some(wire_time(at)), ..Self::new(task_id, state::SUCCESS, result) }
    }

    /// The end of a task that failed.
    pub fn failure(
        task_id: &str,
        exception: &ExceptionInfo,
        traceback: Option<String>,
        at: Timestamp,
    ) -> Self {
        let date_done = Some(wire_time(at));
        Self { traceback, date_done, ..Self::new(task_id, state::FAILURE, json!(exception)) }
    }

    /// A task that will run again.
    pub fn retry(task_id: &str, exception: &ExceptionInfo, traceback: Option<String>) -> Self {
        Self { traceback, ..Self::new(task_id, state::RETRY, json!(exception)) }
    }

    /// A task that was revoked, expired or terminated; the word says which.
    pub fn revoked(task_id: &str, why: &str, at: Timestamp) -> Self {
        let exception = ExceptionInfo::new("celery.exceptions", "TaskRevokedError", why);
        let date_done = Some(wire_time(at));
        Self { date_done, ..Self::new(task_id, state::REVOKED, json!(exception)) }
    }

    /// A task that runs (`task_track_started`).
    pub fn started(task_id: &str, pid: u32, hostname: &str) -> Self {
        Self::new(task_id, state::STARTED, json!({"pid": pid, "hostname": hostname}))
    }

    /// Whether the task has ended.
    pub fn is_terminal(&self) -> bool {
        state::is_terminal(&self.status)
    }

    /// The exception of a failure, retry or revocation.
    pub fn exception(&self) -> Option<ExceptionInfo> {
        ExceptionInfo::from_value(&self.result)
    }

    /// The bytes for a backend, beginning `{"status": "…"`, as Celery's do.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Values always serialize; empty bytes are refused by every backend.
        let plain = super::wide::to_vec(self).unwrap_or_default();
        match plain.strip_prefix(br#"{"status":""#) {
            Some(rest) => [br#"{"status": ""#, rest].concat(),
            None => plain,
        }
    }

    /// Reads what a worker stored; a bare `NaN` becomes null.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let value = super::decode::parse_json(bytes).map_err(|bad| bad.reason)?;
        serde_json::from_value(value).map_err(|error| format!("not a result: {error}"))
    }
}

/// A result and what led to it: `[[id, parent], null | [results]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResultTuple {
    /// Task id, or group id.
    pub id: String,
    /// The one before it in a chain, or the header of its chord.
    pub parent: Option<Box<Self>>,
    /// The members, if it is a group.
    pub results: Option<Vec<Self>>,
}

impl ResultTuple {
    /// The result of a task.
    pub fn task(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// The result of a group.
    pub fn group(id: impl Into<String>, results: Vec<Self>) -> Self {
        Self { id: id.into(), parent: None, results: Some(results) }
    }

    /// Celery's form.
    pub fn to_value(&self) -> Value {
        let parent = self.parent.as_ref().map(|parent| parent.to_value());
        let results = self
            .results
            .as_ref()
            .map(|results| Value::Array(results.iter().map(Self::to_value).collect()));
        json!([[self.id, parent], results])
    }

    /// Reads Celery's form; a bare text is a task id. The value's own depth bounds the recursion.
    pub fn from_value(value: &Value) -> Option<Self> {
        if let Some(id) = value.as_str() {
            return Some(Self::task(id));
        }
        let [head, results] = value.as_array()?.as_slice() else { return None };
        // The head may be the id alone.
        let (id, parent) = match head.as_array().map(Vec::as_slice) {
            Some([id, parent]) => (id, parent),
            Some(_) => return None,
            None => (head, &Value::Null),
        };
        let results = match results {
            Value::Null => None,
            results => {
                Some(results.as_array()?.iter().map(Self::from_value).collect::<Option<_>>()?)
            }
        };
        let parent = match parent {
            Value::Null => None,
            parent => Some(Box::new(Self::from_value(parent)?)),
        };
        Some(Self { id: id.as_str()?.to_owned(), parent, results })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As a Celery 5.7 worker wrote it to Redis.
    const CELERY: &str = r#"{"status": "SUCCESS", "result": NaN, "traceback": null, "children": [[["b", [["a", null], null]], null]], "date_done": "2026-11-20T10:11:12.131415+00:00", "parent_id": "a", "task_id": "b", "custom": 1}"#;

    #[test]
    fn what_celery_wrote_is_read_and_written_again() {
        let meta = Meta::from_bytes(CELERY.as_bytes()).expect("a meta");
        assert_eq!((meta.status.as_str(), meta.parent_id.as_deref()), ("SUCCESS", Some("a")));
        let child = &meta.children.as_ref().expect("children")[0];
        let tuple = ResultTuple::from_value(child).expect("a tuple");
        assert_eq!(tuple.parent.as_ref().map(|p| p.id.as_str()), Some("a"));
        assert_eq!(&tuple.to_value(), child);
        let bytes = meta.to_bytes();
        assert!(bytes.starts_with(br#"{"status": "SUCCESS","#));
        assert_eq!(Meta::from_bytes(&bytes).expect("a meta"), meta);
    }

    #[test]
    fn a_group_has_members() {
        let group = ResultTuple::group("g", vec![ResultTuple::task("x"), ResultTuple::task("y")]);
        let value = group.to_value();
        assert_eq!(value, json!([["g", null], [[["x", null], null], [["y", null], null]]]));
        assert_eq!(ResultTuple::from_value(&value), Some(group));
        assert_eq!(ResultTuple::from_value(&json!([1, 2])), None);
        assert_eq!(ResultTuple::from_value(&json!(["x", null])), Some(ResultTuple::task("x")));
    }

    #[test]
    fn an_exception_is_the_object_that_python_clients_raise_from() {
        let at: Timestamp = "2026-11-20T10:11:12.131415Z".parse().expect("a time");
        let exception = ExceptionInfo::new("builtins", "ValueError", "no");
        let meta = Meta::failure("t", &exception, Some("Traceback".to_owned()), at);
        assert_eq!(meta.date_done.as_deref(), Some("2026-11-20T10:11:12.131415+00:00"));
        assert_eq!(
            meta.result,
            json!({"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"})
        );
        assert_eq!(meta.exception().expect("one").text(), "ValueError: no");
        assert_eq!(exception.repr(), "ValueError('no')");
        let older = json!({"exc_type": "KeyError", "exc_message": "k"});
        assert_eq!(ExceptionInfo::from_value(&older).expect("one").exc_message, [json!("k")]);
    }
}
