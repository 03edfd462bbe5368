//! Arguments of commands that talk to the fleet's queues, workers and results.

use clap::{ArgAction, Args, Subcommand};

use super::OutputArgs;

/// Commands that talk to queues, workers and results, on a broker that processes share.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Fleet tasks: send one, read its result, revoke it
    #[command(subcommand)]
    Task(TaskCommand),
    /// Task queues
    #[command(subcommand)]
    Queues(QueuesCommand),
    /// Dead letters: messages that were given up, with the reason
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Ask workers what they do
    Inspect(InspectArgs),
    /// Tell workers what to do
    Control(ControlArgs),
    /// Which workers are online
    Status(StatusArgs),
    /// Print the fleet's events as they happen
    Events(EventsArgs),
    /// Drop all messages that wait in queues
    Purge(PurgeArgs),
}

impl FleetCommand {
    /// The word that it begins with.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Queues(_) => "queues",
            Self::Dlq(_) => "dlq",
            Self::Inspect(_) => "inspect",
            Self::Control(_) => "control",
            Self::Status(_) => "status",
            Self::Events(_) => "events",
            Self::Purge(_) => "purge",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Send a task; prints its id
    #[command(visible_alias = "call")]
    Send(Box<TaskSendArgs>),
    /// Print the result of a task
    Result(TaskResultArgs),
    /// Keep tasks from running
    Revoke(TaskRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TaskSendArgs {
    /// Task name
    pub(crate) name: String,
    /// Positional arguments, a JSON array
    #[arg(short, long, default_value = "[]", value_name = "JSON")]
    pub(crate) args: String,
    /// Keyword arguments, a JSON object
    #[arg(short, long, default_value = "{}", value_name = "JSON")]
    pub(crate) kwargs: String,
    /// Queue [default: as routed]
    #[arg(short, long)]
    pub(crate) queue: Option<String>,
    /// Exchange to publish to, instead of a queue
    #[arg(long, conflicts_with = "queue")]
    pub(crate) exchange: Option<String>,
    /// Routing key for the exchange
    #[arg(long)]
    pub(crate) routing_key: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME", conflicts_with = "countdown")]
    pub(crate) eta: Option<String>,
    /// Not before so many seconds from now
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) countdown: Option<f64>,
    /// Not after this time, or so many seconds from now
    #[arg(long, value_name = "TIME|SECONDS")]
    pub(crate) expires: Option<String>,
    /// Priority; high numbers go first on RabbitMQ, low ones on Redis
    #[arg(long)]
    pub(crate) priority: Option<u8>,
    /// Task id [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Hard time limit in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_limit: Option<f64>,
    /// Soft time limit in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) soft_time_limit: Option<f64>,
    /// Keep no result
    #[arg(long, conflicts_with = "wait")]
    pub(crate) ignore_result: bool,
    /// Wait for the result and print it
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Longest wait in seconds
    #[arg(short, long, default_value_t = 60.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
}

#[derive(Debug, Args)]
pub(crate) struct TaskResultArgs {
    /// Task id
    pub(crate) id: String,
    /// Wait until the task has ended
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Longest wait in seconds
    #[arg(short, long, default_value_t = 60.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
    /// Print the traceback instead of the result
    #[arg(long)]
    pub(crate) traceback: bool,
    /// Print state, result, traceback and the rest as one JSON object
    #[arg(short, long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TaskRevokeArgs {
    /// Task ids
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Stop it if it runs already
    #[arg(long)]
    pub(crate) terminate: bool,
    /// Signal for `--terminate`
    #[arg(long, default_value = "SIGTERM")]
    pub(crate) signal: String,
    /// Longest wait for workers' answers in seconds
    #[arg(short, long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueuesCommand {
    /// List queues with their depth
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Drop what waits in queues
    Purge(PurgeArgs),
    /// Show the first messages of a queue and leave them there
    Peek {
        /// Queue
        queue: String,
        /// At most so many
        #[arg(long, default_value_t = 10)]
        limit: usize,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// Queues [default: all that configuration names]
    pub(crate) queues: Vec<String>,
    /// The same, separated by commas
    #[arg(short = 'Q', long = "queues", value_name = "QUEUES", value_delimiter = ',')]
    pub(crate) listed: Vec<String>,
    /// But not these
    #[arg(short = 'X', long, value_name = "QUEUES", value_delimiter = ',')]
    pub(crate) exclude_queues: Vec<String>,
    /// Do not ask
    #[arg(short, long, visible_short_alias = 'y')]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, oldest first
    List {
        /// Queue
        #[arg(default_value = "default")]
        queue: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only those after the one with this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print one dead letter: reason, headers, body
    Show {
        /// Queue
        queue: String,
        /// Id of the letter or its task
        id: String,
    },
    /// Put dead letters back into the queue that they came from
    Replay(DlqSelectArgs),
    /// Remove dead letters for good
    Drop(DlqSelectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DlqSelectArgs {
    /// Queue
    pub(crate) queue: String,
    /// Ids of letters or their tasks
    pub(crate) ids: Vec<String>,
    /// All that are there
    #[arg(long, conflicts_with = "ids", required_unless_present = "ids", action = ArgAction::SetTrue)]
    pub(crate) all: bool,
}

/// Which nodes are asked, and for how long.
#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    /// Only these nodes, separated by commas, as in celery@host
    #[arg(short, long, value_name = "NODES", value_delimiter = ',')]
    pub(crate) destination: Vec<String>,
    /// Longest wait for answers in seconds
    #[arg(short, long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
    /// Print answers by node as JSON, in Celery's layout
    #[arg(short, long, conflicts_with = "output")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Command; `--list` shows all
    #[arg(required_unless_present = "list")]
    pub(crate) command: Option<String>,
    /// Its arguments
    pub(crate) args: Vec<String>,
    /// List the commands
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// Command; `--list` shows all
    #[arg(required_unless_present = "list")]
    pub(crate) command: Option<String>,
    /// Its arguments
    pub(crate) args: Vec<String>,
    /// List the commands
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Print events as lines (what this command does anyway)
    #[arg(short, long)]
    pub(crate) dump: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}
