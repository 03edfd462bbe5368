//! How attempts are run: the seam, and what the runtimes share.

mod bash;
pub(crate) mod environment;
mod lookup;
mod native;
mod python;
mod render;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tradewind_proto::AttemptId;
use tradewind_proto::dag::Runtime as Kind;
use tradewind_proto::execution::Grant;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::{Workload, Xcom};
use uuid::Uuid;

use crate::fleet::Tasks;
use crate::logs::AttemptLog;
use crate::process::ProcessTable;
use crate::{ExecutionApi, WorkerOptions};

/// Everything that a runtime needs to run one attempt.
#[derive(Debug)]
pub struct AttemptJob {
    /// The attempt.
    pub attempt_id: AttemptId,
    /// The message's content.
    pub workload: Workload,
    /// The claim's answer: task and run.
    pub grant: Box<Grant>,
    /// Node name of the worker.
    pub worker: Arc<str>,
    /// This worker process's life.
    pub instance: Uuid,
    /// Host name.
    pub hostname: Arc<str>,
    /// W3C `traceparent` for the task's process; may be empty.
    pub trace_parent: String,
    /// Where output goes.
    pub log: AttemptLog,
    /// For XComs and variables.
    pub api: Arc<dyn ExecutionApi>,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The state; [`OutcomeState::Cancelled`] when it was stopped by its cancellation token.
    pub state: OutcomeState,
    /// Error text for people.
    pub message: String,
    /// XComs pushed.
    pub xcoms: Vec<Xcom>,
    /// Task ids to skip.
    pub skip: Vec<String>,
    /// Process id, 0 if there was none.
    pub pid: u32,
}

impl Ended {
    /// An end without XComs and skips.
    pub fn new(state: OutcomeState, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), xcoms: Vec::new(), skip: Vec::new(), pid: 0 }
    }

    /// A failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(OutcomeState::Failed, message)
    }

    /// Stopped by the cancellation token.
    pub fn cancelled() -> Self {
        Self::new(OutcomeState::Cancelled, "cancelled; the process tree was killed")
    }

    pub(crate) fn with_pid(self, pid: u32) -> Self {
        Self { pid, ..self }
    }
}

/// A way to run attempts. It must return soon (seconds) after `cancel`, with everything it started
/// for the attempt gone; execution timeouts arrive as `cancel` too.
#[async_trait]
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Runs one attempt to its end.
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended;

    /// Starts whatever makes the first attempt slow. A failure shows with the first attempt.
    async fn warm(&self, _instance: Uuid) {}

    /// Stops what [`Runtime::warm`] or attempts started.
    async fn close(&self) {}
}

/// The runtimes of one worker.
#[derive(Debug, Clone, Default)]
pub struct Runtimes {
    by_kind: BTreeMap<Kind, Arc<dyn Runtime>>,
    /// Present when attempts are processes of this host.
    pub(crate) processes: Option<Arc<ProcessTable>>,
}

impl Runtimes {
    /// None at all; see [`Runtimes::with`].
    pub fn none() -> Self {
        Self::default()
    }

    /// Real processes: bash, Python and the registered handlers.
    pub fn real(options: &WorkerOptions, tasks: &Tasks) -> Self {
        let processes = Arc::new(ProcessTable::default());
        let python = Arc::new(python::PythonRuntime::new(options, Arc::clone(&processes)));
        let bash = bash::BashRuntime::new(options, Arc::clone(&processes), Arc::clone(&python));
        let native = native::NativeRuntime::new(tasks.clone());
        let mut all = Self::none()
            .with(Kind::Bash, Arc::new(bash))
            .with(Kind::Python, python)
            .with(Kind::Native, Arc::new(native))
            .with(Kind::Empty, Arc::new(native::EmptyRuntime));
        all.processes = Some(processes);
        all
    }

    /// Adds or replaces a runtime.
    #[must_use]
    pub fn with(mut self, kind: Kind, runtime: Arc<dyn Runtime>) -> Self {
        self.by_kind.insert(kind, runtime);
        self
    }

    pub(crate) fn get(&self, kind: Kind) -> Option<&Arc<dyn Runtime>> {
        self.by_kind.get(&kind)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &Arc<dyn Runtime>)> {
        self.by_kind.iter().map(|(kind, runtime)| (*kind, runtime))
    }
}
