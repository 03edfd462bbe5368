//! Size limits of everything that arrives from outside a process. All in bytes unless said.

/// A task message body; larger ones are dead-lettered unread.
pub const MESSAGE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A stored result (Celery's meta object); a larger one is refused, and the task fails with the reason.
pub const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A binary frame (workload or outcome) inside a message body.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// One XCom value as JSON text; a larger one fails the task that pushes it.
pub const XCOM_BYTES_MAX: usize = 256 * 1024;
/// All XComs of one attempt together, so that an outcome always fits a frame.
pub const XCOMS_TOTAL_BYTES_MAX: usize = 1024 * 1024;
/// The error text kept with a failed attempt; longer text is cut.
pub const ERROR_TEXT_BYTES_MAX: usize = 16 * 1024;
/// One line of task output; the rest of a longer line is dropped and marked.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// All output kept of one attempt; later lines are dropped and counted.
pub const LOG_ATTEMPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The serialized DAGs of one file.
pub const DAG_FILE_SPEC_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A dag_id, task_id, run_id, queue or pool name, in characters (Airflow's own limit).
pub const NAME_CHARS_MAX: usize = 250;
/// Headers of one message, in number; one with more is dead-lettered.
pub const HEADERS_MAX: usize = 1024;
/// Nesting of JSON values in task arguments.
pub const JSON_DEPTH_MAX: usize = 64;
