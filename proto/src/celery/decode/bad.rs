//! Why a message is no task that we can run.

use std::fmt;

use serde_json::Value;

/// Refusal of a message. It will be refused again however often it is delivered: dead-letter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMessage {
    /// One of few fixed words, fit for a metric label: `content-type`, `content-encoding`,
    /// `compression`, `too-large`, `depth`, `syntax`, `shape`, `header`.
    pub kind: &'static str,
    /// What is wrong, where, and what to do.
    pub reason: String,
    /// The task that it names, if it names one.
    pub task: Option<String>,
}

impl BadMessage {
    pub(crate) fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), task: None }
    }

    /// The same of a message with this `task` member.
    pub(super) fn of(self, task: Option<&Value>) -> Self {
        Self { task: task.and_then(Value::as_str).map(str::to_owned), ..self }
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)
    }
}

impl std::error::Error for BadMessage {}
