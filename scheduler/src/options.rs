//! What can be set on a scheduler, with defaults and bounds.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewind_proto::names;

use crate::Error;

/// Sends matching tasks to a queue. All patterns given must match; `*` and `?` are wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Pattern over `dag_id.task_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Pattern over the operator's class name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Queue for tasks that match.
    pub queue: String,
}

/// How the lines of `.airflowignore` are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IgnoreSyntax {
    /// Like `.gitignore` (Airflow 3's default).
    #[default]
    Glob,
    /// Regular expressions searched for in the path (Airflow 2's default).
    Regexp,
}

/// Options of a scheduler. Durations are written in seconds (`0.5`, `30`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerOptions {
    /// Folder of the DAG files.
    pub dags_folder: PathBuf,
    /// Whether this scheduler reads DAG files (off: another process does).
    pub dagfiles: bool,
    /// Python interpreter for parsing; 3.10 or newer.
    pub python: PathBuf,
    /// Folder that holds our `airflow` and `tradewind_host` packages; put first on `PYTHONPATH`.
    pub python_path: PathBuf,
    /// Wall and CPU time for one DAG file; 0.1 s to 1 h.
    #[serde(with = "seconds")]
    pub parse_timeout: Duration,
    /// Address space of a parsing process in MiB; at least 64.
    pub parse_memory_mib: u64,
    /// Parsing processes at once; 1 to 64.
    pub parse_processes: usize,
    /// Every file is parsed again after this, changed or not, for DAGs that are made from things
    /// outside the folder; 0 = never.
    #[serde(with = "seconds")]
    pub reparse_interval: Duration,
    /// The DAGs folder is looked through this often, besides being watched; 0.05 s to 1 h.
    #[serde(with = "seconds")]
    pub scan_interval: Duration,
    /// How `.airflowignore` is read.
    pub ignore_syntax: IgnoreSyntax,
    /// New DAGs start paused unless they say so themselves.
    pub dags_are_paused_at_creation: bool,
    /// How often schedules, queued runs and freed slots are looked at when nothing woke us.
    #[serde(with = "seconds")]
    pub tick: Duration,
    /// Lease of a claimed attempt, as the workers' side of the store grants it.
    #[serde(with = "seconds")]
    pub lease: Duration,
    /// How often expired leases are looked for.
    #[serde(with = "seconds")]
    pub reaper_interval: Duration,
    /// When the reaper could not look for longer than this, leases get another term first.
    #[serde(with = "seconds")]
    pub outage_gap: Duration,
    /// While the API that workers renew leases through is silent, no lease is judged for up to this.
    #[serde(with = "seconds")]
    pub api_outage_max: Duration,
    /// How often attempts that were queued but never published are published.
    #[serde(with = "seconds")]
    pub outbox_sweep: Duration,
    /// A published attempt that nobody claims is published again after this, then after twice this…
    #[serde(with = "seconds")]
    pub republish_base: Duration,
    /// How often this process says that it lives.
    #[serde(with = "seconds")]
    pub heartbeat_interval: Duration,
    /// How often running runs are compared with the store: finds runs of dead schedulers and changes
    /// made by others.
    #[serde(with = "seconds")]
    pub audit_interval: Duration,
    /// Attempts of a try that may be lost to dead workers before the try counts as failed.
    pub lost_max: u32,
    /// Task instances queued or running at once in the deployment; 0 = no limit.
    pub parallelism: u32,
    /// Slots of a pool that nobody configured; −1 = no limit.
    pub default_pool_slots: i64,
    /// Runs planned in memory at once; the least recently used ones are loaded again when needed.
    pub cached_runs: usize,
    /// Which tasks go to which queue; the first match wins, over the queue in the DAG file.
    pub routes: Vec<Route>,
    /// Inbox of outcomes, shared by all schedulers of the deployment.
    pub results_inbox: String,
    /// Name of this host in listings.
    pub hostname: String,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            dags_folder: PathBuf::from("dags"),
            dagfiles: true,
            python: PathBuf::from("python3"),
            python_path: PathBuf::from("python"),
            parse_timeout: Duration::from_secs(30),
            parse_memory_mib: 4096,
            parse_processes: 2,
            reparse_interval: Duration::from_secs(300),
            scan_interval: Duration::from_secs(5),
            ignore_syntax: IgnoreSyntax::Glob,
            dags_are_paused_at_creation: false,
            tick: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            reaper_interval: Duration::from_secs(1),
            outage_gap: Duration::from_secs(3),
            api_outage_max: Duration::from_secs(60),
            outbox_sweep: Duration::from_secs(2),
            republish_base: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(5),
            audit_interval: Duration::from_secs(2),
            lost_max: 3,
            parallelism: 0,
            default_pool_slots: 128,
            cached_runs: 10_000,
            routes: Vec::new(),
            results_inbox: names::RESULTS_INBOX.to_owned(),
            hostname: "localhost".to_owned(),
        }
    }
}

const HOUR: f64 = 3600.0;

impl SchedulerOptions {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`Error::Options`] naming the first option that is out of bounds.
    pub fn validate(&self) -> Result<(), Error> {
        let spans = [
            ("parse_timeout", self.parse_timeout, 0.1, HOUR),
            ("reparse_interval", self.reparse_interval, 0.0, 24.0 * HOUR),
            ("scan_interval", self.scan_interval, 0.05, HOUR),
            ("tick", self.tick, 0.01, HOUR),
            ("lease", self.lease, 0.1, HOUR),
            ("reaper_interval", self.reaper_interval, 0.01, HOUR),
            ("outage_gap", self.outage_gap, 0.02, HOUR),
            ("api_outage_max", self.api_outage_max, 0.0, HOUR),
            ("outbox_sweep", self.outbox_sweep, 0.01, HOUR),
            ("republish_base", self.republish_base, 0.01, 24.0 * HOUR),
            ("heartbeat_interval", self.heartbeat_interval, 0.01, HOUR),
            ("audit_interval", self.audit_interval, 0.01, HOUR),
        ];
        for (name, value, min, max) in spans {
            bounded(name, value.as_secs_f64(), min, max)?;
        }
        bounded("parse_processes", self.parse_processes as f64, 1.0, 64.0)?;
        bounded("parse_memory_mib", self.parse_memory_mib as f64, 64.0, 1_048_576.0)?;
        bounded("cached_runs", self.cached_runs as f64, 1.0, 1_000_000.0)?;
        bounded("default_pool_slots", self.default_pool_slots as f64, -1.0, 1e9)?;
        if self.outage_gap <= self.reaper_interval {
            return Err(Error::Options(
                "scheduler.outage_gap must be longer than scheduler.reaper_interval".to_owned(),
            ));
        }
        if self.results_inbox.is_empty() {
            return Err(Error::Options("scheduler.results_inbox must not be empty".to_owned()));
        }
        self.routes.iter().enumerate().try_for_each(|(index, route)| check_route(index, route))
    }
}

fn bounded(name: &str, value: f64, min: f64, max: f64) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Options(format!("scheduler.{name} is {value}; it must be from {min} to {max}")))
}

fn check_route(index: usize, route: &Route) -> Result<(), Error> {
    if route.queue.is_empty() {
        return Err(Error::Options(format!("scheduler.routes[{index}] names no queue")));
    }
    if route.task.is_none() && route.operator.is_none() {
        return Err(Error::Options(format!(
            "scheduler.routes[{index}] has neither a task nor an operator pattern; \
             use task = \"*\" for all tasks"
        )));
    }
    Ok(())
}

mod seconds {
    //! Durations as seconds, whole or broken.

    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| de::Error::custom(format!("{seconds} is not a number of seconds")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Route, SchedulerOptions};

    #[test]
    fn defaults_are_valid_and_survive_a_round_trip() {
        let options = SchedulerOptions::default();
        options.validate().expect("valid");
        let text = serde_json::to_string(&options).expect("json");
        let back: SchedulerOptions = serde_json::from_str(&text).expect("options");
        assert_eq!(back, options);
    }

    #[test]
    fn an_option_out_of_bounds_is_named() {
        let options =
            SchedulerOptions { parse_timeout: Duration::ZERO, ..SchedulerOptions::default() };
        let text = options.validate().expect_err("invalid").to_string();
        assert!(text.contains("scheduler.parse_timeout"), "{text}");
    }

    #[test]
    fn whole_and_broken_seconds_are_read() {
        let options: SchedulerOptions =
            serde_json::from_str(r#"{"tick": 2, "lease": 0.5}"#).expect("options");
        assert_eq!(options.tick, Duration::from_secs(2));
        assert_eq!(options.lease, Duration::from_millis(500));
        assert!(serde_json::from_str::<SchedulerOptions>(r#"{"tick": -1}"#).is_err());
    }

    #[test]
    fn a_route_without_pattern_is_refused() {
        let route = Route { task: None, operator: None, queue: "q".into() };
        let options = SchedulerOptions { routes: vec![route], ..SchedulerOptions::default() };
        assert!(options.validate().expect_err("invalid").to_string().contains("routes[0]"));
    }
}
