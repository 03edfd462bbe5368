//! Taking messages: a subscription that is made again after each loss.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Inner;
use super::delivery::RabbitSettle;
use super::link::unavailable;
use super::settle::Settler;
use super::table::short;
use crate::order::Chooser;
use crate::{Consumer, Delivery, Error, QueueKind};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct RabbitConsumer {
    inner: Arc<Inner>,
    queues: Vec<String>,
    prefetch: u16,
    session: Option<Session>,
    opening: Option<JoinHandle<Result<Session, Error>>>,
    /// What arrived, by queue.
    buffer: BTreeMap<Arc<str>, VecDeque<Delivery>>,
    chooser: Chooser,
    failures: u32,
    /// Not before; kept, because callers cut waits off and begin again.
    retry_at: Option<Instant>,
    closed: bool,
}

/// A channel and its subscriptions; none while paused.
#[derive(Debug)]
struct Session {
    channel: Channel,
    settler: Settler,
    streams: SelectAll<Stream>,
    /// Queues and their subscriptions.
    tags: Vec<(String, ShortString)>,
}

/// The subscription of one queue.
#[derive(Debug)]
struct Stream {
    queue: Arc<str>,
    consumer: lapin::Consumer,
    ended: bool,
}

impl futures::Stream for Stream {
    type Item = (Arc<str>, lapin::Result<lapin::message::Delivery>);

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if self.ended {
            return std::task::Poll::Ready(None);
        }
        let queue = Arc::clone(&self.queue);
        self.consumer.poll_next_unpin(cx).map(|item| match item {
            Some(item) => Some((queue, item)),
            None => {
                // The end of one subscription must be seen, not only that of all.
                self.ended = true;
                let gone = lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Closed);
                Some((queue, Err(gone.into())))
            }
        })
    }
}

impl RabbitConsumer {
    pub(super) fn new(inner: Arc<Inner>, queues: Vec<String>, prefetch: u16) -> Self {
        let prefetch = prefetch.max(1);
        let buffer = BTreeMap::new();
        let mut chooser = inner.order.clone();
        chooser.set_queues(&queues);
        Self {
            inner,
            queues,
            prefetch,
            session: None,
            opening: None,
            buffer,
            chooser,
            failures: 0,
            retry_at: None,
            closed: false,
        }
    }

    /// Makes sure of a live session with subscriptions. Cancel-safe: the work goes on by itself, and
    /// the next call picks up its result.
    async fn subscribed(&mut self) -> Result<(), Error> {
        let current = self.session.as_ref().filter(|session| session.settler.live());
        if self.opening.is_none() && current.is_some_and(|session| !session.tags.is_empty()) {
            return Ok(());
        }
        if self.opening.is_none() {
            let kept = self.session.take().filter(|session| session.settler.live());
            if kept.is_none() {
                self.forget_session();
            }
            let inner = Arc::clone(&self.inner);
            let subscribe = subscribe(inner, self.queues.clone(), self.prefetch, kept);
            self.opening = Some(tokio::spawn(subscribe));
        }
        self.finish_opening().await
    }

    async fn finish_opening(&mut self) -> Result<(), Error> {
        let Some(opening) = &mut self.opening else { return Ok(()) };
        let opened = opening.await;
        self.opening = None;
        self.session = Some(opened.map_err(|_| Error::Closed)??);
        Ok(())
    }

    /// Drops a session and what came by it: the server takes it all back.
    fn forget_session(&mut self) {
        self.session = None;
        self.buffer.clear();
    }

    /// Waits for one message, then takes those at hand. Cancel-safe: each goes into `buffer` in the
    /// same poll that took it.
    async fn fill(&mut self) -> Result<(), Error> {
        let Some(session) = &mut self.session else { return Err(unavailable("no session")) };
        let mut next = session.streams.next().await;
        loop {
            match next {
                Some((queue, Ok(delivery))) => {
                    let delivery = convert(&self.inner, &session.settler, queue, delivery);
                    shelve(&mut self.buffer, delivery);
                }
                Some((queue, Err(error))) => {
                    debug!(%queue, %error, "subscription ended");
                    return Err(unavailable(format!("the subscription of {queue:?} ended")));
                }
                None => return Err(unavailable("all subscriptions ended")),
            }
            match session.streams.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
    }

    async fn try_next(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        self.subscribed().await?;
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.handed_over(max))
    }

    /// Takes out of the buffer, by the order of the queues.
    fn handed_over(&mut self, max: usize) -> Vec<Delivery> {
        let Self { chooser, queues, buffer, .. } = self;
        let mut next = || {
            chooser.pick(|place| {
                let waiting = buffer.get_mut(queues.get(place)?.as_str())?;
                waiting.pop_front()
            })
        };
        let taken = (0..max.max(1)).map_while(|_| next()).collect();
        buffer.retain(|_, waiting| !waiting.is_empty());
        taken
    }

    /// Ends subscriptions; their streams stay.
    async fn cancel(&mut self, tags: Vec<(String, ShortString)>) -> Result<(), Error> {
        let Some(session) = &self.session else { return Ok(()) };
        for (_, tag) in tags {
            let cancel = session.channel.basic_cancel(tag, BasicCancelOptions::default());
            if let Err(error) = self.inner.consuming.limited("unsubscribing", cancel).await {
                self.forget_session();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends all subscriptions; what came by them stays.
    async fn unsubscribe_all(&mut self) -> Result<(), Error> {
        self.finish_opening().await?;
        let Some(session) = &mut self.session else { return Ok(()) };
        let tags = std::mem::take(&mut session.tags);
        self.cancel(tags).await?;
        self.drain_streams();
        if let Some(session) = &mut self.session {
            session.streams.clear();
        }
        Ok(())
    }

    /// Ends the subscription of one queue and gives back what came by it.
    async fn unsubscribe(&mut self, queue: &str) -> Result<(), Error> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if let Some(place) = session.tags.iter().position(|(of, _)| of == queue) {
            let tag = session.tags.remove(place);
            self.cancel(vec![tag]).await?;
        }
        self.drain_streams();
        if let Some(session) = &mut self.session {
            for stream in session.streams.iter_mut().filter(|stream| *stream.queue == *queue) {
                stream.ended = true;
            }
        }
        give_back(self.buffer.remove(queue).unwrap_or_default()).await
    }

    /// Takes out what arrived and was not looked at yet.
    fn drain_streams(&mut self) {
        let Some(session) = &mut self.session else { return };
        while let Some(Some((queue, item))) = session.streams.next().now_or_never() {
            if let Ok(delivery) = item {
                let delivery = convert(&self.inner, &session.settler, queue, delivery);
                shelve(&mut self.buffer, delivery);
            }
        }
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if self.closed || self.inner.stop.is_cancelled() {
            return Err(Error::Closed);
        }
        if self.queues.is_empty() {
            // Until a queue is added, for which this wait is cut off.
            self.inner.stop.cancelled().await;
            return Err(Error::Closed);
        }
        if let Some(at) = self.retry_at {
            tokio::time::sleep_until(at).await;
            self.retry_at = None;
        }
        let stop = self.inner.stop.clone();
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::Closed),
            result = self.try_next(max) => result,
        };
        match &result {
            Ok(_) => self.failures = 0,
            Err(_) => {
                self.failures += 1;
                let pause = RETRY_MIN.saturating_mul(1 << self.failures.min(8)).min(RETRY_MAX);
                self.retry_at = Some(Instant::now() + pause);
                self.forget_session();
            }
        }
        result
    }

    async fn pause(&mut self) -> Result<(), Error> {
        self.unsubscribe_all().await?;
        for waiting in std::mem::take(&mut self.buffer).into_values() {
            give_back(waiting).await?;
        }
        Ok(())
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), Error> {
        if self.closed || self.prefetch == prefetch.max(1) {
            return Ok(());
        }
        // The next call subscribes to all with it.
        self.unsubscribe_all().await?;
        self.prefetch = prefetch.max(1);
        Ok(())
    }

    async fn add_queue(&mut self, queue: &str) -> Result<(), Error> {
        if self.closed || self.queues.iter().any(|known| known == queue) {
            return Ok(());
        }
        let queues = [queue.to_owned()];
        self.inner.declare_consumed(&queues).await?;
        // The next call subscribes to all, with the prefetch for so many.
        self.pause().await?;
        self.queues.push(queue.to_owned());
        self.chooser.set_queues(&self.queues);
        Ok(())
    }

    async fn cancel_queue(&mut self, queue: &str) -> Result<(), Error> {
        if self.closed || !self.queues.iter().any(|known| known == queue) {
            return Ok(());
        }
        let opened = self.finish_opening().await;
        self.queues.retain(|known| known != queue);
        self.chooser.set_queues(&self.queues);
        match opened {
            Ok(()) => self.unsubscribe(queue).await,
            // The next call subscribes anew, without it.
            Err(_) => Ok(()),
        }
    }

    fn live(&self) -> bool {
        // A paused session has no subscriptions, and needs none.
        let live = self.session.as_ref().is_some_and(|session| session.settler.live());
        live || self.queues.is_empty()
    }

    fn queues(&self) -> Vec<String> {
        self.queues.clone()
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.closed = true;
        let paused = self.pause().await;
        // Returned deliveries keep the channel until they are settled.
        self.session = None;
        paused
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        // Dropped deliveries go back by themselves.
        self.drain_streams();
    }
}

fn shelve(buffer: &mut BTreeMap<Arc<str>, VecDeque<Delivery>>, delivery: Delivery) {
    buffer.entry(Arc::clone(&delivery.queue)).or_default().push_back(delivery);
}

async fn give_back(waiting: VecDeque<Delivery>) -> Result<(), Error> {
    for mut delivery in waiting {
        match delivery.release().await {
            Ok(()) | Err(Error::Stale) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Subscribes, on the channel of a paused session or on a new one.
async fn subscribe(
    inner: Arc<Inner>,
    queues: Vec<String>,
    prefetch: u16,
    paused: Option<Session>,
) -> Result<Session, Error> {
    let mut session = match paused {
        Some(session) => session,
        None => {
            inner.declare_consumed(&queues).await?;
            let channel = inner.consuming.channel().await?;
            let settler = Settler::start(channel.clone());
            Session { channel, settler, streams: SelectAll::new(), tags: Vec::new() }
        }
    };
    limit(&inner, &session.channel, prefetch, queues.len()).await?;
    for queue in queues {
        let subscribe = session.channel.basic_consume(
            short("the queue name", &queue)?,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = inner.consuming.limited("subscribing", subscribe).await?;
        session.tags.push((queue.clone(), consumer.tag()));
        session.streams.push(Stream { queue: queue.into(), consumer, ended: false });
    }
    Ok(session)
}

/// Holds the server to the prefetch. One queue: per subscription. Several classic queues: over the
/// whole channel. Several quorum queues (which know no limit per channel): in equal shares.
async fn limit(
    inner: &Inner,
    channel: &Channel,
    prefetch: u16,
    queues: usize,
) -> Result<(), Error> {
    let queues = u16::try_from(queues).unwrap_or(u16::MAX).max(1);
    let whole = queues > 1 && inner.form.kind == QueueKind::Classic;
    let share = if whole { prefetch } else { (prefetch / queues).max(1) };
    if queues > prefetch && !whole {
        warn!(queues, prefetch, "more queues than prefetch: each still reserves one message");
    }
    let set = channel.basic_qos(share, BasicQosOptions { global: whole });
    inner.consuming.limited("setting the prefetch", set).await
}

fn convert(
    inner: &Arc<Inner>,
    settler: &Settler,
    queue: Arc<str>,
    delivery: lapin::message::Delivery,
) -> Delivery {
    settler.received(delivery.delivery_tag);
    let settle = RabbitSettle::new(inner, settler, &queue, delivery);
    Delivery::new(queue, Box::new(settle))
}
