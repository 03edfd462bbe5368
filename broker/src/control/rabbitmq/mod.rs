//! Events and remote control over RabbitMQ, as kombu's pyamqp transport does them: exchanges
//! `celeryev` (topic), `celery.pidbox` (fanout) and `reply.celery.pidbox` (direct).

mod ask;
mod declare;
mod publish;
mod subscribe;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::uri::AMQPUri;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tradewind_proto::celery::{ControlRequest, Event};
use tradewind_proto::clock::SharedClock;
use url::Url;
use uuid::Uuid;

use super::lamport::Lamport;
use super::wire;
use super::{
    ASKING_MAX, BusOptions, ControlBus, EventStream, Mailbox, REPLIES_MAX, Reply, check_reply_to,
    refused, stream,
};
use crate::Error;
use crate::rabbitmq::link::{self, Link};
use declare::OwnQueue;
use publish::Publisher;
use subscribe::Subscription;

/// Events and remote control on a RabbitMQ server.
#[derive(Debug)]
pub(super) struct RabbitBus {
    inner: Inner,
}

struct Inner {
    uri: AMQPUri,
    options: BusOptions,
    clock: SharedClock,
    lamport: Arc<Lamport>,
    publisher: Publisher,
    /// Questions have channels of their own on it.
    asker: Link,
    asking: Semaphore,
    stop: CancellationToken,
}

impl std::fmt::Debug for Inner {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}

impl Inner {
    fn open(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    fn link(&self, name: &'static str) -> Link {
        Link::new(self.uri.clone(), name, &self.options.for_links())
    }

    async fn command(&self, request: &ControlRequest, wait: Option<Duration>) -> Result<(), Error> {
        let parcel = wire::command(request, wait, &self.lamport, &*self.clock)
            .map_err(|reason| refused("a command", reason))?;
        self.publisher.publish(&self.options.command_exchange(), &[parcel]).await
    }
}

impl RabbitBus {
    pub(super) fn new(url: &Url, options: &BusOptions, clock: SharedClock) -> Result<Self, Error> {
        if url.scheme() == "amqps" {
            crate::open::install_tls_provider();
        }
        let links = options.for_links();
        let uri = link::parse(url, &links)?;
        let publisher = Publisher::new(Link::new(uri.clone(), "control", &links), options);
        let asker = Link::new(uri.clone(), "control replies", &links);
        let inner = Inner {
            uri,
            options: options.clone(),
            clock,
            lamport: Arc::default(),
            publisher,
            asker,
            asking: Semaphore::new(ASKING_MAX),
            stop: CancellationToken::new(),
        };
        Ok(Self { inner })
    }
}

#[async_trait]
impl ControlBus for RabbitBus {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn clock(&self) -> u64 {
        self.inner.lamport.now()
    }

    async fn publish_events(&self, events: &[Event]) -> Result<(), Error> {
        self.inner.open()?;
        if events.is_empty() {
            return Ok(());
        }
        let parcels = wire::events(events);
        self.inner.publisher.publish(&self.inner.options.event_exchange, &parcels).await
    }

    async fn subscribe_events(&self) -> Result<Box<dyn EventStream>, Error> {
        let inner = &self.inner;
        inner.open()?;
        let options = &inner.options;
        let queue = OwnQueue {
            name: format!("{}.{}", options.event_exchange, Uuid::new_v4().hyphenated()),
            exchange: options.event_exchange.clone(),
            routing_key: "#".to_owned(),
            ttl_ms: Some(options.event_queue_ttl_ms),
            expires_ms: options.event_queue_expires_ms,
        };
        let source = Subscription::new(inner.link("events"), options, queue);
        stream::events(source, options.events_buffered_max, inner.stop.clone()).await
    }

    async fn open_mailbox(&self, node: &str) -> Result<Box<dyn Mailbox>, Error> {
        let inner = &self.inner;
        inner.open()?;
        let exchange = inner.options.command_exchange();
        let queue = OwnQueue {
            name: format!("{node}.{exchange}"),
            exchange,
            routing_key: String::new(),
            ttl_ms: Some(inner.options.queue_ttl_ms),
            expires_ms: inner.options.queue_expires_ms,
        };
        let source = Subscription::new(inner.link("mailbox"), &inner.options, queue);
        let (lamport, clock) = (Arc::clone(&inner.lamport), Arc::clone(&inner.clock));
        stream::mailbox(source, node, lamport, clock, inner.stop.clone()).await
    }

    async fn reply(&self, to: &ControlRequest, reply: Reply) -> Result<(), Error> {
        let inner = &self.inner;
        inner.open()?;
        let Some(reply_to) = &to.reply_to else { return Ok(()) };
        let exchange = inner.options.reply_exchange();
        check_reply_to(reply_to, &exchange)?;
        let parcel =
            wire::reply(&reply_to.routing_key, to.ticket.as_deref(), &reply, &inner.lamport);
        inner.publisher.publish(&exchange, &[parcel]).await
    }

    async fn broadcast(&self, request: ControlRequest) -> Result<(), Error> {
        self.inner.open()?;
        self.inner.command(&request, None).await
    }

    async fn ask(
        &self,
        request: ControlRequest,
        wait: Duration,
        expected: Option<usize>,
    ) -> Result<Vec<Reply>, Error> {
        self.inner.open()?;
        let expected = wire::expected(&request, expected).unwrap_or(REPLIES_MAX);
        let _place = self.inner.asking.acquire().await.map_err(|_| Error::Closed)?;
        tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => Err(Error::Closed),
            replies = ask::ask(&self.inner, request, wait, expected) => replies,
        }
    }

    async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.publisher.close().await;
        self.inner.asker.close().await;
    }
}
