//! What can go wrong for a client.

use std::time::Duration;

use tradewind_proto::celery::ExceptionInfo;

/// Error of a client.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// A server, or what was given to it.
    #[error(transparent)]
    Broker(#[from] crate::Error),
    /// Arguments that are no JSON, or a canvas that makes no sense.
    #[error("the call cannot be made: {0}")]
    Canvas(String),
    /// No result in time. The task may still run.
    #[error("task {id} has not ended within {limit:?}")]
    Timeout {
        /// Task id.
        id: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The task failed.
    #[error("task {id} failed: {}", exception.text())]
    Failed {
        /// Task id; of a chain it may be one before the last.
        id: String,
        /// The exception.
        exception: ExceptionInfo,
        /// Its traceback, if the worker sent one.
        traceback: Option<String>,
    },
    /// The task was revoked, has expired, or was terminated.
    #[error("task {id} was revoked ({why})")]
    Revoked {
        /// Task id.
        id: String,
        /// `revoked`, `expired` or `terminated`.
        why: String,
    },
    /// The result is not of the type that was asked for, or is no result.
    #[error("the result of task {id} cannot be read: {reason}")]
    Unreadable {
        /// Task id.
        id: String,
        /// What is wrong.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_retryable(),
            Self::Timeout { .. } => true,
            _ => false,
        }
    }
}
