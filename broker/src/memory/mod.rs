//! Queues inside this process: for standalone mode, tests and the simulator.
//!
//! Deterministic: no randomness, wall time from the injected clock, waiting on tokio's clock. Knows
//! nothing of durability: what it holds ends with the process.

mod consumer;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tradewind_proto::clock::SharedClock;
use tradewind_proto::message::TaskMessage;

use crate::limits::{check_outgoing, check_queue, dead_letter_queue};
use crate::{Broker, Capabilities, Consumer, Error, Outgoing, QueueStats};
use consumer::MemoryConsumer;
use state::State;

/// An in-process broker. Clones share their queues.
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told after every change that a waiting consumer may care for.
    changed: Notify,
    clock: SharedClock,
    incarnation: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` on the state with delayed messages that are due made ready, then wakes
    /// consumers.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.promote(self.clock.now());
        let result = change(&mut state);
        drop(state);
        self.changed.notify_waiters();
        result
    }
}

impl MemoryBroker {
    /// An empty broker.
    pub fn new(clock: SharedClock) -> Self {
        let incarnation = format!("memory-{}", clock.now().as_microsecond());
        let state = Mutex::new(State::default());
        Self { shared: Arc::new(Shared { state, changed: Notify::new(), clock, incarnation }) }
    }

    fn open(&self) -> Result<(), Error> {
        if self.shared.lock().closed { Err(Error::Closed) } else { Ok(()) }
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, shared: false, priorities: true, zero_first: false }
    }

    async fn declare(&self, queues: &[String]) -> Result<(), Error> {
        self.open()?;
        for queue in queues {
            check_queue(queue)?;
            self.shared.change(|state| {
                state.queue(queue);
                state.queue(&dead_letter_queue(queue));
            });
        }
        Ok(())
    }

    async fn publish(&self, queue: &str, message: TaskMessage) -> Result<(), Error> {
        self.open()?;
        check_outgoing(queue, &message)?;
        self.shared.change(|state| state.push(queue, message));
        Ok(())
    }

    async fn publish_many(&self, batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let mut results = Vec::with_capacity(batch.len());
        for item in batch {
            results.push(self.publish(&item.queue, item.message).await);
        }
        results
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.declare(queues).await?;
        Ok(Box::new(MemoryConsumer::new(Arc::clone(&self.shared), queues.to_vec(), prefetch)))
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        self.open()?;
        Ok(self.shared.change(|state| state.stats(queue)))
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        self.open()?;
        Ok(self.shared.change(|state| state.peek(queue, max)))
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        self.open()?;
        Ok(self.shared.change(|state| state.purge(queue)))
    }

    async fn incarnation(&self) -> Result<String, Error> {
        Ok(self.shared.incarnation.clone())
    }

    async fn health(&self) -> Result<(), Error> {
        self.open()
    }

    async fn close(&self) {
        self.shared.change(|state| state.closed = true);
    }
}
