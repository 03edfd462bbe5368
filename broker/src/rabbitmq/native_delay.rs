//! Celery's topology of delays: 28 levels, one per binary digit of the delay in seconds.
//!
//! Celery's clients use it for messages with an ETA on quorum queues: they publish to the topmost
//! exchange with the delay's digits before the routing key. A digit 1 leads through the level's
//! queue, which keeps the message for 2^level seconds, a digit 0 past it. Source: kombu 5.7,
//! `transport/native_delayed_delivery.py`.

use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::link::Link;
use super::table::short;
use crate::{Error, QueueKind};

const LEVELS: u32 = 28;
const DELIVERY_EXCHANGE: &str = "celery_delayed_delivery";
pub(super) const PREFIX: &str = "celery_delayed_";

fn level(number: u32) -> ShortString {
    format!("{PREFIX}{number}").into()
}

/// The level's digit in a routing key, which starts with the topmost one's.
fn pattern(number: u32, digit: char) -> ShortString {
    let above = usize::try_from(LEVELS - 1 - number).unwrap_or_default();
    format!("{}{digit}.#", "*.".repeat(above)).into()
}

/// Where a level leads.
fn below(number: u32) -> ShortString {
    number.checked_sub(1).map_or_else(|| DELIVERY_EXCHANGE.into(), level)
}

fn arguments(number: u32, kind: QueueKind) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut table = FieldTable::default();
    table.insert("x-overflow".into(), text("reject-publish"));
    table.insert("x-message-ttl".into(), AMQPValue::LongLongInt(1_000 << number));
    table.insert("x-dead-letter-exchange".into(), text(below(number).as_str()));
    let kind_name = if kind == QueueKind::Quorum { "quorum" } else { "classic" };
    table.insert("x-queue-type".into(), text(kind_name));
    if kind == QueueKind::Quorum {
        table.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    }
    table
}

/// Makes all levels exist. Idempotent, and the same that a Celery worker declares.
pub(super) async fn declare(link: &Link, kind: QueueKind) -> Result<(), Error> {
    let channel = link.channel().await?;
    for number in (0..LEVELS).rev() {
        exchange(link, &channel, level(number)).await?;
        let options = QueueDeclareOptions::durable();
        let queue = channel.queue_declare(level(number), options, arguments(number, kind));
        link.limited("declaring a delay queue", queue).await?;
        let bind = channel.queue_bind(
            level(number),
            level(number),
            pattern(number, '1'),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        link.limited("binding a delay queue", bind).await?;
    }
    exchange(link, &channel, DELIVERY_EXCHANGE.into()).await?;
    for number in 0..LEVELS {
        let bind = channel.exchange_bind(
            below(number),
            level(number),
            pattern(number, '0'),
            ExchangeBindOptions::default(),
            FieldTable::default(),
        );
        link.limited("binding a delay exchange", bind).await?;
    }
    Ok(())
}

async fn exchange(link: &Link, channel: &Channel, name: ShortString) -> Result<(), Error> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declare =
        channel.exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default());
    link.limited("declaring a delay exchange", declare).await
}

/// Lets what was delayed for a queue arrive there. Celery binds through the queue's own exchange;
/// a message that matches both bindings still arrives once.
pub(super) async fn bind(link: &Link, queue: &str) -> Result<(), Error> {
    let channel = link.channel().await?;
    let bind = channel.queue_bind(
        short("the queue name", queue)?,
        DELIVERY_EXCHANGE.into(),
        short("the routing key", &format!("#.{queue}"))?,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    link.limited("binding a queue", bind).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{ExchangeType, matches};

    /// Follows a routing key through the levels and adds up the delays.
    fn delay(key: &str) -> u64 {
        let passes =
            |number, digit| matches(ExchangeType::Topic, pattern(number, digit).as_str(), key);
        (0..LEVELS).filter(|number| passes(*number, '1')).map(|number| 1 << number).sum()
    }

    #[test]
    fn the_digits_lead_through_queues_that_add_up_to_the_delay() {
        for seconds in [1_u64, 2, 5, 3_600, 86_399, (1 << 28) - 1] {
            let digits: Vec<String> = format!("{seconds:028b}").chars().map(String::from).collect();
            assert_eq!(delay(&format!("{}.mail.in", digits.join("."))), seconds);
        }
    }
}
