//! The warm Python host: one process tree per worker, started when it is needed and again after it
//! died. Never knows what an attempt is doing; see `session`.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tradewind_proto::AttemptId;
use tradewind_proto::names::ENV_WORKER_ID;
use uuid::Uuid;

use super::sessions::{Arrival, Sessions};
use crate::WorkerOptions;
use crate::process::kill_group;
use crate::runtime::environment;

/// Commands that may wait for the host to read them.
const COMMANDS_MAX: usize = 1024;
/// How long the interpreter may take to start and import our modules.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long it may take to stop by itself.
const STOP_MAX: Duration = Duration::from_secs(3);

/// A running host. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Host {
    commands: mpsc::Sender<String>,
    dead: CancellationToken,
    death: Arc<OnceLock<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Answer {
    Ready { pid: i32 },
    Exited { attempt: AttemptId, code: i32, error: String },
}

impl Host {
    /// Starts a host and waits until it is ready.
    pub(super) async fn start(
        options: &WorkerOptions,
        instance: Uuid,
        socket: &Path,
        sessions: &Arc<Sessions>,
    ) -> Result<Self, String> {
        let python = options.python.display();
        let mut child = spawn(options, instance, socket)
            .map_err(|error| format!("cannot start {python}: {error}; set the worker's python"))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the Python host has no pipes".to_owned());
        };
        let complaints = Arc::new(std::sync::Mutex::new(String::new()));
        tokio::spawn(complain(stderr, Arc::clone(&complaints)));
        let mut lines = BufReader::new(stdout).lines();
        match timeout(READY_MAX, lines.next_line()).await {
            Ok(Ok(Some(line))) if is_ready(&line) => {}
            Ok(Ok(Some(line))) => return Err(format!("the Python host said {line:?} at start")),
            Ok(_) => {
                let status = child.wait().await.map_or_else(|e| e.to_string(), |s| s.to_string());
                let said = complaints.lock().map(|text| text.clone()).unwrap_or_default();
                return Err(format!("the Python host ended at start ({status}): {said}"));
            }
            Err(_) => return Err(format!("the Python host was not ready within {READY_MAX:?}")),
        }
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let dead = CancellationToken::new();
        let death = Arc::new(OnceLock::new());
        let life = Life { child, stdin, lines, queue, sessions: Arc::clone(sessions) };
        tokio::spawn(life.supervise(dead.clone(), Arc::clone(&death)));
        Ok(Self { commands, dead, death })
    }

    /// Asks for an attempt; what becomes of it is told to its session.
    pub(super) async fn run(&self, command: &Value) -> Result<(), String> {
        self.commands.send(format!("{command}\n")).await.map_err(|_| self.death())
    }

    /// Completes when the host is dead.
    pub(super) async fn dead(&self) {
        self.dead.cancelled().await;
    }

    /// Cancelled when the host is dead; does not keep it alive.
    pub(super) fn dead_token(&self) -> CancellationToken {
        self.dead.clone()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// How it died, for people.
    pub(super) fn death(&self) -> String {
        let how = self.death.get().map_or("for an unknown reason", String::as_str);
        format!("the Python host died ({how}); the task's process was stopped")
    }
}

fn spawn(options: &WorkerOptions, instance: Uuid, socket: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(&options.python);
    command
        .args(["-m", "tradewind_host.host", "--dags-folder"])
        .arg(&options.dags_folder)
        .arg("--socket")
        .arg(socket)
        .args(["--max-zygotes", &options.max_zygotes.to_string()])
        .env_clear()
        .envs(environment::inherited())
        .env(ENV_WORKER_ID, instance.to_string());
    if let Some(folder) = &options.python_path {
        let inherited = std::env::var_os("PYTHONPATH").unwrap_or_default();
        let parts = std::iter::once(folder.clone()).chain(std::env::split_paths(&inherited));
        let joined = std::env::join_paths(parts.filter(|part| !part.as_os_str().is_empty()));
        command.env("PYTHONPATH", joined.map_err(std::io::Error::other)?);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn is_ready(line: &str) -> bool {
    matches!(serde_json::from_str(line), Ok(Answer::Ready { pid: 1.. }))
}

/// Passes what the host prints to our log; keeps the last line for a failed start.
async fn complain(stderr: impl AsyncRead + Unpin, last: Arc<std::sync::Mutex<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!(line, "Python host");
        if let Ok(mut last) = last.lock() {
            *last = line;
        }
    }
}

struct Life {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    queue: mpsc::Receiver<String>,
    sessions: Arc<Sessions>,
}

impl Life {
    async fn supervise(mut self, dead: CancellationToken, death: Arc<OnceLock<String>>) {
        let leader = self.child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        loop {
            tokio::select! {
                biased;
                _ = self.child.wait() => break,
                line = self.lines.next_line() => match line {
                    Ok(Some(line)) => self.heard(&line).await,
                    _ => break,
                },
                command = self.queue.recv() => match command {
                    Some(command) => {
                        if self.stdin.write_all(command.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                    None => break,
                },
            }
        }
        drop(self.stdin);
        let status = match timeout(STOP_MAX, self.child.wait()).await {
            Ok(status) => {
                status.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
            Err(_) => "it closed its pipes".to_owned(),
        };
        let _known = death.set(status);
        // Zygotes of a root that was killed.
        kill_group(leader, Signal::SIGKILL);
        dead.cancel();
    }

    async fn heard(&self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Answer::Exited { attempt, code, error }) => {
                let text = if error.is_empty() { format!("exit code {code}") } else { error };
                self.sessions.tell(attempt, Arrival::Exited(text)).await;
            }
            Ok(Answer::Ready { .. }) => {}
            Err(error) => tracing::warn!(%error, line, "the Python host said something unknown"),
        }
    }
}
