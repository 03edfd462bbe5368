//! A DAG as the Python side serializes it and as the store keeps it: plain JSON, one [`DagSpec`] per
//! DAG, immutable once stored as a version.
//!
//! Times are RFC 3339 with offset; durations are seconds (float). Absent members take the defaults
//! given here, so that the Python side may leave them out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::state::{UnknownName, named_enum};

/// What the parser child prints for one file: `{"dags": [...], "error": null | {...}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParsedFile {
    /// DAGs found, in definition order.
    #[serde(default)]
    pub dags: Vec<DagSpec>,
    /// Why the file, or part of it, could not be loaded.
    #[serde(default)]
    pub error: Option<ImportError>,
    /// Things the author should know (unsupported arguments that were ignored).
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An import error, as shown in listings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportError {
    /// One line: exception class and text.
    pub message: String,
    /// Line in the DAG file, 1-based, when known.
    #[serde(default)]
    pub line: Option<u32>,
    /// Python traceback or other detail.
    #[serde(default)]
    pub detail: String,
}

named_enum! {
    /// Which Airflow generation's rules a file was written for.
    Generation ("DAG generation") {
        /// Airflow 1.10.
        V1 = "1.10",
        /// Airflow 2.x.
        V2 = "2",
        /// Airflow 3.x.
        V3 = "3",
    }
}

/// One DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DagSpec {
    /// Name, unique in the deployment.
    pub dag_id: String,
    /// Path relative to the DAGs folder, `/` separated; inside an archive `bundle.zip/path.py`.
    pub fileloc: String,
    /// Lower-case SHA-256 of the source file (of the archive for a `.zip`).
    #[serde(default)]
    pub source_hash: String,
    /// Detected from imports and arguments.
    pub generation: Generation,
    /// One line.
    #[serde(default)]
    pub description: Option<String>,
    /// Markdown.
    #[serde(default)]
    pub doc_md: Option<String>,
    /// Owners of the tasks, sorted, no duplicates.
    #[serde(default)]
    pub owners: Vec<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When runs are due.
    #[serde(default)]
    pub schedule: Schedule,
    /// The schedule as the author wrote it (`@daily`, `1 day, 0:00:00`), for people.
    #[serde(default)]
    pub schedule_text: String,
    /// IANA name of the zone that naive dates and cron expressions are in.
    #[serde(default = "utc")]
    pub timezone: String,
    /// First possible logical date.
    #[serde(default)]
    pub start_date: Option<Timestamp>,
    /// Last possible logical date.
    #[serde(default)]
    pub end_date: Option<Timestamp>,
    /// Create the runs that were missed since `start_date`.
    #[serde(default)]
    pub catchup: bool,
    /// Running runs of this DAG at once.
    #[serde(default = "sixteen")]
    pub max_active_runs: u32,
    /// Queued and running task instances at once, per [`DagSpec::max_active_tasks_per_run`].
    #[serde(default = "sixteen")]
    pub max_active_tasks: u32,
    /// Count `max_active_tasks` per run (3.x) instead of over the whole DAG (1.10, 2.x).
    #[serde(default)]
    pub max_active_tasks_per_run: bool,
    /// Seconds after the run's start until it fails.
    #[serde(default)]
    pub dagrun_timeout: Option<f64>,
    /// Overrides the deployment's default for new DAGs.
    #[serde(default)]
    pub is_paused_upon_creation: Option<bool>,
    /// `fail_fast` (`fail_stop`): the first failure ends the run.
    #[serde(default)]
    pub fail_fast: bool,
    /// Default params.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Tasks in definition order.
    pub tasks: Vec<TaskSpec>,
}

/// When runs are due.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// Only when triggered.
    #[default]
    None,
    /// One run at `start_date`.
    Once,
    /// A new run whenever the last one ended.
    Continuous,
    /// A cron expression of 5 or 6 fields; presets are already expanded.
    Cron {
        /// The expression.
        expr: String,
        /// IANA zone in which it is meant.
        timezone: String,
        /// Data intervals (run created at interval end) instead of trigger semantics.
        interval: bool,
    },
    /// A fixed distance.
    Delta {
        /// Seconds, more than 0.
        seconds: f64,
        /// Data intervals instead of trigger semantics.
        interval: bool,
    },
}

/// What a worker needs to run a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Name, unique in the DAG.
    pub task_id: String,
    /// Operator class, as the author wrote it (`BashOperator`, `_PythonDecoratedOperator`, …).
    pub operator: String,
    /// How it is run.
    pub runtime: Runtime,
    /// Direct upstream task ids, sorted.
    #[serde(default)]
    pub upstream: Vec<String>,
    /// When it runs, given its upstreams.
    #[serde(default)]
    pub trigger_rule: TriggerRule,
    /// Queue, before pattern routes.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// Pool.
    #[serde(default = "default_pool")]
    pub pool: String,
    /// Slots of the pool that it takes.
    #[serde(default = "one")]
    pub pool_slots: u32,
    /// Own weight.
    #[serde(default = "weight")]
    pub priority_weight: i32,
    /// How weights add up along the graph.
    #[serde(default)]
    pub weight_rule: WeightRule,
    /// Retries after the first try.
    #[serde(default)]
    pub retries: u32,
    /// Seconds between tries.
    #[serde(default = "five_minutes")]
    pub retry_delay: f64,
    /// Factor of exponential backoff; absent or 0 = fixed delay. Airflow 2's `True` is 2.
    #[serde(default)]
    pub retry_exponential_backoff: Option<f64>,
    /// Seconds; cap of the backoff.
    #[serde(default)]
    pub max_retry_delay: Option<f64>,
    /// Seconds until the task's process tree is killed.
    #[serde(default)]
    pub execution_timeout: Option<f64>,
    /// Wait for the previous run's instance to succeed or be skipped.
    #[serde(default)]
    pub depends_on_past: bool,
    /// Additionally wait for the previous instance's direct downstreams.
    #[serde(default)]
    pub wait_for_downstream: bool,
    /// Running instances of this task over all runs.
    #[serde(default)]
    pub max_active_tis_per_dag: Option<u32>,
    /// Running instances of this task within a run.
    #[serde(default)]
    pub max_active_tis_per_dagrun: Option<u32>,
    /// A setup task.
    #[serde(default)]
    pub is_setup: bool,
    /// A teardown task.
    #[serde(default)]
    pub is_teardown: bool,
    /// A failed teardown fails the run.
    #[serde(default)]
    pub on_failure_fail_dagrun: bool,
    /// Owner.
    #[serde(default = "owner")]
    pub owner: String,
    /// Push the result as `return_value`.
    #[serde(default = "yes")]
    pub do_xcom_push: bool,
    /// Task-level params, laid over the DAG's.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Strings to render before the task runs: every template-field string that contains `{{`,
    /// `{%` or `{#`, wherever it is nested.
    #[serde(default)]
    pub templates: Vec<TemplateField>,
    /// Plain operator arguments that the runtime needs. For [`Runtime::Bash`]: `bash_command` (str),
    /// `env` (map or null), `append_env` (bool), `cwd` (str or null), `skip_on_exit_code` (list of
    /// int). For [`Runtime::Python`]: empty, the host reads the operator from the DAG file.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Markdown.
    #[serde(default)]
    pub doc_md: Option<String>,
}

/// A string inside an operator argument that holds a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateField {
    /// Where it is: attribute name, then map keys (str) and list indexes (int).
    pub path: Vec<Value>,
    /// The template text. For a `template_ext` file: the file's content.
    pub source: String,
}

named_enum! {
    /// How a worker runs a task.
    Runtime ("runtime") {
        /// Nothing to run: succeeds in the scheduler without a worker (`EmptyOperator`).
        Empty = "empty",
        /// A shell command, spawned by the worker itself.
        Bash = "bash",
        /// `execute()` of a Python operator, in a process forked from a warm host.
        Python = "python",
        /// A Rust handler registered in the worker under the operator's name.
        Native = "native",
    }
}

named_enum! {
    /// When a task runs, given the states of its direct upstreams.
    TriggerRule ("trigger rule") {
        /// All succeeded.
        AllSuccess = "all_success",
        /// All failed or upstream_failed.
        AllFailed = "all_failed",
        /// All finished.
        AllDone = "all_done",
        /// All skipped.
        AllSkipped = "all_skipped",
        /// At least one succeeded; does not wait for the rest.
        OneSuccess = "one_success",
        /// At least one failed; does not wait for the rest.
        OneFailed = "one_failed",
        /// At least one succeeded or failed.
        OneDone = "one_done",
        /// None failed.
        NoneFailed = "none_failed",
        /// None failed and at least one succeeded.
        NoneFailedMinOneSuccess = "none_failed_min_one_success",
        /// None skipped and all finished.
        NoneSkipped = "none_skipped",
        /// All finished, none skipped, at least one succeeded.
        AllDoneMinOneSuccess = "all_done_min_one_success",
        /// Teardown's default.
        AllDoneSetupSuccess = "all_done_setup_success",
        /// At once.
        Always = "always",
    }
}

#[expect(clippy::derivable_impls, reason = "the enum is declared by a macro without defaults")]
impl Default for TriggerRule {
    fn default() -> Self {
        Self::AllSuccess
    }
}

named_enum! {
    /// How priority weights add up.
    WeightRule ("weight rule") {
        /// Own weight plus all transitive downstreams'.
        Downstream = "downstream",
        /// Own weight plus all transitive upstreams'.
        Upstream = "upstream",
        /// Own weight.
        Absolute = "absolute",
    }
}

#[expect(clippy::derivable_impls, reason = "the enum is declared by a macro without defaults")]
impl Default for WeightRule {
    fn default() -> Self {
        Self::Downstream
    }
}

impl DagSpec {
    /// A task by name.
    pub fn task(&self, task_id: &str) -> Option<&TaskSpec> {
        self.tasks.iter().find(|t| t.task_id == task_id)
    }

    /// The version hash: lower-case SHA-256 of the canonical JSON.
    pub fn version_hash(&self) -> String {
        crate::sign::sha256_hex(&serde_json::to_vec(self).unwrap_or_default())
    }
}

fn utc() -> String {
    "UTC".to_owned()
}
fn sixteen() -> u32 {
    16
}
fn one() -> u32 {
    1
}
fn weight() -> i32 {
    1
}
fn yes() -> bool {
    true
}
fn five_minutes() -> f64 {
    300.0
}
fn owner() -> String {
    "airflow".to_owned()
}
fn default_queue() -> String {
    crate::names::DEFAULT_QUEUE.to_owned()
}
fn default_pool() -> String {
    "default_pool".to_owned()
}
