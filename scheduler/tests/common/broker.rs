//! A broker that can refuse to publish, and restart without its messages.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use tradewind_broker::{Broker, Capabilities, Consumer, Error, MemoryBroker, Outgoing, QueueStats};
use tradewind_proto::message::TaskMessage;

#[derive(Debug)]
pub struct FaultyBroker {
    inner: MemoryBroker,
    refuses: AtomicBool,
    life: AtomicU32,
}

impl FaultyBroker {
    pub fn new(inner: MemoryBroker) -> Self {
        Self { inner, refuses: AtomicBool::new(false), life: AtomicU32::new(0) }
    }

    pub fn refuse_publishing(&self, refuse: bool) {
        self.refuses.store(refuse, Ordering::SeqCst);
    }

    /// What a Redis without persistence does.
    pub async fn restart_empty(&self) {
        self.inner.purge("default").await.unwrap();
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    fn gate(&self) -> Result<(), Error> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Error::Unavailable { service: "test", reason: "told to".to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Broker for FaultyBroker {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn declare(&self, queues: &[String]) -> Result<(), Error> {
        self.inner.declare(queues).await
    }

    async fn publish(&self, queue: &str, message: TaskMessage) -> Result<(), Error> {
        self.gate()?;
        self.inner.publish(queue, message).await
    }

    async fn publish_many(&self, batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        match self.gate() {
            Ok(()) => self.inner.publish_many(batch).await,
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.inner.consume(queues, prefetch).await
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        self.inner.stats(queue).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        self.inner.peek(queue, max).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        self.inner.purge(queue).await
    }

    async fn incarnation(&self) -> Result<String, Error> {
        self.gate()?;
        Ok(format!("life {}", self.life.load(Ordering::SeqCst)))
    }

    async fn health(&self) -> Result<(), Error> {
        self.gate()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
