//! A subscription: a queue of its own on a connection of its own, so that nothing that happens to it
//! or ends it touches anybody else.

use futures::StreamExt;
use lapin::{Channel, Consumer};
use uuid::Uuid;

use super::super::BusOptions;
use super::super::stream::{Intake, Source};
use super::declare::{self, OwnQueue};
use crate::Error;
use crate::rabbitmq::link::{Link, convert, unavailable};
use crate::rabbitmq::message::from_parts;

pub(super) struct Subscription {
    link: Link,
    options: BusOptions,
    queue: OwnQueue,
    live: Option<(Channel, Consumer)>,
}

impl Subscription {
    pub(super) fn new(link: Link, options: &BusOptions, queue: OwnQueue) -> Self {
        Self { link, options: options.clone(), queue, live: None }
    }

    async fn subscribe(&mut self) -> Result<(), Error> {
        let mut channel = self.channel().await?;
        let mut queue = self.queue.clone();
        if let Err(error) = declare::queue(&self.link, &channel, &queue).await? {
            // The name is taken: by our own last link that the server has not missed yet, or by
            // another node of this name. Nobody looks for the queue by its name.
            tracing::warn!(queue = queue.name, %error, "another queue name is used: is a second \
                           worker running with this node name?");
            queue.name = format!("{}.{}", Uuid::new_v4().simple(), self.queue.name);
            self.link.close().await;
            channel = self.channel().await?;
            let declared = declare::queue(&self.link, &channel, &queue).await?;
            declared.map_err(|error| convert("a queue for control messages", &error))?;
        }
        let consumer = declare::consume(&self.link, &channel, &queue).await?;
        self.live = Some((channel, consumer));
        Ok(())
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let channel = self.link.channel().await?;
        declare::exchanges(&self.link, &channel, &self.options).await?;
        Ok(channel)
    }
}

impl Source for Subscription {
    async fn open(&mut self) -> Result<(), Error> {
        // A fresh connection each time: see `Publisher::channel`.
        self.live = None;
        self.link.close().await;
        let subscribed = self.subscribe().await;
        if subscribed.is_err() {
            self.link.close().await;
        }
        subscribed
    }

    async fn receive<T: Send>(&mut self, intake: &mut Intake<T>) -> Result<(), Error> {
        let Some((_, consumer)) = &mut self.live else {
            return Err(unavailable("the subscription is not open"));
        };
        match consumer.next().await {
            Some(Ok(delivery)) => {
                let message = from_parts(&delivery.properties, delivery.data);
                intake.take(&message.headers, &message.content_type, &message.body);
                Ok(())
            }
            Some(Err(error)) => Err(convert("a subscription", &error)),
            None => Err(unavailable("the server has ended the subscription")),
        }
    }
}
