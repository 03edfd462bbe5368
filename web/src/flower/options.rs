//! What can be set for the monitor: section `[flower]`. Names follow Flower's where it has the option.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FlowerError;

/// `user:password` pairs; `Debug` hides them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credentials(Vec<String>);

impl Credentials {
    /// Wraps `user:password` pairs.
    pub fn new(pairs: Vec<String>) -> Self {
        Self(pairs)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn pairs(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} hidden)", self.0.len())
    }
}

/// How the monitor watches, what it keeps, and who may ask it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowerOptions {
    /// Address that the stand-alone role listens on; `127.0.0.1` unless set.
    pub host: String,
    /// Port of the stand-alone role; 5555 unless set, as Flower. 0 takes a free one.
    pub port: u16,
    /// Path before every route of the stand-alone role, as `/flower`.
    pub url_prefix: String,
    /// Who may use the API: `user:password` pairs for HTTP basic authentication.
    pub basic_auth: Credentials,
    /// Lets everybody use the API while there is no `basic_auth`.
    pub unauthenticated_api: bool,
    /// Refuses everything that changes something.
    pub read_only: bool,
    /// Tasks kept in memory; those without news for longest go first. Default 100000.
    pub max_tasks: usize,
    /// Bytes of tasks kept in memory, about. Default 128 MiB.
    pub max_task_bytes: usize,
    /// Workers kept in memory. Default 5000.
    pub max_workers: usize,
    /// Seconds after which a worker that is offline is forgotten, with its metric series. Default 600.
    pub purge_offline_workers: u64,
    /// Milliseconds that workers get to answer. Default 1000.
    pub inspect_timeout_ms: u64,
    /// Seconds between two looks at queues and workers. Default 15.
    pub refresh_seconds: u64,
    /// Asks workers to send task events. Default true.
    pub enable_events: bool,
    /// Folder for the history that survives a restart; none: nothing is kept.
    pub history: Option<PathBuf>,
    /// Bytes that the history may take on disk. Default 64 MiB.
    pub history_max_bytes: u64,
    /// Milliseconds between two writes of the history. Default 5000.
    pub history_interval_ms: u64,
    /// Upper bounds of `flower_task_runtime_seconds`; those of Python's client library unless set.
    pub task_runtime_metric_buckets: Vec<f64>,
    /// Label sets that one metric may have; more are counted as `other`. Default 5000.
    pub max_series: usize,
    /// Queues to watch besides those that workers consume.
    pub queues: Vec<String>,
}

impl Default for FlowerOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 5555,
            url_prefix: String::new(),
            basic_auth: Credentials::default(),
            unauthenticated_api: false,
            read_only: false,
            max_tasks: 100_000,
            max_task_bytes: 128 << 20,
            max_workers: 5_000,
            purge_offline_workers: 600,
            inspect_timeout_ms: 1_000,
            refresh_seconds: 15,
            enable_events: true,
            history: None,
            history_max_bytes: 64 << 20,
            history_interval_ms: 5_000,
            task_runtime_metric_buckets: Vec::new(),
            max_series: 5_000,
            queues: Vec::new(),
        }
    }
}

impl FlowerOptions {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`FlowerError::Option`] with the option and the valid range.
    pub fn validate(&self) -> Result<(), FlowerError> {
        let bad =
            |option: &'static str, valid: &'static str| Err(FlowerError::Option { option, valid });
        if self.basic_auth.pairs().iter().any(|pair| !pair.contains(':') || pair.starts_with(':')) {
            return bad("basic_auth", "user:password pairs");
        }
        if self.max_tasks == 0 || self.max_workers == 0 || self.max_series == 0 {
            return bad("max_tasks, max_workers, max_series", "at least 1");
        }
        if self.max_task_bytes < 1 << 20 {
            return bad("max_task_bytes", "at least 1048576");
        }
        if self.history_max_bytes < 1 << 16 {
            return bad("history_max_bytes", "at least 65536");
        }
        if !(1..=3600).contains(&self.refresh_seconds) {
            return bad("refresh_seconds", "1 to 3600");
        }
        if !(10..=60_000).contains(&self.inspect_timeout_ms) {
            return bad("inspect_timeout_ms", "10 to 60000");
        }
        if !(10..=3_600_000).contains(&self.history_interval_ms) {
            return bad("history_interval_ms", "10 to 3600000");
        }
        let buckets = &self.task_runtime_metric_buckets;
        if !buckets.is_sorted_by(|a, b| a < b) || buckets.iter().any(|bound| !bound.is_finite()) {
            return bad("task_runtime_metric_buckets", "ascending numbers");
        }
        let prefix = &self.url_prefix;
        let wrong = prefix.contains(['{', '}', '*']) || prefix.contains("//");
        if !prefix.is_empty() && (wrong || !prefix.starts_with('/') || prefix.ends_with('/')) {
            return bad("url_prefix", "a path like /flower");
        }
        Ok(())
    }

    pub(super) fn inspect_timeout(&self) -> Duration {
        Duration::from_millis(self.inspect_timeout_ms)
    }

    pub(super) fn refresh(&self) -> Duration {
        Duration::from_secs(self.refresh_seconds)
    }

    pub(super) fn history_interval(&self) -> Duration {
        Duration::from_millis(self.history_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, FlowerOptions};

    #[test]
    fn defaults_are_valid_and_wrong_values_are_named() {
        assert!(FlowerOptions::default().validate().is_ok());
        let wrong = [
            FlowerOptions {
                basic_auth: Credentials::new(vec!["nobody".to_owned()]),
                ..FlowerOptions::default()
            },
            FlowerOptions { max_tasks: 0, ..FlowerOptions::default() },
            FlowerOptions { url_prefix: "flower/".to_owned(), ..FlowerOptions::default() },
            FlowerOptions {
                task_runtime_metric_buckets: vec![2.0, 1.0],
                ..FlowerOptions::default()
            },
        ];
        for options in wrong {
            let error = options.validate().expect_err("refused").to_string();
            assert!(error.contains("[flower]") && !error.contains("nobody"), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let options = FlowerOptions {
            basic_auth: Credentials::new(vec!["ann:hunter2".to_owned()]),
            ..FlowerOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
