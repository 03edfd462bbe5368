//! Settling deliveries of one channel: calls of many tasks, written in order and acknowledged
//! together where they are contiguous.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::{mpsc, oneshot};

use crate::Error;

/// Calls in one batch.
const BATCH_MAX: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Ack,
    Requeue,
}

#[derive(Debug)]
struct Call {
    tag: u64,
    op: Op,
    reply: Option<oneshot::Sender<Result<(), Error>>>,
}

/// Delivery tags of the channel, which count from 1 without gaps.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// Received and not settled.
    outstanding: BTreeSet<u64>,
    /// All tags up to here were received.
    frontier: u64,
    /// Received beyond the frontier: streams of several queues are read out of order.
    beyond: BTreeSet<u64>,
}

impl Tags {
    fn received(&mut self, tag: u64) {
        self.outstanding.insert(tag);
        self.beyond.insert(tag);
        while self.beyond.remove(&(self.frontier + 1)) {
            self.frontier += 1;
        }
    }

    /// Takes the acked tags out. Returns the highest tag up to which everything is settled, and the
    /// acked tags beyond it. A tag that was not received yet is not settled.
    fn acked(&mut self, mut tags: BTreeSet<u64>) -> (Option<u64>, BTreeSet<u64>) {
        let mut upto = None;
        while let Some(first) = self.outstanding.first().copied()
            && first <= self.frontier
            && tags.remove(&first)
        {
            self.outstanding.remove(&first);
            upto = Some(first);
        }
        for tag in &tags {
            self.outstanding.remove(tag);
        }
        (upto, tags)
    }
}

type Shared = Arc<Mutex<Tags>>;

fn lock(tags: &Mutex<Tags>) -> MutexGuard<'_, Tags> {
    tags.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends settling calls to the channel's background task. The channel lives as long as a clone.
#[derive(Debug, Clone)]
pub(super) struct Settler {
    calls: mpsc::Sender<Call>,
    tags: Shared,
    channel: Channel,
}

impl Settler {
    pub(super) fn start(channel: Channel) -> Self {
        // One call per delivery, so at most as many as may ever be outstanding.
        let (calls, waiting) = mpsc::channel(usize::from(u16::MAX) + BATCH_MAX);
        let tags = Shared::default();
        tokio::spawn(run(channel.clone(), Arc::clone(&tags), waiting));
        Self { calls, tags, channel }
    }

    /// Notes a delivery; to be called before it can be settled.
    pub(super) fn received(&self, tag: u64) {
        lock(&self.tags).received(tag);
    }

    /// Whether the channel that these deliveries came by still exists.
    pub(super) fn live(&self) -> bool {
        self.channel.status().connected()
    }

    /// Settles and waits until it is written.
    pub(super) async fn settle(&self, tag: u64, op: Op) -> Result<(), Error> {
        if !self.live() {
            return Err(Error::Stale);
        }
        let (reply, answer) = oneshot::channel();
        let call = Call { tag, op, reply: Some(reply) };
        self.calls.send(call).await.map_err(|_| Error::Stale)?;
        answer.await.unwrap_or(Err(Error::Stale))
    }

    /// Settles without waiting; what cannot be written is redelivered with the channel's end.
    pub(super) fn settle_later(&self, tag: u64, op: Op) {
        let _channel_ends = self.calls.try_send(Call { tag, op, reply: None });
    }
}

async fn run(channel: Channel, tags: Shared, mut waiting: mpsc::Receiver<Call>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let acks = batch.iter().filter(|call| call.op == Op::Ack).map(|call| call.tag).collect();
        let requeues: Vec<u64> =
            batch.iter().filter(|call| call.op == Op::Requeue).map(|call| call.tag).collect();
        let result = write(&channel, &tags, acks, requeues).await;
        for call in batch.drain(..) {
            if let Some(reply) = call.reply {
                // Whoever asked may have been cancelled; it is settled all the same.
                let _cancelled = reply.send(result.clone().map_err(|_: lapin::Error| Error::Stale));
            }
        }
    }
}

async fn write(
    channel: &Channel,
    tags: &Mutex<Tags>,
    acks: BTreeSet<u64>,
    requeues: Vec<u64>,
) -> lapin::Result<()> {
    // Before the acks: `multiple` covers all lower tags, and must not cover one that goes back.
    for tag in requeues {
        lock(tags).outstanding.remove(&tag);
        let options = BasicNackOptions { multiple: false, requeue: true };
        channel.basic_nack(tag, options).await?;
    }
    let (upto, single) = lock(tags).acked(acks);
    if let Some(tag) = upto {
        channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
    }
    let single = single.into_iter();
    let acks = single.map(|tag| channel.basic_ack(tag, BasicAckOptions { multiple: false }));
    try_join_all(acks).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(tags: &[u64]) -> Tags {
        let mut all = Tags::default();
        tags.iter().for_each(|tag| all.received(*tag));
        all
    }

    #[test]
    fn only_what_is_settled_from_the_oldest_on_is_acked_together() {
        let mut tags = received(&[1, 2, 3, 4]);
        let (upto, single) = tags.acked(BTreeSet::from([1, 2, 4]));
        assert_eq!((upto, single), (Some(2), BTreeSet::from([4])));
        let (upto, single) = tags.acked(BTreeSet::from([3]));
        assert_eq!((upto, single), (Some(3), BTreeSet::new()));
    }

    #[test]
    fn a_tag_that_was_not_received_yet_is_never_acked_with_others() {
        let mut tags = received(&[1, 3]);
        let (upto, single) = tags.acked(BTreeSet::from([1, 3]));
        assert_eq!((upto, single), (Some(1), BTreeSet::from([3])));
        tags.received(2);
        assert_eq!(tags.acked(BTreeSet::from([2])), (Some(2), BTreeSet::new()));
    }
}
