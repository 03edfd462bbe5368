//! The duty that takes messages: first a slot, then a message for it. Starts with the worker, ends
//! when it drains; gives back what it has not passed on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tradewind_broker::{Consumer, Delivery, Error};

use crate::canary::Proof;
use crate::fleet::Consuming;
use crate::fleet::core::{Fleet, Ticket};

/// Most messages of one batch.
const BATCH_MAX: usize = 256;
/// A worker with no free slot for this long gives reserved messages to others.
pub(crate) const BUSY_BEFORE_PAUSE: Duration = Duration::from_millis(50);
const ERROR_DELAY_MIN: Duration = Duration::from_millis(50);
const ERROR_DELAY_MAX: Duration = Duration::from_secs(2);

/// Works a batch off.
pub(crate) type Sink =
    Box<dyn Fn(Vec<(Delivery, Ticket)>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Runs until the worker drains.
pub(crate) async fn fetch(
    fleet: Arc<Fleet>,
    mut consumer: Box<dyn Consumer>,
    mut proof: Proof,
    sink: Sink,
) {
    let mut delay = ERROR_DELAY_MIN;
    let mut wanted = fleet.state.watch_consuming();
    let mut now = wanted.borrow_and_update().clone();
    proof.taking.send_replace(true);
    loop {
        tokio::select! {
            biased;
            () = fleet.draining.cancelled() => break,
            () = keep_pace(&fleet, consumer.as_mut(), now.prefetch) => {}
        }
        let next = tokio::select! {
            biased;
            () = fleet.draining.cancelled() => break,
            changed = wanted.changed() => match changed {
                Ok(()) => {
                    let then = wanted.borrow_and_update().clone();
                    steer(&fleet, &mut consumer, &mut now, then).await.map(|()| Vec::new())
                }
                // The state lives as long as the worker.
                Err(_) => break,
            },
            Some(question) = proof.questions.recv() => {
                // Nobody waits for an answer that comes too late.
                let _late = question.send(consumer.live());
                continue;
            }
            next = take(&fleet, consumer.as_mut()) => next,
        };
        match next {
            Ok(batch) => {
                delay = ERROR_DELAY_MIN;
                if !batch.is_empty() {
                    fleet.work.spawn(sink(batch));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take messages; trying again");
                tokio::select! {
                    biased;
                    () = fleet.draining.cancelled() => break,
                    () = sleep(delay) => {}
                }
                delay = (delay * 2).min(ERROR_DELAY_MAX);
            }
        }
    }
    proof.taking.send_replace(false);
    if let Err(error) = consumer.close().await {
        tracing::warn!(%error, "closing the consumer failed; its messages come back by themselves");
    }
}

/// Consumes what remote control wants. What fails is not tried again: whoever asked sees what is consumed.
async fn steer(
    fleet: &Fleet,
    consumer: &mut Box<dyn Consumer>,
    now: &mut Consuming,
    then: Consuming,
) -> Result<(), Error> {
    let before = std::mem::replace(now, then);
    if now.prefetch > before.prefetch {
        let larger = fleet.broker.consume(&now.queues, fleet.prefetch(now.prefetch)).await?;
        let mut old = std::mem::replace(consumer, larger);
        return old.close().await;
    }
    for queue in before.queues.iter().filter(|queue| !now.queues.contains(queue)) {
        consumer.cancel_queue(queue).await?;
        tracing::info!(queue, "queue is no longer consumed");
    }
    for queue in now.queues.iter().filter(|queue| !before.queues.contains(queue)) {
        consumer.add_queue(queue).await?;
        tracing::info!(queue, "queue is consumed too");
    }
    Ok(())
}

/// Reserves as much as suits the pace of the tasks. Cut off only by the end: half done, it would leave
/// subscriptions that nobody reads.
async fn keep_pace(fleet: &Fleet, consumer: &mut dyn Consumer, slots: u16) {
    if let Err(error) = consumer.set_prefetch(fleet.prefetch(slots)).await {
        tracing::warn!(%error, "the prefetch could not be changed");
    }
}

/// Cancel-safe, because [`Consumer::next_batch`] is and tickets return themselves.
async fn take(
    fleet: &Fleet,
    consumer: &mut dyn Consumer,
) -> Result<Vec<(Delivery, Ticket)>, Error> {
    let first = match timeout(BUSY_BEFORE_PAUSE, fleet.room.one()).await {
        Ok(ticket) => ticket,
        Err(_busy) => {
            consumer.pause().await?;
            fleet.room.one().await
        }
    };
    let more = fleet.room.free(fleet.pace.beyond());
    let deliveries = consumer.next_batch(BATCH_MAX.min(1 + more)).await?;
    // Others than this duty only give room back, or wait for a slot as a message without one does.
    let tickets = first.into_iter().chain(std::iter::repeat_with(|| fleet.room.next()));
    let occupied = |mut ticket: Ticket| {
        ticket.slot.occupy();
        ticket
    };
    Ok(deliveries.into_iter().zip(tickets.map(occupied)).collect())
}
