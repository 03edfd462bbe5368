//! A consumer whose connection breaks.

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_broker::{Broker as _, Consumer, Delivery, Error};

use super::settle::FaultySettle;
use super::{FaultyBroker, unavailable};
use crate::faults::{BROKER, Fate};

#[derive(Debug)]
pub(super) struct FaultyConsumer {
    pub(super) handle: FaultyBroker,
    pub(super) queues: Vec<String>,
    pub(super) prefetch: u16,
    pub(super) inner: Box<dyn Consumer>,
    pub(super) epoch: u64,
    pub(super) breaks: u64,
}

impl FaultyConsumer {
    /// Connects again when the server or the connection is another one. Says so once, as an error.
    async fn reconnect(&mut self) -> Result<(), Error> {
        let (epoch, breaks) = (self.handle.hub.epoch(), self.handle.life.breaks());
        if (self.epoch, self.breaks) == (epoch, breaks) {
            return Ok(());
        }
        self.inner = self.handle.hub.broker().consume(&self.queues, self.prefetch).await?;
        (self.epoch, self.breaks) = (epoch, breaks);
        Err(unavailable("connection broken"))
    }

    async fn batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        self.reconnect().await?;
        let world = Arc::clone(&self.handle.world);
        if world.faults.fate(BROKER, &world.rng) != Fate::Works {
            return Err(unavailable("failure while waiting"));
        }
        match self.inner.next_batch(max).await {
            // The server has gone while we waited.
            Err(Error::Closed) => self.reconnect().await.map(|()| Vec::new()),
            Err(error) => Err(error),
            Ok(batch) => {
                world.call(&self.handle.life, "delivered");
                Ok(batch.into_iter().map(|one| FaultySettle::wrap(&self.handle, one)).collect())
            }
        }
    }
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let life = Arc::clone(&self.handle.life);
        life.call(self.batch(max)).await
    }

    async fn pause(&mut self) -> Result<(), Error> {
        self.inner.pause().await
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), Error> {
        self.inner.set_prefetch(prefetch).await
    }

    async fn add_queue(&mut self, queue: &str) -> Result<(), Error> {
        self.inner.add_queue(queue).await?;
        self.queues = self.inner.queues();
        Ok(())
    }

    async fn cancel_queue(&mut self, queue: &str) -> Result<(), Error> {
        self.inner.cancel_queue(queue).await?;
        self.queues = self.inner.queues();
        Ok(())
    }

    fn queues(&self) -> Vec<String> {
        self.queues.clone()
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.inner.close().await
    }
}
