//! The guard: a process beside each worker that outlives it, even after `kill -9`, just long enough
//! to kill everything the worker had started. It learns of the worker's death by end of file on its
//! standard input. It never touches a process that does not carry the worker's instance id.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::sleep;
use tradewind_proto::names::ENV_WORKER_ID;
use uuid::Uuid;

use super::kill::closure;
use super::proc::processes;
use crate::{Error, WorkerOptions};

/// How long the guard goes on killing.
const KILL_MAX: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(50);
/// Pause before a guard that died is replaced.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The folder for sockets and working folders of one worker's life.
pub(crate) fn scratch_folder(instance: Uuid) -> PathBuf {
    std::env::temp_dir().join(format!("tradewind-{instance}"))
}

/// Body of the hidden command `tradewind guard --instance <uuid>`: waits for the worker's death, then
/// kills what it left. Returns how many processes were killed. Call it on the main thread, before any
/// other thread or runtime is started: it shields itself from the signals that stop the worker.
pub fn run(instance: Uuid) -> usize {
    let mut shielded = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        shielded.add(signal);
    }
    let _unshielded = shielded.thread_block();
    let mut byte = [0; 64];
    let mut stdin = std::io::stdin().lock();
    while !matches!(stdin.read(&mut byte), Ok(0) | Err(_)) {}
    let killed = kill_all(instance);
    let _absent = std::fs::remove_dir_all(scratch_folder(instance));
    killed
}

fn kill_all(instance: Uuid) -> usize {
    let id = instance.to_string();
    let deadline = Instant::now() + KILL_MAX;
    let mut total = 0;
    loop {
        let all = processes();
        let own = all.iter().filter(|p| p.has(ENV_WORKER_ID, &id)).map(|p| p.pid).collect();
        let doomed = closure(&all, own);
        if doomed.is_empty() || Instant::now() > deadline {
            return total;
        }
        let killed = |pid: &&i32| kill(Pid::from_raw(**pid), Signal::SIGKILL).is_ok();
        total += doomed.iter().filter(killed).count();
        #[expect(clippy::disallowed_methods, reason = "a process without a runtime, by design")]
        std::thread::sleep(KILL_PAUSE);
    }
}

/// A running guard. Dropping it lets the guard do its work and end.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    /// Its end of file is the sign; [`Child::wait`] would close it if it stayed in the child.
    lifeline: Option<ChildStdin>,
    program: PathBuf,
    instance: Uuid,
}

impl Guard {
    pub(crate) fn start(options: &WorkerOptions, instance: Uuid) -> Result<Self, Error> {
        let system = |source| Error::System { what: "start its guard".to_owned(), source };
        let program = match &options.guard_program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(system)?,
        };
        let mut child = spawn(&program, instance).map_err(system)?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline, program, instance })
    }

    /// Replaces a guard that died. Runs until it is dropped.
    pub(crate) async fn watch(mut self) {
        loop {
            let status = self.child.wait().await;
            tracing::warn!(?status, "the guard ended; starting another");
            sleep(RESTART_PAUSE).await;
            match spawn(&self.program, self.instance) {
                Ok(mut child) => {
                    self.lifeline = child.stdin.take();
                    self.child = child;
                }
                Err(error) => tracing::error!(%error, "cannot start a guard"),
            }
        }
    }
}

fn spawn(program: &PathBuf, instance: Uuid) -> std::io::Result<Child> {
    // Its own group, so that Ctrl-C in a terminal does not reach it.
    Command::new(program)
        .args(["guard", "--instance", &instance.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
}
