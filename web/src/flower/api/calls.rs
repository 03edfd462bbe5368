//! Tasks sent through the API.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil::DateTime};
use serde_json::{Map, Value, json};
use tradewind_proto::celery::canvas::{Plan, Planned};
use tradewind_proto::celery::{Request, ResultTuple, state};

use super::results::{outcome_of, shown, stored};
use super::workers::require_registered;
use super::{Answer, Refusal, Shown};
use crate::flower::FlowerHandle;
use crate::flower::service::Shared;

/// How times are written in options.
const DATE_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.f";
/// Longest wait of `apply`, in seconds; Flower has none.
const APPLY_SECONDS_MAX: f64 = 3_600.0;

/// A call as the body describes it.
#[derive(Debug)]
struct Call {
    args: Vec<Value>,
    kwargs: Map<String, Value>,
    options: Map<String, Value>,
}

impl Call {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let value = if body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(body).map_err(|error| Refusal::bad(error.to_string()))?
        };
        let Value::Object(mut options) = value else {
            return Err(Refusal::bad("invalid options"));
        };
        let args = match options.shift_remove("args") {
            None => Vec::new(),
            Some(Value::Array(args)) => args,
            Some(_) => return Err(Refusal::bad("args must be an array")),
        };
        let kwargs = match options.shift_remove("kwargs") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(kwargs)) => kwargs,
            Some(_) => return Err(Refusal::bad("kwargs must be an object")),
        };
        Ok(Self { args, kwargs, options })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A number, also one in a text.
    fn number(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let number = match self.options.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => other.as_f64(),
        };
        number
            .filter(|n: &f64| n.is_finite())
            .map(Some)
            .ok_or_else(|| Refusal::bad("Invalid option"))
    }

    /// A point in time: Flower's format, or ISO 8601.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.text(name) else {
            return match self.options.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(_) => Err(Refusal::bad("Invalid option")),
            };
        };
        let plain = || {
            let at = DateTime::strptime(DATE_FORMAT, text).ok()?;
            // A time without zone is UTC to Celery's workers.
            at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
        };
        text.parse().ok().or_else(plain).map(Some).ok_or_else(|| Refusal::bad("Invalid option"))
    }

    fn request(&self, task: &str, id: String, now: Timestamp) -> Result<Request, Refusal> {
        let after = |seconds: f64| {
            let span = SignedDuration::try_from_secs_f64(seconds).ok()?;
            now.checked_add(span).ok()
        };
        let later = |seconds: f64| after(seconds).ok_or_else(|| Refusal::bad("Invalid option"));
        let mut request = Request::new(task, id);
        request.args = self.args.clone();
        request.kwargs = self.kwargs.clone();
        request.eta = match self.number("countdown")? {
            Some(seconds) => Some(later(seconds)?),
            None => self.time("eta")?,
        };
        request.expires = match self.number("expires") {
            Ok(Some(seconds)) => Some(later(seconds)?),
            Ok(None) => None,
            Err(_) => self.time("expires")?,
        };
        request.time_limit = self.number("time_limit")?;
        request.soft_time_limit = self.number("soft_time_limit")?;
        request.ignore_result =
            self.options.get("ignore_result").and_then(Value::as_bool).unwrap_or(false);
        request.root_id = self.text("root_id").map(str::to_owned).or(request.root_id);
        request.parent_id = self.text("parent_id").map(str::to_owned);
        if let Some(Value::Object(headers)) = self.options.get("headers") {
            request.headers = headers.clone().into();
        }
        if let Some(shadow) = self.text("shadow") {
            request.headers.insert("shadow".to_owned(), json!(shadow));
        }
        if let Some(priority) = self.number("priority")? {
            let whole = (0.0..=255.0).contains(&priority) && priority.fract() == 0.0;
            if !whole {
                return Err(Refusal::bad("Invalid option"));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            let priority = priority as u8;
            request.priority = priority;
        }
        Ok(request)
    }
}

/// Sends a call and returns the task's id. Where it goes: what the call says, else the fleet's routes.
async fn publish(shared: &Shared, task: &str, call: &Call) -> Result<String, Refusal> {
    let id = call.text("task_id").map_or_else(|| shared.deps.ids.next().to_string(), str::to_owned);
    let client = &shared.deps.client;
    let mut request = call.request(task, id.clone(), shared.deps.clock.now())?;
    let applied = client.applied();
    (request.reply_to, request.origin) = (applied.reply_to, applied.origin);
    let said = |name| call.text(name).map(str::to_owned);
    let (mut queue, exchange, routing_key) = (said("queue"), said("exchange"), said("routing_key"));
    if exchange.is_none() {
        // The routing key of the default exchange is the name of a queue.
        queue = queue.or_else(|| routing_key.clone());
    }
    let priority = call.number("priority")?.is_some().then_some(request.priority);
    let planned = Planned { request, queue, exchange, routing_key, priority };
    let result = ResultTuple::task(&id);
    let plan = Plan { joins: Vec::new(), sends: vec![planned], result };
    client.execute(plan).await.map_err(|error| Refusal::unavailable("publish", &error))?;
    Ok(id)
}

/// The id, and the state where results are kept.
async fn sent(shared: &Shared, id: String) -> Answer {
    let mut answer = json!({"task-id": id});
    if shared.deps.results.is_some() {
        let state =
            stored(shared, &id).await?.map_or(state::PENDING.to_owned(), |meta| meta.status);
        answer["state"] = json!(state);
    }
    Ok(Shown(answer))
}

/// `POST /api/task/async-apply/<name>`
pub(super) async fn async_apply(
    State(flower): State<FlowerHandle>,
    Path(task): Path<String>,
    body: Bytes,
) -> Answer {
    let call = Call::read(&body)?;
    require_registered(&flower.shared, &task).await?;
    let id = publish(&flower.shared, &task, &call).await?;
    sent(&flower.shared, id).await
}

/// `POST /api/task/send-task/<name>`
pub(super) async fn send_task(
    State(flower): State<FlowerHandle>,
    Path(task): Path<String>,
    body: Bytes,
) -> Answer {
    let call = Call::read(&body)?;
    let id = publish(&flower.shared, &task, &call).await?;
    sent(&flower.shared, id).await
}

/// `POST /api/task/apply/<name>`
pub(super) async fn apply(
    State(flower): State<FlowerHandle>,
    Path(task): Path<String>,
    body: Bytes,
) -> Answer {
    let call = Call::read(&body)?;
    let shared = &flower.shared;
    require_registered(shared, &task).await?;
    let timeout = call.number("timeout").map_err(|_| Refusal::bad("Invalid timeout"))?;
    let seconds = timeout.unwrap_or(APPLY_SECONDS_MAX).clamp(0.0, APPLY_SECONDS_MAX);
    let id = publish(shared, &task, &call).await?;
    let outcome = outcome_of(shared, &id, Duration::from_secs_f64(seconds)).await?;
    let mut answer = Map::from_iter([("task-id".to_owned(), json!(id))]);
    match outcome {
        Some(meta) => {
            let state = meta.status.clone();
            answer.extend(shown(&meta));
            answer.insert("state".to_owned(), json!(state));
        }
        None => {
            let state = stored(shared, &id).await?.map(|meta| meta.status);
            answer.insert("state".to_owned(), json!(state.as_deref().unwrap_or(state::PENDING)));
        }
    }
    Ok(Shown(Value::Object(answer)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::Timestamp;

    use super::Call;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn options_become_headers() {
        let body = json!({
            "args": [1], "kwargs": {"a": 2}, "countdown": "10", "expires": "2026-11-20 10:00:30.5",
            "priority": 7, "time_limit": 5, "soft_time_limit": 4.5, "ignore_result": true,
        });
        let call = Call::read(body.to_string().as_bytes()).expect("valid");
        let now = at("2026-11-20T10:00:00Z");
        let request = call.request("add", "id".to_owned(), now).expect("valid");
        assert_eq!(request.eta, Some(at("2026-11-20T10:00:10Z")));
        assert_eq!(request.expires, Some(at("2026-11-20T10:00:30.5Z")));
        assert_eq!((request.priority, request.ignore_result), (7, true));
        assert_eq!((request.time_limit, request.soft_time_limit), (Some(5.0), Some(4.5)));
        assert_eq!(request.args, [json!(1)]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for body in ["[1]", "{", "{\"args\": 5}", "{\"kwargs\": [1]}"] {
            assert!(Call::read(body.as_bytes()).is_err(), "{body}");
        }
        for options in [
            json!({"eta": "soon"}),
            json!({"eta": 5}),
            json!({"countdown": "x"}),
            json!({"countdown": 1e300}),
            json!({"expires": "never"}),
            json!({"priority": 1.5}),
        ] {
            let call = Call::read(options.to_string().as_bytes()).expect("an object");
            let made = call.request("add", "id".to_owned(), at("2026-11-20T10:00:00Z"));
            assert!(made.is_err(), "{options}");
        }
    }
}
