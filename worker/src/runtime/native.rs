//! Tasks of a DAG that run as Rust handlers, registered under the operator's name.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tradewind_proto::celery::Request;
use tradewind_proto::names;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::Xcom;

use super::{AttemptJob, Ended, Runtime};
use crate::fleet::{TaskError, Tasks, run_alone};

#[derive(Debug)]
pub(super) struct NativeRuntime {
    tasks: Tasks,
}

impl NativeRuntime {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks }
    }
}

#[async_trait]
impl Runtime for NativeRuntime {
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended {
        let task = &job.grant.task;
        let mut request = Request::new(task.operator.clone(), job.attempt_id.0.to_string());
        request.kwargs = task.args.clone();
        request.headers.insert(names::HEADER_TRACEPARENT, job.trace_parent);
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ended::cancelled(),
            result = run_alone(&self.tasks, request, &job.worker) => result,
        };
        match result {
            Ok(value) => {
                let mut ended = Ended::new(OutcomeState::Success, "");
                if task.do_xcom_push && !value.is_null() {
                    let json = value.to_string();
                    ended.xcoms.push(Xcom { key: "return_value".to_owned(), json });
                }
                ended
            }
            Err(error) => Ended::failed(text_of(error)),
        }
    }
}

fn text_of(error: TaskError) -> String {
    match error {
        TaskError::Fail(failure) => failure.traceback,
        // The orchestrator retries by its own rules.
        TaskError::Retry(_) => "the handler asked for a retry".to_owned(),
        // There is no fleet task here whose place could be taken.
        TaskError::Replace(_) => "the handler asked for a replacement".to_owned(),
        TaskError::Ignore => "the handler asked to be ignored".to_owned(),
        TaskError::Reject { reason, .. } => format!("the handler rejected the task: {reason}"),
    }
}

/// Tasks with nothing to run, should one be sent to a worker.
#[derive(Debug)]
pub(super) struct EmptyRuntime;

#[async_trait]
impl Runtime for EmptyRuntime {
    async fn run(&self, _job: AttemptJob, _cancel: CancellationToken) -> Ended {
        Ended::new(OutcomeState::Success, "")
    }
}
