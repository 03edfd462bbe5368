//! The duty that takes messages: first a slot, then a message for it. Starts with the worker, ends
//! when it drains; gives back what it has not passed on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tradewind_broker::{Consumer, Delivery};

use crate::batch;
use crate::core::{Core, Ticket};

/// Most messages of one batch.
const BATCH_MAX: usize = 256;
/// A worker with no free slot for this long gives reserved messages to others.
const BUSY_BEFORE_PAUSE: Duration = Duration::from_millis(50);
const ERROR_DELAY_MIN: Duration = Duration::from_millis(50);
const ERROR_DELAY_MAX: Duration = Duration::from_secs(2);

/// Runs until the worker drains.
pub(crate) async fn fetch(
    core: Arc<Core>,
    mut consumer: Box<dyn Consumer>,
    ready: watch::Sender<bool>,
) {
    let mut delay = ERROR_DELAY_MIN;
    ready.send_replace(true);
    loop {
        let next = tokio::select! {
            biased;
            () = core.draining.cancelled() => break,
            next = take(&core, consumer.as_mut()) => next,
        };
        match next {
            Ok((deliveries, tickets)) => {
                delay = ERROR_DELAY_MIN;
                if !deliveries.is_empty() {
                    core.work.spawn(batch::work_off(Arc::clone(&core), deliveries, tickets));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take messages; trying again");
                tokio::select! {
                    biased;
                    () = core.draining.cancelled() => break,
                    () = sleep(delay) => {}
                }
                delay = (delay * 2).min(ERROR_DELAY_MAX);
            }
        }
    }
    ready.send_replace(false);
    if let Err(error) = consumer.close().await {
        tracing::warn!(%error, "closing the consumer failed; its messages come back by themselves");
    }
}

/// Cancel-safe, because [`Consumer::next_batch`] is and tickets return themselves.
async fn take(
    core: &Core,
    consumer: &mut dyn Consumer,
) -> Result<(Vec<Delivery>, Vec<Ticket>), tradewind_broker::Error> {
    let mut tickets = Vec::new();
    match timeout(BUSY_BEFORE_PAUSE, core.room.one()).await {
        Ok(ticket) => tickets.extend(ticket),
        Err(_busy) => {
            consumer.pause().await?;
            tickets.extend(core.room.one().await);
        }
    }
    while tickets.len() < BATCH_MAX
        && let Some(ticket) = core.room.another()
    {
        tickets.push(ticket);
    }
    let deliveries = consumer.next_batch(tickets.len()).await?;
    // More deliveries than tickets would be a driver's fault; they must not run over the limit.
    debug_assert!(deliveries.len() <= tickets.len());
    Ok((deliveries, tickets))
}
