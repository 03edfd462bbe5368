//! Queues in Redis, in kombu's layout, so that Celery on the same Redis sees the same queues.
//!
//! Differences that Python does not notice: taking and recording a message is one script (kombu's
//! two steps lose it when the process dies in between), and reservations are renewed leases, so that
//! a dead worker's messages come back in seconds and a long task is not delivered twice. Our own
//! keys are under `tradewind:`: `leases`, `unreadable`, `delayed:<queue>`.

mod canary;
mod consumer;
mod delivery;
pub(crate) mod envelope;
mod graves;
mod keys;
mod lease;
pub(crate) mod link;
mod pop;
mod routes;
mod settle;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;
use tradewind_proto::message::TaskMessage;
use url::Url;

use crate::limits::{check_name, check_outgoing, check_queue, sent_at, stamp};
use crate::order::Chooser;
use crate::{
    Broker, BrokerOptions, Canary, Capabilities, Consumer, DeadLetter, Error, Outgoing,
    QueueBinding, QueueStats, Selection,
};
use consumer::RedisConsumer;
use graves::Fate;
use keys::Keys;
use lease::{Held, Leases};
use link::{Link, Scripts, unavailable};
use settle::Settler;
use wake::Wakes;

/// Messages and bytes of one publishing script call.
const PUBLISH_COUNT_MAX: usize = 256;
const PUBLISH_BYTES_MAX: usize = 1024 * 1024;

/// A Redis server (or database of one) as a broker.
#[derive(Debug)]
pub struct RedisBroker {
    inner: Arc<Inner>,
    started: std::sync::Once,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
    keys: Keys,
    clock: SharedClock,
    held: Arc<Held>,
    settler: Settler,
    wakes: Arc<Wakes>,
    lease: Duration,
    poll_max: Duration,
    /// As new consumers order their queues.
    order: Chooser,
    stop: CancellationToken,
    /// Background tasks end with the last of broker, consumers and deliveries.
    _stop_on_drop: DropGuard,
}

impl Inner {
    fn leases(&self) -> Leases {
        Leases {
            link: Arc::clone(&self.link),
            scripts: Arc::clone(&self.scripts),
            keys: self.keys.clone(),
            held: Arc::clone(&self.held),
            settler: self.settler.clone(),
            lease: self.lease,
        }
    }

    fn open(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Writes the binding by which Celery's clients know a queue.
    async fn declare(&self, queue: &str) -> Result<(), Error> {
        check_queue(queue)?;
        let (key, member) = self.keys.binding(queue);
        let _added: i64 = self.link.command(redis::cmd("SADD").arg(key).arg(member)).await?;
        Ok(())
    }

    /// Appends messages that were checked.
    async fn append(&self, items: &[Outgoing]) -> Result<(), Error> {
        let mut script = self.scripts.publish.prepare_invoke();
        for (place, item) in items.iter().enumerate() {
            script.key(self.keys.list_for(&item.queue, item.message.priority));
            script.arg(place + 1);
            script.arg(envelope::encode(&item.queue, &item.message));
            script.arg(self.keys.wake(&item.queue));
        }
        let appended: usize = self.link.run("publishing", &script).await?;
        if appended == items.len() {
            Ok(())
        } else {
            Err(unavailable(format!("{appended} of {} messages were appended", items.len())))
        }
    }
}

impl RedisBroker {
    /// A broker for `redis://…/<db>` or `rediss://…`; connects at the first use.
    ///
    /// # Errors
    /// [`Error::Config`] when the URL or an option cannot be used.
    pub fn new(url: &Url, options: &BrokerOptions, clock: SharedClock) -> Result<Self, Error> {
        options.validate()?;
        if url.scheme() == "rediss" {
            crate::tls::install_provider();
        }
        let link = Arc::new(Link::new(url, options)?);
        let scripts = Arc::new(Scripts::default());
        let keys = Keys::new(&options.global_keyprefix, link.db(), &options.priority_steps);
        let settler = Settler::start(Arc::clone(&link), Arc::clone(&scripts), keys.clone());
        let stop = CancellationToken::new();
        let inner = Inner {
            link,
            scripts,
            keys,
            clock,
            held: Arc::default(),
            settler,
            wakes: Arc::default(),
            lease: options.lease(),
            poll_max: Duration::from_millis(options.poll_max_ms),
            order: Chooser::new(options.queue_order, &options.queue_weights, &[]),
            stop: stop.clone(),
            _stop_on_drop: stop.drop_guard(),
        };
        let started = std::sync::Once::new();
        Ok(Self { inner: Arc::new(inner), started })
    }

    /// Starts what only consumers need.
    fn start(&self) {
        self.started.call_once(|| {
            let inner = &self.inner;
            let stop = inner.stop.clone();
            tokio::spawn(inner.leases().run(stop.clone()));
            tokio::spawn(Arc::clone(&inner.wakes).run(Arc::clone(&inner.link), stop));
        });
    }
}

#[async_trait]
impl Broker for RedisBroker {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            priorities: true,
            zero_first: true,
            takes_ahead: false,
        }
    }

    async fn declare(&self, queues: &[String]) -> Result<(), Error> {
        self.inner.open()?;
        for queue in queues {
            self.inner.declare(queue).await?;
        }
        Ok(())
    }

    async fn publish(&self, queue: &str, mut message: TaskMessage) -> Result<(), Error> {
        self.inner.open()?;
        check_outgoing(queue, &message)?;
        stamp(&mut message, self.inner.clock.now());
        self.inner.append(&[Outgoing { queue: queue.to_owned(), message }]).await
    }

    async fn publish_many(&self, batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let check = |item: &Outgoing| check_outgoing(&item.queue, &item.message);
        let mut results: Vec<_> =
            batch.iter().map(|item| self.inner.open().and_then(|()| check(item))).collect();
        let good = batch.into_iter().enumerate().filter(|(place, _)| results[*place].is_ok());
        let now = self.inner.clock.now();
        let mut good = good.collect::<Vec<_>>().into_iter().peekable();
        while good.peek().is_some() {
            let (mut places, mut items, mut bytes) = (Vec::new(), Vec::new(), 0);
            while items.len() < PUBLISH_COUNT_MAX
                && bytes < PUBLISH_BYTES_MAX
                && let Some((place, mut item)) = good.next()
            {
                stamp(&mut item.message, now);
                bytes += item.message.body.len();
                places.push(place);
                items.push(item);
            }
            let result = self.inner.append(&items).await;
            for place in places {
                results[place] = result.clone();
            }
        }
        results
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.declare(queues).await?;
        self.start();
        Ok(Box::new(RedisConsumer::new(Arc::clone(&self.inner), queues.to_vec(), prefetch)))
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        self.inner.open()?;
        let mut ready = 0;
        for list in self.inner.keys.lists(queue) {
            let length: u64 = self.inner.link.command(redis::cmd("LLEN").arg(list)).await?;
            ready += length;
        }
        // Reservations are not kept per queue; only delayed messages can be told.
        let delayed = self.inner.keys.delayed(queue);
        let unacked = self.inner.link.command(redis::cmd("ZCARD").arg(delayed)).await?;
        Ok(QueueStats { ready, unacked, consumers: 0 })
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        self.inner.open()?;
        let mut messages = Vec::new();
        for list in self.inner.keys.lists(queue) {
            let wanted = i64::try_from(max - messages.len()).unwrap_or(i64::MAX);
            if wanted == 0 {
                break;
            }
            let mut command = redis::cmd("LRANGE");
            command.arg(list).arg(-wanted).arg(-1);
            let raw: Vec<Vec<u8>> = self.inner.link.command(&command).await?;
            messages.extend(raw.iter().rev().filter_map(|raw| envelope::decode(raw).ok()));
        }
        Ok(messages.into_iter().map(|(message, _)| message).collect())
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        self.inner.open()?;
        let mut dropped = 0;
        for list in self.inner.keys.lists(queue) {
            // One transaction: what is appended in between must be counted or kept.
            let mut both = redis::pipe();
            both.atomic().llen(&list).del(&list).ignore();
            let (length,): (u64,) = self.inner.link.pipeline(&both).await?;
            dropped += length;
        }
        Ok(dropped)
    }

    async fn bind(&self, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
        self.declare(&[queue.to_owned()]).await?;
        check_name("the exchange's name", &binding.exchange)?;
        check_name("the routing key", &binding.routing_key)?;
        self.inner.bind(queue, binding).await
    }

    async fn publish_routed(
        &self,
        exchange: &str,
        routing_key: &str,
        mut message: TaskMessage,
    ) -> Result<(), Error> {
        if exchange.is_empty() {
            return self.publish(routing_key, message).await;
        }
        self.inner.open()?;
        check_name("the routing key", routing_key)?;
        check_outgoing("routed", &message)?;
        stamp(&mut message, self.inner.clock.now());
        let queues = self.inner.route(exchange, routing_key).await?;
        if queues.is_empty() {
            return Err(Error::Unroutable { queue: format!("{exchange}/{routing_key}") });
        }
        // One script call, so that all queues receive it or none.
        let copy = |queue| Outgoing { queue, message: message.clone() };
        let items: Vec<_> = queues.into_iter().map(copy).collect();
        self.inner.append(&items).await
    }

    async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.inner.open()?;
        self.inner.dead_letters(queue, max, after).await
    }

    async fn replay(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.inner.open()?;
        self.inner.settle_dead(queue, selection, Fate::Replay).await
    }

    async fn drop_dead(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.inner.open()?;
        self.inner.settle_dead(queue, selection, Fate::Drop).await
    }

    async fn all_queues(&self) -> Result<Option<Vec<String>>, Error> {
        self.inner.open()?;
        self.inner.all_queues().await.map(Some)
    }

    async fn oldest(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        self.inner.open()?;
        let mut firsts = redis::pipe();
        for list in self.inner.keys.lists(queue) {
            firsts.lindex(list, -1);
        }
        let firsts: Vec<Option<Vec<u8>>> = self.inner.link.pipeline(&firsts).await?;
        let sent = |raw: &Vec<u8>| envelope::decode(raw).ok().and_then(|(m, _)| sent_at(&m));
        Ok(firsts.iter().flatten().filter_map(sent).min())
    }

    async fn incarnation(&self) -> Result<String, Error> {
        let info: String = self.inner.link.command(redis::cmd("INFO").arg("server")).await?;
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let run_id = run_id.ok_or_else(|| unavailable("INFO names no run_id"))?;
        Ok(format!("redis-{}", run_id.trim()))
    }

    fn canary(&self) -> Option<Box<dyn Canary>> {
        Some(Box::new(canary::RedisCanary::new(Arc::clone(&self.inner))))
    }

    async fn health(&self) -> Result<(), Error> {
        self.inner.open()?;
        let _pong: String = self.inner.link.command(&redis::cmd("PING")).await?;
        Ok(())
    }

    async fn close(&self) {
        self.inner.stop.cancel();
    }
}
