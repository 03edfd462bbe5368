//! The duty that ships logs: one call at a time, in order, again until it is taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tradewind_proto::execution::LogChunks;

use super::LogHub;
use crate::ExecutionApi;
use crate::metrics::Metrics;

/// How long lines gather before they are shipped.
const INTERVAL: Duration = Duration::from_millis(200);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Runs until `stop`; then ships what is left, at most for `last_words`.
pub(crate) async fn ship(
    hub: Arc<LogHub>,
    api: Arc<dyn ExecutionApi>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    last_words: Duration,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = forever(&hub, api.as_ref(), &metrics) => {}
    }
    // A call that was cut off here is repeated: chunks are numbered, so it is stored once.
    let _unshipped = tokio::time::timeout(last_words, ship_all(&hub, api.as_ref(), &metrics)).await;
}

async fn forever(hub: &LogHub, api: &dyn ExecutionApi, metrics: &Metrics) {
    loop {
        hub.dirty.notified().await;
        tokio::select! {
            biased;
            () = hub.urgent.notified() => {}
            () = sleep(INTERVAL) => {}
        }
        ship_all(hub, api, metrics).await;
    }
}

async fn ship_all(hub: &LogHub, api: &dyn ExecutionApi, metrics: &Metrics) {
    loop {
        // Chunks stay in the hub until they are settled: this future may be dropped at any await.
        let Some(chunks) = hub.lock().outgoing() else { return };
        let chunks = LogChunks { chunks };
        send(api, &chunks).await;
        {
            let mut buffers = hub.lock();
            buffers.settled(&chunks.chunks);
            metrics.log_bytes_lost.inc_by(buffers.take_lost());
        }
        hub.shipped.send_modify(|shipments| *shipments += 1);
    }
}

async fn send(api: &dyn ExecutionApi, chunks: &LogChunks) {
    let mut delay = RETRY_MIN;
    loop {
        match api.logs(chunks).await {
            Ok(()) => return,
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "task output waits for the log store");
            }
            Err(error) => {
                tracing::warn!(%error, chunks = chunks.chunks.len(), "task output was refused");
                return;
            }
        }
        sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}
