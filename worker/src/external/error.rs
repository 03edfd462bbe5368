//! Why a table of external tasks cannot be used.

/// Error of the table `[tasks]`; it names the task and the option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// An entry cannot be used.
    #[error("[tasks.{task:?}] {reason}")]
    Task {
        /// The task's name.
        task: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("no HTTP client for external tasks: {0}")]
    Client(String),
}

impl ExternalError {
    /// Whether starting again may succeed without a change by a person.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
