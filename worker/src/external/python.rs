//! Runs a task as a Python callable in one of a pool of warm processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::call::{Call, Runner};
use super::child::PythonChild;
use super::process::Host;
use crate::fleet::{Outcome, TaskError};

/// Most idle processes that a pool keeps. Those in use are bounded by the worker's slots.
const IDLE_MAX: usize = 64;

/// What makes processes interchangeable: tasks with the same settings share them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Settings {
    pub(super) python: PathBuf,
    pub(super) python_path: Option<PathBuf>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) max_tasks: Option<u32>,
    pub(super) max_memory_kb: Option<u64>,
}

/// Warm processes.
#[derive(Debug)]
pub(super) struct Pool {
    host: Arc<Host>,
    settings: Settings,
    /// Used last, reused first: the others may go to swap.
    idle: Mutex<Vec<PythonChild>>,
}

impl Pool {
    pub(super) fn new(host: Arc<Host>, settings: Settings) -> Self {
        Self { host, settings, idle: Mutex::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PythonChild>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<PythonChild, TaskError> {
        let settings = &self.settings;
        let mut command = self.host.command(&settings.python);
        command.args(["-m", "tradewind_host.calls"]);
        command.env("PYTHONPATH", self.search_path()).envs(&settings.env);
        if let Some(cwd) = &settings.cwd {
            if !cwd.is_dir() {
                let text = format!("cwd {} is not a folder", cwd.display());
                return Err(TaskError::fail("PythonNotStarted", text));
            }
            command.current_dir(cwd);
        }
        PythonChild::start(&self.host, &mut command)
    }

    /// Ours first, so that nobody else's module answers for it.
    fn search_path(&self) -> OsString {
        let named = self.settings.env.get("PYTHONPATH").map(OsString::from);
        let rest = named.or_else(|| std::env::var_os("PYTHONPATH")).unwrap_or_default();
        let own = self.settings.python_path.clone().into_iter();
        let parts = own.chain(std::env::split_paths(&rest)).filter(|p| !p.as_os_str().is_empty());
        std::env::join_paths(parts).unwrap_or(rest)
    }

    fn give_back(&self, child: PythonChild) {
        let worn = self.settings.max_tasks.is_some_and(|most| child.calls >= most)
            || self.settings.max_memory_kb.is_some_and(|most| child.memory_kb > most);
        let mut idle = self.idle();
        if !worn && idle.len() < IDLE_MAX {
            idle.push(child);
        }
    }

    fn close(&self) {
        self.idle().clear();
    }
}

/// Calls one function.
#[derive(Debug)]
pub(super) struct PythonRunner {
    pub(super) pool: Arc<Pool>,
    pub(super) function: String,
}

#[async_trait]
impl Runner for PythonRunner {
    async fn run(&self, call: &Call) -> Outcome {
        let warm = self.pool.idle().pop();
        let mut child = match warm {
            Some(child) => child,
            None => self.pool.start()?,
        };
        // Dropped in the middle, the process dies: it is in an unknown state.
        let (outcome, usable) = child.call(&self.function, call).await;
        if usable {
            self.pool.give_back(child);
        }
        outcome
    }

    async fn close(&self) {
        self.pool.close();
    }
}
