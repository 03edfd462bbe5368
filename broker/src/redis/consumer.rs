//! Taking messages: one script call per batch, polling when idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;
use tradewind_proto::Timestamp;
use uuid::Uuid;

use super::settle::{How, Move, Op};
use super::{Inner, envelope};
use crate::limits::dead_letter_queue;
use crate::order::{Chooser, QueueOrder};
use crate::slots::Slots;
use crate::{Consumer, Delivery, Error, Payload, Settle};

/// Most messages of one script call.
const POP_MAX: usize = 256;
/// A batch of this size that came full says that the queue is deep: the next one is asked for while it
/// is worked on. Smaller ones are not, so that a worker with few free slots keeps nothing from others.
const AHEAD_MIN: usize = 32;
/// First pause of an idle consumer; doubles up to the option `poll_max_ms`.
const POLL_MIN: Duration = Duration::from_millis(1);
/// A call that takes longer says that nobody answers.
const SILENT_MAX: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A script call that survives the cancellation of whoever waits for it.
type Fetch = JoinHandle<Result<Vec<Delivery>, Error>>;

#[derive(Debug)]
pub(super) struct RedisConsumer {
    inner: Arc<Inner>,
    queues: Vec<String>,
    slots: Arc<Slots>,
    bell: Arc<Notify>,
    chooser: Chooser,
    name: String,
    pops: u64,
    fetch: Option<Fetch>,
    /// When the call under way began.
    asked: Instant,
    buffer: VecDeque<Delivery>,
    poll: Duration,
    retry: Duration,
    /// The last call failed.
    failed: bool,
    closed: bool,
}

impl RedisConsumer {
    pub(super) fn new(inner: Arc<Inner>, queues: Vec<String>, prefetch: u16) -> Self {
        let bell = Arc::new(Notify::new());
        for queue in &queues {
            inner.wakes.add(inner.keys.wake(queue), &bell);
        }
        let slots = Arc::new(Slots::new(prefetch));
        let name = Uuid::new_v4().simple().to_string();
        let mut chooser = inner.order.clone();
        chooser.set_queues(&queues);
        Self {
            inner,
            queues,
            slots,
            bell,
            chooser,
            name,
            pops: 0,
            fetch: None,
            asked: Instant::now(),
            buffer: VecDeque::new(),
            poll: POLL_MIN,
            retry: Duration::ZERO,
            failed: false,
            closed: false,
        }
    }

    fn start_fetch(&mut self, max: usize) {
        self.pops += 1;
        let mut queues = self.queues.clone();
        let turns = match self.chooser.order() {
            QueueOrder::Strict => Turns::Strict,
            QueueOrder::Weighted => Turns::These(self.chooser.round().collect()),
            QueueOrder::RoundRobin => {
                // Another queue is looked at first each time.
                queues = self.chooser.round().filter_map(|n| self.queues.get(n).cloned()).collect();
                self.chooser.advance(1);
                Turns::Priorities
            }
        };
        let pop = Pop {
            inner: Arc::clone(&self.inner),
            slots: Arc::clone(&self.slots),
            queues,
            turns,
            name: format!("{}.{}", self.name, self.pops),
            max: max.min(POP_MAX),
        };
        self.asked = Instant::now();
        self.fetch = Some(tokio::spawn(pop.run()));
    }

    /// Waits for the call under way. Cancel-safe: the handle stays until its result is in `buffer`.
    async fn finish_fetch(&mut self) -> Result<usize, Error> {
        let Some(fetch) = &mut self.fetch else { return Ok(0) };
        let result = fetch.await;
        self.fetch = None;
        let deliveries = result.map_err(|_| Error::Closed)??;
        let count = deliveries.len();
        if self.chooser.order() == QueueOrder::Weighted {
            self.chooser.advance(count);
        }
        self.buffer.extend(deliveries);
        Ok(count)
    }

    fn handed_over(&mut self, max: usize) -> Vec<Delivery> {
        let count = max.max(1).min(self.buffer.len());
        let batch: Vec<Delivery> = self.buffer.drain(..count).collect();
        // What is in hand or under way already comes first: another call would lose the one before it.
        let is_all = self.buffer.is_empty() && self.fetch.is_none();
        let ahead = max.min(self.slots.free()).min(POP_MAX);
        if is_all && count >= AHEAD_MIN && count == max.min(POP_MAX) && ahead >= AHEAD_MIN {
            self.start_fetch(ahead);
        }
        batch
    }
}

#[async_trait]
impl Consumer for RedisConsumer {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        loop {
            if self.closed || self.inner.stop.is_cancelled() {
                return Err(Error::Closed);
            }
            if !self.buffer.is_empty() {
                return Ok(self.handed_over(max));
            }
            if self.queues.is_empty() && self.fetch.is_none() {
                // Until a queue is added, for which this wait is cut off.
                self.inner.stop.cancelled().await;
                continue;
            }
            if self.fetch.is_none() {
                let pause = std::mem::take(&mut self.retry);
                if !pause.is_zero() {
                    // Even a sleep of zero lasts until the timer's next millisecond.
                    tokio::time::sleep(pause).await;
                }
                let free = self.slots.wait().await;
                self.start_fetch(max.max(1).min(free));
            }
            let fetched = self.finish_fetch().await;
            self.failed = fetched.is_err();
            match fetched {
                Ok(0) => {
                    let stop = self.inner.stop.clone();
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Err(Error::Closed),
                        () = self.bell.notified() => {}
                        () = tokio::time::sleep(self.poll) => {}
                    }
                    self.poll = (self.poll * 2).min(self.inner.poll_max);
                }
                Ok(_) => self.poll = POLL_MIN,
                Err(error) => {
                    self.retry = (self.poll * 2).clamp(RETRY_MIN, RETRY_MAX);
                    self.poll = self.retry;
                    return Err(error);
                }
            }
        }
    }

    async fn pause(&mut self) -> Result<(), Error> {
        let fetched = self.finish_fetch().await;
        // Backwards: the first one is to be the next one again.
        while let Some(mut delivery) = self.buffer.pop_back() {
            delivery.release().await?;
        }
        fetched.map(|_| ())
    }

    async fn add_queue(&mut self, queue: &str) -> Result<(), Error> {
        if self.queues.iter().any(|known| known == queue) {
            return Ok(());
        }
        self.inner.declare(queue).await?;
        self.inner.wakes.add(self.inner.keys.wake(queue), &self.bell);
        self.queues.push(queue.to_owned());
        self.chooser.set_queues(&self.queues);
        Ok(())
    }

    async fn cancel_queue(&mut self, queue: &str) -> Result<(), Error> {
        self.queues.retain(|known| known != queue);
        self.chooser.set_queues(&self.queues);
        let fetched = self.finish_fetch().await;
        let (mut back, kept): (VecDeque<_>, VecDeque<_>) =
            self.buffer.drain(..).partition(|delivery| delivery.queue == queue);
        self.buffer = kept;
        while let Some(mut delivery) = back.pop_back() {
            delivery.release().await?;
        }
        fetched.map(|_| ())
    }

    fn live(&self) -> bool {
        // One that has ended and was not collected yet was read ahead.
        let answered = self.fetch.as_ref().is_none_or(JoinHandle::is_finished)
            || self.asked.elapsed() < SILENT_MAX;
        answered && !self.failed
    }

    fn queues(&self) -> Vec<String> {
        self.queues.clone()
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.closed = true;
        self.pause().await
    }
}

impl Drop for RedisConsumer {
    fn drop(&mut self) {
        // Each dropped delivery goes back by itself; backwards, to keep their order.
        while self.buffer.pop_back().is_some() {}
    }
}

/// Whose turn it is within one call.
enum Turns {
    /// Messages of high priority first, whatever their queue; queues by turns.
    Priorities,
    /// Each queue until it is empty.
    Strict,
    /// Queues in this order, over and over.
    These(Vec<usize>),
}

impl Turns {
    /// As the script reads it; it counts queues from 1.
    fn text(&self) -> String {
        match self {
            Self::Priorities => String::new(),
            Self::Strict => "strict".to_owned(),
            Self::These(turns) => {
                let turns: Vec<String> = turns.iter().map(|turn| (turn + 1).to_string()).collect();
                turns.join(",")
            }
        }
    }
}

/// One call of the pop script.
struct Pop {
    inner: Arc<Inner>,
    slots: Arc<Slots>,
    queues: Vec<String>,
    turns: Turns,
    name: String,
    max: usize,
}

impl Pop {
    async fn run(self) -> Result<Vec<Delivery>, Error> {
        let keys = &self.inner.keys;
        let mut script = self.inner.scripts.pop.prepare_invoke();
        script.key(&keys.reserved()[..]);
        for queue in &self.queues {
            script.key(keys.delayed(queue));
        }
        for step in keys.steps() {
            for queue in &self.queues {
                script.key(keys.list(queue, *step));
            }
        }
        let steps: Vec<String> = keys.steps().iter().map(u8::to_string).collect();
        script.arg(self.max).arg(self.inner.lease.as_secs_f64()).arg(&self.name);
        script.arg(self.queues.len()).arg(steps.join(",")).arg(self.turns.text());
        for queue in &self.queues {
            script.arg(serde_json::Value::from(queue.as_str()).to_string());
        }
        // Per run of messages from one list: queue, list, and by turns lease member and text.
        type Runs = Vec<(usize, String, Vec<Vec<u8>>)>;
        let runs: Runs = self.inner.link.run("taking messages", &script).await?;
        let count = runs.iter().map(|(_, _, taken)| taken.len() / 2).sum();
        self.slots.take(count);
        let mut deliveries = Vec::with_capacity(count);
        for (queue, key, taken) in runs {
            let queue = self.queues.get(queue.wrapping_sub(1)).map_or("", String::as_str);
            let key: Arc<str> = key.into();
            let mut taken = taken.into_iter();
            while let (Some(member), Some(raw)) = (taken.next(), taken.next()) {
                deliveries.push(self.delivery(queue, &key, member, raw));
            }
        }
        Ok(deliveries)
    }

    fn delivery(&self, queue: &str, key: &Arc<str>, member: Vec<u8>, raw: Vec<u8>) -> Delivery {
        // Plain ASCII: the script takes no other tag.
        let member = String::from_utf8(member).unwrap_or_default();
        self.inner.held.add(&member);
        let (payload, redelivered) = match envelope::decode(&raw) {
            Ok((message, redelivered)) => (Payload::Message(message), redelivered),
            Err(reason) => (Payload::Malformed { reason, raw: raw.clone() }, false),
        };
        let settle = RedisSettle {
            inner: Arc::clone(&self.inner),
            slots: Arc::clone(&self.slots),
            queue: queue.to_owned(),
            member,
            key: Arc::clone(key),
            raw,
            ended: AtomicBool::new(false),
        };
        Delivery::new(payload, queue.to_owned(), redelivered, Box::new(settle))
    }
}

#[derive(Debug)]
struct RedisSettle {
    inner: Arc<Inner>,
    slots: Arc<Slots>,
    queue: String,
    /// Lease member.
    member: String,
    /// List that it was taken from.
    key: Arc<str>,
    raw: Vec<u8>,
    ended: AtomicBool,
}

impl RedisSettle {
    /// True once: the caller ends the reservation on the server.
    fn end(&self) -> bool {
        let first = !self.ended.swap(true, Ordering::AcqRel);
        if first {
            self.inner.held.remove(&self.member);
            self.slots.give_back();
        }
        first
    }

    async fn settle(&self, op: Op) -> Result<(), Error> {
        if !self.end() {
            return Err(Error::AlreadySettled);
        }
        self.inner.settler.settle(self.member.clone(), op).await
    }

    fn back(&self) -> Op {
        Op::Move(Move {
            how: How::Next,
            key: self.key.to_string(),
            text: envelope::mark_redelivered(&self.raw),
            wake: Some(self.inner.keys.wake(&self.queue)),
        })
    }
}

#[async_trait]
impl Settle for RedisSettle {
    async fn ack(&self) -> Result<(), Error> {
        self.settle(Op::Ack).await
    }

    async fn release(&self) -> Result<(), Error> {
        self.settle(self.back()).await
    }

    async fn requeue_at(&self, at: Timestamp) -> Result<(), Error> {
        // Microseconds since 1970 stay exact in a double until the year 2255.
        let due = Duration::from_micros(u64::try_from(at.as_microsecond()).unwrap_or(0));
        self.settle(Op::Move(Move {
            how: How::At(due.as_secs_f64()),
            key: self.inner.keys.delayed(&self.queue),
            text: envelope::mark_redelivered(&self.raw),
            wake: None,
        }))
        .await
    }

    async fn dead_letter(&self, reason: &str) -> Result<(), Error> {
        let target = dead_letter_queue(&self.queue);
        let now = self.inner.clock.now();
        let (text, priority) = envelope::dead_letter(&self.raw, &self.queue, &target, reason, now);
        let key = self.inner.keys.list_for(&target, priority);
        let wake = Some(self.inner.keys.wake(&target));
        self.settle(Op::Move(Move { how: How::Last, key, text, wake })).await
    }

    async fn extend(&self) -> Result<(), Error> {
        let held = self.inner.leases().renew(std::slice::from_ref(&self.member)).await?;
        if held == [1] { Ok(()) } else { Err(Error::Stale) }
    }
}

impl Drop for RedisSettle {
    fn drop(&mut self) {
        if self.end() {
            debug!(queue = self.queue, "a delivery was dropped unsettled and goes back");
            self.inner.settler.settle_later(self.member.clone(), self.back());
        }
    }
}
