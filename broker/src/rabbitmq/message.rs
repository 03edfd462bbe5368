//! Messages ↔ AMQP properties, headers and body.

use lapin::BasicProperties;
use serde_json::Value;
use tradewind_proto::headers::Headers;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;

use super::table::{short, to_headers, to_json, to_table};
use super::{delay, hold, native_delay};
use crate::Error;

/// Delivery mode of a persistent message.
const PERSISTENT: u8 = 2;
/// Header that quorum queues add.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// Header of our copies of messages that were delivered before.
const REDELIVERED: &str = "x-tradewind-redelivered";
/// Queues that messages only pass through.
const PASSAGES: [&str; 3] = [delay::PREFIX, hold::PREFIX, native_delay::PREFIX];
/// Headers that RabbitMQ adds when a message passes a delay queue.
const DEATH_HEADERS: [&str; 4] =
    ["x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"];

pub(super) fn to_properties(message: &TaskMessage) -> Result<BasicProperties, Error> {
    let mut properties = BasicProperties::default()
        .with_content_type(short("content_type", &message.content_type)?)
        .with_content_encoding(short("content_encoding", &message.content_encoding)?)
        .with_headers(to_table(message.headers.iter())?)
        .with_delivery_mode(PERSISTENT)
        .with_priority(message.priority)
        .with_correlation_id(short("correlation_id", &message.correlation_id)?);
    if let Some(reply_to) = &message.reply_to {
        properties = properties.with_reply_to(short("reply_to", reply_to)?);
    }
    if let Some(expiration) = message.expiration_ms {
        properties = properties.with_expiration(expiration.to_string().into());
    }
    Ok(properties)
}

/// Marks a copy of a message that was delivered before, which AMQP's own flag does not say.
pub(super) fn mark_redelivered(message: &mut TaskMessage) {
    message.set_header(REDELIVERED, true);
}

/// Whether the headers say that it was delivered before: our mark, or the count of quorum queues,
/// which do not always set AMQP's flag.
pub(super) fn delivered_before(properties: &BasicProperties) -> bool {
    let table = properties.headers().as_ref();
    if table.is_some_and(|table| table.inner().contains_key(REDELIVERED)) {
        return true;
    }
    let count = table.and_then(|table| table.inner().get(DELIVERY_COUNT));
    count.and_then(|count| to_json(count).as_u64()).is_some_and(|count| count > 0)
}

pub(crate) fn from_parts(properties: &BasicProperties, body: Vec<u8>) -> TaskMessage {
    let text = |field: &Option<lapin::types::ShortString>| field.as_ref().map(ToString::to_string);
    let table = properties.headers().as_ref();
    let mut headers = table.map_or_else(Headers::new, to_headers);
    headers.remove(DELIVERY_COUNT);
    headers.remove(REDELIVERED);
    forget_delay(&mut headers);
    TaskMessage {
        headers,
        body,
        content_type: text(properties.content_type())
            .unwrap_or_else(|| names::CONTENT_TYPE_JSON.to_owned()),
        content_encoding: text(properties.content_encoding()).unwrap_or_else(|| "utf-8".to_owned()),
        correlation_id: text(properties.correlation_id()).unwrap_or_default(),
        reply_to: text(properties.reply_to()),
        priority: properties.priority().unwrap_or(0),
        expiration_ms: text(properties.expiration()).and_then(|ms| ms.parse().ok()),
    }
}

/// Removes the server's notes about a passage through a queue of delays or holds.
fn forget_delay(headers: &mut Headers) {
    let first = headers.get("x-first-death-queue").and_then(Value::as_str);
    if first.is_some_and(|queue| PASSAGES.iter().any(|prefix| queue.starts_with(prefix))) {
        for name in DEATH_HEADERS {
            headers.remove(name);
        }
    }
}
