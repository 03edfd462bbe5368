//! Queues in RabbitMQ, declared and filled as Celery does it: durable queues, persistent messages,
//! published to the default exchange with the queue's name as routing key.
//!
//! One connection publishes, another consumes, so that a blocked publisher does not stop consumers.
//! Reconnecting is our own work: lapin's recovery is off.

mod canary;
mod consumer;
mod declare;
mod delay;
mod delivery;
mod graves;
mod hold;
pub(crate) mod link;
pub(crate) mod message;
mod native_delay;
pub(crate) mod publish;
mod settle;
pub(crate) mod table;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;
use tradewind_proto::message::TaskMessage;
use url::Url;

use crate::limits::{check_outgoing, sent_at, stamp};
use crate::order::Chooser;
use crate::{
    Broker, BrokerOptions, Canary, Capabilities, Consumer, DeadLetter, Error, Outgoing,
    QueueBinding, QueueKind, QueueStats, Selection,
};
use consumer::RabbitConsumer;
use declare::Form;
use graves::Fate;
use hold::Terms;
use link::Link;
use publish::Publisher;

/// Messages written before their confirms are awaited.
const PUBLISH_WINDOW: usize = 512;

/// A RabbitMQ vhost as a broker.
#[derive(Debug)]
pub struct RabbitBroker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    publisher: Publisher,
    /// For exchanges: one that does not exist costs the channel.
    routed: Publisher,
    consuming: Link,
    form: Form,
    hold: Terms,
    /// Done once, if at all: Celery's delay queues exist.
    native_delays: Option<OnceCell<()>>,
    /// As new consumers order their queues.
    order: Chooser,
    clock: SharedClock,
    stop: CancellationToken,
}

impl Inner {
    fn open(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }
}

impl Inner {
    /// Makes queues exist from which is to be consumed.
    async fn declare_consumed(&self, queues: &[String]) -> Result<(), Error> {
        let link = &self.consuming;
        declare::queues(link, self.form, queues).await?;
        if let Some(done) = &self.native_delays {
            let declare = || native_delay::declare(link, self.form.kind);
            done.get_or_try_init(declare).await?;
            for queue in queues {
                native_delay::bind(link, queue).await?;
            }
        }
        Ok(())
    }
}

impl RabbitBroker {
    /// A broker for `amqp://…`, `amqps://…` or `pyamqp://…`; connects at the first use.
    ///
    /// # Errors
    /// [`Error::Config`] when the URL or an option cannot be used.
    pub fn new(url: &Url, options: &BrokerOptions, clock: SharedClock) -> Result<Self, Error> {
        options.validate()?;
        options.authorities()?;
        let uri = link::parse(url, options)?;
        if url.scheme() == "amqps" {
            crate::tls::install_provider();
        }
        let kind = queue_kind(url)?.unwrap_or(options.queue_kind);
        let inner = Inner {
            publisher: Publisher::new(Link::new(uri.clone(), "publisher", options)),
            routed: Publisher::new(Link::new(uri.clone(), "router", options)),
            consuming: Link::new(uri, "consumer", options),
            form: Form { kind, max_priority: options.max_priority },
            hold: Terms {
                after: Some(options.hold_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
                lease: Duration::from_millis(options.hold_lease_ms),
            },
            native_delays: options.native_delayed_delivery.then(OnceCell::new),
            order: Chooser::new(options.queue_order, &options.queue_weights, &[]),
            clock,
            stop: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

fn queue_kind(url: &Url) -> Result<Option<QueueKind>, Error> {
    let Some((_, value)) = url.query_pairs().find(|(name, _)| name == "queue_type") else {
        return Ok(None);
    };
    match value.as_ref() {
        "classic" => Ok(Some(QueueKind::Classic)),
        "quorum" => Ok(Some(QueueKind::Quorum)),
        other => Err(Error::Config(format!(
            "queue_type={other} in the RabbitMQ URL: use classic or quorum"
        ))),
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    fn kind(&self) -> &'static str {
        "rabbitmq"
    }

    fn capabilities(&self) -> Capabilities {
        let form = self.inner.form;
        let priorities = form.kind == QueueKind::Classic && form.max_priority.is_some();
        Capabilities {
            durable: true,
            shared: true,
            priorities,
            zero_first: false,
            takes_ahead: true,
        }
    }

    async fn declare(&self, queues: &[String]) -> Result<(), Error> {
        self.inner.open()?;
        declare::queues(self.inner.publisher.link(), self.inner.form, queues).await
    }

    async fn publish(&self, queue: &str, mut message: TaskMessage) -> Result<(), Error> {
        self.inner.open()?;
        check_outgoing(queue, &message)?;
        stamp(&mut message, self.inner.clock.now());
        let properties = message::to_properties(&message)?;
        self.inner.publisher.publish(queue, &message.body, properties).await
    }

    async fn publish_many(&self, mut batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let publisher = &self.inner.publisher;
        let mut results = Vec::with_capacity(batch.len());
        let now = self.inner.clock.now();
        batch.iter_mut().for_each(|item| stamp(&mut item.message, now));
        for window in batch.chunks(PUBLISH_WINDOW) {
            // Together, because the client writes a message to the socket for each that is awaited alone.
            let writes = window.iter().map(|Outgoing { queue, message }| async move {
                self.inner.open().and_then(|()| check_outgoing(queue, message))?;
                let properties = message::to_properties(message)?;
                publisher.write(queue, &message.body, properties).await
            });
            for one in join_all(writes).await {
                results.push(match one {
                    Ok(written) => publisher.confirmed(written).await,
                    Err(error) => Err(error),
                });
            }
        }
        results
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.inner.open()?;
        self.inner.declare_consumed(queues).await?;
        Ok(Box::new(RabbitConsumer::new(Arc::clone(&self.inner), queues.to_vec(), prefetch)))
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        self.inner.open()?;
        declare::stats(self.inner.publisher.link(), queue).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        self.inner.open()?;
        declare::peek(self.inner.publisher.link(), self.inner.form.kind, queue, max).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        self.inner.open()?;
        declare::purge(self.inner.publisher.link(), queue).await
    }

    async fn bind(&self, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
        self.declare(&[queue.to_owned()]).await?;
        declare::bind(self.inner.publisher.link(), queue, binding).await
    }

    async fn publish_routed(
        &self,
        exchange: &str,
        routing_key: &str,
        mut message: TaskMessage,
    ) -> Result<(), Error> {
        self.inner.open()?;
        check_outgoing("routed", &message)?;
        stamp(&mut message, self.inner.clock.now());
        let properties = message::to_properties(&message)?;
        let routed = &self.inner.routed;
        routed.publish_routed(exchange, routing_key, &message.body, properties).await
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

    async fn oldest(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        if self.inner.form.kind == QueueKind::Quorum {
            return self.inner.open().map(|()| None);
        }
        Ok(self.peek(queue, 1).await?.first().and_then(sent_at))
    }

    async fn incarnation(&self) -> Result<String, Error> {
        // Confirmed persistent messages in durable queues survive the server's restart.
        Ok("rabbitmq".to_owned())
    }

    fn canary(&self) -> Option<Box<dyn Canary>> {
        Some(Box::new(canary::RabbitCanary::new(Arc::clone(&self.inner))))
    }

    async fn health(&self) -> Result<(), Error> {
        self.inner.open()?;
        declare::health(self.inner.publisher.link()).await
    }

    async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.publisher.close().await;
        self.inner.routed.close().await;
        self.inner.consuming.close().await;
    }
}
