//! A subscription to channels, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use ::redis::aio::{PubSubSink, PubSubStream};
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::super::stream::{Intake, Source};
use crate::Error;
use crate::redis::envelope::decode;
use crate::redis::link::{Link, convert, unavailable};

/// What is subscribed to.
#[derive(Debug)]
pub(super) enum Topic {
    Channel(String),
    Pattern(String),
}

pub(super) struct Subscription {
    link: Arc<Link>,
    topic: Topic,
    /// A link that is quiet for this long is asked for a sign of life, and given as long again.
    quiet_max: Duration,
    live: Option<(PubSubSink, PubSubStream)>,
}

impl Subscription {
    pub(super) fn new(link: Arc<Link>, topic: Topic, quiet_max: Duration) -> Self {
        Self { link, topic, quiet_max, live: None }
    }
}

impl Source for Subscription {
    async fn open(&mut self) -> Result<(), Error> {
        self.live = None;
        let (mut sink, messages) = self.link.pubsub().await?.split();
        let subscribing = async {
            match &self.topic {
                Topic::Channel(name) => sink.subscribe(name).await,
                Topic::Pattern(name) => sink.psubscribe(name).await,
            }
        };
        match timeout(self.quiet_max, subscribing).await {
            Ok(done) => done.map_err(|error| convert("a subscription", &error))?,
            Err(_) => return Err(unavailable("no answer to a subscription")),
        }
        self.live = Some((sink, messages));
        Ok(())
    }

    async fn receive<T: Send>(&mut self, intake: &mut Intake<T>) -> Result<(), Error> {
        let Some((sink, messages)) = &mut self.live else {
            return Err(unavailable("the subscription is not open"));
        };
        let message = tokio::select! {
            biased;
            message = messages.next() => message,
            () = sleep(self.quiet_max) => {
                return match timeout(self.quiet_max, sink.ping::<Value>()).await {
                    Ok(Ok(_pong)) => Ok(()),
                    Ok(Err(error)) => Err(convert("a ping", &error)),
                    Err(_) => Err(unavailable("the subscription is silent")),
                };
            }
        };
        let Some(message) = message else {
            return Err(unavailable("the subscription's link is gone"));
        };
        match decode(message.get_payload_bytes()) {
            Ok((message, _)) => intake.take(&message.headers, &message.content_type, &message.body),
            Err(reason) => intake.skip(&reason),
        }
        Ok(())
    }
}
