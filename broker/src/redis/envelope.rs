//! kombu's JSON envelope around a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tradewind_proto::Timestamp;
use tradewind_proto::headers::Headers;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;
use uuid::Uuid;

use crate::dead;
use crate::limits::oversized;

/// Delivery mode of a persistent message.
const PERSISTENT: u8 = 2;
const REDELIVERED: &str = "redelivered";

#[derive(Serialize)]
struct Out<'a> {
    body: String,
    #[serde(rename = "content-encoding")]
    content_encoding: &'a str,
    #[serde(rename = "content-type")]
    content_type: &'a str,
    headers: &'a Headers,
    properties: OutProperties<'a>,
}

#[derive(Serialize)]
struct OutProperties<'a> {
    correlation_id: &'a str,
    reply_to: Option<&'a str>,
    delivery_mode: u8,
    delivery_info: OutInfo<'a>,
    priority: u8,
    body_encoding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    // Last: the pop script takes the last one in the text.
    delivery_tag: String,
}

#[derive(Serialize)]
struct OutInfo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
}

/// The envelope of a new message for a queue.
pub(super) fn encode(queue: &str, message: &TaskMessage) -> Vec<u8> {
    let out = Out {
        body: STANDARD.encode(&message.body),
        content_encoding: &message.content_encoding,
        content_type: &message.content_type,
        headers: &message.headers,
        properties: OutProperties {
            correlation_id: &message.correlation_id,
            reply_to: message.reply_to.as_deref(),
            delivery_mode: PERSISTENT,
            delivery_info: OutInfo { exchange: "", routing_key: queue },
            priority: message.priority,
            body_encoding: "base64",
            expiration: message.expiration_ms.map(|ms| ms.to_string()),
            delivery_tag: Uuid::new_v4().to_string(),
        },
    };
    // Maps with string keys always serialize; an empty text would be dead-lettered by the consumer.
    serde_json::to_vec(&out).unwrap_or_default()
}

#[derive(Deserialize)]
struct In {
    body: String,
    #[serde(rename = "content-encoding", default)]
    content_encoding: Option<String>,
    #[serde(rename = "content-type", default)]
    content_type: Option<String>,
    #[serde(default)]
    headers: Option<Headers>,
    properties: InProperties,
}

#[derive(Deserialize)]
struct InProperties {
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    reply_to: Option<String>,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default)]
    body_encoding: Option<String>,
    #[serde(default)]
    expiration: Option<Value>,
    #[serde(default)]
    delivery_info: Option<InInfo>,
}

#[derive(Deserialize)]
struct InInfo {
    #[serde(default)]
    redelivered: Option<bool>,
}

/// What a stored text says, and whether it says that it was delivered before.
pub(crate) fn decode(raw: &[u8]) -> Result<(TaskMessage, bool), String> {
    // Looked at as a whole: text by text, it takes a tenth longer.
    let text = str::from_utf8(raw).map_err(|error| format!("not a kombu envelope: {error}"))?;
    let parsed: In =
        serde_json::from_str(text).map_err(|error| format!("not a kombu envelope: {error}"))?;
    let body = match parsed.properties.body_encoding.as_deref() {
        Some("base64") => STANDARD
            .decode(&parsed.body)
            .map_err(|error| format!("kombu envelope whose body is not base64: {error}"))?,
        None => parsed.body.into_bytes(),
        Some(other) => return Err(format!("kombu envelope with body_encoding {other:?}")),
    };
    if let Some(reason) = oversized(&body) {
        return Err(reason);
    }
    let mut headers = parsed.headers.unwrap_or_default();
    let flagged = headers.remove(REDELIVERED).is_some_and(|flag| flag == true);
    let info = parsed.properties.delivery_info.and_then(|info| info.redelivered);
    let message = TaskMessage {
        headers,
        body,
        content_type: parsed.content_type.unwrap_or_else(|| names::CONTENT_TYPE_JSON.to_owned()),
        content_encoding: parsed.content_encoding.unwrap_or_else(|| "utf-8".to_owned()),
        correlation_id: parsed.properties.correlation_id.unwrap_or_default(),
        reply_to: parsed.properties.reply_to,
        priority: parsed.properties.priority.unwrap_or(0),
        expiration_ms: parsed.properties.expiration.as_ref().and_then(milliseconds),
    };
    Ok((message, flagged || info == Some(true)))
}

fn milliseconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The same envelope with kombu's two marks of a redelivery. What is no envelope stays as it is.
pub(super) fn mark_redelivered(raw: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut envelope)) = serde_json::from_slice::<Value>(raw) else {
        return raw.to_vec();
    };
    if let Some(Value::Object(headers)) = envelope.get_mut("headers") {
        headers.insert(REDELIVERED.to_owned(), Value::Bool(true));
    }
    let info = envelope.get_mut("properties").and_then(|p| p.get_mut("delivery_info"));
    if let Some(Value::Object(info)) = info {
        info.insert(REDELIVERED.to_owned(), Value::Bool(true));
    }
    serde_json::to_vec(&envelope).unwrap_or_else(|_| raw.to_vec())
}

/// The dead letter of a message or of bytes that are none, and its priority.
pub(super) fn dead_letter(
    raw: &[u8],
    queue: &str,
    target: &str,
    reason: &str,
    at: Timestamp,
) -> (Vec<u8>, u8) {
    let mut message = decode(raw).map_or_else(|_| wrap(raw), |(message, _)| message);
    dead::mark(&mut message, reason, queue, at, &Uuid::new_v4().to_string());
    (encode(target, &message), message.priority)
}

/// What a dead letter was before, to be put into a queue again, and its priority.
pub(super) fn revive(raw: &[u8], queue: &str) -> (Vec<u8>, u8) {
    match decode(raw).map(|(message, _)| dead::unmark(message)) {
        Ok(Ok(message)) => (encode(queue, &message), message.priority),
        Ok(Err(bytes)) => (bytes, 0),
        Err(_) => (raw.to_vec(), 0),
    }
}

/// An ordinary message with unreadable bytes as its body.
fn wrap(raw: &[u8]) -> TaskMessage {
    let raw_mark = (names::HEADER_DEAD_RAW, Value::Bool(true));
    TaskMessage {
        headers: Headers::from_iter([raw_mark]),
        body: raw.to_vec(),
        content_type: "application/data".to_owned(),
        content_encoding: "binary".to_owned(),
        correlation_id: String::new(),
        reply_to: None,
        priority: 0,
        expiration_ms: None,
    }
}

/// Takes a value of `unacked` apart: `[envelope, exchange, routing key]` → envelope, queue, priority.
pub(super) fn from_unacked(value: &[u8]) -> Option<(Vec<u8>, String, u8)> {
    let (envelope, _exchange, queue): (Value, Value, String) =
        serde_json::from_slice(value).ok()?;
    let priority = envelope.pointer("/properties/priority").and_then(Value::as_u64).unwrap_or(0);
    let priority = u8::try_from(priority).unwrap_or(u8::MAX);
    Some((serde_json::to_vec(&envelope).ok()?, queue, priority))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A message that Celery 5.7 with kombu 5.7 put into Redis.
    const CELERY: &[u8] = include_bytes!("../../tests/data/kombu-envelope.json");

    #[test]
    fn reads_what_celery_wrote() {
        let (message, redelivered) = decode(CELERY).expect("envelope");
        assert_eq!(message.task(), Some("tasks.add"));
        assert_eq!(
            message.body,
            br#"[[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#
        );
        assert_eq!(message.id(), Some(message.correlation_id.as_str()));
        assert!(message.reply_to.is_some() && !redelivered);
        assert_eq!(message.headers["timelimit"], json!([30, 20]));
    }

    #[test]
    fn writes_the_same_keys_as_celery_in_the_same_order() {
        let (message, _) = decode(CELERY).expect("envelope");
        let ours: Value = serde_json::from_slice(&encode("celery", &message)).expect("json");
        let theirs: Value = serde_json::from_slice(CELERY).expect("json");
        let mut expected = theirs.clone();
        expected["properties"]["delivery_tag"] = ours["properties"]["delivery_tag"].clone();
        assert_eq!(ours, expected);
        let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&ours), keys(&theirs));
    }

    #[test]
    fn a_redelivery_is_marked_as_kombu_marks_it() {
        let marked = mark_redelivered(CELERY);
        let value: Value = serde_json::from_slice(&marked).expect("json");
        assert_eq!(value["headers"]["redelivered"], json!(true));
        assert_eq!(value["properties"]["delivery_info"]["redelivered"], json!(true));
        let (message, redelivered) = decode(&marked).expect("envelope");
        assert!(redelivered && !message.headers.contains_key("redelivered"));
    }
}
