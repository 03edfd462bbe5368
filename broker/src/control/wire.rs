//! Events, commands and replies as JSON bodies with headers, the same on every server.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tradewind_proto::celery::{ControlRequest, Event};
use tradewind_proto::clock::Clock;
use tradewind_proto::headers::Headers;

use super::lamport::Lamport;
use super::{REPLIES_BYTES_MAX, REPLIES_MAX, Reply};
use crate::limits::oversized;

/// What is read and written; as everywhere, no pickle.
pub(super) const CONTENT_TYPE: &str = "application/json";
/// Its encoding.
pub(super) const CONTENT_ENCODING: &str = "utf-8";
/// Delivery mode of a message that need not survive.
pub(super) const TRANSIENT: u8 = 1;
/// Routing key of a list of task events.
const TASK_MULTI: &str = "task.multi";
/// Task events in one list.
const EVENTS_PER_LIST_MAX: usize = 100;
/// A command is late only when it has been so for this long: clocks of hosts differ, and Celery's
/// clients give even commands without an answer a second to live.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// A message that is ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parcel {
    pub(super) routing_key: String,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
}

fn parcel<const N: usize>(
    routing_key: String,
    headers: [(&'static str, Value); N],
    body: &Value,
) -> Parcel {
    // Values always serialize.
    Parcel {
        routing_key,
        headers: Headers::from_iter(headers),
        body: serde_json::to_vec(body).unwrap_or_default(),
    }
}

/// Events as messages, in order: task events that follow one another as lists, others singly.
pub(super) fn events(events: &[Event]) -> Vec<Parcel> {
    let is_task = |event: &Event| event.kind().starts_with("task-");
    let mut parcels = Vec::new();
    for run in events.chunk_by(|a, b| is_task(a) && is_task(b)) {
        for chunk in run.chunks(EVENTS_PER_LIST_MAX) {
            let headers = [("hostname", json!(chunk[0].text("hostname")))];
            let bodies = chunk.iter().map(|event| Value::Object(event.0.clone()));
            let bodies: Vec<Value> = bodies.collect();
            parcels.push(match bodies.as_slice() {
                [one] => parcel(chunk[0].routing_key(), headers, one),
                _ => parcel(TASK_MULTI.to_owned(), headers, &Value::Array(bodies)),
            });
        }
    }
    parcels
}

/// Events of a message: an object or a list. Members of a list that are no events are left out.
pub(super) fn read_events(content_type: &str, body: &[u8]) -> Result<Vec<Event>, String> {
    let all = match json_of(content_type, body)? {
        Value::Array(items) => items,
        one => vec![one],
    };
    let is_event = |value: Value| match value {
        Value::Object(map) if map.get("type").is_some_and(Value::is_string) => Some(Event(map)),
        _ => None,
    };
    let events: Vec<Event> = all.into_iter().filter_map(is_event).collect();
    if events.is_empty() { Err("no event in it".to_owned()) } else { Ok(events) }
}

/// A command as a message. `wait` is how long the answers are waited for, none: nobody waits.
pub(super) fn command(
    request: &ControlRequest,
    wait: Option<Duration>,
    lamport: &Lamport,
    clock: &dyn Clock,
) -> Result<Parcel, String> {
    let now = seconds(clock);
    let expires = wait.map_or(json!(0), |wait| json!(now + wait.as_secs_f64()));
    let headers = [("clock", json!(lamport.forward())), ("expires", expires)];
    let mut body = serde_json::to_value(request).map_err(|error| error.to_string())?;
    if let Some(body) = body.as_object_mut() {
        // Where nobody waits, Celery leaves these out.
        for name in ["ticket", "reply_to"] {
            if body.get(name).is_some_and(Value::is_null) {
                body.shift_remove(name);
            }
        }
    }
    Ok(parcel(String::new(), headers, &body))
}

/// A command out of a message; none when its sender has given up long ago.
pub(super) fn read_command(
    headers: &Headers,
    content_type: &str,
    body: &[u8],
    lamport: &Lamport,
    clock: &dyn Clock,
) -> Result<Option<ControlRequest>, String> {
    lamport.adjust(headers.get("clock").and_then(Value::as_u64).unwrap_or(0));
    let expires = headers.get("expires").and_then(Value::as_f64).unwrap_or(0.0);
    if expires > 0.0 && seconds(clock) > expires + CLOCK_SKEW.as_secs_f64() {
        return Ok(None);
    }
    let mut body = json_of(content_type, body)?;
    if let Some(body) = body.as_object_mut() {
        // Python takes null for no arguments.
        body.retain(|name, value| name != "arguments" || !value.is_null());
    }
    serde_json::from_value(body).map(Some).map_err(|error| format!("no command: {error}"))
}

/// A reply as a message.
pub(super) fn reply(
    routing_key: &str,
    ticket: Option<&str>,
    reply: &Reply,
    lamport: &Lamport,
) -> Parcel {
    let headers = [("ticket", json!(ticket)), ("clock", json!(lamport.forward()))];
    let body = Value::Object(Map::from_iter([(reply.node.clone(), reply.value.clone())]));
    parcel(routing_key.to_owned(), headers, &body)
}

/// Replies to one question, as they come in, within bounds.
#[derive(Debug)]
pub(super) struct Replies {
    ticket: String,
    expected: usize,
    bytes: usize,
    replies: Vec<Reply>,
}

impl Replies {
    pub(super) fn new(ticket: &str, expected: usize) -> Self {
        let expected = expected.min(REPLIES_MAX);
        Self { ticket: ticket.to_owned(), expected, bytes: 0, replies: Vec::new() }
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn complete(&self) -> bool {
        self.replies.len() >= self.expected || self.bytes > REPLIES_BYTES_MAX
    }

    /// Takes a message; one that answers another question, or none, is passed over.
    pub(super) fn take(
        &mut self,
        headers: &Headers,
        content_type: &str,
        body: &[u8],
        lamport: &Lamport,
    ) {
        lamport.adjust(headers.get("clock").and_then(Value::as_u64).unwrap_or(0));
        // Celery's clients take one without a ticket for an answer to the question at hand.
        let ticket = headers.get("ticket").and_then(Value::as_str);
        if ticket.is_some_and(|other| other != self.ticket) {
            return;
        }
        match json_of(content_type, body) {
            Ok(Value::Object(map)) => {
                self.bytes += body.len();
                let replies = map.into_iter().map(|(node, value)| Reply { node, value });
                self.replies.extend(replies);
            }
            Ok(_) => skip_reply("it is no object"),
            Err(reason) => skip_reply(&reason),
        }
    }

    pub(super) fn into_vec(self) -> Vec<Reply> {
        self.replies
    }
}

/// Notes a reply that cannot be read.
pub(super) fn skip_reply(reason: &str) {
    tracing::warn!(reason, "unreadable reply skipped");
}

/// How many replies end the waiting: as asked, or one per node that was named.
pub(super) fn expected(request: &ControlRequest, expected: Option<usize>) -> Option<usize> {
    let named = request.destination.as_ref().map(Vec::len).filter(|count| *count > 0);
    expected.or(named)
}

fn json_of(content_type: &str, body: &[u8]) -> Result<Value, String> {
    if content_type != CONTENT_TYPE {
        return Err(format!("content type {content_type:?}; only {CONTENT_TYPE} is read"));
    }
    if let Some(reason) = oversized(body) {
        return Err(reason);
    }
    serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))
}

/// Seconds since 1970, as Python writes times.
#[expect(clippy::cast_precision_loss, reason = "microseconds are exact until the year 2255")]
fn seconds(clock: &dyn Clock) -> f64 {
    clock.now().as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use tradewind_proto::Timestamp;
    use tradewind_proto::clock::{SystemClock, from_micros};

    use super::*;

    fn event(kind: &str, n: u64) -> Event {
        Event::new(kind, json!({"hostname": "celery@a", "clock": n}))
    }

    #[test]
    fn task_events_in_a_row_become_one_list() {
        let all = [
            event("worker-online", 1),
            event("task-received", 2),
            event("task-started", 3),
            event("worker-heartbeat", 4),
            event("task-succeeded", 5),
        ];
        let parcels = events(&all);
        let keys: Vec<&str> = parcels.iter().map(|p| p.routing_key.as_str()).collect();
        assert_eq!(keys, ["worker.online", "task.multi", "worker.heartbeat", "task.succeeded"]);
        assert!(parcels.iter().all(|p| p.headers["hostname"] == "celery@a"));
        let read = parcels.iter().flat_map(|p| read_events(CONTENT_TYPE, &p.body).expect("events"));
        assert_eq!(read.collect::<Vec<_>>(), all);
    }

    #[test]
    fn what_is_no_event_is_refused_or_left_out() {
        assert!(read_events(CONTENT_TYPE, b"\x80\x04").is_err());
        assert!(read_events("application/x-python-serialize", b"{}").is_err());
        assert!(read_events(CONTENT_TYPE, b"[]").is_err());
        assert!(read_events(CONTENT_TYPE, br#"{"type": 1}"#).is_err());
        let read = read_events(CONTENT_TYPE, br#"[1, {"type": "task-sent"}, null]"#);
        assert_eq!(read.expect("one event"), [Event::new("task-sent", json!({}))]);
    }

    #[test]
    fn commands_have_celerys_members() {
        let request = ControlRequest { method: "ping".to_owned(), ..ControlRequest::default() };
        let lamport = Lamport::default();
        let sent = command(&request, None, &lamport, &SystemClock).expect("a message");
        let body: Value = serde_json::from_slice(&sent.body).expect("json");
        let expected = json!({"method": "ping", "arguments": {}, "destination": null,
                              "pattern": null, "matcher": null});
        assert_eq!(body, expected);
        assert_eq!(json!(sent.headers), json!({"clock": 1, "expires": 0}));
        // As Python may write it.
        let body = br#"{"method": "ping", "arguments": null, "destination": null}"#;
        let headers = Headers::from_iter([("clock", json!(40))]);
        let read = read_command(&headers, CONTENT_TYPE, body, &lamport, &SystemClock);
        assert_eq!(read, Ok(Some(request)));
        assert_eq!(lamport.forward(), 41);
    }

    #[test]
    fn a_command_is_late_only_beyond_any_difference_of_clocks() {
        #[derive(Debug)]
        struct At(i64);
        impl Clock for At {
            fn now(&self) -> Timestamp {
                from_micros(self.0 * 1_000_000)
            }
        }
        let body = br#"{"method": "shutdown"}"#;
        let headers = Headers::from_iter([("expires", json!(1_000.5))]);
        let read = |now| {
            read_command(&headers, CONTENT_TYPE, body, &Lamport::default(), &At(now)).expect("read")
        };
        assert!(read(1_050).is_some());
        assert_eq!(read(1_100), None);
    }

    #[test]
    fn replies_to_other_questions_are_passed_over() {
        let lamport = Lamport::default();
        let mine = Reply { node: "celery@a".to_owned(), value: json!({"ok": "pong"}) };
        let sent = reply("client", Some("t1"), &mine, &lamport);
        let read = |ticket, body: &[u8]| {
            let mut replies = Replies::new(ticket, 1);
            replies.take(&sent.headers, CONTENT_TYPE, body, &lamport);
            assert_eq!(replies.complete(), !replies.replies.is_empty());
            replies.into_vec()
        };
        assert_eq!(read("t1", &sent.body), std::slice::from_ref(&mine));
        assert!(read("t2", &sent.body).is_empty());
        assert!(read("t1", b"[]").is_empty() && read("t1", b"\x80").is_empty());
        let request = ControlRequest {
            destination: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..ControlRequest::default()
        };
        assert_eq!(expected(&request, None), Some(2));
        assert_eq!(expected(&request, Some(1)), Some(1));
        assert_eq!(expected(&ControlRequest::default(), None), None);
    }
}
