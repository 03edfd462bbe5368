//! Settling one delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lapin::BasicProperties;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;
use uuid::Uuid;

use super::hold::Place;
use super::message::{delivered_before, from_parts, mark_redelivered, to_properties};
use super::settle::{Op, Settler};
use super::{Inner, declare, delay};
use crate::limits::{dead_letter_queue, oversized};
use crate::{Arrived, Error, Payload, Settle, dead};

/// A message that was taken, until it is settled.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) inner: Arc<Inner>,
    pub(super) settler: Settler,
    pub(super) queue: Arc<str>,
    pub(super) tag: u64,
    pub(super) since: Instant,
    pub(super) place: Mutex<Place>,
    /// What AMQP says of it.
    redelivered: bool,
    properties: BasicProperties,
    body: Vec<u8>,
    /// A settling call was made: renewals must not touch it any more.
    pub(super) ended: AtomicBool,
}

#[derive(Debug)]
pub(super) struct RabbitSettle(Arc<Taken>);

impl RabbitSettle {
    pub(super) fn new(
        inner: &Arc<Inner>,
        settler: &Settler,
        queue: &Arc<str>,
        delivery: lapin::message::Delivery,
    ) -> Self {
        Self(Arc::new(Taken {
            inner: Arc::clone(inner),
            settler: settler.clone(),
            queue: Arc::clone(queue),
            tag: delivery.delivery_tag,
            since: Instant::now(),
            place: Mutex::new(Place::Channel),
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            body: delivery.data,
            ended: AtomicBool::new(false),
        }))
    }
}

impl Taken {
    /// Whether the channel that it came by still exists.
    pub(super) fn live(&self) -> Result<(), Error> {
        if self.settler.live() { Ok(()) } else { Err(Error::Stale) }
    }

    /// Refuses before a copy is published that the original could not be removed for.
    async fn current(&self) -> Result<(), Error> {
        match &*self.place.lock().await {
            Place::Channel => self.live(),
            Place::Held { .. } => Ok(()),
            Place::Lost => Err(Error::Stale),
        }
    }

    pub(super) fn message(&self) -> TaskMessage {
        from_parts(&self.properties, self.body.clone())
    }

    /// Removes the message from where it is.
    async fn remove(&self) -> Result<(), Error> {
        if self.ended.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadySettled);
        }
        if self.end_hold().await? { Ok(()) } else { self.settler.settle(self.tag, Op::Ack).await }
    }
}

#[async_trait]
impl Settle for RabbitSettle {
    fn read(&self) -> Arrived {
        let taken = &self.0;
        let payload = match oversized(&taken.body) {
            Some(reason) => Payload::Malformed { reason, raw: taken.body.clone() },
            None => Payload::Message(taken.message()),
        };
        let redelivered = taken.redelivered || delivered_before(&taken.properties);
        Arrived { payload, redelivered }
    }

    async fn ack(&self) -> Result<(), Error> {
        self.0.remove().await
    }

    async fn release(&self) -> Result<(), Error> {
        let taken = &self.0;
        // From here on no renewal moves it.
        if taken.ended.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadySettled);
        }
        taken.current().await?;
        if matches!(&*taken.place.lock().await, Place::Channel) {
            return taken.settler.settle(taken.tag, Op::Requeue).await;
        }
        let mut message = taken.message();
        mark_redelivered(&mut message);
        let properties = to_properties(&message)?;
        taken.inner.publisher.publish(&taken.queue, &message.body, properties).await?;
        taken.end_hold().await.map(|_| ())
    }

    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error> {
        let taken = &self.0;
        taken.current().await?;
        let inner = &taken.inner;
        let wait = at.duration_since(inner.clock.now());
        let ms = delay::rounded_ms(Duration::try_from(wait).unwrap_or_default());
        let mut message = taken.message();
        // The server would end the delay when this runs out; workers read the header `expires`.
        message.expiration_ms = None;
        let properties = to_properties(&message)?;
        let link = inner.publisher.link();
        let queue = declare::delay_queue(link, inner.form.kind, &taken.queue, ms).await?;
        inner.publisher.publish(&queue, &message.body, properties).await?;
        taken.remove().await
    }

    async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        let taken = &self.0;
        taken.current().await?;
        let inner = &taken.inner;
        let mut message = taken.message();
        let id = Uuid::new_v4().to_string();
        dead::mark(&mut message, reason, &taken.queue, inner.clock.now(), &id);
        message.expiration_ms = None;
        let properties = to_properties(&message)?;
        let target = dead_letter_queue(&taken.queue);
        let publisher = &inner.publisher;
        let published = publisher.publish(&target, &message.body, properties.clone()).await;
        if matches!(published, Err(Error::Unroutable { .. })) {
            // Someone deleted it.
            declare::queues(publisher.link(), inner.form, std::slice::from_ref(&target)).await?;
            publisher.publish(&target, &message.body, properties).await?;
        } else {
            published?;
        }
        taken.remove().await
    }

    async fn extend(&self) -> Result<(), Error> {
        // In a task of its own: cut off half-way, a move would leave a copy that nobody removes.
        let taken = Arc::clone(&self.0);
        tokio::spawn(async move { taken.renew().await }).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A held one goes back when its lease runs out.
        let on_channel = matches!(self.place.get_mut(), Place::Channel);
        if on_channel && !self.ended.swap(true, Ordering::AcqRel) {
            self.settler.settle_later(self.tag, Op::Requeue);
        }
    }
}
