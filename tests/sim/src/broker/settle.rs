//! Settling over a connection that breaks.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::sleep;
use tradewind_broker::{Arrived, Delivery, Error, Settle};
use tradewind_proto::Timestamp;

use super::{FaultyBroker, unavailable};
use crate::faults::{BROKER, Fate};
use crate::life::Held;
use crate::world::Violation;

#[derive(Debug)]
pub(super) struct FaultySettle {
    handle: FaultyBroker,
    arrived: Arrived,
    held: Held,
    number: u64,
}

enum How<'a> {
    Ack,
    Release,
    RequeueAt(Timestamp),
    DeadLetter(&'a str),
}

impl FaultySettle {
    /// The same delivery with a settling side that can fail.
    pub(super) fn wrap(handle: &FaultyBroker, inner: Delivery) -> Delivery {
        let (queue, payload) = (Arc::clone(&inner.queue), inner.payload().clone());
        let arrived = Arrived { payload, redelivered: inner.redelivered() };
        let held: Held = Arc::new(tokio::sync::Mutex::new(Some(inner)));
        let number = handle.life.hold(&held);
        let settle = Self { handle: handle.clone(), arrived, held, number };
        Delivery::new(queue, Box::new(settle))
    }

    async fn settle(&self, how: How<'_>) -> Result<(), Error> {
        let life = Arc::clone(&self.handle.life);
        let call = async {
            let world = &self.handle.world;
            sleep(world.faults.delay(BROKER, &world.rng)).await;
            self.handle.life.gate().await;
            let fate = world.faults.fate(BROKER, &world.rng);
            // Taken away when the connection broke.
            let mut delivery = self.held.lock().await.take().ok_or(Error::Stale)?;
            if fate == Fate::Refused {
                drop(delivery);
                return Err(unavailable("failure before the effect"));
            }
            match how {
                How::Ack => delivery.ack().await,
                How::Release => delivery.release().await,
                How::RequeueAt(at) => delivery.requeue_at(at).await,
                How::DeadLetter(reason) => {
                    // Every message here was published by a scheduler of ours.
                    let text = format!("a good message was buried: {reason}");
                    world.violate(Violation { promise: "S3", text });
                    delivery.dead_letter(reason).await
                }
            }?;
            if fate == Fate::AnswerLost { Err(unavailable("answer lost")) } else { Ok(()) }
        };
        life.call(call).await
    }
}

#[async_trait]
impl Settle for FaultySettle {
    fn read(&self) -> Arrived {
        self.arrived.clone()
    }

    async fn ack(&self) -> Result<(), Error> {
        self.settle(How::Ack).await
    }

    async fn release(&self) -> Result<(), Error> {
        self.settle(How::Release).await
    }

    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error> {
        self.settle(How::RequeueAt(at)).await
    }

    async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        self.settle(How::DeadLetter(reason)).await
    }

    async fn extend(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for FaultySettle {
    fn drop(&mut self) {
        self.handle.life.settled(self.number);
    }
}
