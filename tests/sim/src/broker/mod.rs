//! The broker seam: faults around the real memory driver, and a broker that can forget everything it
//! had confirmed, as Redis without an append-only file does.

mod consumer;
mod settle;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::time::sleep;
use tradewind_broker::{Broker, Capabilities, Consumer, Error, MemoryBroker, Outgoing, QueueStats};
use tradewind_proto::message::TaskMessage;

use crate::faults::{BROKER, Fate, Fault};
use crate::life::Life;
use crate::lock;
use crate::world::World;
use consumer::FaultyConsumer;

/// The server side: one memory broker at a time.
#[derive(Debug)]
pub(crate) struct Hub {
    world: Arc<World>,
    broker: Mutex<MemoryBroker>,
    epoch: AtomicU64,
}

pub(crate) fn unavailable(reason: &str) -> Error {
    Error::Unavailable { service: "simulated broker", reason: reason.to_owned() }
}

impl Hub {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let broker = MemoryBroker::new(Arc::new(world.clock));
        Arc::new(Self {
            world: Arc::clone(world),
            broker: Mutex::new(broker),
            epoch: AtomicU64::new(0),
        })
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn broker(&self) -> MemoryBroker {
        lock(&self.broker).clone()
    }

    /// Restarts the server without its messages; says how many there were.
    pub(crate) async fn forget(&self, queues: &[String]) -> u64 {
        let old = self.broker();
        let mut lost = 0;
        for queue in queues {
            let stats = old.stats(queue).await.unwrap_or_default();
            lost += stats.ready + stats.unacked;
        }
        *lock(&self.broker) = MemoryBroker::new(Arc::new(self.world.clock));
        self.epoch.fetch_add(1, Ordering::Relaxed);
        old.close().await;
        lost
    }
}

/// A process's handle on the broker.
#[derive(Debug, Clone)]
pub(crate) struct FaultyBroker {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
    pub(crate) hub: Arc<Hub>,
}

impl FaultyBroker {
    async fn call<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let call = async {
            let World { faults, rng, .. } = &*self.world;
            sleep(faults.delay(BROKER, rng)).await;
            self.life.gate().await;
            let fate = faults.fate(BROKER, rng);
            self.world.call(&self.life, what);
            if fate == Fate::Refused {
                return Err(unavailable("failure before the effect"));
            }
            let answer = work.await;
            if fate == Fate::AnswerLost { Err(unavailable("answer lost")) } else { answer }
        };
        self.life.call(call).await
    }

    async fn publish_one(&self, item: Outgoing) -> Result<(), Error> {
        let World { faults, rng, .. } = &*self.world;
        let fate = faults.fate(BROKER, rng);
        let task = item.message.header_str("task_id").unwrap_or_default().to_owned();
        if fate == Fate::Refused {
            self.world.note(format!("{} publish {task}: refused", self.life.name));
            return Err(unavailable("failure before the effect"));
        }
        if faults.strikes(Fault::MessageDoubled, rng) {
            self.hub.broker().publish(&item.queue, item.message.clone()).await?;
        }
        if faults.strikes(Fault::MessageLate, rng) {
            self.later(item);
        } else {
            self.hub.broker().publish(&item.queue, item.message).await?;
        }
        if fate == Fate::AnswerLost {
            self.world.note(format!("{} publish {task}: answer lost", self.life.name));
            return Err(unavailable("answer lost"));
        }
        Ok(())
    }

    /// The broker has the message, and shows it to consumers only after a while.
    fn later(&self, item: Outgoing) {
        let (hub, delay) = (Arc::clone(&self.hub), self.world.rng.millis(200, 8_000));
        let epoch = hub.epoch();
        tokio::spawn(async move {
            sleep(delay).await;
            if hub.epoch() != epoch {
                hub.world.faults.bit(Fault::MessagesLost, 1);
            } else if let Err(error) = hub.broker().publish(&item.queue, item.message).await {
                hub.world.note(format!("a late message was refused: {error}"));
            }
        });
    }
}

#[async_trait]
impl Broker for FaultyBroker {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        self.hub.broker().capabilities()
    }

    async fn declare(&self, queues: &[String]) -> Result<(), Error> {
        let broker = self.hub.broker();
        self.call("declare", broker.declare(queues)).await
    }

    async fn publish(&self, queue: &str, message: TaskMessage) -> Result<(), Error> {
        let item = Outgoing { queue: queue.to_owned(), message };
        self.publish_many(vec![item]).await.pop().unwrap_or(Err(Error::Closed))
    }

    async fn publish_many(&self, batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let call = async {
            sleep(self.world.faults.delay(BROKER, &self.world.rng)).await;
            let mut results = Vec::with_capacity(batch.len());
            for item in batch {
                // A crash may come between two messages.
                tokio::task::yield_now().await;
                self.life.gate().await;
                results.push(self.publish_one(item).await);
            }
            results
        };
        self.life.call(call).await
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        let epoch = self.hub.epoch();
        let broker = self.hub.broker();
        let inner = self.call("consume", broker.consume(queues, prefetch)).await?;
        Ok(Box::new(FaultyConsumer {
            handle: self.clone(),
            queues: queues.to_vec(),
            prefetch,
            inner,
            epoch,
            breaks: self.life.breaks(),
        }))
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        let broker = self.hub.broker();
        self.call("stats", broker.stats(queue)).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        let broker = self.hub.broker();
        self.call("peek", broker.peek(queue, max)).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        let broker = self.hub.broker();
        self.call("purge", broker.purge(queue)).await
    }

    async fn incarnation(&self) -> Result<String, Error> {
        self.call("incarnation", async { Ok(format!("simulated-{}", self.hub.epoch())) }).await
    }

    async fn health(&self) -> Result<(), Error> {
        self.call("broker health", async { Ok(()) }).await
    }

    async fn close(&self) {}
}
