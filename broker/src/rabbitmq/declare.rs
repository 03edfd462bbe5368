//! Declarations and questions about queues, each on a channel of its own: a refusal closes it.

use lapin::options::{
    BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind, Queue};
use tracing::warn;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::DEAD_LETTER_SUFFIX;

use super::delay;
use super::link::{Link, convert, is_mismatch, is_not_found, unavailable};
use super::message::from_parts;
use super::table::short;
use crate::limits::{check_queue, dead_letter_queue};
use crate::{Error, ExchangeType, QueueBinding, QueueKind, QueueStats};

/// An exchange that every vhost has.
const STANDARD_EXCHANGE: &str = "amq.direct";

/// How queues are declared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) kind: QueueKind,
    pub(super) max_priority: Option<u8>,
}

impl Form {
    /// Celery's: a durable classic queue has no arguments unless priorities are asked for.
    fn arguments(self, queue: &str) -> FieldTable {
        let mut table = FieldTable::default();
        match (self.kind, self.max_priority) {
            (QueueKind::Quorum, _) => {
                table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
                if queue.ends_with(DEAD_LETTER_SUFFIX) {
                    // Since 4.0 a message is dropped after 20 returns, and each listing of dead
                    // letters returns them.
                    let limit = AMQPValue::LongInt(i32::MAX);
                    table.insert("x-delivery-limit".into(), limit);
                }
            }
            (QueueKind::Classic, Some(max)) => {
                table.insert("x-max-priority".into(), AMQPValue::LongInt(i32::from(max)));
            }
            (QueueKind::Classic, None) => {}
        }
        table
    }
}

async fn declare_once(
    link: &Link,
    queue: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> Result<Result<Queue, lapin::Error>, Error> {
    let channel = link.channel().await?;
    let name = short("the queue name", queue)?;
    let call = async { Ok(channel.queue_declare(name, options, arguments).await) };
    link.limited("declaring a queue", call).await
}

fn passive() -> QueueDeclareOptions {
    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() }
}

/// Makes a queue exist. One that exists with other arguments is used as it is.
async fn ensure(link: &Link, queue: &str, arguments: FieldTable) -> Result<(), Error> {
    match declare_once(link, queue, QueueDeclareOptions::durable(), arguments).await? {
        Ok(_) => return Ok(()),
        Err(error) if is_mismatch(&error) => {
            warn!(queue, %error, "queue exists with other arguments and is used as it is");
        }
        Err(error) => return Err(convert(&format!("declaration of queue {queue:?}"), &error)),
    }
    match declare_once(link, queue, passive(), FieldTable::default()).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(convert(&format!("use of queue {queue:?}"), &error)),
    }
}

/// Makes queues and their dead-letter queues exist.
pub(super) async fn queues(link: &Link, form: Form, queues: &[String]) -> Result<(), Error> {
    for queue in queues {
        check_queue(queue)?;
        ensure(link, queue, form.arguments(queue)).await?;
        let dead = dead_letter_queue(queue);
        if dead != *queue {
            ensure(link, &dead, form.arguments(&dead)).await?;
        }
    }
    Ok(())
}

/// Makes a queue of these arguments exist.
pub(super) async fn exactly(link: &Link, queue: &str, arguments: FieldTable) -> Result<(), Error> {
    match declare_once(link, queue, QueueDeclareOptions::durable(), arguments).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(convert(&format!("declaration of queue {queue:?}"), &error)),
    }
}

/// Makes the delay queue exist and restarts its expiry; returns its name.
pub(super) async fn delay_queue(
    link: &Link,
    kind: QueueKind,
    target: &str,
    ms: u64,
) -> Result<String, Error> {
    let name = delay::queue_name(target, ms);
    ensure(link, &name, delay::arguments(target, ms, kind)).await?;
    Ok(name)
}

pub(super) async fn stats(link: &Link, queue: &str) -> Result<QueueStats, Error> {
    match declare_once(link, queue, passive(), FieldTable::default()).await? {
        Ok(found) => Ok(QueueStats {
            ready: u64::from(found.message_count()),
            unacked: 0,
            consumers: u64::from(found.consumer_count()),
        }),
        Err(error) if is_not_found(&error) => Ok(QueueStats::default()),
        Err(error) => Err(convert(&format!("question about queue {queue:?}"), &error)),
    }
}

/// Reads the first messages without acknowledging; the end of the channel puts them back.
pub(super) async fn peek(
    link: &Link,
    kind: QueueKind,
    queue: &str,
    max: usize,
) -> Result<Vec<TaskMessage>, Error> {
    let channel = link.channel().await?;
    let mut messages = Vec::new();
    while messages.len() < max {
        let name = short("the queue name", queue)?;
        let call = async { Ok(channel.basic_get(name, BasicGetOptions::default()).await) };
        match link.limited("reading a queue", call).await? {
            Ok(Some(got)) => {
                let delivery = got.delivery;
                messages.push(from_parts(&delivery.properties, delivery.data));
            }
            Ok(None) => break,
            Err(error) if is_not_found(&error) => break,
            Err(error) => return Err(convert("reading a queue", &error)),
        }
    }
    put_back(link, kind, channel).await;
    Ok(messages)
}

/// Ends a channel, which puts back what it has not acknowledged. A quorum queue notices the end only some
/// time later and is told in words too. A classic queue is not: where thousands were put back one message
/// at a time, RabbitMQ 3.10 takes milliseconds for each when they are read next (12,000: 48 s instead of 2).
pub(super) async fn put_back(link: &Link, kind: QueueKind, channel: Channel) {
    if !channel.status().connected() {
        // One that is broken puts back by itself.
        return;
    }
    if kind == QueueKind::Quorum {
        let all = BasicNackOptions { multiple: true, requeue: true };
        let _broken = link.limited_long("putting messages back", channel.basic_nack(0, all)).await;
    }
    let _broken = link.limited_long("closing a channel", channel.close(200, "done".into())).await;
}

pub(super) async fn purge(link: &Link, queue: &str) -> Result<u64, Error> {
    let channel = link.channel().await?;
    let name = short("the queue name", queue)?;
    let call = async { Ok(channel.queue_purge(name, QueuePurgeOptions::default()).await) };
    match link.limited("purging a queue", call).await? {
        Ok(count) => Ok(u64::from(count)),
        Err(error) if is_not_found(&error) => Ok(0),
        Err(error) => Err(convert(&format!("purge of queue {queue:?}"), &error)),
    }
}

/// Makes an exchange exist and binds a queue to it.
pub(super) async fn bind(link: &Link, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
    let channel = link.channel().await?;
    let exchange = short("the exchange's name", &binding.exchange)?;
    let kind = match binding.exchange_type {
        ExchangeType::Direct => ExchangeKind::Direct,
        ExchangeType::Topic => ExchangeKind::Topic,
        ExchangeType::Fanout => ExchangeKind::Fanout,
    };
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declare = channel.exchange_declare(exchange.clone(), kind, options, FieldTable::default());
    link.limited("declaring an exchange", declare).await?;
    let bind = channel.queue_bind(
        short("the queue name", queue)?,
        exchange,
        short("the routing key", &binding.routing_key)?,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    link.limited("binding a queue", bind).await
}

/// Asks the server something that it always knows.
pub(super) async fn health(link: &Link) -> Result<(), Error> {
    let channel = link.channel().await?;
    let options = ExchangeDeclareOptions { passive: true, durable: true, ..Default::default() };
    let call = channel.exchange_declare(
        STANDARD_EXCHANGE.into(),
        ExchangeKind::Direct,
        options,
        FieldTable::default(),
    );
    link.limited("health check", call).await.map_err(|error| match error {
        Error::Refused { reason, .. } => unavailable(reason),
        other => other,
    })
}
