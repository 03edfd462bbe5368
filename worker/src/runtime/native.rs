//! Tasks of a DAG that run as Rust handlers, registered under the operator's name.

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::Xcom;

use super::{AttemptJob, Ended, Runtime};
use crate::Handlers;

#[derive(Debug)]
pub(super) struct NativeRuntime {
    handlers: Handlers,
}

impl NativeRuntime {
    pub(super) fn new(handlers: Handlers) -> Self {
        Self { handlers }
    }
}

#[async_trait]
impl Runtime for NativeRuntime {
    async fn run(&self, job: AttemptJob, cancel: CancellationToken) -> Ended {
        let task = &job.grant.task;
        let kwargs = Value::Object(task.args.clone());
        let mut message = TaskMessage::json(&task.operator, job.attempt_id.0, &json!([]), &kwargs);
        message.set_header(names::HEADER_TRACEPARENT, job.trace_parent.as_str());
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ended::cancelled(),
            result = self.handlers.call(&task.operator, message) => result,
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
            Err(text) => Ended::failed(text),
        }
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
