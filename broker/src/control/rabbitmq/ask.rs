//! One question: a reply queue and a channel of its own, both gone when the waiting is over.

use std::time::Duration;

use futures::StreamExt;
use lapin::{Channel, Consumer};
use tokio::time::{Instant, timeout_at};
use tradewind_proto::celery::{ControlRequest, ReplyTo};
use tradewind_proto::message::TaskMessage;
use uuid::Uuid;

use super::super::{Reply, wire};
use super::Inner;
use super::declare::{self, OwnQueue};
use crate::Error;
use crate::rabbitmq::link::convert;
use crate::rabbitmq::message::from_parts;

/// AMQP reply code of an orderly close.
const REPLY_SUCCESS: u16 = 200;

/// Asks, and collects replies until `wait` is over or `expected` are there.
pub(super) async fn ask(
    inner: &Inner,
    mut request: ControlRequest,
    wait: Duration,
    expected: usize,
) -> Result<Vec<Reply>, Error> {
    let exchange = inner.options.reply_exchange();
    let oid = Uuid::new_v4().hyphenated().to_string();
    let ticket = Uuid::new_v4().hyphenated().to_string();
    request.ticket = Some(ticket.clone());
    request.reply_to = Some(ReplyTo { exchange: exchange.clone(), routing_key: oid.clone() });
    let queue = OwnQueue {
        name: format!("{oid}.{exchange}"),
        exchange,
        routing_key: oid,
        ttl_ms: Some(inner.options.queue_ttl_ms),
        expires_ms: inner.options.queue_expires_ms,
    };
    // The exchange of replies must exist.
    let _ready = inner.publisher.channel().await?;
    let opened = open(inner, &queue).await;
    if opened.is_err() {
        // See `Publisher::channel`.
        inner.asker.close().await;
    }
    let (channel, mut consumer) = opened?;
    inner.command(&request, Some(wait)).await?;
    let deadline = Instant::now() + wait;
    let mut replies = wire::Replies::new(&ticket, expected);
    while !replies.complete() {
        let Ok(received) = timeout_at(deadline, consumer.next()).await else { break };
        let Some(delivery) = received else { break };
        let delivery = delivery.map_err(|error| convert("waiting for replies", &error))?;
        let TaskMessage { headers, content_type, body, .. } =
            from_parts(&delivery.properties, delivery.data);
        replies.take(&headers, &content_type, &body, &inner.lamport);
    }
    drop(consumer);
    if channel.status().connected() {
        let closing = channel.close(REPLY_SUCCESS, "answered".into());
        if let Err(error) = inner.asker.limited("closing a channel", closing).await {
            tracing::debug!(%error, "a reply queue was left to the server");
        }
    }
    Ok(replies.into_vec())
}

async fn open(inner: &Inner, queue: &OwnQueue) -> Result<(Channel, Consumer), Error> {
    let channel = inner.asker.channel().await?;
    let declared = declare::queue(&inner.asker, &channel, queue).await?;
    declared.map_err(|error| convert("a reply queue", &error))?;
    let consumer = declare::consume(&inner.asker, &channel, queue).await?;
    Ok((channel, consumer))
}
