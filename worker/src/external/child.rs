//! One warm Python process: a JSON line in, a JSON line out, one call at a time.
//!
//! The other side is `tradewind_host.calls`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tradewind_proto::celery::wide;

use super::call::Call;
use super::command::Tail;
use super::process::{Host, Tree};
use crate::fleet::{Failure, Outcome, Retry, TaskError};

/// Longest answer; more is no result but a mistake.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long the last words of a process that died may take to be read.
const LAST_WORDS_MAX: Duration = Duration::from_millis(500);
/// Longest wait that a callable may ask for before its retry.
const COUNTDOWN_SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// A warm process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct PythonChild {
    tree: Tree,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    said: Arc<Mutex<Tail>>,
    listener: JoinHandle<()>,
    /// Calls that were made.
    pub(super) calls: u32,
    /// Peak memory in KiB, as of its last answer.
    pub(super) memory_kb: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    memory_kb: u64,
    #[serde(flatten)]
    end: End,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Result(Value),
    Error(Raised),
    Retry { countdown: Option<f64>, because: Option<Raised> },
    Ignore {},
    Reject { requeue: bool, reason: String },
}

#[derive(Debug, Deserialize)]
struct Raised {
    exc_type: String,
    args: Vec<Value>,
    module: String,
    traceback: String,
}

impl PythonChild {
    pub(super) fn start(host: &Arc<Host>, command: &mut Command) -> Result<Self, TaskError> {
        let failed = |text: String| TaskError::fail("PythonNotStarted", text);
        let mut tree = host.spawn(command).map_err(|error| {
            failed(format!(
                "cannot start {:?}: {error}; set the worker's python",
                command.as_std().get_program()
            ))
        })?;
        let pipes = tree.child().map(|c| (c.stdin.take(), c.stdout.take(), c.stderr.take()));
        let Some((Some(stdin), Some(stdout), Some(stderr))) = pipes else {
            return Err(failed("the Python process has no pipes".to_owned()));
        };
        let said = Arc::new(Mutex::new(Tail::default()));
        let listener = tokio::spawn(listen(stderr, Arc::clone(&said)));
        let stdout = BufReader::new(stdout);
        Ok(Self { tree, stdin, stdout, said, listener, calls: 0, memory_kb: 0 })
    }

    /// Makes a call. The second value says whether the process can make another one.
    pub(super) async fn call(&mut self, function: &str, call: &Call) -> (Outcome, bool) {
        self.calls += 1;
        let mut order = call.to_json();
        order["function"] = json!(function);
        let talk = exchange(&mut self.stdin, &mut self.stdout, wide::to_json(&order) + "\n");
        let mut talk = Box::pin(talk);
        let mut asked = false;
        let line = loop {
            tokio::select! {
                biased;
                line = talk.as_mut() => break line,
                () = call.soft_stop.cancelled(), if !asked => {
                    asked = true;
                    self.tree.signal_leader(Signal::SIGUSR1);
                }
            }
        };
        drop(talk);
        match line.as_deref().map(|line| serde_json::from_slice::<Answer>(&wide::stand_in(line))) {
            Some(Ok(answer)) => {
                self.memory_kb = answer.memory_kb;
                (answer.end.outcome(), true)
            }
            Some(Err(error)) => {
                let text = format!("the Python process said something unknown: {error}");
                (Err(TaskError::fail("WorkerLostError", text)), false)
            }
            None => (Err(self.died().await), false),
        }
    }

    /// Why there is no answer.
    async fn died(&mut self) -> TaskError {
        let status = match self.tree.child() {
            Some(child) => timeout(LAST_WORDS_MAX, child.wait()).await,
            None => return TaskError::failed("no process"),
        };
        let how = match status {
            Ok(Ok(status)) => format!("the Python process ended in the call ({status})"),
            _ => format!("the Python process gave no answer of at most {ANSWER_BYTES_MAX} bytes"),
        };
        let _all_read = timeout(LAST_WORDS_MAX, &mut self.listener).await;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).text();
        let text = if said.is_empty() { how } else { format!("{how}: {said}") };
        TaskError::Fail(Failure::new("WorkerLostError", text).module("billiard.exceptions"))
    }
}

async fn exchange(
    stdin: &mut ChildStdin,
    stdout: &mut BufReader<ChildStdout>,
    order: String,
) -> Option<Vec<u8>> {
    stdin.write_all(order.as_bytes()).await.ok()?;
    let mut line = Vec::new();
    stdout.take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line).await.ok()?;
    line.ends_with(b"\n").then_some(line)
}

async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Tail>>) {
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        said.lock().unwrap_or_else(PoisonError::into_inner).feed(&buffer[..count]);
        tracing::debug!(text = %String::from_utf8_lossy(&buffer[..count]), "a Python task printed");
    }
}

impl Raised {
    fn failure(self) -> Failure {
        Failure {
            exc_type: self.exc_type,
            args: self.args,
            module: self.module,
            traceback: self.traceback,
        }
    }
}

impl End {
    fn outcome(self) -> Outcome {
        match self {
            Self::Result(value) => Ok(value),
            Self::Error(raised) => Err(TaskError::Fail(raised.failure())),
            Self::Ignore {} => Err(TaskError::Ignore),
            Self::Reject { requeue, reason } => Err(TaskError::Reject { requeue, reason }),
            Self::Retry { countdown, because } => {
                let bounded = |seconds: f64| seconds.clamp(0.0, COUNTDOWN_SECONDS_MAX);
                Err(TaskError::Retry(Box::new(Retry {
                    countdown: countdown.map(bounded).map(Duration::from_secs_f64),
                    because: because.map(Raised::failure),
                    ..Retry::default()
                })))
            }
        }
    }
}
