//! What can go wrong at the store.

/// Error of a store call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The URL cannot be used; the text names it and the valid forms.
    #[error("{0}")]
    Config(String),
    /// The database cannot be reached or gave up (restart, lock time-out); try again.
    #[error("database is not reachable: {0}")]
    Unavailable(String),
    /// The schema is older or newer than this build needs; the text says what to run.
    #[error("{0}")]
    Schema(String),
    /// The named thing does not exist.
    #[error("{kind} {name:?} does not exist")]
    NotFound {
        /// `DAG`, `run`, `task instance`, `variable`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The named thing exists already.
    #[error("{kind} {name:?} already exists")]
    Exists {
        /// `run`, …
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The database refused a statement: a defect of ours.
    #[error("database error in {what}: {reason}")]
    Internal {
        /// The use case.
        what: &'static str,
        /// The database's words.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
