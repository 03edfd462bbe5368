//! The consumer of this process's reply queue. One task per backend, started when it opens, ended
//! when it is dropped; reconnects until then.
//!
//! The queue is Celery's: durable, deleted when its consumer is gone. Results sent while the link is
//! down are therefore lost to the waiter, as they are with Celery.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use tokio::time::{Instant, sleep};

use super::super::watchers::Watchers;
use super::super::{StoredResult, meta};
use super::TOKEN_HEADER;
use super::link::{Link, answered, short};
use super::replies::Replies;
use crate::Error;

/// The server drops an unused reply queue after this long; as long a reply is kept here.
const REPLY_EXPIRES: Duration = Duration::from_secs(86_400);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What the consumer fills.
#[derive(Debug, Clone)]
pub(super) struct ReplyQueue {
    pub(super) link: Arc<Link>,
    pub(super) name: String,
    pub(super) replies: Arc<Mutex<Replies>>,
    pub(super) watchers: Watchers,
}

impl ReplyQueue {
    /// Declares the queue and starts to consume it.
    pub(super) async fn open(&self) -> Result<(Channel, Consumer), Error> {
        let channel = self.link.channel().await?;
        let expires = i32::try_from(REPLY_EXPIRES.as_millis()).unwrap_or(i32::MAX);
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(expires));
        let options = QueueDeclareOptions {
            durable: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let declaring =
            channel.queue_declare(short("a reply queue", &self.name)?, options, arguments);
        answered("the reply queue", declaring).await?;
        // The results go to this process's memory: acks would promise nothing more.
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let name = self.name.as_str().into();
        let consuming = channel.basic_consume(name, "".into(), options, FieldTable::default());
        let consumer = answered("the reply consumer", consuming).await?;
        Ok((channel, consumer))
    }

    /// Consumes for ever, beginning with what [`ReplyQueue::open`] gave.
    pub(super) async fn supervise(self, first: (Channel, Consumer)) {
        let mut open = Some(first);
        let mut backoff = BACKOFF_MIN;
        loop {
            if let Some((_channel, consumer)) = open.take() {
                backoff = BACKOFF_MIN;
                self.watchers.set_live(true);
                self.drain(consumer).await;
                self.watchers.set_live(false);
                tracing::warn!(queue = %self.name, "reply queue is gone; reconnecting");
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match self.open().await {
                Ok(opened) => open = Some(opened),
                Err(Error::Closed) => return,
                Err(error) => tracing::debug!(%error, "reply queue not restored"),
            }
        }
    }

    async fn drain(&self, mut consumer: Consumer) {
        while let Some(Ok(delivery)) = consumer.next().await {
            match read(delivery) {
                Ok(result) => {
                    let task_id = result.task_id.clone();
                    self.replies.lock().unwrap_or_else(PoisonError::into_inner).put(
                        result,
                        REPLY_EXPIRES,
                        Instant::now(),
                    );
                    self.watchers.wake(&task_id);
                }
                Err(reason) => {
                    tracing::warn!(queue = %self.name, reason, "reply dropped unread");
                }
            }
        }
    }
}

fn read(delivery: Delivery) -> Result<StoredResult, String> {
    let properties = &delivery.properties;
    let task_id =
        properties.correlation_id().as_ref().ok_or("it has no correlation_id")?.to_string();
    let content_type = properties.content_type().as_ref().map(ToString::to_string);
    if content_type.as_deref().is_some_and(|kind| kind != "application/json") {
        return Err(format!("its content type is {content_type:?}; only application/json is read"));
    }
    let token = properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get(TOKEN_HEADER))
        .and_then(AMQPValue::as_long_long_int)
        .unwrap_or(0);
    Ok(StoredResult {
        state: meta::status_of(&delivery.data)?,
        task_id,
        token,
        meta: delivery.data,
        reply_to: None,
    })
}
