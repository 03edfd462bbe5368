//! Runs a task as a command: arguments in `argv` and on stdin, the last line of stdout is the result.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tradewind_proto::celery::wide;

use super::call::{Call, Runner, soft_limit_exceeded};
use super::process::{Host, Tree};
use super::template::Template;
use crate::fleet::{Outcome, TaskError};

/// Longest last line that is taken as a result.
const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// How much of stderr a failure quotes.
const STDERR_TAIL_BYTES: usize = 4096;
/// How long output is read after the command has ended: somebody else may hold its pipes.
const OUTPUT_LINGER: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 16 * 1024;

/// Runs a program.
#[derive(Debug)]
pub(super) struct CommandRunner {
    pub(super) host: Arc<Host>,
    pub(super) argv: Vec<Template>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) env: BTreeMap<String, String>,
}

impl CommandRunner {
    fn start(&self, call: &Call) -> Result<Tree, TaskError> {
        let argv: Result<Vec<String>, String> =
            self.argv.iter().map(|part| part.fill(&call.args, &call.kwargs)).collect();
        let argv = argv
            .map_err(|reason| TaskError::fail("TypeError", format!("{}() {reason}", call.task)))?;
        let Some((program, arguments)) = argv.split_first() else {
            return Err(TaskError::failed("the command is empty"));
        };
        let mut command = self.host.command(program);
        command.args(arguments).envs(&self.env);
        command.env("TRADEWIND_TASK_ID", &call.id).env("TRADEWIND_TASK_NAME", &call.task);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        self.host.spawn(&mut command).map_err(|error| {
            let text = match &self.cwd {
                Some(cwd) if !cwd.is_dir() => format!("cwd {} is not a folder", cwd.display()),
                _ => format!("cannot start {program:?}: {error}"),
            };
            TaskError::fail("CommandNotStarted", text)
        })
    }
}

#[async_trait]
impl Runner for CommandRunner {
    async fn run(&self, call: &Call) -> Outcome {
        let mut tree = self.start(call)?;
        let Some(child) = tree.child() else { return Err(TaskError::failed("no process")) };
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut last, mut tail) = (LastLine::default(), Tail::default());
        let talk = async {
            let feed = async {
                if let Some(mut pipe) = stdin {
                    // A command that reads nothing closes the pipe: no error.
                    let _unread =
                        pipe.write_all((wide::to_json(&call.to_json()) + "\n").as_bytes()).await;
                }
            };
            tokio::join!(
                feed,
                pump(stdout, |part| last.feed(part)),
                pump(stderr, |part| tail.feed(part))
            );
        };
        let mut talk = Box::pin(talk);
        let (mut silent, mut asked) = (false, false);
        let status = loop {
            let Some(child) = tree.child() else { return Err(TaskError::failed("no process")) };
            tokio::select! {
                biased;
                status = child.wait() => break status,
                () = talk.as_mut(), if !silent => silent = true,
                () = call.soft_stop.cancelled(), if !asked => {
                    asked = true;
                    tree.signal_group(Signal::SIGTERM);
                }
            }
        };
        tree.ended();
        if !silent {
            let _held = timeout(OUTPUT_LINGER, talk.as_mut()).await;
        }
        drop(talk);
        let status =
            status.map_err(|e| TaskError::failed(format!("waiting for the command: {e}")))?;
        if asked && !status.success() {
            return Err(soft_limit_exceeded());
        }
        conclude(status, &last, &tail)
    }
}

fn conclude(status: ExitStatus, last: &LastLine, tail: &Tail) -> Outcome {
    if status.success() {
        return last.result();
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            format!("killed by signal {signal} ({name})")
        }
    };
    let said = tail.text();
    let text = if said.is_empty() { how } else { format!("{how}: {said}") };
    Err(TaskError::fail("CommandFailed", text))
}

async fn pump(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        take(&buffer[..count]);
    }
}

/// The last line of an output that is not blank.
#[derive(Debug, Default)]
struct LastLine {
    line: Vec<u8>,
    /// Bytes of `line`, also those that were not kept.
    length: usize,
    complete: Option<(Vec<u8>, usize)>,
}

impl LastLine {
    fn feed(&mut self, part: &[u8]) {
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = RESULT_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.length += text.len();
            if text.len() < piece.len() {
                let (line, length) =
                    (std::mem::take(&mut self.line), std::mem::take(&mut self.length));
                if !line.trim_ascii().is_empty() {
                    self.complete = Some((line, length));
                }
            }
        }
    }

    fn result(&self) -> Outcome {
        let (line, length) = match &self.complete {
            _ if !self.line.trim_ascii().is_empty() => (&self.line, self.length),
            Some((line, length)) => (line, *length),
            None => return Ok(Value::Null),
        };
        if length > RESULT_BYTES_MAX {
            let text = format!("the result line has {length} bytes, more than {RESULT_BYTES_MAX}");
            return Err(TaskError::fail("ResultTooLarge", text));
        }
        let text = String::from_utf8_lossy(line.trim_ascii());
        Ok(wide::from_slice(text.as_bytes()).unwrap_or_else(|_| Value::String(text.into_owned())))
    }
}

/// The end of an output.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn feed(&mut self, part: &[u8]) {
        self.0.extend_from_slice(part);
        if self.0.len() > 2 * STDERR_TAIL_BYTES {
            self.0.drain(..self.0.len() - STDERR_TAIL_BYTES);
        }
    }

    pub(super) fn text(&self) -> String {
        let start = self.0.len().saturating_sub(STDERR_TAIL_BYTES);
        String::from_utf8_lossy(&self.0[start..]).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LastLine, RESULT_BYTES_MAX, STDERR_TAIL_BYTES, Tail};

    fn result(parts: &[&[u8]]) -> Value {
        let mut last = LastLine::default();
        parts.iter().for_each(|part| last.feed(part));
        last.result().expect("a result")
    }

    #[test]
    fn the_last_line_is_the_result() {
        assert_eq!(result(&[]), Value::Null);
        assert_eq!(result(&[b"log\n{\"a\": ", b"[1]}\n\n  \n"]), json!({"a": [1]}));
        assert_eq!(result(&[b"1\n2"]), json!(2));
        assert_eq!(result(&[b"done\xff at last\n"]), json!("done\u{fffd} at last"));
    }

    #[test]
    fn output_is_bounded() {
        let mut last = LastLine::default();
        let mut tail = Tail::default();
        for _ in 0..=RESULT_BYTES_MAX / 1024 {
            last.feed(&[b'x'; 1024]);
            tail.feed(&[b'y'; 1024]);
        }
        assert!(last.result().is_err());
        assert_eq!((last.line.len(), tail.text().len()), (RESULT_BYTES_MAX, STDERR_TAIL_BYTES));
        last.feed(b"\nshort\n");
        assert_eq!(last.result(), Ok(json!("short")));
    }
}
