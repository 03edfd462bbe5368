//! A call that is still to be made: Celery's `Signature` object.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// A task name with arguments and options, as it travels in `callbacks`, `chain`, `chord`.
///
/// Unknown members are kept, so that a signature of Python passes through unchanged (`chord_size`, …).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Task name.
    pub task: String,
    /// Positional arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<Value>,
    /// Keyword arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub kwargs: Map<String, Value>,
    /// `task_id`, `queue`, `link`, `link_error`, `chord`, `group_id`, `group_index`, `priority`, ….
    #[serde(default, deserialize_with = "or_default")]
    pub options: Map<String, Value>,
    /// `chain`, `group`, `chord`, `chunks`, `xmap`, `xstarmap`, or none.
    #[serde(default)]
    pub subtask_type: Option<String>,
    /// Whether the parent's result is kept out of the arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub immutable: bool,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Python writes null where it has nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl Signature {
    /// A call of a task without arguments.
    pub fn new(task: impl Into<String>) -> Self {
        Self { task: task.into(), ..Self::default() }
    }

    /// Reads one that came in a message.
    ///
    /// # Errors
    /// A text that says which member is wrong.
    pub fn from_value(value: Value) -> Result<Self, String> {
        serde_json::from_value(value).map_err(|error| format!("not a signature: {error}"))
    }

    /// It as a value, to be nested in another one.
    pub fn to_value(&self) -> Value {
        json!(self)
    }

    /// One after the other: each gets the result of the one before in front of its arguments.
    pub fn chain(tasks: impl IntoIterator<Item = Self>) -> Self {
        Self::canvas("celery.chain", "chain", json!({"tasks": Vec::from_iter(tasks)}))
    }

    /// All at once.
    pub fn group(tasks: impl IntoIterator<Item = Self>) -> Self {
        Self::canvas("celery.group", "group", json!({"tasks": Vec::from_iter(tasks)}))
    }

    /// All of the header at once, then the body with the list of their results.
    pub fn chord(header: impl IntoIterator<Item = Self>, body: Self) -> Self {
        let header = Vec::from_iter(header);
        let kwargs = json!({"kwargs": {}, "header": header, "body": body});
        Self::canvas("celery.chord", "chord", kwargs)
    }

    fn canvas(task: &str, kind: &str, kwargs: Value) -> Self {
        let kwargs = match kwargs {
            Value::Object(kwargs) => kwargs,
            _ => Map::new(),
        };
        Self {
            task: task.to_owned(),
            kwargs,
            subtask_type: Some(kind.to_owned()),
            ..Self::default()
        }
    }

    /// Adds positional arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = Value>) -> Self {
        self.args.extend(args);
        self
    }

    /// Adds a positional argument.
    #[must_use]
    pub fn arg(mut self, value: impl Into<Value>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Sets a keyword argument.
    #[must_use]
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.kwargs.insert(name.into(), value.into());
        self
    }

    /// Sets an option of Celery's `apply_async` (`queue`, `priority`, `countdown`, `task_id`, …).
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// Keeps the parent's result out of the arguments (Celery's `.si()`).
    #[must_use]
    pub fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// Adds what is sent when it succeeds.
    #[must_use]
    pub fn link(self, callback: Self) -> Self {
        self.append("link", callback)
    }

    /// Adds what is sent when it fails.
    #[must_use]
    pub fn link_error(self, errback: Self) -> Self {
        self.append("link_error", errback)
    }

    fn append(mut self, option: &str, signature: Self) -> Self {
        let list = self.options.entry(option).or_insert_with(|| json!([]));
        if !list.is_array() {
            *list = if list.is_null() { json!([]) } else { json!([list.take()]) };
        }
        if let Value::Array(list) = list {
            list.push(signature.to_value());
        }
        self
    }

    /// An option that is a text.
    pub fn option_text(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(Value::as_str)
    }

    /// The signatures of an option (`link`, `link_error`), one or a list. What is none is left out.
    pub fn option_signatures(&self, name: &str) -> Vec<Self> {
        let list = match self.options.get(name) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
        };
        list.into_iter().filter_map(|one| Self::from_value(one).ok()).collect()
    }
}
