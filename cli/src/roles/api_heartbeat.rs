//! Tells the schedulers that this process answers workers. While no such process does, they let
//! leases be: a worker that cannot renew is not a dead worker.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;
use tradewind_store::Store;
use tradewind_store::model::JobRow;

use crate::context::Context;

/// Well below the scheduler's patience, so that one slow call is no outage.
const INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for the goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// Heartbeats until `shutdown`, then says goodbye.
pub(crate) async fn run(context: Context, store: Arc<dyn Store>, shutdown: CancellationToken) {
    let now = context.clock.now();
    let mut job = JobRow {
        id: context.ids.next(),
        job_type: "WebJob".to_owned(),
        hostname: context.config.hostname(),
        ended: false,
        started_at: now,
        heartbeat_at: now,
    };
    while !shutdown.is_cancelled() {
        job.heartbeat_at = context.clock.now();
        if let Err(error) = store.job_heartbeat(&job).await {
            warn!(%error, "heartbeat failed; trying again");
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    job.ended = true;
    let goodbye = tokio::time::timeout(GOODBYE_WITHIN, store.job_heartbeat(&job)).await;
    if !matches!(goodbye, Ok(Ok(()))) {
        warn!("could not say goodbye; schedulers wait for this process for a minute");
    }
}
