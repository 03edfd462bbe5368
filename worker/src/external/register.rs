//! From the table in configuration to handlers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tradewind_proto::clock::SharedIds;

use super::call::{Call, Runner};
use super::command::CommandRunner;
use super::http::{self, HttpRunner};
use super::process::Host;
use super::python::{Pool, PythonRunner, Settings};
use super::template::Template;
use super::{ExternalError, ExternalOptions, Means};
use crate::fleet::{Outcome, TaskError, Tasks};

/// What external tasks are run with.
#[derive(Debug, Clone)]
pub struct ExternalEnv {
    /// Ids of processes.
    pub ids: SharedIds,
    /// The Python interpreter, 3.10 or newer.
    pub python: PathBuf,
    /// The folder that holds the package `tradewind_host`; without it `PYTHONPATH` must.
    pub python_path: Option<PathBuf>,
    /// Run a guard process that kills what a dead worker leaves behind.
    pub guard: bool,
    /// The program whose `guard --instance <id>` is the guard. Default: the running program.
    pub guard_program: Option<PathBuf>,
}

#[derive(Debug)]
struct Entry {
    options: ExternalOptions,
    runner: Arc<dyn Runner>,
}

/// The table `[tasks]`, checked and ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ExternalTasks {
    entries: Arc<BTreeMap<String, Entry>>,
    host: Arc<Host>,
}

impl ExternalTasks {
    /// Checks a table. Starts nothing.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub fn new(
        table: BTreeMap<String, ExternalOptions>,
        env: &ExternalEnv,
    ) -> Result<Self, ExternalError> {
        let guard = env.guard.then(|| env.guard_program.clone());
        let host = Host::new(Arc::clone(&env.ids), guard);
        let mut maker = Maker { env, host: &host, client: None, pools: BTreeMap::new() };
        let mut entries = BTreeMap::new();
        for (task, options) in table {
            let runner = maker.runner(&task, &options)?;
            entries.insert(task, Entry { options, runner });
        }
        Ok(Self { entries: Arc::new(entries), host })
    }

    /// Registers all of them; an entry replaces a handler of the same name.
    pub fn register(&self, tasks: &mut Tasks) {
        for (task, entry) in self.entries.iter() {
            let runner = Arc::clone(&entry.runner);
            tasks.add_raw(task, move |context| {
                let runner = Arc::clone(&runner);
                async move { runner.run(&Call::of(&context)).await }.boxed()
            });
            tasks.options(task, |options| entry.options.apply(options));
        }
    }

    /// Makes one call here and now, without queue, limits and retries. Dropping the future kills what it
    /// started.
    ///
    /// # Errors
    /// As the task ends; an unknown name is `NotRegistered`.
    pub async fn call(&self, call: &Call) -> Outcome {
        let Some(entry) = self.entries.get(&call.task) else {
            return Err(TaskError::fail("NotRegistered", &call.task));
        };
        entry.runner.run(call).await
    }

    /// Ends processes that were kept for later calls. Calls that run are not touched.
    pub async fn close(&self) {
        for entry in self.entries.values() {
            entry.runner.close().await;
        }
        self.host.close();
    }
}

/// Makes runners that share what they can.
struct Maker<'a> {
    env: &'a ExternalEnv,
    host: &'a Arc<Host>,
    client: Option<reqwest::Client>,
    pools: BTreeMap<Settings, Arc<Pool>>,
}

impl Maker<'_> {
    fn runner(
        &mut self,
        task: &str,
        options: &ExternalOptions,
    ) -> Result<Arc<dyn Runner>, ExternalError> {
        let wrong = |reason: String| ExternalError::Task { task: task.to_owned(), reason };
        Ok(match options.means(task)? {
            Means::Command(argv) => {
                let argv: Result<_, String> =
                    argv.iter().map(|part| Template::parse(part)).collect();
                Arc::new(CommandRunner {
                    host: Arc::clone(self.host),
                    argv: argv.map_err(wrong)?,
                    cwd: options.cwd.clone(),
                    env: options.env.clone(),
                })
            }
            Means::Http(url) => {
                let client = match &self.client {
                    Some(client) => client.clone(),
                    None => self.client.insert(http::client()?).clone(),
                };
                let headers = http::headers(&options.headers).map_err(wrong)?;
                let limit = options.time_limit.map(Duration::from_secs_f64);
                Arc::new(HttpRunner { client, url, headers, limit })
            }
            Means::Python(module, name) => {
                let settings = Settings {
                    python: self.env.python.clone(),
                    python_path: self.env.python_path.clone(),
                    cwd: options.cwd.clone(),
                    env: options.env.clone(),
                    max_tasks: options.max_tasks_per_child,
                    max_memory_kb: options.max_memory_per_child_kb,
                };
                let host = self.host;
                let new =
                    |settings: &Settings| Arc::new(Pool::new(Arc::clone(host), settings.clone()));
                let pool = self.pools.entry(settings).or_insert_with_key(new);
                Arc::new(PythonRunner {
                    pool: Arc::clone(pool),
                    function: format!("{module}:{name}"),
                })
            }
        })
    }
}
