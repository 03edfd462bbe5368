//! Keeping a delivery for longer than the server's consumer timeout.
//!
//! RabbitMQ closes the channel of a delivery that stays unsettled for 30 minutes (unless it is
//! configured otherwise). A delivery that is extended for long therefore moves out of its channel: a
//! copy goes into a queue of its own, from where it returns when it is not renewed in time, and the
//! original is acked. Each renewal makes a new copy in a new queue and deletes the old one; when the
//! old one was empty the copy has returned already, and someone else has the message.
//!
//! The queues are classic ones, also beside quorum queues: only these say exactly what was deleted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::Instant;
use uuid::Uuid;

use super::delivery::Taken;
use super::link::Link;
use super::message::{mark_redelivered, to_properties};
use super::settle::Op;
use super::table::short;
use super::{Inner, declare};
use crate::Error;

pub(super) const PREFIX: &str = "tradewind.held.";
/// Renewals per lease: two may fail before it runs out.
const RENEWALS_PER_LEASE: u32 = 3;
/// How long an empty queue that nobody deleted stays beyond the lease.
const IDLE_MS: u64 = 60_000;

/// When deliveries move, and for how long a copy stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Unsettled for so long; `None`: never.
    pub(super) after: Option<Duration>,
    pub(super) lease: Duration,
}

/// Where an unsettled message is.
#[derive(Debug)]
pub(super) enum Place {
    /// Unacknowledged on its channel.
    Channel,
    /// In queues of its own: the last one has the copy that counts, the others could not be deleted
    /// yet.
    Held { queues: Vec<String>, renewed: Instant },
    /// Back in its queue.
    Lost,
}

impl Taken {
    /// Renews, moving the message out of its channel when it is time.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let mut place = self.place.lock().await;
        let terms = self.inner.hold;
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::AlreadySettled);
        }
        match &*place {
            Place::Lost => return Err(Error::Stale),
            Place::Channel => {
                self.live()?;
                if terms.after.is_none_or(|after| self.since.elapsed() < after) {
                    // The connection is the lease.
                    return Ok(());
                }
            }
            Place::Held { renewed, .. } => {
                if renewed.elapsed() < terms.lease / RENEWALS_PER_LEASE {
                    return Ok(());
                }
            }
        }
        let copy = self.copy(terms.lease).await?;
        let mut queues = match std::mem::replace(&mut *place, Place::Lost) {
            Place::Held { queues, .. } => queues,
            Place::Channel if self.settler.settle(self.tag, Op::Ack).await.is_ok() => Vec::new(),
            Place::Channel | Place::Lost => {
                // The server has the original again.
                let _leftover_expires = delete(&self.inner, &copy).await;
                return Err(Error::Stale);
            }
        };
        let kept = self.inner.take_away(&mut queues).await;
        queues.push(copy);
        if kept == Kept::No {
            let _leftover_expires = self.inner.take_away(&mut queues).await;
            return Err(Error::Stale);
        }
        *place = Place::Held { queues, renewed: Instant::now() };
        Ok(())
    }

    /// Ends a hold: removes the copies. Says whether it was one.
    pub(super) async fn end_hold(&self) -> Result<bool, Error> {
        let mut place = self.place.lock().await;
        let Place::Held { queues, .. } = &mut *place else {
            return if matches!(*place, Place::Lost) { Err(Error::Stale) } else { Ok(false) };
        };
        let kept = self.inner.take_away(queues).await;
        if !queues.is_empty() {
            return Err(super::link::unavailable("a held message could not be removed"));
        }
        *place = Place::Lost;
        if kept == Kept::No { Err(Error::Stale) } else { Ok(true) }
    }

    /// Publishes a copy into a new queue; returns its name.
    async fn copy(&self, lease: Duration) -> Result<String, Error> {
        let queue = format!("{PREFIX}{}", Uuid::new_v4());
        let link = self.inner.publisher.link();
        declare::exactly(link, &queue, arguments(&self.queue, lease)).await?;
        let mut message = self.message();
        // The server would end the hold when this runs out; workers read the header `expires`.
        message.expiration_ms = None;
        mark_redelivered(&mut message);
        let properties = to_properties(&message)?;
        let published = self.inner.publisher.publish(&queue, &message.body, properties).await;
        if published.is_err() {
            // It may be there all the same.
            let _leftover_expires = delete(&self.inner, &queue).await;
        }
        published.map(|()| queue)
    }
}

/// Whether copies were still where they were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

impl Inner {
    /// Deletes queues of a hold; those that cannot be deleted now stay in the list.
    async fn take_away(&self, queues: &mut Vec<String>) -> Kept {
        let mut kept = Kept::Yes;
        let mut left = Vec::new();
        for queue in queues.drain(..) {
            match delete(self, &queue).await {
                Ok(0) => kept = Kept::No,
                Ok(_) => {}
                Err(_) => left.push(queue),
            }
        }
        *queues = left;
        kept
    }
}

/// Deletes a queue and says how many messages it had; 0 when there is no such queue.
async fn delete(inner: &Inner, queue: &str) -> Result<u32, Error> {
    let link: &Link = inner.publisher.link();
    let channel = link.channel().await?;
    let name = short("the queue name", queue)?;
    let delete = channel.queue_delete(name, QueueDeleteOptions::default());
    link.limited("deleting a queue", delete).await
}

fn arguments(target: &str, lease: Duration) -> FieldTable {
    let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let number = |ms: u64| AMQPValue::LongLongInt(i64::try_from(ms).unwrap_or(i64::MAX));
    let mut table = FieldTable::default();
    table.insert("x-message-ttl".into(), number(lease));
    table.insert("x-expires".into(), number(lease.saturating_add(IDLE_MS)));
    table.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    table.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(target.into()));
    table
}
