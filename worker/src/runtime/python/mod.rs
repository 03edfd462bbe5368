//! Python operators: each attempt is a process forked from a warm host that has imported its DAG file.

mod frames;
mod host;
mod session;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::Xcom;
use uuid::Uuid;

use self::frames::{Done, Mode};
use self::host::Host;
use self::session::{Fault, Limits, Order, converse};
use self::sessions::{Accepting, Sessions};
use super::render::{Rendered, Unrendered, path_text, render};
use super::{AttemptJob, Ended, Runtime};
use crate::WorkerOptions;
use crate::process::ProcessTable;
use crate::process::guard::scratch_folder;

/// Pauses between starts of a host that keeps dying.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(5);
/// A host that lived this long has not failed to start.
const HEALTHY: Duration = Duration::from_secs(10);

/// Runs attempts in the Python host.
#[derive(Debug)]
pub(super) struct PythonRuntime {
    options: WorkerOptions,
    processes: Arc<ProcessTable>,
    sessions: Arc<Sessions>,
    keeper: Mutex<Keeper>,
}

#[derive(Debug, Default)]
struct Keeper {
    host: Option<Arc<Host>>,
    accepting: Option<Accepting>,
    started: Option<Instant>,
    failures: u32,
}

impl PythonRuntime {
    pub(super) fn new(options: &WorkerOptions, processes: Arc<ProcessTable>) -> Self {
        Self {
            options: options.clone(),
            processes,
            sessions: Arc::default(),
            keeper: Mutex::default(),
        }
    }

    /// The host, started if need be. A start that fails fails this attempt, not the next.
    async fn host(&self, instance: Uuid) -> Result<Arc<Host>, String> {
        let mut keeper = self.keeper.lock().await;
        if let Some(host) = keeper.host.as_ref().filter(|host| !host.is_dead()) {
            return Ok(Arc::clone(host));
        }
        keeper.host = None;
        if let Some(started) = keeper.started {
            keeper.failures = if started.elapsed() > HEALTHY { 0 } else { keeper.failures + 1 };
            let pause = RESTART_MIN * 2_u32.saturating_pow(keeper.failures.min(10));
            tokio::time::sleep_until(started + pause.min(RESTART_MAX)).await;
        }
        keeper.started = Some(Instant::now());
        let socket = scratch_folder(instance).join("host.sock");
        if keeper.accepting.is_none() {
            let listening = self.sessions.listen(&socket);
            let text = |e| format!("cannot listen on {}: {e}", socket.display());
            keeper.accepting = Some(listening.map_err(text)?);
        }
        let host = Host::start(&self.options, instance, &socket, &self.sessions).await?;
        let host = Arc::new(host);
        keeper.host = Some(Arc::clone(&host));
        Ok(host)
    }

    async fn converse(
        &self,
        order: Order<'_>,
        cancel: &CancellationToken,
    ) -> (Result<Done, Fault>, u32) {
        let session = self.sessions.open(order.job.attempt_id);
        let host = tokio::select! {
            biased;
            () = cancel.cancelled() => return (Err(Fault::Cancelled), 0),
            host = self.host(order.job.instance) => host,
        };
        let host = match host {
            Ok(host) => host,
            Err(text) => return (Err(Fault::Failed(text)), 0),
        };
        let limits = Limits {
            start: Duration::from_secs(self.options.python_start_timeout_seconds),
            kill_grace: self.options.kill_grace(),
            processes: &self.processes,
            cancel,
        };
        converse(&host, session, order, limits).await
    }

    /// Renders fields with Jinja2, where Rust could not.
    pub(super) async fn render(
        &self,
        job: &AttemptJob,
        unrendered: Vec<Unrendered>,
        cancel: &CancellationToken,
    ) -> Result<Vec<Rendered>, Ended> {
        let order = Order { job, mode: Mode::Render, rendered: &[], unrendered: &unrendered };
        let text = match self.converse(order, cancel).await.0 {
            Ok(done) if done.state == OutcomeState::Success => return Ok(done.rendered),
            Ok(done) => done.message,
            Err(Fault::Failed(text)) => text,
            Err(Fault::Cancelled) => return Err(Ended::cancelled()),
        };
        let fields = unrendered.iter().map(|field| {
            let path = path_text(&field.path);
            format!("template field {path} cannot be rendered: {}", field.error)
        });
        let fields = fields.collect::<Vec<_>>().join("\n");
        Err(Ended::failed(format!("{fields}\nPython could not either: {text}")))
    }
}

#[async_trait]
impl Runtime for PythonRuntime {
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended {
        let (rendered, unrendered) = render(&job).await;
        let order =
            Order { job: &job, mode: Mode::Run, rendered: &rendered, unrendered: &unrendered };
        let (result, pid) = self.converse(order, &cancel).await;
        let ended = match result {
            Ok(done) => Ended {
                state: done.state,
                message: done.message,
                xcoms: done
                    .xcoms
                    .into_iter()
                    .map(|pushed| Xcom { key: pushed.key, json: pushed.json })
                    .collect(),
                skip: done.skip,
                pid: 0,
            },
            Err(Fault::Cancelled) => Ended::cancelled(),
            Err(Fault::Failed(text)) => Ended::failed(text),
        };
        ended.with_pid(pid)
    }

    async fn warm(&self, instance: Uuid) {
        if self.options.prestart_python
            && let Err(reason) = self.host(instance).await
        {
            tracing::error!(reason, "the Python host does not start");
        }
    }

    async fn close(&self) {
        let mut keeper = self.keeper.lock().await;
        let host = keeper.host.take();
        keeper.accepting = None;
        drop(keeper);
        if let Some(host) = host {
            // Its commands channel closes with the last owner; that is the host's end of file.
            let dead = host.dead_token();
            drop(host);
            dead.cancelled().await;
        }
    }
}
