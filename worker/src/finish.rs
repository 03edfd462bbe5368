//! The duty that reports outcomes: batches form by themselves while a send is under way, and an idle
//! worker sends at once. Tries until it succeeds; leases are renewed until then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tradewind_broker::Error;
use tradewind_proto::AttemptId;

use crate::core::{Core, Tally};
use crate::fleet::pool::Place;

/// Most outcomes of one send.
const BATCH_MAX: usize = 256;
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// An outcome that the inbox refuses this often is given up: its lease ends and the attempt is lost.
const REFUSALS_MAX: u32 = 5;

/// An outcome to send.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) attempt: AttemptId,
    pub(crate) inbox: String,
    pub(crate) body: Vec<u8>,
    /// Makes room for new work once the outcome is safe.
    pub(crate) unsent: Place,
}

/// Runs until `stop`, and then until everything that was queued before it is sent.
pub(crate) async fn finish(
    core: Arc<Core>,
    mut queue: mpsc::Receiver<Finished>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            biased;
            _ = queue.recv_many(&mut batch, BATCH_MAX) => {}
            () = stop.cancelled() => return,
        }
        let mut by_inbox: BTreeMap<String, Vec<Finished>> = BTreeMap::new();
        for one in batch.drain(..) {
            by_inbox.entry(one.inbox.clone()).or_default().push(one);
        }
        for (inbox, outcomes) in by_inbox {
            deliver(&core, &inbox, outcomes).await;
        }
    }
}

async fn deliver(core: &Core, inbox: &str, outcomes: Vec<Finished>) {
    match send(core, inbox, &outcomes).await {
        Ok(()) => outcomes.into_iter().for_each(|one| done(core, one)),
        // One that is refused must not hold up the others.
        Err(_) if outcomes.len() > 1 => {
            for one in outcomes {
                let alone = std::slice::from_ref(&one);
                if let Err(error) = send(core, inbox, alone).await {
                    give_up(core, &one, &error);
                }
                done(core, one);
            }
        }
        Err(error) => {
            for one in outcomes {
                give_up(core, &one, &error);
                done(core, one);
            }
        }
    }
}

/// Tries until it is sent or refused too often.
async fn send(core: &Core, inbox: &str, outcomes: &[Finished]) -> Result<(), Error> {
    let mut delay = RETRY_MIN;
    let mut refusals = 0;
    loop {
        let bodies = outcomes.iter().map(|one| one.body.clone()).collect();
        let Err(error) = core.results.send(inbox, bodies).await else { return Ok(()) };
        if !error.is_retryable() {
            refusals += 1;
            if refusals >= REFUSALS_MAX {
                return Err(error);
            }
        }
        tracing::warn!(%error, inbox, outcomes = outcomes.len(), "outcomes wait for their inbox");
        sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}

fn done(core: &Core, one: Finished) {
    core.attempts.remove(one.attempt);
    drop(one.unsent);
}

fn give_up(core: &Core, one: &Finished, error: &Error) {
    tracing::error!(%error, attempt_id = %one.attempt, "outcome was refused; the attempt will count as lost");
    Tally::add(&core.tally.unsent);
}
