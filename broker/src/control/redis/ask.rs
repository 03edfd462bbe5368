//! One question: a reply queue of its own, bound before the command is published and removed when
//! the waiting is over.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout_at};
use tradewind_proto::celery::{ControlRequest, ReplyTo};
use uuid::Uuid;

use super::super::{REPLIES_MAX, Reply, wire};
use super::Inner;
use super::keys::Keys;
use crate::Error;
use crate::redis::envelope::decode;
use crate::redis::link::convert;

/// The blocking command's own limit beyond ours: ours decides, the server's keeps it from blocking
/// for ever.
const SERVER_EXTRA: Duration = Duration::from_secs(1);

/// A bound reply queue; removed when dropped.
struct ReplyQueue {
    inner: Arc<Inner>,
    member: String,
    list: String,
    removed: bool,
}

impl ReplyQueue {
    async fn bind(inner: &Arc<Inner>, oid: &str) -> Result<Self, Error> {
        let exchange = inner.options.reply_exchange();
        let queue = format!("{oid}.{exchange}");
        let member = Keys::binding(oid, &queue);
        let list = inner.keys.list(&queue);
        // Before the first await: a lost answer may have bound it.
        let bound = Self { inner: Arc::clone(inner), member: member.clone(), list, removed: false };
        inner.bind(&exchange, &member).await?;
        Ok(bound)
    }

    async fn remove(mut self) {
        self.removed = true;
        remove(&self.inner, &self.member, &self.list).await;
    }
}

impl Drop for ReplyQueue {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.removed, tokio::runtime::Handle::try_current()) {
            let (inner, member) = (Arc::clone(&self.inner), self.member.clone());
            let list = self.list.clone();
            runtime.spawn(async move { remove(&inner, &member, &list).await });
        }
    }
}

async fn remove(inner: &Inner, member: &str, list: &str) {
    let [bindings, _] = inner.keys.bindings(&inner.options.reply_exchange());
    let mut both = ::redis::pipe();
    both.atomic().srem(bindings, member).ignore().del(list).ignore();
    if let Err(error) = inner.link.pipeline::<()>(&both).await {
        tracing::debug!(%error, "a reply queue was left behind");
    }
}

/// Asks, and collects replies until `wait` is over or `expected` are there.
pub(super) async fn ask(
    inner: &Arc<Inner>,
    mut request: ControlRequest,
    wait: Duration,
    expected: usize,
) -> Result<Vec<Reply>, Error> {
    let oid = Uuid::new_v4().hyphenated().to_string();
    let ticket = Uuid::new_v4().hyphenated().to_string();
    request.ticket = Some(ticket.clone());
    request.reply_to =
        Some(ReplyTo { exchange: inner.options.reply_exchange(), routing_key: oid.clone() });
    let mut connection = inner.link.blocking().await?;
    let queue = ReplyQueue::bind(inner, &oid).await?;
    inner.command(&request, Some(wait)).await?;
    let deadline = Instant::now() + wait;
    let mut replies = Vec::new();
    while replies.len() < expected.min(REPLIES_MAX) {
        let popping = pop(&mut connection, &queue.list, deadline);
        let Ok(popped) = timeout_at(deadline, popping).await else { break };
        let Some(text) = popped? else { break };
        let read = decode(&text).and_then(|(message, _)| {
            wire::read_replies(
                &message.headers,
                &message.content_type,
                &message.body,
                &ticket,
                &inner.lamport,
            )
        });
        match read {
            Ok(read) => replies.extend(read),
            Err(reason) => tracing::warn!(reason, "unreadable reply skipped"),
        }
    }
    queue.remove().await;
    Ok(replies)
}

async fn pop(
    connection: &mut MultiplexedConnection,
    list: &str,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, Error> {
    let limit = deadline.saturating_duration_since(Instant::now()) + SERVER_EXTRA;
    let mut command = ::redis::cmd("BRPOP");
    command.arg(list).arg(limit.as_secs_f64());
    let popped: Option<(Vec<u8>, Vec<u8>)> = command
        .query_async(connection)
        .await
        .map_err(|error| convert("waiting for replies", &error))?;
    Ok(popped.map(|(_, text)| text))
}
