//! Runs a task as an HTTP call: the call is posted as JSON, the answer's body is the result.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use tradewind_proto::celery::wide;

use super::ExternalError;
use super::call::{Call, Runner, soft_limit_exceeded};
use crate::fleet::{Failure, Outcome, Retry, TaskError};

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest call of a task without a time limit: a silent server must not hold a slot for ever.
const CALL_MAX: Duration = Duration::from_secs(3600);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How much of a refusal is quoted.
const QUOTED_CHARS_MAX: usize = 500;
/// Longest wait that a server may ask for.
const RETRY_AFTER_SECONDS_MAX: u64 = 3600;

/// A client that external tasks share.
pub(super) fn client() -> Result<Client, ExternalError> {
    // reqwest has no TLS provider of its own here; one that was installed earlier stays.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tradewind-worker/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| ExternalError::Client(chain(&error)))
}

/// Headers from configuration.
pub(super) fn headers<'a>(
    named: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<HeaderMap, String> {
    let mut all = HeaderMap::new();
    for (name, value) in named {
        let key: HeaderName =
            name.parse().map_err(|_| format!("headers: {name:?} is no header name"))?;
        let mut value: HeaderValue =
            value.parse().map_err(|_| format!("headers: the value of {name:?} cannot be sent"))?;
        value.set_sensitive(true);
        all.insert(key, value);
    }
    Ok(all)
}

/// Posts calls to a URL.
#[derive(Debug)]
pub(super) struct HttpRunner {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) limit: Option<Duration>,
}

#[async_trait]
impl Runner for HttpRunner {
    async fn run(&self, call: &Call) -> Outcome {
        tokio::select! {
            biased;
            outcome = self.post(call) => outcome,
            () = call.soft_stop.cancelled() => Err(soft_limit_exceeded()),
        }
    }
}

impl HttpRunner {
    async fn post(&self, call: &Call) -> Outcome {
        let mut headers = self.headers.clone();
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let request = self.client.post(self.url.clone()).headers(headers);
        let request = request.timeout(self.limit.unwrap_or(CALL_MAX));
        let request = request.body(wide::to_json(&call.to_json()));
        let response = request.send().await.map_err(unreachable_server)?;
        let status = response.status();
        let wait = retry_after(&response);
        let body = read(response).await?;
        if status.is_success() {
            return value(&body);
        }
        Err(refusal(status, wait, &body))
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, TaskError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unreachable_server)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            let text = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
            return Err(TaskError::fail("ResultTooLarge", text));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn value(body: &[u8]) -> Outcome {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    wide::from_slice(body).map_err(|error| {
        TaskError::fail("HTTPError", format!("the answer is not JSON ({error}): {}", quote(body)))
    })
}

fn unreachable_server(error: reqwest::Error) -> TaskError {
    let kind =
        if error.is_timeout() && !error.is_connect() { "Timeout" } else { "ConnectionError" };
    // The URL may hold a password.
    TaskError::fail(kind, chain(&error.without_url()))
}

/// The seconds form of `Retry-After`; dates are rare and only mean "later".
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX)))
}

/// A busy server says when to come back; the task's policy says how often.
fn refusal(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> TaskError {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => return TaskError::fail("HTTPError", format!("HTTP {status}: {}", quote(body))),
    };
    let failure = Failure::new(kind, format!("HTTP {status}: {}", quote(body)));
    match wait {
        Some(_) => TaskError::Retry(Box::new(Retry {
            countdown: wait,
            because: Some(failure),
            ..Retry::default()
        })),
        None => TaskError::Fail(failure),
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
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
