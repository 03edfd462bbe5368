//! Queues inside this process: for standalone mode, tests and the simulator.
//!
//! Deterministic: no randomness, wall time from the injected clock, waiting on tokio's clock. Knows
//! nothing of durability: what it holds ends with the process.

mod consumer;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;
use tradewind_proto::message::TaskMessage;

use crate::limits::{check_name, check_outgoing, check_queue, dead_letter_queue, sent_at, stamp};
use crate::order::Chooser;
use crate::{
    Broker, BrokerOptions, Capabilities, Consumer, DeadLetter, Error, Outgoing, QueueBinding,
    QueueStats, Selection, dead,
};
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
    /// As new consumers order their queues.
    order: Chooser,
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
    /// An empty broker with default options.
    pub fn new(clock: SharedClock) -> Self {
        Self::with_options(&BrokerOptions::default(), clock)
    }

    /// An empty broker.
    pub fn with_options(options: &BrokerOptions, clock: SharedClock) -> Self {
        let incarnation = format!("memory-{}", clock.now().as_microsecond());
        let state = Mutex::new(State::default());
        let order = Chooser::new(options.queue_order, &options.queue_weights, &[]);
        let shared = Shared { state, changed: Notify::new(), clock, incarnation, order };
        Self { shared: Arc::new(shared) }
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
        Capabilities {
            durable: false,
            shared: false,
            priorities: true,
            zero_first: false,
            takes_ahead: false,
        }
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

    async fn publish(&self, queue: &str, mut message: TaskMessage) -> Result<(), Error> {
        self.open()?;
        check_outgoing(queue, &message)?;
        stamp(&mut message, self.shared.clock.now());
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

    async fn bind(&self, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
        self.declare(&[queue.to_owned()]).await?;
        check_name("the exchange's name", &binding.exchange)?;
        self.shared.change(|state| state.bind(queue, binding)).map_err(|has| Error::Refused {
            service: "memory",
            what: format!("binding to exchange {:?}", binding.exchange),
            reason: format!("it has the type {}", has.name()),
        })
    }

    async fn publish_routed(
        &self,
        exchange: &str,
        routing_key: &str,
        mut message: TaskMessage,
    ) -> Result<(), Error> {
        self.open()?;
        check_name("the routing key", routing_key)?;
        let unroutable = || Error::Unroutable { queue: format!("{exchange}/{routing_key}") };
        if exchange.is_empty() {
            let known = self.shared.lock().exists(routing_key);
            let route = if known { Ok(()) } else { Err(unroutable()) };
            route?;
            return self.publish(routing_key, message).await;
        }
        check_outgoing("routed", &message)?;
        stamp(&mut message, self.shared.clock.now());
        self.shared.change(|state| {
            let queues = state.route(exchange, routing_key);
            for queue in &queues {
                state.push(queue, message.clone());
            }
            if queues.is_empty() { Err(unroutable()) } else { Ok(()) }
        })
    }

    async fn dead_letters(
        &self,
        queue: &str,
        max: usize,
        after: Option<&str>,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.open()?;
        let letters = self.shared.lock().letters(&dead_letter_queue(queue));
        Ok(dead::page(letters, max, after))
    }

    async fn replay(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.open()?;
        let grave = dead_letter_queue(queue);
        self.shared.change(|state| {
            let letters = state.exhume(&grave, selection);
            let count = letters.len() as u64;
            for letter in letters {
                let origin = dead::describe(&letter, &grave).queue;
                // Nothing here was ever bytes that were no message.
                if let Ok(message) = dead::unmark(letter) {
                    state.push(&origin, message);
                }
            }
            Ok(count)
        })
    }

    async fn drop_dead(&self, queue: &str, selection: &Selection) -> Result<u64, Error> {
        self.open()?;
        let grave = dead_letter_queue(queue);
        Ok(self.shared.change(|state| state.exhume(&grave, selection)).len() as u64)
    }

    async fn all_queues(&self) -> Result<Option<Vec<String>>, Error> {
        self.open()?;
        Ok(Some(self.shared.lock().names()))
    }

    async fn oldest(&self, queue: &str) -> Result<Option<Timestamp>, Error> {
        self.open()?;
        Ok(self.shared.lock().oldest(queue).and_then(sent_at))
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
