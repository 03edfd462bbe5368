//! The processes of external tasks: each has its own group and marks, and dropping its [`Tree`] ends it
//! with all that it started.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tradewind_proto::AttemptId;
use tradewind_proto::clock::SharedIds;
use tradewind_proto::names::{ENV_ATTEMPT_ID, ENV_WORKER_ID};
use uuid::Uuid;

use crate::WorkerOptions;
use crate::process::{Guard, ProcessTable, kill_group, kill_tree, sweep};
use crate::runtime::environment;

/// What all processes of one worker's external tasks share.
#[derive(Debug)]
pub(super) struct Host {
    ids: SharedIds,
    instance: Uuid,
    table: Arc<ProcessTable>,
    /// Options of a guard, if one is wanted.
    guard: Option<WorkerOptions>,
    /// Guard and sweep; they start with the first process.
    duties: Mutex<Option<JoinSet<()>>>,
}

/// A running process and all that it started. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Tree {
    child: Option<Child>,
    attempt: AttemptId,
    leader: i32,
    host: Arc<Host>,
}

impl Host {
    pub(super) fn new(ids: SharedIds, guard: Option<Option<PathBuf>>) -> Arc<Self> {
        let guard =
            guard.map(|guard_program| WorkerOptions { guard_program, ..WorkerOptions::default() });
        Arc::new(Self {
            instance: ids.next(),
            ids,
            table: Arc::default(),
            guard,
            duties: Mutex::default(),
        })
    }

    /// A command with the worker's environment and without its secrets.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(environment::inherited());
        command
    }

    /// Starts a command with pipes.
    pub(super) fn spawn(self: &Arc<Self>, command: &mut Command) -> std::io::Result<Tree> {
        self.start_duties()?;
        let attempt = AttemptId(self.ids.next());
        let child = command
            .env(ENV_ATTEMPT_ID, attempt.to_string())
            .env(ENV_WORKER_ID, self.instance.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let leader = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        self.table.enter(attempt, leader);
        Ok(Tree { child: Some(child), attempt, leader, host: Arc::clone(self) })
    }

    fn start_duties(&self) -> std::io::Result<()> {
        let mut duties = self.duties.lock().unwrap_or_else(PoisonError::into_inner);
        if duties.is_some() {
            return Ok(());
        }
        let mut all = JoinSet::new();
        if let Some(options) = &self.guard {
            let guard = Guard::start(options, self.instance).map_err(std::io::Error::other)?;
            all.spawn(guard.watch());
        }
        all.spawn(sweep(Arc::clone(&self.table), self.instance));
        *duties = Some(all);
        Ok(())
    }

    /// Ends guard and sweep.
    pub(super) fn close(&self) {
        self.duties.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Tree {
    /// The process itself.
    pub(super) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Signals the process and its group.
    pub(super) fn signal_group(&self, signal: Signal) {
        kill_group(self.leader, signal);
    }

    /// Signals only the process.
    pub(super) fn signal_leader(&self, signal: Signal) {
        if self.leader > 1 && self.child.is_some() {
            let _gone = kill(Pid::from_raw(self.leader), signal);
        }
    }

    /// The process has ended by itself: its background jobs end with it; the sweep finds those that left.
    pub(super) fn ended(&mut self) {
        self.child = None;
        kill_group(self.leader, Signal::SIGKILL);
        self.host.table.leave(self.attempt);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let (attempt, leader, host) = (self.attempt, self.leader, Arc::clone(&self.host));
        // Without a runtime the child is killed by its own drop.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            // Registered until the tree is dead, so that a sweep looks once more.
            kill_tree(attempt, leader, Duration::ZERO, std::future::ready(())).await;
            let _reaped = child.wait().await;
            host.table.leave(attempt);
        });
    }
}
