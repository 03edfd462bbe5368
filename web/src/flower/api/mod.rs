//! Flower's HTTP API: paths, parameters, answers and errors as Flower 2.2 has them, over our own parts.

mod auth;
mod calls;
mod control;
mod params;
mod results;
mod tasks;
mod workers;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tradewind_proto::celery::wide;

pub(super) use auth::Gate;

use super::FlowerHandle;
use crate::ops::exposition;

/// What a request is refused with: a status, and a text that says why.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    fn unknown(what: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Unknown {what} '{name}'"))
    }

    /// The broker or the result backend did not answer. The error is for the log.
    fn unavailable(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%error, what, "a request to the monitor failed");
        let message = "Broker or result backend unavailable";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];
        (self.status, kind, self.message).into_response()
    }
}

/// JSON, with the numbers of results as they are.
struct Shown(Value);

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], wide::to_json(&self.0)).into_response()
    }
}

type Answer = Result<Shown, Refusal>;

fn message(text: impl Into<String>) -> Answer {
    Ok(Shown(json!({"message": text.into()})))
}

/// All routes.
pub(super) fn router(flower: FlowerHandle) -> Router {
    let changes = Router::new()
        .route("/api/worker/shutdown/{*worker}", post(control::shutdown))
        .route("/api/worker/pool/restart/{*worker}", post(control::pool_restart))
        .route("/api/worker/pool/grow/{*worker}", post(control::pool_grow))
        .route("/api/worker/pool/shrink/{*worker}", post(control::pool_shrink))
        .route("/api/worker/pool/autoscale/{*worker}", post(control::pool_autoscale))
        .route("/api/worker/queue/add-consumer/{*worker}", post(control::add_consumer))
        .route("/api/worker/queue/cancel-consumer/{*worker}", post(control::cancel_consumer))
        .route("/api/task/apply/{*task}", post(calls::apply))
        .route("/api/task/async-apply/{*task}", post(calls::async_apply))
        .route("/api/task/send-task/{*task}", post(calls::send_task))
        .route("/api/task/abort/{*task}", post(results::abort))
        .route("/api/task/timeout/{*task}", post(control::task_timeout))
        .route("/api/task/rate-limit/{*task}", post(control::task_rate_limit))
        .route("/api/task/revoke/{*task}", post(control::task_revoke))
        .route_layer(middleware::from_fn_with_state(flower.clone(), auth::may_change));
    let api = Router::new()
        .route("/api/workers", get(workers::list))
        .route("/api/tasks", get(tasks::list))
        .route("/api/task/types", get(tasks::types))
        .route("/api/queues/length", get(workers::queue_lengths))
        .route("/api/task/info/{*task}", get(tasks::info))
        .route("/api/task/result/{*task}", get(results::result))
        .merge(changes)
        .route_layer(middleware::from_fn_with_state(flower.clone(), auth::admit));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthcheck", get(|| async { "OK" }))
        .merge(api)
        .layer(middleware::map_response(no_sniffing))
        .with_state(flower)
}

async fn metrics(State(flower): State<FlowerHandle>) -> Response {
    exposition(&flower.registry().gather())
}

async fn no_sniffing(mut response: Response) -> Response {
    let value = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, value);
    response
}
