//! Flags that are configuration under another spelling.

use crate::args::{BeatArgs, Command, DagsFolderArgs, FlowerArgs, WebArgs, WorkerArgs};
use crate::context::Flag;

/// The settings that a command line gives.
pub(crate) fn of(command: &Command) -> Vec<Flag> {
    let mut flags = Flags(Vec::new());
    match command {
        Command::Standalone(args) | Command::Web(args) => flags.web(args),
        Command::Scheduler(folder) => flags.dags(folder),
        Command::Worker(args) => flags.worker(args),
        Command::Beat(BeatArgs { loglevel }) => {
            flags.add("logging", "level", "--loglevel", loglevel)
        }
        Command::Flower(FlowerArgs { host, port }) => {
            flags.add("flower", "host", "--host", host);
            flags.add("flower", "port", "--port", port);
        }
        _ => {}
    }
    flags.0
}

struct Flags(Vec<Flag>);

impl Flags {
    fn add(
        &mut self,
        section: &'static str,
        key: &'static str,
        flag: &'static str,
        value: &Option<String>,
    ) {
        if let Some(value) = value {
            self.0.push((section, key, flag, value.clone()));
        }
    }

    fn web(&mut self, args: &WebArgs) {
        self.add("web", "host", "--host", &args.host);
        self.add("web", "port", "--port", &args.port);
        self.dags(&args.dags);
    }

    fn worker(&mut self, args: &WorkerArgs) {
        self.add("worker", "queues", "-Q", &args.queues);
        self.add("worker", "exclude_queues", "-X", &args.exclude_queues);
        self.add("worker", "concurrency", "-c", &args.concurrency);
        self.add("worker", "autoscale", "--autoscale", &args.autoscale);
        self.add("worker", "name", "-n", &args.name);
        self.add("worker", "send_events", "-E", &args.events.then(|| "true".to_owned()));
        self.add("worker", "time_limit", "--time-limit", &args.time_limit);
        self.add("worker", "soft_time_limit", "--soft-time-limit", &args.soft_time_limit);
        let (tasks, memory) = (&args.max_tasks_per_child, &args.max_memory_per_child);
        self.add("worker", "max_tasks_per_child", "--max-tasks-per-child", tasks);
        self.add("worker", "max_memory_per_child", "--max-memory-per-child", memory);
        self.add("logging", "level", "--loglevel", &args.loglevel);
        self.dags(&args.dags);
    }

    fn dags(&mut self, args: &DagsFolderArgs) {
        let absolute = args.dags_folder.as_ref().map(|path| {
            std::path::absolute(path).map_or(path.clone(), |path| path.display().to_string())
        });
        self.add("core", "dags_folder", "-S", &absolute);
    }
}
