//! One question: a reply queue of its own, bound before the command is published and removed when
//! the waiting is over.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout_at};
use tradewind_proto::celery::{ControlRequest, ReplyTo};
use tradewind_proto::message::TaskMessage;
use uuid::Uuid;

use super::super::{Reply, wire};
use super::Inner;
use super::keys::Keys;
use crate::Error;
use crate::redis::envelope::decode;
use crate::redis::link::convert;

/// The blocking command's own limit beyond ours: ours decides, the server's keeps it from blocking
/// for ever.
const SERVER_EXTRA: Duration = Duration::from_secs(1);

/// How long kombu's sweep leaves bindings alone that nobody renews; kombu's own minimum.
const BINDING_TTL: Duration = Duration::from_secs(3_600);
/// How long a binding may outlive its question when its process was killed.
const LEFTOVER_MAX: Duration = Duration::from_secs(60);

/// A bound reply queue; removed when dropped.
struct ReplyQueue {
    inner: Arc<Inner>,
    member: String,
    list: String,
    removed: bool,
}

impl ReplyQueue {
    async fn bind(inner: &Arc<Inner>, oid: &str, wait: Duration) -> Result<Self, Error> {
        let exchange = inner.options.reply_exchange();
        let queue = format!("{oid}.{exchange}");
        let member = Keys::binding(oid, &queue);
        let list = inner.keys.list(&queue);
        // Before the first await: a lost answer may have bound it.
        let bound = Self { inner: Arc::clone(inner), member: member.clone(), list, removed: false };
        let mut script = inner.bind.prepare_invoke();
        for key in inner.keys.bindings(&exchange) {
            script.key(key);
        }
        script.arg(member).arg(exchange).arg(BINDING_TTL.as_millis().to_string());
        script.arg((wait + LEFTOVER_MAX).as_millis().to_string());
        let _swept: i64 = inner.link.run("binding a reply queue", &script).await?;
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
    let [bindings, _, questions] = inner.keys.bindings(&inner.options.reply_exchange());
    let mut all = ::redis::pipe();
    all.atomic().srem(bindings, member).ignore().zrem(questions, member).ignore();
    all.del(list).ignore();
    if let Err(error) = inner.link.pipeline::<()>(&all).await {
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
    let queue = ReplyQueue::bind(inner, &oid, wait).await?;
    inner.command(&request, Some(wait)).await?;
    let deadline = Instant::now() + wait;
    let mut replies = wire::Replies::new(&ticket, expected);
    while !replies.complete() {
        let popping = pop(&mut connection, &queue.list, deadline);
        let Ok(popped) = timeout_at(deadline, popping).await else { break };
        let Some(text) = popped? else { break };
        match decode(&text) {
            Ok((message, _)) => {
                let TaskMessage { headers, content_type, body, .. } = message;
                replies.take(&headers, &content_type, &body, &inner.lamport);
            }
            Err(reason) => wire::skip_reply(&reason),
        }
    }
    queue.remove().await;
    Ok(replies.into_vec())
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
