//! What can be set for a worker. Reads no files and no environment: the caller's configuration does.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewind_proto::{limits, names};

use crate::Error;

/// Most slots that one worker may have.
pub const CONCURRENCY_MAX: u16 = 4096;

/// Options of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerOptions {
    /// Node name; `%h` stands for the host name. Default `celery@%h`.
    pub name: String,
    /// Queues to consume. Default `["default"]`.
    pub queues: Vec<String>,
    /// Attempts and tasks run at once. Default 16, as Airflow's `worker_concurrency`.
    pub concurrency: u16,
    /// The DAGs folder.
    pub dags_folder: PathBuf,
    /// The Python interpreter, 3.10 or newer. Default `python3`.
    pub python: PathBuf,
    /// The folder that holds the `airflow` and `tradewind_host` packages; without it `PYTHONPATH` must.
    pub python_path: Option<PathBuf>,
    /// Parsed DAG files that the Python host keeps warm. Default 16.
    pub max_zygotes: u16,
    /// Start the Python host with the worker instead of with the first Python task. Default false.
    pub prestart_python: bool,
    /// Seconds until a Python attempt must have imported its DAG file. Default 60.
    pub python_start_timeout_seconds: u64,
    /// Seconds that running attempts may go on after a stop was asked for. Default 30.
    pub grace_seconds: u64,
    /// Milliseconds between two lease renewals. Default 2000.
    pub heartbeat_interval_ms: u64,
    /// Milliseconds between SIGTERM and SIGKILL for a process tree that is stopped. Default 2000.
    pub kill_grace_ms: u64,
    /// Inbox for outcomes of workloads that name none. Default `tradewind.results`.
    pub results_inbox: String,
    /// Seconds that results of fleet tasks are kept. Default 86400, as Celery's `result_expires`.
    pub result_ttl_seconds: u64,
    /// Seconds that unsent outcomes and logs may delay the end of a drain. Default 10.
    pub flush_seconds: u64,
    /// A fleet task whose workers died this often while it ran is dead-lettered. Default 3.
    pub quarantine_after: u32,
    /// Seconds between two messages that the worker sends itself to prove that it consumes; its readiness
    /// is then this proof. 0: readiness is that it began to take messages. Default 0. No effect on memory.
    pub canary_seconds: u64,
    /// Run a guard process that kills what a dead worker leaves behind. Default true.
    pub guard: bool,
    /// The program whose `guard --instance <id>` is the guard. Default: the running program.
    pub guard_program: Option<PathBuf>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: "celery@%h".to_owned(),
            queues: vec![names::DEFAULT_QUEUE.to_owned()],
            concurrency: 16,
            dags_folder: PathBuf::from("dags"),
            python: PathBuf::from("python3"),
            python_path: None,
            max_zygotes: 16,
            prestart_python: false,
            python_start_timeout_seconds: 60,
            grace_seconds: 30,
            heartbeat_interval_ms: 2000,
            kill_grace_ms: 2000,
            results_inbox: names::RESULTS_INBOX.to_owned(),
            result_ttl_seconds: 86_400,
            flush_seconds: 10,
            quarantine_after: 3,
            canary_seconds: 0,
            guard: true,
            guard_program: None,
        }
    }
}

impl WorkerOptions {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |option, reason: String| Err(Error::Option { option, reason });
        if self.queues.is_empty() {
            return wrong("queues", "is empty; name at least one queue (-Q default)".to_owned());
        }
        for queue in &self.queues {
            if queue.is_empty() || queue.chars().count() > limits::NAME_CHARS_MAX {
                let reason =
                    format!("queue {queue:?} must have 1 to {} characters", limits::NAME_CHARS_MAX);
                return wrong("queues", reason);
            }
        }
        if self.name.is_empty() || self.name.chars().count() > limits::NAME_CHARS_MAX {
            let reason = format!("must have 1 to {} characters", limits::NAME_CHARS_MAX);
            return wrong("name", reason);
        }
        for (option, value, range) in [
            ("concurrency", u64::from(self.concurrency), 1..=u64::from(CONCURRENCY_MAX)),
            ("max_zygotes", u64::from(self.max_zygotes), 1..=1024),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms, 50..=60_000),
            ("kill_grace_ms", self.kill_grace_ms, 0..=60_000),
            ("python_start_timeout_seconds", self.python_start_timeout_seconds, 1..=3600),
            ("grace_seconds", self.grace_seconds, 0..=7 * 86_400),
            ("quarantine_after", u64::from(self.quarantine_after), 1..=1000),
            ("canary_seconds", self.canary_seconds, 0..=3600),
            ("flush_seconds", self.flush_seconds, 0..=3600),
            ("result_ttl_seconds", self.result_ttl_seconds, 1..=366 * 86_400),
        ] {
            if !range.contains(&value) {
                let reason = format!("is {value}; use {} to {}", range.start(), range.end());
                return wrong(option, reason);
            }
        }
        Ok(())
    }

    /// The node name with `%h` replaced.
    pub fn node_name(&self, hostname: &str) -> String {
        self.name.replace("%h", hostname)
    }

    pub(crate) fn canary(&self) -> Option<Duration> {
        (self.canary_seconds > 0).then(|| Duration::from_secs(self.canary_seconds))
    }

    pub(crate) fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }

    pub(crate) fn kill_grace(&self) -> Duration {
        Duration::from_millis(self.kill_grace_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::WorkerOptions;

    #[test]
    fn defaults_are_valid_and_survive_serde() {
        let options: WorkerOptions = serde_json::from_str("{}").expect("empty object");
        options.validate().expect("defaults");
        assert_eq!(options, WorkerOptions::default());
        assert_eq!(options.node_name("box"), "celery@box");
    }

    #[test]
    fn each_bad_option_is_named() {
        for (json, option) in [
            (r#"{"queues": []}"#, "queues"),
            (r#"{"queues": [""]}"#, "queues"),
            (r#"{"concurrency": 0}"#, "concurrency"),
            (r#"{"heartbeat_interval_ms": 1}"#, "heartbeat_interval_ms"),
            (r#"{"name": ""}"#, "name"),
        ] {
            let options: WorkerOptions = serde_json::from_str(json).expect("json");
            let error = options.validate().expect_err(json).to_string();
            assert!(error.contains(&format!("option {option}:")), "{error}");
        }
        assert!(serde_json::from_str::<WorkerOptions>(r#"{"concurency": 3}"#).is_err());
    }
}
