//! Publishing with confirms, on one channel that is opened again after a loss.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};

use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::sync::Mutex;

use super::link::{Link, unavailable};
use super::table::short;
use crate::Error;

const OPTIONS: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// How RabbitMQ says that an exchange does not exist.
const NO_EXCHANGE: &str = "no exchange";

#[derive(Debug)]
pub(super) struct Publisher {
    link: Link,
    channel: Mutex<Option<Channel>>,
    turn: Turn,
}

/// See [`in_turn`].
pub(crate) type Turn = std::sync::Mutex<()>;

/// Publishes with nobody between the two steps in which the client counts a message and puts it into its
/// output: it counts confirms by these numbers, and two threads that mix the steps would take each
/// other's.
pub(crate) async fn in_turn<T>(turn: &Turn, publishing: impl Future<Output = T>) -> T {
    let mut publishing = std::pin::pin!(publishing);
    std::future::poll_fn(|context| {
        let _alone = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        publishing.as_mut().poll(context)
    })
    .await
}

/// A message that was written and not confirmed yet.
pub(super) struct Written {
    queue: String,
    confirm: PublisherConfirm,
}

impl Publisher {
    pub(super) fn new(link: Link) -> Self {
        Self { link, channel: Mutex::new(None), turn: Turn::default() }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let mut slot = self.channel.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.link.channel().await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        self.link.limited("select confirms", select).await?;
        *slot = Some(channel.clone());
        Ok(channel)
    }

    /// Gives up a channel that does not answer.
    async fn give_up(&self) {
        self.channel.lock().await.take();
        self.link.give_up().await;
    }

    /// Writes a message to the default exchange; its confirm is still to come.
    pub(super) async fn write(
        &self,
        queue: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Written, Error> {
        let key = short("the queue name", queue)?;
        let confirm = self.send(ShortString::default(), key, body, properties).await?;
        Ok(Written { queue: queue.to_owned(), confirm })
    }

    async fn send(
        &self,
        exchange: ShortString,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<PublisherConfirm, Error> {
        let channel = self.channel().await?;
        let write = channel.basic_publish(exchange, key, OPTIONS, body, properties);
        self.link.limited("publishing", in_turn(&self.turn, write)).await
    }

    /// Publishes to an exchange and waits. One that does not exist ends the channel and with it all
    /// that is not confirmed yet: not for the publisher that everyone uses.
    pub(super) async fn publish_routed(
        &self,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Error> {
        let (name, key) =
            (short("the exchange's name", exchange)?, short("the routing key", routing_key)?);
        let queue = format!("{exchange}/{routing_key}");
        let sent = self.send(name, key, body, properties).await;
        let result = match sent {
            Ok(confirm) => self.confirmed(Written { queue: queue.clone(), confirm }).await,
            Err(error) => Err(error),
        };
        match result {
            Err(Error::Refused { reason, .. }) if reason.contains(NO_EXCHANGE) => {
                Err(Error::Unroutable { queue })
            }
            other => other,
        }
    }

    /// Waits until the server has taken responsibility.
    pub(super) async fn confirmed(&self, written: Written) -> Result<(), Error> {
        let result = self.link.limited("publishing", written.confirm).await;
        match result {
            Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => Ok(()),
            Ok(Confirmation::Ack(Some(_))) => Err(Error::Unroutable { queue: written.queue }),
            Ok(Confirmation::Nack(_)) => Err(unavailable("the message was not accepted (nack)")),
            Err(error) => {
                if self.silent(&error).await {
                    self.give_up().await;
                }
                Err(error)
            }
        }
    }

    /// Whether the channel claims to be fine although the server did not answer.
    async fn silent(&self, error: &Error) -> bool {
        let slot = self.channel.lock().await;
        error.is_retryable() && slot.as_ref().is_some_and(|channel| channel.status().connected())
    }

    /// Writes and waits.
    pub(super) async fn publish(
        &self,
        queue: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Error> {
        let written = self.write(queue, body, properties).await?;
        self.confirmed(written).await
    }

    pub(super) async fn close(&self) {
        self.channel.lock().await.take();
        self.link.close().await;
    }
}
