//! Results as messages to the client's reply queue (Celery's `rpc://`), inboxes as durable queues.
//!
//! Only the process whose queue is named in `reply_to` can read a result. A result without
//! `reply_to` stays in the memory of the process that put it. Fencing is by what this process has
//! seen. Never declares or reads task queues.

mod consumer;
mod inbox;
mod link;
mod replies;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tradewind_proto::clock::SharedClock;
use uuid::Uuid;

use super::waiting::wait_terminal;
use super::watchers::Watchers;
use super::{Inbox, Put, ResultBackend, ResultOptions, StoredResult, check_result};
use crate::Error;
use crate::rabbitmq::publish::{Turn, in_turn};
use consumer::ReplyQueue;
use inbox::RpcInbox;
use link::{Link, SERVICE, answered, short};
use replies::Replies;

/// The header that carries the fencing token.
const TOKEN_HEADER: &str = "tradewind_token";
const PERSISTENT: u8 = 2;
/// Delivery mode of a result, as Celery's (`result_persistent` is off): its queue ends with its client.
const TRANSIENT: u8 = 1;

/// The rpc driver.
#[derive(Debug)]
pub(super) struct RpcResults {
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    reply_to: String,
    replies: Arc<Mutex<Replies>>,
    watchers: Watchers,
    clock: SharedClock,
    cancel: CancellationToken,
    _alive: DropGuard,
}

impl RpcResults {
    /// Connects to `options.broker_url` and opens this process's reply queue.
    pub(super) async fn open(options: &ResultOptions, clock: SharedClock) -> Result<Self, Error> {
        let url = options.broker_url.as_deref().ok_or_else(|| {
            Error::Config(
                "rpc:// results go through the broker: set broker_url to \
                 amqp://[user:password@]host[:port][/vhost]"
                    .to_owned(),
            )
        })?;
        let uri = link::parse(url)?;
        let authorities = crate::tls::authorities(options.ca_file.as_deref())?;
        if url.contains("amqps://") {
            crate::tls::install_provider();
        }
        let link = |name| Arc::new(Link::new(uri.clone(), name, authorities.clone()));
        // Two connections: a publisher that the server blocks must not stop the consumers.
        let publishing = link("tradewind results: publish");
        let consuming = link("tradewind results: consume");
        let queue = ReplyQueue {
            link: Arc::clone(&consuming),
            name: Uuid::new_v4().to_string(),
            replies: Arc::new(Mutex::new(Replies::new(options.replies_max))),
            watchers: Watchers::default(),
        };
        let open = queue.open().await?;
        let cancel = CancellationToken::new();
        let backend = Self {
            publishing,
            consuming,
            reply_to: queue.name.clone(),
            replies: Arc::clone(&queue.replies),
            watchers: queue.watchers.clone(),
            clock,
            cancel: cancel.clone(),
            _alive: cancel.clone().drop_guard(),
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = queue.supervise(open) => {}
            }
        });
        Ok(backend)
    }

    fn replies(&self) -> MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A persistent message, stamped with the time in seconds.
    fn properties(&self) -> BasicProperties {
        let now_s = self.clock.now().as_second();
        BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_timestamp(u64::try_from(now_s).unwrap_or(0))
    }
}

fn inbox_queue(inbox: &str) -> String {
    format!("tradewind.inbox.{inbox}")
}

/// Publishes bodies as persistent messages that must reach their queue; waits for all confirms together.
async fn publish_all(
    turn: &Turn,
    channel: &Channel,
    queue: &ShortString,
    bodies: &[Vec<u8>],
    properties: &BasicProperties,
) -> lapin::Result<Vec<Confirmation>> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let writes = bodies.iter().map(|body| {
        let properties = properties.clone();
        in_turn(turn, channel.basic_publish("".into(), queue.clone(), options, body, properties))
    });
    let confirms = try_join_all(writes).await?;
    try_join_all(confirms).await
}

fn not_taken(queue: &str) -> Error {
    Error::Unavailable {
        service: SERVICE,
        reason: format!("the server did not take a message for queue {queue:?}"),
    }
}

#[async_trait]
impl ResultBackend for RpcResults {
    fn kind(&self) -> &'static str {
        "rpc"
    }

    fn reply_to(&self) -> Option<&str> {
        Some(&self.reply_to)
    }

    async fn put(&self, result: StoredResult, ttl: Duration) -> Result<Put, Error> {
        check_result(&result)?;
        let now = Instant::now();
        let Some(reply_to) = result.reply_to.clone() else {
            let task_id = result.task_id.clone();
            let put = self.replies().put(result, ttl, now);
            self.watchers.wake(&task_id);
            return Ok(put);
        };
        if !self.replies().admits(&result.task_id, result.token, now) {
            return Ok(Put::Superseded);
        }
        let mut headers = FieldTable::default();
        headers.insert(TOKEN_HEADER.into(), AMQPValue::LongLongInt(result.token));
        let properties = BasicProperties::default()
            .with_delivery_mode(TRANSIENT)
            .with_correlation_id(short("a task id", &result.task_id)?)
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(headers);
        let queue = short("a reply queue", &reply_to)?;
        let channel = self.publishing.publisher().await?;
        // Not mandatory: a client that is gone has no use for its result.
        let options = BasicPublishOptions::default();
        let publishing = channel.basic_publish("".into(), queue, options, &result.meta, properties);
        let confirmed = async { in_turn(&self.publishing.turn, publishing).await?.await };
        match answered("a result", confirmed).await?.is_ack() {
            true => Ok(Put::Stored),
            false => Err(not_taken(&reply_to)),
        }
    }

    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error> {
        let found = self.replies().get(task_id, Instant::now()).cloned();
        Ok(found.map(|mut found| {
            found.reply_to = None;
            found
        }))
    }

    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error> {
        let watch = self.watchers.watch(task_id);
        wait_terminal(watch, limit, || self.get(task_id)).await
    }

    async fn forget(&self, task_id: &str) -> Result<(), Error> {
        self.replies().remove(task_id);
        Ok(())
    }

    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error> {
        if bodies.is_empty() {
            return Ok(());
        }
        let queue = inbox_queue(inbox);
        let short_queue = short("an inbox name", &queue)?;
        let channel = self.publishing.publisher_to(&queue).await?;
        let properties = self.properties();
        let turn = &self.publishing.turn;
        let publishing = publish_all(turn, &channel, &short_queue, &bodies, &properties);
        for confirm in answered("inbox items", publishing).await? {
            match confirm {
                Confirmation::Ack(None) => {}
                // Deleted behind our back: the repetition declares it again.
                Confirmation::Ack(Some(_)) => {
                    self.publishing.undeclared(&queue).await;
                    return Err(not_taken(&queue));
                }
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    return Err(not_taken(&queue));
                }
            }
        }
        Ok(())
    }

    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error> {
        let mut reader = RpcInbox::new(Arc::clone(&self.consuming), inbox_queue(inbox));
        reader.ensure_open().await?;
        Ok(Box::new(reader))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        Ok(self.replies().sweep(Instant::now()))
    }

    async fn health(&self) -> Result<(), Error> {
        let channel = self.publishing.channel().await?;
        answered("a health check", channel.close(200, "done".into())).await
    }

    async fn close(&self) {
        self.cancel.cancel();
        self.consuming.close().await;
        self.publishing.close().await;
    }
}
