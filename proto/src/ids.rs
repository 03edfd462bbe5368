//! Names of things: a task within a run, and one attempt at it.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One grant of the right to run a task instance. Doubles as the Celery task id of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = uuid::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(s).map(AttemptId)
    }
}

/// The business key of a task instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskKey {
    /// DAG name.
    pub dag_id: String,
    /// Run name, unique within the DAG.
    pub run_id: String,
    /// Task name, unique within the DAG.
    pub task_id: String,
    /// Index of a mapped task instance; −1 for an ordinary task.
    pub map_index: i32,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} [{}]", self.dag_id, self.task_id, self.run_id)?;
        if self.map_index >= 0 { write!(f, "[{}]", self.map_index) } else { Ok(()) }
    }
}
