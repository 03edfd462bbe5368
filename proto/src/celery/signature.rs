//! A call that is still to be made: Celery's `Signature` object.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A task name with arguments and options, as it travels in `callbacks`, `chain`, `chord`.
///
/// Unknown members are kept, so that a signature of Python passes through unchanged (`chord_size`, …).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Task name.
    pub task: String,
    /// Positional arguments.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Keyword arguments.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
    /// `task_id`, `queue`, `link`, `link_error`, `chord`, `group_id`, `group_index`, `priority`, ….
    #[serde(default)]
    pub options: Map<String, Value>,
    /// `chain`, `group`, `chord`, `chunks`, `xmap`, `xstarmap`, or none.
    #[serde(default)]
    pub subtask_type: Option<String>,
    /// Whether the parent's result is kept out of the arguments.
    #[serde(default)]
    pub immutable: bool,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}
