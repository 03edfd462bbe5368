//! Celery on the same broker, for comparison: a worker in a Python that has it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::usage::{self, Usage};
use crate::context::Context;
use crate::failure::Failure;

/// How long Celery may take to start.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The application. URLs come by environment: they may hold passwords.
const APP: &str = r#"
import os
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_RESULTS"])
app.conf.task_acks_late = os.environ["BENCH_LATE"] == "1"
app.conf.worker_prefetch_multiplier = 4

@app.task(name="tradewind.noop")
def noop():
    return None
"#;

/// A way to run Celery's worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pool: &'static str,
    late: bool,
    /// Tasks at once; none: one per core, Celery's own default.
    concurrency: Option<&'static str>,
}

/// The ways that people use.
pub(crate) const MODES: [Mode; 3] = [
    Mode { name: "prefork", pool: "prefork", late: false, concurrency: None },
    Mode { name: "threads", pool: "threads", late: false, concurrency: Some("16") },
    Mode { name: "prefork, late ack", pool: "prefork", late: true, concurrency: None },
];

/// A running Celery worker.
#[derive(Debug)]
pub(crate) struct CeleryWorker {
    child: Child,
    folder: std::path::PathBuf,
}

impl CeleryWorker {
    /// Starts it; returns when it says that it is ready.
    pub(crate) async fn start(
        context: &Context,
        python: &Path,
        mode: Mode,
        queue: &str,
    ) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("tradewind-celery-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("bench_app.py"), APP)?;
        let mut command = Command::new(python);
        command
            .current_dir(&folder)
            .args(["-m", "celery", "-A", "bench_app", "worker", "-l", "INFO", "-P", mode.pool])
            .args(["-Q", queue, "-n", "bench@%h", "--without-gossip", "--without-mingle"])
            .args(mode.concurrency.iter().flat_map(|number| ["-c", number]))
            .env("BENCH_BROKER", context.config.text("broker", "url"))
            .env("BENCH_RESULTS", results_url(&context.config.results_url()))
            .env("BENCH_LATE", if mode.late { "1" } else { "0" })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn();
        let mut child = child.map_err(|error| {
            Failure::usage(format!("--python {}: cannot be run: {error}", python.display()))
        })?;
        let stderr = child.stderr.take();
        let mut worker = Self { child, folder };
        let Some(stderr) = stderr else { return Err(Failure::new("Celery has no error output")) };
        match tokio::time::timeout(READY_WITHIN, ready(stderr)).await {
            Ok(Ok(())) => Ok(worker),
            Ok(Err(log)) => Err(Failure::new(format!("Celery ended at once:\n{log}"))),
            Err(_) => {
                worker.child.start_kill()?;
                Err(Failure::new("Celery was not ready in time"))
            }
        }
    }

    /// What it has used so far, with its children.
    pub(crate) fn usage(&self) -> Usage {
        self.child.id().map(usage::tree).unwrap_or_default()
    }

    /// Stops it.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        if tokio::time::timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

/// Reads its log until it is ready, and on in the background so that it never blocks on the pipe.
async fn ready(stderr: tokio::process::ChildStderr) -> Result<(), String> {
    let mut lines = BufReader::new(stderr).lines();
    let mut seen = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains(" ready.") {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(());
        }
        seen.push(line);
    }
    Err(seen.join("\n"))
}

/// The result backend as SQLAlchemy spells it.
fn results_url(url: &str) -> String {
    match url.split_once("://") {
        Some(("postgres" | "postgresql", rest)) => format!("db+postgresql://{rest}"),
        _ => url.to_owned(),
    }
}
