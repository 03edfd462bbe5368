//! The command line, with Airflow's spellings; Celery's are translated into it (`crate::celery`).

mod bench;
mod fleet;
mod workers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;

pub(crate) use bench::*;
pub(crate) use fleet::*;
pub(crate) use workers::*;

/// Workflow orchestrator and task-queue worker fleet in one binary.
#[derive(Debug, Parser)]
#[command(name = "tradewind", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Folder of state, keys and the default configuration file
    #[arg(long, global = true, env = "TRADEWIND_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Configuration file [default: tradewind.toml in the home folder]
    #[arg(long, global = true, env = "TRADEWIND_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Values that Celery's spelling brings along: defaults that it changes, flags of its own
    #[arg(skip)]
    pub(crate) celery: Celery,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What a command line in Celery's spelling says besides a command of ours.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Celery {
    /// Other defaults: section, key, value, source.
    pub(crate) fallbacks: Vec<(&'static str, &'static str, &'static str, &'static str)>,
    /// Settings given by its global options: section, key, option, value.
    pub(crate) flags: Vec<(&'static str, &'static str, &'static str, String)>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, with no services: scheduler, worker and web
    Standalone(WebArgs),
    /// Move runs forward: parse DAG files, create runs, plan, publish, take results
    Scheduler(DagsFolderArgs),
    /// Consume queues and run tasks
    Worker(Box<WorkerArgs>),
    /// Send periodic tasks when they are due
    Beat(BeatArgs),
    /// Monitor of the fleet: Flower's API and metrics, stand-alone
    Flower(FlowerArgs),
    /// Pages, health, metrics, and the execution API for workers
    #[command(alias = "webserver", alias = "api-server")]
    Web(WebArgs),
    /// Metadata database
    #[command(subcommand)]
    Db(DbCommand),
    /// DAGs and their runs
    #[command(subcommand)]
    Dags(DagsCommand),
    /// Tasks and their states
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Heartbeats of the fleet's processes
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Variables that DAGs read
    #[command(subcommand)]
    Variables(VariablesCommand),
    /// What talks to the fleet's queues, workers and results
    #[command(flatten)]
    Fleet(FleetCommand),
    /// Configuration in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print the version
    Version,
    /// Kill what a dead worker left behind (started by workers)
    #[command(hide = true)]
    Guard {
        /// Life of the worker
        #[arg(long)]
        instance: uuid::Uuid,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DagsFolderArgs {
    /// Folder of DAG files
    #[arg(short = 'S', long = "subdir", value_name = "DIR")]
    pub(crate) dags_folder: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WebArgs {
    /// Address to listen on
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 = any free one
    #[arg(short, long)]
    pub(crate) port: Option<String>,
    #[command(flatten)]
    pub(crate) dags: DagsFolderArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Bring the schema up to date
    #[command(alias = "init", alias = "upgrade")]
    Migrate,
    /// Whether the database answers and has the right schema
    Check,
}

/// Output of a listing; the one place of this flag.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
}

impl OutputArgs {
    /// The format asked for; a table, if none is.
    pub(crate) fn format(self) -> Format {
        self.output.unwrap_or_default()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DagsCommand {
    /// List DAGs
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show a DAG's tasks and edges
    Show {
        dag_id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Start a run now
    Trigger(TriggerArgs),
    /// Run one DAG run in this process to its end
    Test(TestArgs),
    /// List runs, newest first
    ListRuns {
        /// DAG
        dag_id: Option<String>,
        /// DAG (Airflow 2's spelling)
        #[arg(short = 'd', long = "dag-id", value_name = "DAG_ID", conflicts_with = "dag_id")]
        dag: Option<String>,
        /// Only runs in this state
        #[arg(long)]
        state: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List DAG files that could not be loaded
    ListImportErrors {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Stop creating and starting runs of a DAG
    Pause { dag_id: String },
    /// Undo `pause`
    Unpause { dag_id: String },
}

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    pub(crate) dag_id: String,
    /// JSON object that tasks see as dag_run.conf
    #[arg(short, long)]
    pub(crate) conf: Option<String>,
    /// Name of the run
    #[arg(short, long)]
    pub(crate) run_id: Option<String>,
    /// Logical date of the run
    #[arg(short = 'e', long = "logical-date", alias = "exec-date", alias = "execution-date")]
    pub(crate) logical_date: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    pub(crate) dag_id: String,
    /// Logical date of the run [default: now]
    pub(crate) logical_date: Option<String>,
    /// JSON object that tasks see as dag_run.conf
    #[arg(short, long)]
    pub(crate) conf: Option<String>,
    /// DAG file or folder to look in [default: the DAGs folder]
    #[arg(short = 'S', long = "subdir", value_name = "PATH")]
    pub(crate) subdir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TasksCommand {
    /// List the tasks of a DAG
    List {
        dag_id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the state of one task instance
    State {
        dag_id: String,
        task_id: String,
        /// Run name or logical date
        run: String,
    },
    /// List the task instances of a run
    StatesForDagRun {
        dag_id: String,
        /// Run name or logical date
        run: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the log of a task instance
    Logs {
        dag_id: String,
        task_id: String,
        /// Run name or logical date
        run: String,
        /// Try [default: the newest]
        #[arg(long)]
        try_number: Option<u32>,
        /// Keep printing until the attempt ends
        #[arg(short, long)]
        follow: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Exit 0 if a process of this kind is alive
    Check(JobsCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JobsCheckArgs {
    /// SchedulerJob, DagProcessorJob or TriggererJob
    #[arg(long)]
    pub(crate) job_type: Option<String>,
    /// Only on this host
    #[arg(long, conflicts_with = "local")]
    pub(crate) hostname: Option<String>,
    /// Only on this machine
    #[arg(long)]
    pub(crate) local: bool,
    /// Look at the newest so many jobs
    #[arg(long, default_value_t = 1)]
    pub(crate) limit: u32,
    /// More than one may be alive
    #[arg(long)]
    pub(crate) allow_multiple: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VariablesCommand {
    /// Print a variable
    Get { key: String },
    /// Set a variable
    Set { key: String, value: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key, its value and where it came from
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print one value
    GetValue { section: String, key: String },
}
