//! Deliveries are opened before anybody looks at them.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_proto::seal::Seal;

use crate::{Consumer, Delivery, Error, Payload};

/// A consumer behind a seal.
#[derive(Debug)]
pub(super) struct SealedConsumer {
    pub(super) inner: Box<dyn Consumer>,
    pub(super) seal: Arc<Seal>,
}

impl SealedConsumer {
    fn open(&self, delivery: Delivery) -> Delivery {
        delivery.change(|payload| match payload {
            Payload::Message(message) => match self.seal.open(message) {
                Ok(message) => Payload::Message(message),
                Err(refused) => Payload::Refused { kind: refused.kind, reason: refused.reason },
            },
            other => other,
        })
    }
}

#[async_trait]
impl Consumer for SealedConsumer {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let batch = self.inner.next_batch(max).await?;
        Ok(batch.into_iter().map(|delivery| self.open(delivery)).collect())
    }

    async fn pause(&mut self) -> Result<(), Error> {
        self.inner.pause().await
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), Error> {
        self.inner.set_prefetch(prefetch).await
    }

    async fn add_queue(&mut self, queue: &str) -> Result<(), Error> {
        self.inner.add_queue(queue).await
    }

    async fn cancel_queue(&mut self, queue: &str) -> Result<(), Error> {
        self.inner.cancel_queue(queue).await
    }

    fn live(&self) -> bool {
        self.inner.live()
    }

    fn queues(&self) -> Vec<String> {
        self.inner.queues()
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.inner.close().await
    }
}
