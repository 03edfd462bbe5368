//! Arguments of the processes of the fleet.

use clap::{ArgAction, Args};

use super::DagsFolderArgs;

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Queues to consume, separated by commas
    #[arg(short = 'Q', short_alias = 'q', long)]
    pub(crate) queues: Option<String>,
    /// Queues not to consume although they are listed
    #[arg(short = 'X', long)]
    pub(crate) exclude_queues: Option<String>,
    /// Tasks run at once
    #[arg(short, long)]
    pub(crate) concurrency: Option<String>,
    /// Concurrency by demand
    #[arg(long, value_name = "MAX,MIN")]
    pub(crate) autoscale: Option<String>,
    /// Worker name; %h = host name
    #[arg(short = 'n', long = "name", alias = "hostname", alias = "celery-hostname")]
    pub(crate) name: Option<String>,
    /// Send task events
    #[arg(short = 'E', long, visible_alias = "task-events", action = ArgAction::SetTrue)]
    pub(crate) events: bool,
    /// Log filter, as in `info`
    #[arg(short, long, value_name = "LEVEL")]
    pub(crate) loglevel: Option<String>,
    /// Hard time limit in seconds of fleet tasks that have none
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_limit: Option<String>,
    /// Soft time limit in seconds of fleet tasks that have none
    #[arg(long, value_name = "SECONDS")]
    pub(crate) soft_time_limit: Option<String>,
    /// Tasks until a child process is replaced
    #[arg(long, value_name = "N")]
    pub(crate) max_tasks_per_child: Option<String>,
    /// Resident KiB above which a child process is replaced
    #[arg(long, value_name = "KIB")]
    pub(crate) max_memory_per_child: Option<String>,
    /// Drop what waits in the queues before consuming
    #[arg(long, visible_alias = "discard", action = ArgAction::SetTrue)]
    pub(crate) purge: bool,
    /// Send the periodic tasks of [beat] too
    #[arg(short = 'B', long, action = ArgAction::SetTrue)]
    pub(crate) beat: bool,
    #[command(flatten)]
    pub(crate) dags: DagsFolderArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BeatArgs {
    /// Log filter, as in `info`
    #[arg(short, long, value_name = "LEVEL")]
    pub(crate) loglevel: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FlowerArgs {
    /// Address to listen on
    #[arg(long, visible_alias = "address")]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 = any free one
    #[arg(short, long)]
    pub(crate) port: Option<String>,
}
