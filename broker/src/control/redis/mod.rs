//! Events and remote control over Redis, as kombu's Redis transport does them.
//!
//! Fanout exchanges are pub/sub channels with the database's number in their names
//! (`/0.celery.pidbox`, `/0.celeryev/<routing key>`); replies go through lists that are found by the
//! set of bindings of `reply.celery.pidbox`.

mod ask;
mod envelope;
mod keys;
mod subscribe;

use std::sync::Arc;
use std::time::Duration;

use ::redis::Script;
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tradewind_proto::celery::{ControlRequest, Event};
use tradewind_proto::clock::SharedClock;
use url::Url;

use super::lamport::Lamport;
use super::wire::{self, Parcel};
use super::{
    ASKING_MAX, BusOptions, ControlBus, EventStream, Mailbox, REPLIES_MAX, Reply, check_reply_to,
    refused, stream,
};
use crate::Error;
use crate::redis::link::Link;
use keys::Keys;
use subscribe::{Subscription, Topic};

/// Events and remote control on a Redis server.
#[derive(Debug)]
pub(super) struct RedisBus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    keys: Keys,
    options: BusOptions,
    clock: SharedClock,
    lamport: Arc<Lamport>,
    bind: Script,
    reply: Script,
    /// Each question has a connection of its own.
    asking: Semaphore,
    stop: CancellationToken,
}

impl Inner {
    fn open(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    async fn publish(&self, exchange: &str, parcels: &[Parcel]) -> Result<(), Error> {
        let mut commands = ::redis::pipe();
        for parcel in parcels {
            let channel = self.keys.channel(exchange, &parcel.routing_key);
            commands.publish(channel, envelope::encode(exchange, parcel)).ignore();
        }
        self.link.pipeline(&commands).await
    }

    async fn command(&self, request: &ControlRequest, wait: Option<Duration>) -> Result<(), Error> {
        let parcel = wire::command(request, wait, &self.lamport, &*self.clock)
            .map_err(|reason| refused("a command", reason))?;
        self.publish(&self.options.command_exchange(), &[parcel]).await
    }

    fn subscription(&self, topic: Topic) -> Subscription {
        Subscription::new(Arc::clone(&self.link), topic, self.options.heartbeat())
    }
}

impl RedisBus {
    pub(super) fn new(url: &Url, options: &BusOptions, clock: SharedClock) -> Result<Self, Error> {
        if url.scheme() == "rediss" {
            crate::open::install_tls_provider();
        }
        let link = Arc::new(Link::new(url, &options.for_links())?);
        let inner = Inner {
            keys: Keys::new(&options.global_keyprefix, link.db()),
            link,
            options: options.clone(),
            clock,
            lamport: Arc::default(),
            bind: Script::new(include_str!("bind.lua")),
            reply: Script::new(include_str!("reply.lua")),
            asking: Semaphore::new(ASKING_MAX),
            stop: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

#[async_trait]
impl ControlBus for RedisBus {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn clock(&self) -> u64 {
        self.inner.lamport.now()
    }

    async fn publish_events(&self, events: &[Event]) -> Result<(), Error> {
        self.inner.open()?;
        if events.is_empty() {
            return Ok(());
        }
        self.inner.publish(&self.inner.options.event_exchange, &wire::events(events)).await
    }

    async fn subscribe_events(&self) -> Result<Box<dyn EventStream>, Error> {
        self.inner.open()?;
        let topic = Topic::Pattern(self.inner.keys.channels(&self.inner.options.event_exchange));
        let source = self.inner.subscription(topic);
        let buffered_max = self.inner.options.events_buffered_max;
        stream::events(source, buffered_max, self.inner.stop.clone()).await
    }

    async fn open_mailbox(&self, node: &str) -> Result<Box<dyn Mailbox>, Error> {
        let inner = &self.inner;
        inner.open()?;
        // No binding as kombu leaves one: fanout never looks at it, and it would outlive the node.
        let channel = inner.keys.channel(&inner.options.command_exchange(), "");
        let source = inner.subscription(Topic::Channel(channel));
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
        let [bindings, ..] = inner.keys.bindings(&exchange);
        let mut script = inner.reply.prepare_invoke();
        script.key(bindings).arg(&reply_to.routing_key);
        script.arg(envelope::encode(&exchange, &parcel)).arg(inner.keys.prefix());
        script.arg(inner.options.queue_expires_ms);
        let _readers: i64 = inner.link.run("a reply", &script).await?;
        Ok(())
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
    }
}
