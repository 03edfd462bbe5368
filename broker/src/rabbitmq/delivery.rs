//! Settling one delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lapin::BasicProperties;
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;
use uuid::Uuid;

use super::message::{from_parts, to_properties};
use super::settle::{Op, Settler};
use super::{Inner, declare, delay};
use crate::limits::dead_letter_queue;
use crate::{Error, Settle, dead};

#[derive(Debug)]
pub(super) struct RabbitSettle {
    inner: Arc<Inner>,
    settler: Settler,
    queue: String,
    tag: u64,
    properties: BasicProperties,
    body: Vec<u8>,
    ended: AtomicBool,
}

impl RabbitSettle {
    pub(super) fn new(
        inner: &Arc<Inner>,
        settler: &Settler,
        queue: &str,
        delivery: &lapin::message::Delivery,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            settler: settler.clone(),
            queue: queue.to_owned(),
            tag: delivery.delivery_tag,
            properties: delivery.properties.clone(),
            body: delivery.data.clone(),
            ended: AtomicBool::new(false),
        }
    }

    async fn end(&self, op: Op) -> Result<(), Error> {
        if self.ended.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadySettled);
        }
        self.settler.settle(self.tag, op).await
    }

    /// Refuses before a copy is published that the original could not be acked for.
    fn current(&self) -> Result<(), Error> {
        if self.settler.live() { Ok(()) } else { Err(Error::Stale) }
    }

    fn message(&self) -> TaskMessage {
        from_parts(&self.properties, self.body.clone())
    }
}

#[async_trait]
impl Settle for RabbitSettle {
    async fn ack(&self) -> Result<(), Error> {
        self.end(Op::Ack).await
    }

    async fn release(&self) -> Result<(), Error> {
        self.end(Op::Requeue).await
    }

    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error> {
        self.current()?;
        let wait = at.duration_since(self.inner.clock.now());
        let ms = delay::rounded_ms(Duration::try_from(wait).unwrap_or_default());
        let mut message = self.message();
        // The server would end the delay when this runs out; workers read the header `expires`.
        message.expiration_ms = None;
        let properties = to_properties(&message)?;
        let link = self.inner.publisher.link();
        let queue = declare::delay_queue(link, self.inner.form.kind, &self.queue, ms).await?;
        self.inner.publisher.publish(&queue, &message.body, properties).await?;
        self.end(Op::Ack).await
    }

    async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        self.current()?;
        let mut message = self.message();
        let id = Uuid::new_v4().to_string();
        dead::mark(&mut message, reason, &self.queue, self.inner.clock.now(), &id);
        message.expiration_ms = None;
        let properties = to_properties(&message)?;
        let target = dead_letter_queue(&self.queue);
        let publisher = &self.inner.publisher;
        let published = publisher.publish(&target, &message.body, properties.clone()).await;
        if matches!(published, Err(Error::Unroutable { .. })) {
            // Someone deleted it.
            declare::queues(publisher.link(), self.inner.form, std::slice::from_ref(&target))
                .await?;
            publisher.publish(&target, &message.body, properties).await?;
        } else {
            published?;
        }
        self.end(Op::Ack).await
    }

    async fn extend(&self) -> Result<(), Error> {
        // The connection is the lease.
        self.current()
    }
}

impl Drop for RabbitSettle {
    fn drop(&mut self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.settler.settle_later(self.tag, Op::Requeue);
        }
    }
}
