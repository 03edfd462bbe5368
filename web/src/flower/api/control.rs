//! Commands to workers. Flower's texts, which scripts look for.

use std::fmt::Display;

use axum::extract::{Path, State};
use serde_json::{Value, json};
use tradewind_broker::client::REVOKE_TTL;
use tradewind_broker::coordination::Revoked;

use super::params::Params;
use super::workers::require_registered;
use super::{Answer, Refusal, message};
use crate::flower::FlowerHandle;
use crate::flower::inspect::request;

/// Refuses names that no worker has.
fn require_worker(flower: &FlowerHandle, name: &str) -> Result<(), Refusal> {
    let inner = flower.shared.lock();
    let known = inner.answers.worker(name).is_some() || inner.monitor.worker(name).is_some();
    if known { Ok(()) } else { Err(Refusal::unknown("worker", name)) }
}

/// Sends a command to one worker and waits for its answer: what it said is fine, or why not.
async fn command(
    flower: &FlowerHandle,
    worker: &str,
    method: &str,
    arguments: Value,
) -> Result<Result<String, String>, Refusal> {
    let shared = &flower.shared;
    tracing::info!(worker, method, %arguments, "command to a worker");
    let asked = request(method, arguments, Some(worker));
    let replies = shared.deps.bus.ask(asked, shared.options.inspect_timeout(), Some(1)).await;
    let replies = replies.map_err(|error| Refusal::unavailable(method, &error))?;
    let reply = replies.into_iter().find(|reply| reply.node == worker).map(|reply| reply.value);
    let said = |name: &str| {
        let value = reply.as_ref()?.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    if let Some(fine) = said("ok") {
        return Ok(Ok(fine));
    }
    let reason = said("error").unwrap_or_else(|| "Unknown reason".to_owned());
    tracing::warn!(worker, method, reason, "a worker refused a command, or did not answer");
    Ok(Err(reason))
}

/// The answer's text: ours when the worker agreed, with the reason when not.
fn told(outcome: Result<String, String>, fine: impl Display, failed: impl Display) -> Answer {
    match outcome {
        Ok(_) => message(fine.to_string()),
        Err(reason) => Err(Refusal::forbidden(format!("{failed}: {reason}"))),
    }
}

/// `POST /api/worker/shutdown/<worker>`
pub(super) async fn shutdown(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
) -> Answer {
    require_worker(&flower, &worker)?;
    tracing::info!(worker, "a worker is told to shut down");
    let sent =
        flower.shared.deps.bus.broadcast(request("shutdown", json!({}), Some(&worker))).await;
    sent.map_err(|error| Refusal::unavailable("shutdown", &error))?;
    message("Shutting down!")
}

/// `POST /api/worker/pool/restart/<worker>`
pub(super) async fn pool_restart(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
) -> Answer {
    require_worker(&flower, &worker)?;
    let outcome = command(&flower, &worker, "pool_restart", json!({"reload": false})).await?;
    let failed = format!("Failed to restart the '{worker}' pool");
    told(outcome, format!("Restarting '{worker}' worker's pool"), failed)
}

/// `POST /api/worker/pool/grow/<worker>`
pub(super) async fn pool_grow(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
    params: Params,
) -> Answer {
    resize(&flower, &worker, &params, ("pool_grow", "Growing", "grow")).await
}

/// `POST /api/worker/pool/shrink/<worker>`
pub(super) async fn pool_shrink(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
    params: Params,
) -> Answer {
    resize(&flower, &worker, &params, ("pool_shrink", "Shrinking", "shrink")).await
}

/// A method, and what Flower calls it when it works and when it does not.
async fn resize(
    flower: &FlowerHandle,
    worker: &str,
    params: &Params,
    (method, doing, verb): (&str, &str, &str),
) -> Answer {
    require_worker(flower, worker)?;
    let n: i64 = params.number("n", "int")?.unwrap_or(1);
    let outcome = command(flower, worker, method, json!({"n": n})).await?;
    let failed = format!("Failed to {verb} '{worker}' worker's pool");
    told(outcome, format!("{doing} '{worker}' worker's pool by {n}"), failed)
}

/// `POST /api/worker/pool/autoscale/<worker>`
pub(super) async fn pool_autoscale(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
    params: Params,
) -> Answer {
    require_worker(&flower, &worker)?;
    params.required("min")?;
    params.required("max")?;
    let min: Option<i64> = params.number("min", "int")?;
    let max: Option<i64> = params.number("max", "int")?;
    let (min, max) = (min.unwrap_or(0), max.unwrap_or(0));
    let arguments = json!({"min": min, "max": max});
    let outcome = command(&flower, &worker, "autoscale", arguments).await?;
    let fine = format!("Autoscaling '{worker}' worker (min={min}, max={max})");
    told(outcome, fine, format!("Failed to autoscale '{worker}' worker"))
}

/// `POST /api/worker/queue/add-consumer/<worker>`
pub(super) async fn add_consumer(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
    params: Params,
) -> Answer {
    require_worker(&flower, &worker)?;
    let queue = params.required("queue")?;
    let outcome = command(&flower, &worker, "add_consumer", json!({"queue": queue})).await?;
    let fine = outcome.clone().unwrap_or_default();
    told(outcome, fine, format!("Failed to add '{queue}' consumer to '{worker}' worker"))
}

/// `POST /api/worker/queue/cancel-consumer/<worker>`
pub(super) async fn cancel_consumer(
    State(flower): State<FlowerHandle>,
    Path(worker): Path<String>,
    params: Params,
) -> Answer {
    require_worker(&flower, &worker)?;
    let queue = params.required("queue")?;
    let outcome = command(&flower, &worker, "cancel_consumer", json!({"queue": queue})).await?;
    let fine = outcome.clone().unwrap_or_default();
    told(outcome, fine, format!("Failed to cancel '{queue}' consumer from '{worker}' worker"))
}

/// `POST /api/task/timeout/<name>`
pub(super) async fn task_timeout(
    State(flower): State<FlowerHandle>,
    Path(task): Path<String>,
    params: Params,
) -> Answer {
    let worker = params.required("workername")?;
    let hard: Option<f64> = params.number("hard", "float")?;
    let soft: Option<f64> = params.number("soft", "float")?;
    require_registered(&flower.shared, &task).await?;
    require_worker(&flower, worker)?;
    let arguments = json!({"task_name": task, "hard": hard, "soft": soft});
    match command(&flower, worker, "time_limit", arguments).await? {
        Ok(fine) => message(fine),
        Err(reason) => Err(Refusal::forbidden(format!("Failed to set timeouts: '{reason}'"))),
    }
}

/// `POST /api/task/rate-limit/<name>`
pub(super) async fn task_rate_limit(
    State(flower): State<FlowerHandle>,
    Path(task): Path<String>,
    params: Params,
) -> Answer {
    let worker = params.required("workername")?;
    let limit = params.required("ratelimit")?;
    require_registered(&flower.shared, &task).await?;
    require_worker(&flower, worker)?;
    let arguments = json!({"task_name": task, "rate_limit": limit});
    match command(&flower, worker, "rate_limit", arguments).await? {
        Ok(fine) => message(fine),
        Err(reason) => Err(Refusal::forbidden(format!("Failed to set rate limit: '{reason}'"))),
    }
}

/// `POST /api/task/revoke/<id>`
pub(super) async fn task_revoke(
    State(flower): State<FlowerHandle>,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let terminate = params.switch("terminate")?;
    let signal = params.text("signal").unwrap_or("SIGTERM");
    tracing::info!(id, terminate, signal, "a task is revoked");
    // For workers that are not there now: those that come later ask.
    let mark = Revoked { id: id.clone(), terminate };
    let coordinator = flower.shared.deps.client.coordinator();
    let marked = coordinator.revoke(&[mark], REVOKE_TTL).await;
    marked.map_err(|error| Refusal::unavailable("revoke", &error))?;
    let arguments = json!({"task_id": id, "terminate": terminate, "signal": signal});
    let sent = flower.shared.deps.bus.broadcast(request("revoke", arguments, None)).await;
    sent.map_err(|error| Refusal::unavailable("revoke", &error))?;
    message(format!("Revoked '{id}'"))
}
