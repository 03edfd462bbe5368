//! The canary: published on the publishers' connection, consumed on the consumers'.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use uuid::Uuid;

use super::Inner;
use super::link::{convert, unavailable};
use super::table::short;
use crate::Error;
use crate::canary::Canary;

/// Milliseconds; what is not consumed by then has been given up long ago.
const EXPIRES: &str = "60000";
/// Not persistent.
const TRANSIENT: u8 = 1;

#[derive(Debug)]
pub(super) struct RabbitCanary {
    inner: Arc<Inner>,
    session: Option<Session>,
    sent: u64,
}

/// A queue that belongs to the consuming connection and ends with its only consumer.
#[derive(Debug)]
struct Session {
    queue: String,
    channel: Channel,
    consumer: Consumer,
}

impl RabbitCanary {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, session: None, sent: 0 }
    }

    async fn open(&self) -> Result<Session, Error> {
        let link = &self.inner.consuming;
        let channel = link.channel().await?;
        // A new name each time: the server may not have noticed yet that the last connection is gone.
        let queue = format!("tradewind.canary.{}", Uuid::new_v4().simple());
        let name = short("the queue name", &queue)?;
        let private =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let declare = channel.queue_declare(name.clone(), private, FieldTable::default());
        link.limited("declaring the canary's queue", declare).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
        let consume =
            channel.basic_consume(name, ShortString::default(), options, FieldTable::default());
        let consumer = link.limited("subscribing", consume).await?;
        Ok(Session { queue, channel, consumer })
    }
}

#[async_trait]
impl Canary for RabbitCanary {
    async fn round_trip(&mut self) -> Result<(), Error> {
        self.inner.open()?;
        let session = match self.session.take() {
            Some(session) if session.channel.status().connected() => session,
            _ => self.open().await?,
        };
        self.sent += 1;
        let body = self.sent.to_string().into_bytes();
        let properties = BasicProperties::default()
            .with_delivery_mode(TRANSIENT)
            .with_expiration(EXPIRES.into());
        // Kept while it is waited for: a caller that loses patience must not leave a queue behind each time.
        let Session { queue, consumer, .. } = self.session.insert(session);
        if let Err(error) = self.inner.publisher.publish(queue, &body, properties).await {
            if matches!(error, Error::Unroutable { .. }) {
                // Somebody has deleted the queue.
                self.session = None;
            }
            return Err(error);
        }
        loop {
            match consumer.next().await {
                Some(Ok(delivery)) if delivery.data == body => return Ok(()),
                Some(Ok(_late)) => {}
                ended => {
                    self.session = None;
                    return Err(match ended {
                        Some(Err(error)) => convert("the canary", &error),
                        _ => unavailable("the canary's subscription ended"),
                    });
                }
            }
        }
    }
}
