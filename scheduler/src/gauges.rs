//! Duty: keeps the gauges current that are read from the store rather than counted as things happen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use tradewind_proto::clock::SharedClock;
use tradewind_store::{Error as StoreError, Store};

use crate::duty::Duty;
use crate::metrics::Metrics;

/// Refreshes gauges.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) interval: Duration,
}

#[async_trait]
impl Duty for Gauges {
    fn name(&self) -> &'static str {
        "gauges"
    }

    async fn run(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.refresh().await {
                debug!(%error, "gauges not refreshed");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }
}

impl Gauges {
    async fn refresh(&self) -> Result<(), StoreError> {
        let counts = self.store.counts().await?;
        let age = counts
            .oldest_unsent
            .map_or(0.0, |at| self.clock.now().duration_since(at).as_secs_f64().max(0.0));
        self.metrics.outbox_age.set(age);
        self.metrics.import_errors.set(counts.import_errors as f64);
        Ok(())
    }
}
