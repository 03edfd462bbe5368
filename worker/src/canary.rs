//! The duty that proves that the worker consumes: the loop that takes tasks answers that it is subscribed,
//! and a message sent to itself comes back over the same connections. Starts with the worker, ends when it
//! drains. While the last proof failed, the worker is not ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tradewind_broker::{Canary, Error};

use crate::fleet::core::Fleet;

/// A canary that is not back by then counts as lost.
const BACK_WITHIN: Duration = Duration::from_secs(4);
/// Pause after one that was lost.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Questions that may wait for the loop that takes tasks; there is one asker.
const QUESTIONS_MAX: usize = 1;

/// Asks the loop that takes tasks whether its consumer is subscribed.
pub(crate) type Question = oneshot::Sender<bool>;

/// What the loop that takes tasks needs of this.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Turned true by the loop when it begins and false when it ends.
    pub(crate) taking: watch::Sender<bool>,
    /// To be answered between two tasks. Never ends while the loop runs.
    pub(crate) questions: mpsc::Receiver<Question>,
    /// Keeps the questions open where nobody asks.
    _asker: mpsc::Sender<Question>,
}

/// Starts the duty, if the broker can be lost and an interval is set; else the loop's own word is enough.
pub(crate) fn start(
    fleet: &Arc<Fleet>,
    every: Option<Duration>,
    ready: watch::Sender<bool>,
) -> Proof {
    let (asker, questions) = mpsc::channel(QUESTIONS_MAX);
    let canary = every.and_then(|every| Some((every, fleet.broker.canary()?)));
    let Some((every, canary)) = canary else {
        return Proof { taking: ready, questions, _asker: asker };
    };
    let taking = watch::Sender::new(false);
    let duty = Duty { every, canary, asker: asker.clone(), taking: taking.subscribe(), ready };
    let draining = fleet.draining.clone();
    tokio::spawn(async move {
        draining.run_until_cancelled_owned(duty.run()).await;
    });
    Proof { taking, questions, _asker: asker }
}

struct Duty {
    every: Duration,
    canary: Box<dyn Canary>,
    asker: mpsc::Sender<Question>,
    taking: watch::Receiver<bool>,
    ready: watch::Sender<bool>,
}

impl Duty {
    async fn run(mut self) {
        // An error means that the loop has ended.
        if self.taking.wait_for(|taking| *taking).await.is_err() {
            return;
        }
        loop {
            let back = timeout(BACK_WITHIN, prove(&mut *self.canary, &self.asker)).await;
            let lost = match back {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("a message to itself is not back after {BACK_WITHIN:?}")),
            };
            let was = self.ready.send_replace(lost.is_none());
            match &lost {
                Some(reason) if was => tracing::warn!(reason, "the worker is not ready"),
                Some(reason) => tracing::debug!(reason, "the worker is still not ready"),
                None if !was => tracing::info!("it is proven that the worker consumes"),
                None => {}
            }
            sleep(if lost.is_none() { self.every } else { AGAIN_AFTER }).await;
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.ready.send_replace(false);
    }
}

async fn prove(canary: &mut dyn Canary, asker: &mpsc::Sender<Question>) -> Result<(), Error> {
    let unavailable =
        |reason: &str| Error::Unavailable { service: "worker", reason: reason.into() };
    let (answer, live) = oneshot::channel();
    let asked = asker.send(answer).await.is_ok();
    match live.await {
        Ok(true) if asked => canary.round_trip().await,
        Ok(_) => Err(unavailable("the consumer is not subscribed")),
        Err(_) => Err(unavailable("the loop that takes tasks has ended")),
    }
}
