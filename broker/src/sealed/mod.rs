//! A broker whose messages are signed and encrypted: the one place that everything published passes
//! (clients, retries, what follows a task, beat), and everything consumed.
//!
//! What a broker does by itself (giving back, delaying, dead letters, replay, peek) moves messages as
//! they are: a replayed dead letter is never signed anew.

mod consumer;
mod files;
mod options;
mod results;

use std::sync::Arc;

use async_trait::async_trait;
use tradewind_proto::Timestamp;
use tradewind_proto::message::TaskMessage;
use tradewind_proto::seal::Seal;

use crate::{
    Broker, Canary, Capabilities, Consumer, DeadLetter, Error, Outgoing, QueueBinding, QueueStats,
    Selection,
};
use consumer::SealedConsumer;
pub(crate) use files::read_keys;
pub use options::SecurityOptions;
pub(crate) use results::SealedResults;

/// A broker behind a [`Seal`]. [`crate::open`] makes it when its options have keys.
#[derive(Debug)]
pub struct SealedBroker {
    inner: Arc<dyn Broker>,
    seal: Arc<Seal>,
}

impl SealedBroker {
    /// Seals what passes to and from `inner`.
    pub fn new(inner: Arc<dyn Broker>, seal: Seal) -> Self {
        Self { inner, seal: Arc::new(seal) }
    }

    fn shut(&self, message: TaskMessage) -> Result<TaskMessage, Error> {
        self.seal.close(message).map_err(|error| Error::Config(error.to_string()))
    }
}

#[async_trait]
impl Broker for SealedBroker {
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
        self.inner.publish(queue, self.shut(message)?).await
    }

    async fn publish_many(&self, batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let (mut answers, mut closed) = (Vec::with_capacity(batch.len()), Vec::new());
        for Outgoing { queue, message } in batch {
            answers
                .push(self.shut(message).map(|message| closed.push(Outgoing { queue, message })));
        }
        let mut sent = self.inner.publish_many(closed).await.into_iter();
        for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
            *answer = sent.next().unwrap_or(Err(Error::Closed));
        }
        answers
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        let inner = self.inner.consume(queues, prefetch).await?;
        Ok(Box::new(SealedConsumer { inner, seal: Arc::clone(&self.seal) }))
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

    async fn bind(&self, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
        self.inner.bind(queue, binding).await
    }

    async fn publish_routed(
        &self,
        exchange: &str,
        routing_key: &str,
        message: TaskMessage,
    ) -> Result<(), Error> {
        self.inner.publish_routed(exchange, routing_key, self.shut(message)?).await
    }

    async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.inner.dead_letters(queue, max, after).await
    }

    async fn replay(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.inner.replay(queue, selection).await
    }

    async fn drop_dead(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.inner.drop_dead(queue, selection).await
    }

    async fn all_queues(&self) -> Result<Option<Vec<String>>, Error> {
        self.inner.all_queues().await
    }

    async fn oldest(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        self.inner.oldest(queue).await
    }

    fn cannot(&self, what: &'static str) -> Error {
        self.inner.cannot(what)
    }

    async fn incarnation(&self) -> Result<String, Error> {
        self.inner.incarnation().await
    }

    fn canary(&self) -> Option<Box<dyn Canary>> {
        self.inner.canary()
    }

    async fn health(&self) -> Result<(), Error> {
        self.inner.health().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
