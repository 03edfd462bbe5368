//! Dead letters in RabbitMQ: the queue `<queue>.dlq`, read from its start on a channel whose end puts
//! back what was not acknowledged.

use std::collections::BTreeSet;

use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use tradewind_proto::headers::Headers;
use tradewind_proto::message::TaskMessage;

use super::Inner;
use super::declare::{self, put_back};
use super::link::{convert, is_not_found};
use super::message::{from_parts, to_properties};
use super::table::short;
use crate::limits::dead_letter_queue;
use crate::{DeadLetter, Error, Selection, dead};

/// What is to be done with the selected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Replay,
    Drop,
}

/// An open dead-letter queue.
struct Grave<'a> {
    inner: &'a Inner,
    name: String,
    channel: Channel,
}

impl Grave<'_> {
    async fn next(&self) -> Result<Option<Delivery>, Error> {
        let name = short("the queue name", &self.name)?;
        let get = async { Ok(self.channel.basic_get(name, BasicGetOptions::default()).await) };
        match self.inner.publisher.link().limited_long("reading dead letters", get).await? {
            Ok(got) => Ok(got.map(|got| got.delivery)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(convert("reading dead letters", &error)),
        }
    }

    async fn settle(&self, which: &Selection, fate: Fate) -> Result<u64, Error> {
        // What is replayed may die again while this goes on, and must not be replayed for ever.
        let began = self.inner.clock.now();
        let mut settled = BTreeSet::new();
        let mut count = 0;
        while let Some(delivery) = self.next().await? {
            let tag = delivery.delivery_tag;
            let message = from_parts(&delivery.properties, delivery.data);
            let told = dead::describe(&message, &self.name);
            if told.at.is_some_and(|at| at > began) {
                break;
            }
            let name = told.task_id.as_ref().unwrap_or(&told.id).clone();
            if !which.has(&told) || (fate == Fate::Replay && !settled.insert(name)) {
                continue;
            }
            if fate == Fate::Replay {
                self.inner.revive(message, &told.queue).await?;
            }
            let ack = self.channel.basic_ack(tag, BasicAckOptions::default());
            self.inner.publisher.link().limited("removing a dead letter", ack).await?;
            count += 1;
        }
        Ok(count)
    }
}

impl Inner {
    async fn grave(&self, queue: &str) -> Result<Grave<'_>, Error> {
        let channel = self.publisher.link().channel().await?;
        Ok(Grave { inner: self, name: dead_letter_queue(queue), channel })
    }

    pub(super) async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        let grave = self.grave(queue).await?;
        let mut all = Vec::new();
        // Without a place to start from, what is behind `max` is of no interest.
        while after.is_some() || all.len() < max {
            let Some(delivery) = grave.next().await? else { break };
            let message = from_parts(&delivery.properties, delivery.data);
            all.push(dead::describe(&message, &grave.name));
        }
        put_back(self.publisher.link(), self.form.kind, grave.channel).await;
        Ok(dead::page(all, max, after))
    }

    /// Replays or drops the selected letters that are there now.
    pub(super) async fn settle_dead(
        &self,
        queue: &str,
        which: &Selection,
        fate: Fate,
    ) -> Result<u64, Error> {
        let grave = self.grave(queue).await?;
        let result = grave.settle(which, fate).await;
        put_back(self.publisher.link(), self.form.kind, grave.channel).await;
        result
    }

    /// Publishes a dead letter as what it was before. It is confirmed before the letter is removed.
    async fn revive(&self, letter: TaskMessage, queue: &str) -> Result<(), Error> {
        let raw = |body| TaskMessage { body, ..blank() };
        let message = dead::unmark(letter).unwrap_or_else(raw);
        let properties = to_properties(&message)?;
        match self.publisher.publish(queue, &message.body, properties.clone()).await {
            Err(Error::Unroutable { .. }) => {
                // Someone deleted the queue.
                let queues = [queue.to_owned()];
                declare::queues(self.publisher.link(), self.form, &queues).await?;
                self.publisher.publish(queue, &message.body, properties).await
            }
            other => other,
        }
    }
}

/// What frames bytes that never were a message.
fn blank() -> TaskMessage {
    TaskMessage {
        headers: Headers::new(),
        body: Vec::new(),
        content_type: "application/data".to_owned(),
        content_encoding: "binary".to_owned(),
        correlation_id: String::new(),
        reply_to: None,
        priority: 0,
        expiration_ms: None,
    }
}
