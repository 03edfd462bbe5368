//! Taking messages: one script call per batch, polling when idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::Inner;
use super::pop::{Pop, Popped, Turns};
use crate::order::{Chooser, QueueOrder};
use crate::slots::Slots;
use crate::{Consumer, Delivery, Error};

/// Most messages of one script call.
const POP_MAX: usize = 256;
/// A batch of this size that came full says that the queue is deep: the next one is asked for while it
/// is read and worked on. Smaller ones are not, so that a worker with few free slots keeps nothing from others.
const AHEAD_MIN: usize = 32;
/// Nor is it where full batches come further apart: tasks that take their time would keep it waiting.
const AHEAD_WITHIN: Duration = Duration::from_millis(50);
/// First pause of an idle consumer; doubles up to the option `poll_max_ms`.
const POLL_MIN: Duration = Duration::from_millis(1);
/// A call that takes longer says that nobody answers.
const SILENT_MAX: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A script call that survives the cancellation of whoever waits for it.
type Fetch = JoinHandle<Result<Popped, Error>>;

/// What follows a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The next one, if there is reason for it.
    GoOn,
    Stop,
}

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
    unread: Option<Popped>,
    buffer: VecDeque<Delivery>,
    /// When the last full batch came.
    full: Option<Instant>,
    /// As many as the last caller had room for.
    wanted: usize,
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
        // Longer than 64 bytes: Redis then keeps even small sorted sets of such names as skip lists, and not as
        // listpacks, in which adding a batch takes several times as long.
        let name = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
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
            unread: None,
            buffer: VecDeque::new(),
            full: None,
            wanted: 1,
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

    /// Waits for the call under way, and reads what it brought into `buffer`. Cancel-safe: what is not in
    /// there yet is kept.
    async fn finish_fetch(&mut self, then: Then) -> Result<usize, Error> {
        if let Some(fetch) = &mut self.fetch
            && self.unread.is_none()
        {
            let result = fetch.await;
            self.fetch = None;
            let popped = result.map_err(|_| Error::Closed)??;
            if self.chooser.order() == QueueOrder::Weighted {
                self.chooser.advance(popped.len());
            }
            let is_full = popped.is_full();
            self.unread = Some(popped);
            if then == Then::GoOn && is_full && self.go_on() {
                // The call goes out before this thread is busy with reading.
                tokio::task::yield_now().await;
            }
        }
        let Some(popped) = self.unread.take() else { return Ok(0) };
        let count = popped.len();
        self.buffer.extend(popped.deliveries());
        Ok(count)
    }

    /// Waits for all that is under way, and asks for no more.
    async fn finish_all(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while !self.idle() {
            result = self.finish_fetch(Then::Stop).await.map(|_| ()).and(result);
        }
        result
    }

    /// Asks for the next batch if work goes fast, and says so.
    fn go_on(&mut self) -> bool {
        let last = self.full.replace(Instant::now());
        let is_fast = last.is_some_and(|last| last.elapsed() < AHEAD_WITHIN);
        let ahead = self.wanted.min(self.slots.free());
        let goes_on = is_fast && ahead >= AHEAD_MIN;
        if goes_on {
            self.start_fetch(ahead);
        }
        goes_on
    }

    fn idle(&self) -> bool {
        self.fetch.is_none() && self.unread.is_none()
    }

    fn handed_over(&mut self, max: usize) -> Vec<Delivery> {
        self.buffer.drain(..max.max(1).min(self.buffer.len())).collect()
    }
}

#[async_trait]
impl Consumer for RedisConsumer {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        self.wanted = max.max(1);
        loop {
            if self.closed || self.inner.stop.is_cancelled() {
                return Err(Error::Closed);
            }
            if !self.buffer.is_empty() {
                return Ok(self.handed_over(max));
            }
            if self.queues.is_empty() && self.idle() {
                // Until a queue is added, for which this wait is cut off.
                self.inner.stop.cancelled().await;
                continue;
            }
            if self.idle() {
                let pause = std::mem::take(&mut self.retry);
                if !pause.is_zero() {
                    // Even a sleep of zero lasts until the timer's next millisecond.
                    tokio::time::sleep(pause).await;
                }
                let free = self.slots.wait().await;
                self.start_fetch(self.wanted.min(free));
            }
            let fetched = self.finish_fetch(Then::GoOn).await;
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
        let fetched = self.finish_all().await;
        // Backwards: the first one is to be the next one again.
        while let Some(mut delivery) = self.buffer.pop_back() {
            delivery.release().await?;
        }
        fetched
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
        let fetched = self.finish_all().await;
        let (mut back, kept): (VecDeque<_>, VecDeque<_>) =
            self.buffer.drain(..).partition(|delivery| &*delivery.queue == queue);
        self.buffer = kept;
        while let Some(mut delivery) = back.pop_back() {
            delivery.release().await?;
        }
        fetched
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
        self.unread = None;
        while self.buffer.pop_back().is_some() {}
    }
}
