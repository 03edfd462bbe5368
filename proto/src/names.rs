//! Names that more than one process must spell alike: content types, headers, queues, metrics,
//! environment variables.

/// Content type of fleet tasks: Celery's JSON body.
pub const CONTENT_TYPE_JSON: &str = "application/json";
/// Content type of a binary frame (see [`crate::codec::Frame`]).
pub const CONTENT_TYPE_FRAME: &str = "application/x-tradewind";
/// Content type of an encrypted body (see [`crate::seal`]).
pub const CONTENT_TYPE_ENCRYPTED: &str = "application/x-tradewind-encrypted";

/// Celery task name of every orchestrated workload.
pub const TASK_WORKLOAD: &str = "tradewind.workload";
/// Celery task name of the built-in no-op that benches and canaries use.
pub const TASK_NOOP: &str = "tradewind.noop";

/// Queue of a task that names none.
pub const DEFAULT_QUEUE: &str = "default";
/// Suffix of a queue's dead-letter queue.
pub const DEAD_LETTER_SUFFIX: &str = ".dlq";
/// Header with the reason of a dead letter.
pub const HEADER_DEAD_REASON: &str = "x-tradewind-reason";
/// Header with the queue that a dead letter came from.
pub const HEADER_DEAD_QUEUE: &str = "x-tradewind-queue";
/// Header with when it was dead-lettered, RFC 3339.
pub const HEADER_DEAD_AT: &str = "x-tradewind-dead-at";
/// Header with the id of a dead letter, by which one of several of the same task is named.
pub const HEADER_DEAD_ID: &str = "x-tradewind-dead-id";
/// Header of a dead letter whose body is bytes that were no message.
pub const HEADER_DEAD_RAW: &str = "x-tradewind-raw";
/// Header with when a message was first published, RFC 3339; set when it is missing.
pub const HEADER_SENT_AT: &str = "x-tradewind-sent-at";
/// Header with the signature of a fleet task (see [`crate::seal`]).
pub const HEADER_SIGNATURE: &str = "x-tradewind-signature";
/// W3C trace context header.
pub const HEADER_TRACEPARENT: &str = "traceparent";

/// Inbox that all schedulers of one deployment consume outcomes from.
pub const RESULTS_INBOX: &str = "tradewind.results";

/// Environment variable in every process of an attempt, holding its id.
pub const ENV_ATTEMPT_ID: &str = "TRADEWIND_ATTEMPT_ID";
/// Environment variable in every process that a worker starts, holding the worker's instance id.
pub const ENV_WORKER_ID: &str = "TRADEWIND_WORKER_ID";

/// Prometheus metric names.
pub mod metric {
    /// Gauge {queue}: messages ready in a queue.
    pub const QUEUE_DEPTH: &str = "tradewind_queue_depth";
    /// Histogram {queue}, seconds: queued to claimed.
    pub const QUEUE_WAIT: &str = "tradewind_queue_wait_seconds";
    /// Counter {state}: attempts ended, by outcome state.
    pub const ATTEMPTS: &str = "tradewind_attempts_total";
    /// Histogram, seconds: an upstream's end to its downstream's start.
    pub const HOP: &str = "tradewind_hop_seconds";
    /// Counter: leases that ran out.
    pub const LEASE_EXPIRIES: &str = "tradewind_lease_expiries_total";
    /// Counter {write}: writes refused because their token was old.
    pub const STALE_WRITES: &str = "tradewind_stale_writes_refused_total";
    /// Gauge, seconds: age of the oldest unpublished outbox row.
    pub const OUTBOX_AGE: &str = "tradewind_outbox_age_seconds";
    /// Counter {queue, kind}: messages dead-lettered.
    pub const DEAD_LETTERS: &str = "tradewind_dead_letters_total";
    /// Gauge: attempts that this worker runs now.
    pub const RUNNING: &str = "tradewind_worker_running";
    /// Gauge: slots of this worker.
    pub const SLOTS: &str = "tradewind_worker_slots";
    /// Histogram, seconds: from DAG file change to stored version.
    pub const PARSE: &str = "tradewind_dag_parse_seconds";
    /// Gauge: files with an import error.
    pub const IMPORT_ERRORS: &str = "tradewind_dag_import_errors";
    /// Counter: messages published again after a broker lost them or forgot to confirm.
    pub const REPUBLISHED: &str = "tradewind_messages_republished_total";
}
