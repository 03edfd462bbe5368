//! Whether a worker can do its work: its canary came back a moment ago, and its broker answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tradewind_broker::Broker;
use tradewind_web::Readiness;
use tradewind_worker::WorkerHandle;

/// How often the broker is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// An answer that is older counts for nothing.
const FRESH: Duration = Duration::from_secs(10);

/// Beats while the worker consumes and the broker answers.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    worker: WorkerHandle,
    last: watch::Receiver<Instant>,
}

impl Pulse {
    /// Starts beating, until the runtime ends.
    pub(crate) fn start(worker: WorkerHandle, broker: Arc<dyn Broker>) -> Self {
        let (beat, last) = watch::channel(Instant::now());
        let of = worker.clone();
        tokio::spawn(async move {
            loop {
                let answer = timeout(ANSWER_WITHIN, broker.health()).await;
                if of.is_ready() && matches!(answer, Ok(Ok(()))) {
                    beat.send_replace(Instant::now());
                }
                sleep(INTERVAL).await;
            }
        });
        Self { worker, last }
    }

    /// Readiness for health checks.
    pub(crate) fn readiness(&self) -> Readiness {
        let pulse = self.clone();
        Arc::new(move || {
            let pulse = pulse.clone();
            Box::pin(async move {
                if !pulse.worker.is_ready() {
                    return Err(
                        "not consuming: its last message to itself did not come back".to_owned()
                    );
                }
                let silent = pulse.last.borrow().elapsed();
                if silent > FRESH {
                    return Err(format!("the broker has not answered for {} s", silent.as_secs()));
                }
                Ok(())
            })
        })
    }

    /// Ends when there was no beat for so long; never without a limit.
    pub(crate) async fn stopped(mut self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let last = *self.last.borrow_and_update();
            let silent = last.elapsed();
            if silent >= limit {
                return;
            }
            sleep(limit - silent).await;
        }
    }
}
