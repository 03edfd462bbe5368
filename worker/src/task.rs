//! One fleet task: run its handler, store its result in Celery's form, then ack. Never acks first.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tradewind_broker::{Delivery, Payload, StoredResult};
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;

use crate::admit::Refusal;
use crate::batch;
use crate::core::{Core, Tally, Ticket};

/// How long a result is tried before the message goes back and the task runs again.
const RESULT_PATIENCE: Duration = Duration::from_secs(30);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Celery states of an ended task.
const SUCCESS: &str = "SUCCESS";
const FAILURE: &str = "FAILURE";
const REVOKED: &str = "REVOKED";

/// Works one message off.
pub(crate) async fn run(core: Arc<Core>, mut delivery: Delivery, ticket: Ticket) {
    let Payload::Message(message) = &mut delivery.payload else { return };
    let message = std::mem::replace(message, nothing());
    let task = message.task().unwrap_or_default().to_owned();
    let Some(id) = message.id().map(str::to_owned) else {
        let refusal = Refusal::new("malformed", "missing header \"id\": the result has no name");
        return batch::bury(&core, delivery, refusal).await;
    };
    let now = core.clock.now();
    if let Some(eta) = time_header(&message, "eta").filter(|eta| *eta > now) {
        if let Err(error) = delivery.requeue_at(eta).await {
            tracing::warn!(%error, task, id, "postponing to the ETA failed; the message comes again");
        }
        return;
    }
    let ignore = message.headers.get("ignore_result").and_then(Value::as_bool).unwrap_or(false);
    let token = message.headers.get("retries").and_then(Value::as_i64).unwrap_or(0);
    let reply_to = message.reply_to.clone();
    let expired = time_header(&message, "expires").is_some_and(|at| at <= now);
    let (state, meta) = if expired {
        (REVOKED, failure(REVOKED, "TaskRevokedError", "celery.exceptions", "expired"))
    } else if delivery.redelivered && !ignore && is_stored(&core, &id).await {
        return ack(delivery, &task, &id).await;
    } else {
        match with_lease(&core, &delivery, core.handlers.call(&task, message)).await {
            Ok(value) => (SUCCESS, json!({"status": SUCCESS, "result": value, "traceback": null})),
            Err(text) => (FAILURE, failure(FAILURE, "Exception", "builtins", &text)),
        }
    };
    let Ticket { slot, unsent } = ticket;
    drop(slot);
    core.metrics.tasks.with_label_values(&[task.as_str(), state]).inc();
    Tally::add(&core.tally.finished);
    let result = StoredResult {
        task_id: id.clone(),
        token,
        state: state.to_owned(),
        meta: finish_meta(meta, &id, core.clock.now()),
        reply_to,
    };
    if ignore || store(&core, &delivery, result).await {
        ack(delivery, &task, &id).await;
    } else {
        batch::release(&core, delivery).await;
    }
    drop(unsent);
}

/// What stays in a delivery whose message has moved to its handler.
fn nothing() -> TaskMessage {
    TaskMessage {
        headers: serde_json::Map::new(),
        body: Vec::new(),
        content_type: String::new(),
        content_encoding: String::new(),
        correlation_id: String::new(),
        reply_to: None,
        priority: 0,
        expiration_ms: None,
    }
}

async fn is_stored(core: &Core, id: &str) -> bool {
    let stored = core.results.get(id).await;
    matches!(stored, Ok(Some(result)) if matches!(&*result.state, SUCCESS | FAILURE | REVOKED))
}

/// Keeps the delivery from being redelivered while the handler runs.
async fn with_lease<T>(core: &Core, delivery: &Delivery, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(core.options.heartbeat_interval()) => {
                if let Err(error) = delivery.extend().await {
                    tracing::debug!(%error, "extending a delivery failed");
                }
            }
        }
    }
}

/// Whether the result is safe, or never will be by trying again.
async fn store(core: &Core, delivery: &Delivery, result: StoredResult) -> bool {
    let id = result.task_id.clone();
    let ttl = Duration::from_secs(core.options.result_ttl_seconds);
    let deadline = Instant::now() + RESULT_PATIENCE;
    let mut delay = RETRY_MIN;
    loop {
        match core.results.put(result.clone(), ttl).await {
            Ok(_) => return true,
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                tracing::debug!(%error, id, "storing a result failed; trying again");
            }
            Err(error) => {
                tracing::error!(%error, id, "result could not be stored");
                return !error.is_retryable();
            }
        }
        with_lease(core, delivery, sleep(delay)).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}

/// The members that every meta object has.
fn finish_meta(mut meta: Value, id: &str, at: Timestamp) -> Vec<u8> {
    meta["children"] = json!([]);
    meta["date_done"] = json!(at.to_string());
    meta["task_id"] = json!(id);
    meta.to_string().into_bytes()
}

async fn ack(mut delivery: Delivery, task: &str, id: &str) {
    if let Err(error) = delivery.ack().await {
        tracing::warn!(%error, task, id, "ack failed; the message comes again");
    }
}

fn time_header(message: &TaskMessage, name: &str) -> Option<Timestamp> {
    message.header_str(name)?.parse().ok()
}

fn failure(state: &str, kind: &str, module: &str, text: &str) -> Value {
    json!({
        "status": state, "traceback": text,
        "result": {"exc_type": kind, "exc_message": [text], "exc_module": module},
    })
}
