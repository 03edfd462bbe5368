//! Publishing to the three exchanges, on one confirming channel that is opened again after a loss.
//!
//! Confirms are not for durability: they hold back a sender whose server is blocked, and tell it.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Mutex;

use super::super::BusOptions;
use super::super::wire::{CONTENT_ENCODING, CONTENT_TYPE, Parcel, TRANSIENT};
use super::declare;
use crate::Error;
use crate::rabbitmq::link::{Link, unavailable};
use crate::rabbitmq::table::{short, to_table};

#[derive(Debug)]
pub(super) struct Publisher {
    link: Link,
    options: BusOptions,
    channel: Mutex<Option<Channel>>,
}

impl Publisher {
    pub(super) fn new(link: Link, options: &BusOptions) -> Self {
        Self { link, options: options.clone(), channel: Mutex::new(None) }
    }

    /// The channel, with the exchanges known to exist.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let mut slot = self.channel.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        // A channel that ended by an error takes its connection along: the client keeps the reason
        // under the channel's number and would tell it to the number's next user.
        if slot.take().is_some() {
            self.link.close().await;
        }
        let channel = self.link.channel().await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        let ready = async {
            self.link.limited("select confirms", select).await?;
            declare::exchanges(&self.link, &channel, &self.options).await
        };
        if let Err(error) = ready.await {
            self.link.close().await;
            return Err(error);
        }
        *slot = Some(channel.clone());
        Ok(channel)
    }

    /// Publishes in order and waits until the server has taken all.
    pub(super) async fn publish(&self, exchange: &str, parcels: &[Parcel]) -> Result<(), Error> {
        let channel = self.channel().await?;
        let mut confirms = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let write = channel.basic_publish(
                short("an exchange's name", exchange)?,
                short("the routing key", &parcel.routing_key)?,
                BasicPublishOptions::default(),
                &parcel.body,
                properties(parcel)?,
            );
            confirms.push(self.answered(&channel, write).await?);
        }
        for confirm in confirms {
            match self.answered(&channel, confirm).await? {
                Confirmation::Ack(_) | Confirmation::NotRequested => {}
                Confirmation::Nack(_) => {
                    return Err(unavailable("a message was not accepted (nack)"));
                }
            }
        }
        Ok(())
    }

    /// Waits for an answer. A link that gives none is given up.
    async fn answered<T>(
        &self,
        channel: &Channel,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        let result = self.link.limited("publishing", call).await;
        if result.is_err() && channel.status().connected() {
            self.give_up(channel).await;
        }
        result
    }

    /// Forgets a channel, unless another caller has replaced it already.
    async fn give_up(&self, channel: &Channel) {
        let mut slot = self.channel.lock().await;
        if slot.as_ref().is_some_and(|current| current.id() == channel.id()) {
            slot.take();
            self.link.close().await;
        }
    }

    pub(super) async fn close(&self) {
        self.channel.lock().await.take();
        self.link.close().await;
    }
}

fn properties(parcel: &Parcel) -> Result<BasicProperties, Error> {
    Ok(BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_content_encoding(CONTENT_ENCODING.into())
        .with_headers(to_table(parcel.headers.iter())?)
        .with_delivery_mode(TRANSIENT)
        .with_priority(0))
}
