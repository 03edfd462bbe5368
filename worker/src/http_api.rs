//! The execution API over HTTP: what a worker of a fleet uses.
//!
//! It never repeats a call by itself: claims and heartbeats have their own schedules, and a repeated
//! claim must carry the same nonces.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tradewind_proto::execution::{
    ClaimReply, ClaimRequest, HeartbeatReply, HeartbeatRequest, KeysReply, LogChunks,
    VariableQuery, VariableReply, XcomQuery, XcomReply,
};

use crate::{ApiError, ExecutionApi};

/// Longest wait for a whole answer: well under a lease, so that a lost call can be repeated.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections kept open between calls.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Characters of an unexpected answer that are quoted in an error.
const QUOTED_CHARS_MAX: usize = 300;

/// A client of one `tradewind web`. Keeps its connections open; share it behind an `Arc`.
#[derive(Clone)]
pub struct HttpExecutionApi {
    client: Client,
    base: Url,
    token: String,
}

impl fmt::Debug for HttpExecutionApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpExecutionApi")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl HttpExecutionApi {
    /// A client for the server at `base_url` (`http://web:8080`, a path prefix included if the
    /// server has one). Does not connect yet.
    ///
    /// # Errors
    /// [`ApiError::Refused`] when the URL is not an http(s) URL.
    pub fn new(base_url: &str, token: &str) -> Result<Self, ApiError> {
        let invalid = |reason: String| {
            ApiError::Refused(format!(
                "the execution API's URL {base_url:?} cannot be used ({reason}); \
                 set it like http://host:8080"
            ))
        };
        let base = Url::parse(&format!("{}/", base_url.trim_end_matches('/')))
            .map_err(|e| invalid(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(invalid("not an http or https URL".to_owned()));
        }
        // reqwest has no TLS provider of its own here and panics without one; a provider that the
        // program installed earlier stays.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tradewind-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| invalid(chain(&e)))?;
        Ok(Self { client, base, token: token.to_owned() })
    }

    async fn call<Q, A>(&self, route: &str, body: &Q) -> Result<A, ApiError>
    where
        Q: Serialize + Sync + ?Sized,
        A: DeserializeOwned,
    {
        let url = self
            .base
            .join(&format!("execution/v1/{route}"))
            .map_err(|e| ApiError::Refused(e.to_string()))?;
        let response = self
            .client
            .post(url)
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await
            .map_err(|e| ApiError::Unavailable(chain(&e)))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| ApiError::Unavailable(chain(&e)))?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|e| {
            ApiError::Refused(format!(
                "{route} was answered with something else than expected ({e}): {}",
                quote(&bytes)
            ))
        })
    }
}

/// What a status other than success means to the caller. Everything that another server, a proxy or
/// a restart may cure counts as unavailable.
fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    let text = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|value| value.get("error").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| quote(body));
    match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorized,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            ApiError::Unavailable(format!("HTTP {status}: {text}"))
        }
        _ if status.is_server_error() => ApiError::Unavailable(format!("HTTP {status}: {text}")),
        _ => ApiError::Refused(format!("HTTP {status}: {text}")),
    }
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(QUOTED_CHARS_MAX).collect()
}

/// The error with its causes: reqwest's own text does not say why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[async_trait]
impl ExecutionApi for HttpExecutionApi {
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ApiError> {
        self.call("claim", request).await
    }

    async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ApiError> {
        self.call("heartbeat", request).await
    }

    async fn xcom(&self, query: &XcomQuery) -> Result<XcomReply, ApiError> {
        self.call("xcom", query).await
    }

    async fn variable(&self, query: &VariableQuery) -> Result<VariableReply, ApiError> {
        self.call("variable", query).await
    }

    async fn logs(&self, chunks: &LogChunks) -> Result<(), ApiError> {
        self.call("logs", chunks).await
    }

    async fn keys(&self) -> Result<KeysReply, ApiError> {
        self.call("keys", &json!({})).await
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{HttpExecutionApi, refusal};
    use crate::ApiError;

    #[test]
    fn only_http_urls_are_taken_and_the_error_names_the_url() {
        for url in ["", "web:8080", "ftp://web", "/tmp/socket"] {
            let error = HttpExecutionApi::new(url, "t").expect_err(url);
            assert!(error.to_string().contains(&format!("{url:?}")), "{error}");
        }
        let api = HttpExecutionApi::new("http://web:8080/flow", "s3cret").expect("valid");
        let debug = format!("{api:?}");
        assert!(debug.contains("http://web:8080/flow/") && !debug.contains("s3cret"), "{debug}");
    }

    #[test]
    fn statuses_map_to_what_the_worker_can_do() {
        let at = |code| refusal(StatusCode::from_u16(code).expect("a status"), br#"{"error":"x"}"#);
        for code in [500, 502, 503, 504, 429, 408] {
            assert!(at(code).is_retryable(), "{code}");
        }
        assert!(matches!(at(401), ApiError::Unauthorized));
        for code in [400, 403, 404, 413, 422] {
            assert!(matches!(at(code), ApiError::Refused(_)), "{code}");
        }
    }
}
