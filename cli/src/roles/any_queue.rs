//! In one process every queue has the same worker: a broker that puts all messages into one queue, so
//! that a task's `queue` needs no `-Q`. The name stays in listings.

use async_trait::async_trait;
use tradewind_broker::{
    Broker, Capabilities, Consumer, DeadLetter, Error, MemoryBroker, Outgoing, QueueStats,
    Selection,
};
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names::DEFAULT_QUEUE;

/// A memory broker with one queue under every name.
#[derive(Debug, Clone)]
pub(crate) struct AnyQueue(pub(crate) MemoryBroker);

fn all() -> Vec<String> {
    vec![DEFAULT_QUEUE.to_owned()]
}

#[async_trait]
impl Broker for AnyQueue {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn declare(&self, _queues: &[String]) -> Result<(), Error> {
        self.0.declare(&all()).await
    }

    async fn publish(&self, _queue: &str, message: TaskMessage) -> Result<(), Error> {
        self.0.publish(DEFAULT_QUEUE, message).await
    }

    async fn publish_many(&self, mut batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        for outgoing in &mut batch {
            outgoing.queue = DEFAULT_QUEUE.to_owned();
        }
        self.0.publish_many(batch).await
    }

    async fn consume(&self, _queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.0.consume(&all(), prefetch).await
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        self.0.stats(queue).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        self.0.peek(queue, max).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        self.0.purge(queue).await
    }

    async fn publish_routed(
        &self,
        _exchange: &str,
        _routing_key: &str,
        message: TaskMessage,
    ) -> Result<(), Error> {
        self.0.publish(DEFAULT_QUEUE, message).await
    }

    async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.0.dead_letters(queue, max, after).await
    }

    async fn replay(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.0.replay(queue, selection).await
    }

    async fn drop_dead(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.0.drop_dead(queue, selection).await
    }

    async fn all_queues(&self) -> Result<Option<Vec<String>>, Error> {
        self.0.all_queues().await
    }

    async fn oldest(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        self.0.oldest(queue).await
    }

    async fn incarnation(&self) -> Result<String, Error> {
        self.0.incarnation().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.0.health().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
