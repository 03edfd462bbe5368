//! Names of task states, as Celery's result backends store them.

/// No record.
pub const PENDING: &str = "PENDING";
/// Taken by a worker, not started.
pub const RECEIVED: &str = "RECEIVED";
/// Running (`track_started`).
pub const STARTED: &str = "STARTED";
/// Custom state that our handlers use for progress; Celery's documentation uses the same name.
pub const PROGRESS: &str = "PROGRESS";
/// Will run again.
pub const RETRY: &str = "RETRY";
/// Ended well.
pub const SUCCESS: &str = "SUCCESS";
/// Ended with an exception.
pub const FAILURE: &str = "FAILURE";
/// Revoked or expired.
pub const REVOKED: &str = "REVOKED";

/// Whether a state ends a task.
pub fn is_terminal(state: &str) -> bool {
    matches!(state, SUCCESS | FAILURE | REVOKED)
}
