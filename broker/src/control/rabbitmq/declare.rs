//! Exchanges and queues, declared exactly as kombu declares them: RabbitMQ closes the channel of
//! whoever differs (406).

use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer, ExchangeKind};

use super::super::BusOptions;
use crate::Error;
use crate::rabbitmq::link::Link;
use crate::rabbitmq::table::short;

/// A queue of one reader on this connection: exclusive, as kombu 5.7's (RabbitMQ 4.3 refuses shared
/// ones that are not durable), and gone with its reader.
#[derive(Debug, Clone)]
pub(super) struct OwnQueue {
    pub(super) name: String,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) ttl_ms: Option<u32>,
    pub(super) expires_ms: u32,
}

impl OwnQueue {
    fn arguments(&self) -> FieldTable {
        let number = |ms: u32| AMQPValue::LongInt(i32::try_from(ms).unwrap_or(i32::MAX));
        let mut table = FieldTable::default();
        table.insert("x-expires".into(), number(self.expires_ms));
        if let Some(ttl) = self.ttl_ms {
            table.insert("x-message-ttl".into(), number(ttl));
        }
        table
    }
}

/// Makes the three exchanges exist.
pub(super) async fn exchanges(
    link: &Link,
    channel: &Channel,
    options: &BusOptions,
) -> Result<(), Error> {
    let all = [
        (options.event_exchange.clone(), ExchangeKind::Topic, true),
        (options.command_exchange(), ExchangeKind::Fanout, false),
        (options.reply_exchange(), ExchangeKind::Direct, false),
    ];
    for (name, kind, durable) in all {
        let declaring = channel.exchange_declare(
            short("an exchange's name", &name)?,
            kind,
            ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() },
            FieldTable::default(),
        );
        link.limited(&format!("exchange {name:?}"), declaring).await?;
    }
    Ok(())
}

/// Declares a queue. The inner error is the server's refusal, which has closed the channel.
pub(super) async fn queue(
    link: &Link,
    channel: &Channel,
    queue: &OwnQueue,
) -> Result<Result<(), lapin::Error>, Error> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let name = short("a queue's name", &queue.name)?;
    let declaring = channel.queue_declare(name, options, queue.arguments());
    let call = async { Ok(declaring.await) };
    Ok(link.limited("declaring a queue", call).await?.map(|_| ()))
}

/// Binds a declared queue and starts to consume it.
pub(super) async fn consume(
    link: &Link,
    channel: &Channel,
    queue: &OwnQueue,
) -> Result<Consumer, Error> {
    let name = short("a queue's name", &queue.name)?;
    let binding = channel.queue_bind(
        name.clone(),
        short("an exchange's name", &queue.exchange)?,
        short("a routing key", &queue.routing_key)?,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    link.limited("binding a queue", binding).await?;
    // Nothing here is worth an acknowledgement.
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consuming =
        channel.basic_consume(name, ShortString::default(), options, FieldTable::default());
    link.limited("consuming", consuming).await
}
