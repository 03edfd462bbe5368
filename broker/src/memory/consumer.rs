//! Taking and settling.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tradewind_proto::Timestamp;

use super::Shared;
use super::state::Entry;
use crate::limits::{check_queue, dead_letter_queue};
use crate::order::Chooser;
use crate::slots::Slots;
use crate::{Arrived, Consumer, Delivery, Error, Payload, Settle};

/// Longest sleep before looking at the wall clock again, because that one may be stepped.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Shortest sleep, so that a wall clock behind tokio's is not polled in a tight loop.
const SLEEP_MIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct MemoryConsumer {
    shared: Arc<Shared>,
    queues: Vec<String>,
    slots: Arc<Slots>,
    chooser: Chooser,
    closed: bool,
}

impl MemoryConsumer {
    pub(super) fn new(shared: Arc<Shared>, queues: Vec<String>, prefetch: u16) -> Self {
        shared.change(|state| state.count_consumers(&queues, true));
        let mut chooser = shared.order.clone();
        chooser.set_queues(&queues);
        Self { shared, queues, slots: Arc::new(Slots::new(prefetch)), chooser, closed: false }
    }

    fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.promote(self.shared.clock.now());
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((queue, entry)) = self.chooser.pick(|place| {
                let queue = self.queues.get(place)?;
                Some((queue.clone(), state.take(queue)?))
            })
        {
            taken.push((queue, entry));
        }
        drop(state);
        self.slots.take(taken.len());
        Ok(taken.into_iter().map(|(queue, entry)| self.delivery(queue, entry)).collect())
    }

    fn delivery(&self, queue: String, entry: Entry) -> Delivery {
        let queue: Arc<str> = queue.into();
        let settle = MemorySettle {
            shared: Arc::clone(&self.shared),
            slots: Arc::clone(&self.slots),
            queue: Arc::clone(&queue),
            entry: Mutex::new(Some(entry)),
        };
        Delivery::new(queue, Box::new(settle))
    }

    fn leave(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.shared.change(|state| state.count_consumers(&self.queues, false));
        }
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        loop {
            if self.closed {
                return Err(Error::Closed);
            }
            let shared = Arc::clone(&self.shared);
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            let free = self.slots.free();
            if free > 0 {
                let taken = self.take(max.max(1).min(free))?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
            } else if self.shared.lock().closed {
                return Err(Error::Closed);
            }
            let due = self.shared.lock().next_due(&self.queues);
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep(until(due, self.shared.clock.now())) => {}
            }
        }
    }

    async fn pause(&mut self) -> Result<(), Error> {
        // Nothing is reserved ahead of a call.
        Ok(())
    }

    async fn add_queue(&mut self, queue: &str) -> Result<(), Error> {
        check_queue(queue)?;
        if !self.closed && !self.queues.iter().any(|known| known == queue) {
            self.shared.change(|state| {
                state.queue(&dead_letter_queue(queue));
                state.count_consumers(&[queue.to_owned()], true);
            });
            self.queues.push(queue.to_owned());
            self.chooser.set_queues(&self.queues);
        }
        Ok(())
    }

    async fn cancel_queue(&mut self, queue: &str) -> Result<(), Error> {
        if !self.closed && self.queues.iter().any(|known| known == queue) {
            self.shared.change(|state| state.count_consumers(&[queue.to_owned()], false));
            self.queues.retain(|known| known != queue);
            self.chooser.set_queues(&self.queues);
        }
        Ok(())
    }

    fn queues(&self) -> Vec<String> {
        self.queues.clone()
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.leave();
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}

fn until(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(due) = due else { return SLEEP_MAX };
    let wait = Duration::try_from(due.duration_since(now)).unwrap_or(SLEEP_MIN);
    wait.clamp(SLEEP_MIN, SLEEP_MAX)
}

#[derive(Debug)]
struct MemorySettle {
    shared: Arc<Shared>,
    slots: Arc<Slots>,
    queue: Arc<str>,
    /// Taken by the one settling call, or by the drop.
    entry: Mutex<Option<Entry>>,
}

impl MemorySettle {
    fn finish(&self, end: impl FnOnce(&mut super::State, &str, Entry)) -> Result<(), Error> {
        let entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner).take();
        let entry = entry.ok_or(Error::AlreadySettled)?;
        self.slots.give_back();
        self.shared.change(|state| end(state, &self.queue, entry));
        Ok(())
    }
}

#[async_trait]
impl Settle for MemorySettle {
    fn read(&self) -> Arrived {
        match &*self.entry.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Entry { message, redelivered, .. }) => {
                Arrived { payload: Payload::Message(message.clone()), redelivered: *redelivered }
            }
            None => {
                let reason = "it was settled before it was read".to_owned();
                let payload = Payload::Malformed { reason, raw: Vec::new() };
                Arrived { payload, redelivered: false }
            }
        }
    }

    async fn ack(&self) -> Result<(), Error> {
        self.finish(|state, queue, _entry| state.acked(queue))
    }

    async fn release(&self) -> Result<(), Error> {
        self.finish(|state, queue, entry| state.give_back(queue, entry))
    }

    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error> {
        self.finish(|state, queue, entry| state.delay(queue, entry, at))
    }

    async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        let now = self.shared.clock.now();
        self.finish(|state, queue, entry| state.bury(queue, entry, reason, now))
    }

    async fn extend(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for MemorySettle {
    fn drop(&mut self) {
        // Settled already in the usual case, and then there is nothing to give back.
        let _settled = self.finish(|state, queue, entry| state.give_back(queue, entry));
    }
}
