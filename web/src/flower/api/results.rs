//! Results of tasks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tradewind_broker::{ResultBackend, StoredResult};
use tradewind_proto::celery::{Meta, state};

use super::params::Params;
use super::{Answer, Refusal, Shown, message};
use crate::flower::FlowerHandle;
use crate::flower::service::Shared;

/// State that asks a task to stop by itself (Celery's `AbortableTask`).
const ABORTED: &str = "ABORTED";
/// Longest wait for a result, in seconds.
const WAIT_SECONDS_MAX: f64 = 3_600.0;
/// How long a request to abort is kept: as long as Celery keeps results.
const ABORT_TTL: Duration = Duration::from_secs(86_400);

fn backend(shared: &Shared) -> Result<&Arc<dyn ResultBackend>, Refusal> {
    let missing =
        || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no result backend is configured");
    shared.deps.results.as_ref().ok_or_else(missing)
}

fn meta(stored: &StoredResult) -> Result<Meta, Refusal> {
    Meta::from_bytes(&stored.meta).map_err(|reason| {
        tracing::warn!(task = stored.task_id, reason, "a stored result cannot be read");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the stored result cannot be read")
    })
}

/// What is stored of a task now.
pub(super) async fn stored(shared: &Shared, id: &str) -> Result<Option<Meta>, Refusal> {
    let found = backend(shared)?.get(id).await;
    let found = found.map_err(|error| Refusal::unavailable("result", &error))?;
    found.as_ref().map(meta).transpose()
}

/// The end of a task, if it comes within `limit`.
pub(super) async fn outcome_of(
    shared: &Shared,
    id: &str,
    limit: Duration,
) -> Result<Option<Meta>, Refusal> {
    let found = backend(shared)?.wait(id, limit).await;
    let found = found.map_err(|error| Refusal::unavailable("result", &error))?;
    found.as_ref().map(meta).transpose()
}

/// `result`, and `traceback` of a failure. Exceptions are shown as Python's `repr`.
pub(super) fn shown(meta: &Meta) -> Map<String, Value> {
    let failed = matches!(meta.status.as_str(), state::FAILURE | state::REVOKED | state::RETRY);
    let exception = meta.exception().filter(|_| failed);
    let result = exception.map_or_else(|| meta.result.clone(), |e| json!(e.repr()));
    let mut members = Map::from_iter([("result".to_owned(), result)]);
    if meta.status == state::FAILURE {
        members.insert("traceback".to_owned(), json!(meta.traceback));
    }
    members
}

/// `GET /api/task/result/<id>`
pub(super) async fn result(
    State(flower): State<FlowerHandle>,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let shared = &flower.shared;
    let timeout: Option<f64> = params.number("timeout", "float")?;
    let wait = timeout.filter(|seconds| *seconds > 0.0);
    let before = stored(shared, &id).await?;
    let state = before.as_ref().map_or(state::PENDING, |meta| &meta.status);
    let mut answer = json!({"task-id": id, "state": state});
    let ended = match (before.clone().filter(Meta::is_terminal), wait) {
        (Some(meta), _) => Some(meta),
        (None, None) => None,
        (None, Some(seconds)) => {
            let limit = Duration::from_secs_f64(seconds.min(WAIT_SECONDS_MAX));
            outcome_of(shared, &id, limit).await?
        }
    };
    if let (Some(meta), Value::Object(answer)) = (ended, &mut answer) {
        // Flower tells the state from before the wait; the one that belongs to the result is of use.
        answer.insert("state".to_owned(), json!(meta.status));
        answer.extend(shown(&meta));
    }
    Ok(Shown(answer))
}

/// `POST /api/task/abort/<id>`
pub(super) async fn abort(State(flower): State<FlowerHandle>, Path(id): Path<String>) -> Answer {
    tracing::info!(id, "a task is asked to abort");
    let result = StoredResult {
        task_id: id.clone(),
        token: 0,
        state: ABORTED.to_owned(),
        meta: Meta::new(&id, ABORTED, Value::Null).to_bytes(),
        reply_to: None,
    };
    let put = backend(&flower.shared)?.put(result, ABORT_TTL).await;
    put.map_err(|error| Refusal::unavailable("abort", &error))?;
    message(format!("Aborted '{id}'"))
}
