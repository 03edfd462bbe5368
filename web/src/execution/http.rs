//! `POST /execution/v1/…`: JSON in, JSON out, bearer token, size limits.

use std::future::Future;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::service::{ExecutionError, ExecutionService};
use super::token::Gate;

/// A claim or heartbeat names at most some thousand attempts.
const SMALL_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Log chunks of all attempts of a worker; a worker sends more often rather than more.
const LOGS_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The routes, behind the token of `service`'s options.
///
/// # Errors
/// When the system has no randomness for the token check.
pub fn router(service: ExecutionService) -> Result<Router, ring::error::Unspecified> {
    let gate = Gate::new(service.token())?;
    let small = Router::new()
        .route("/execution/v1/claim", post(claim))
        .route("/execution/v1/heartbeat", post(heartbeat))
        .route("/execution/v1/xcom", post(xcom))
        .route("/execution/v1/variable", post(variable))
        .route("/execution/v1/keys", post(keys))
        .layer(DefaultBodyLimit::max(SMALL_BODY_BYTES_MAX));
    let large = Router::new()
        .route("/execution/v1/logs", post(logs))
        .layer(DefaultBodyLimit::max(LOGS_BODY_BYTES_MAX));
    Ok(small
        .merge(large)
        .route_layer(middleware::from_fn_with_state(gate, authorize))
        .with_state(service))
}

/// Refuses before the body is read.
async fn authorize(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let presented =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if gate.admits(presented) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let text = "missing or wrong token; send Authorization: Bearer <[execution] token>";
    (challenge, refusal(StatusCode::UNAUTHORIZED, text)).into_response()
}

async fn claim(State(service): State<ExecutionService>, body: Bytes) -> Response {
    answer(&body, |request| async move { service.claim(&request).await }).await
}

async fn heartbeat(State(service): State<ExecutionService>, body: Bytes) -> Response {
    answer(&body, |request| async move { service.heartbeat(&request).await }).await
}

async fn xcom(State(service): State<ExecutionService>, body: Bytes) -> Response {
    answer(&body, |query| async move { service.xcom(&query).await }).await
}

async fn variable(State(service): State<ExecutionService>, body: Bytes) -> Response {
    answer(&body, |query| async move { service.variable(&query).await }).await
}

async fn logs(State(service): State<ExecutionService>, body: Bytes) -> Response {
    answer(&body, |chunks| async move { service.logs(&chunks).await }).await
}

async fn keys(State(service): State<ExecutionService>) -> Response {
    reply(service.keys().await)
}

async fn answer<Q, A, F, Fut>(body: &[u8], serve: F) -> Response
where
    Q: DeserializeOwned,
    A: Serialize,
    F: FnOnce(Q) -> Fut,
    Fut: Future<Output = Result<A, ExecutionError>>,
{
    match serde_json::from_slice(body) {
        Ok(request) => reply(serve(request).await),
        Err(error) => {
            refusal(StatusCode::BAD_REQUEST, &format!("the body is not what was expected: {error}"))
        }
    }
}

fn reply<A: Serialize>(result: Result<A, ExecutionError>) -> Response {
    match result {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => failure(&error),
    }
}

fn failure(error: &ExecutionError) -> Response {
    const RETRY_AFTER: (HeaderName, &str) = (header::RETRY_AFTER, "1");
    match error {
        ExecutionError::Unavailable(text) => {
            ([RETRY_AFTER], refusal(StatusCode::SERVICE_UNAVAILABLE, text)).into_response()
        }
        ExecutionError::Refused(text) => refusal(StatusCode::UNPROCESSABLE_ENTITY, text),
        ExecutionError::Internal(text) => {
            tracing::error!(error = text, "execution API");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

fn refusal(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "error": text }))).into_response()
}
