//! The duty that renews leases: one call per interval for everything this worker answers for, and it
//! is how cancellations arrive. An unreachable API stops nothing: only an explicit verdict does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tradewind_proto::execution::{HeartbeatRequest, LeaseVerdict};

use crate::attempts::Stop;
use crate::core::Core;

/// An answer that takes longer is no answer; the next beat asks again.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Runs until it is dropped. The first beat, at once, announces the worker.
pub(crate) async fn heartbeat(core: Arc<Core>) {
    let mut ticks = interval(core.options.heartbeat_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = false;
    loop {
        ticks.tick().await;
        match beat(&core).await {
            Ok(()) if silent => {
                tracing::info!("execution API answers again");
                silent = false;
            }
            Ok(()) => {}
            Err(reason) if !silent => {
                // A fleet without DAGs has no execution API, and nothing to miss.
                match core.attempts.running() {
                    0 => tracing::info!(reason, "no DAG's tasks are taken; fleet tasks run"),
                    _ => tracing::warn!(reason, "leases are not renewed; attempts go on"),
                }
                silent = true;
            }
            Err(_) => {}
        }
    }
}

async fn beat(core: &Core) -> Result<(), String> {
    let request = HeartbeatRequest {
        worker: core.name.to_string(),
        instance: core.instance,
        hostname: core.hostname.to_string(),
        queues: core.options.queues.clone(),
        slots: u32::from(core.options.concurrency),
        attempts: core.attempts.leases(),
    };
    let reply = timeout(ANSWER_MAX, core.api.heartbeat(&request))
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    for (item, verdict) in request.attempts.iter().zip(reply.verdicts) {
        let why = match verdict {
            LeaseVerdict::Continue => continue,
            LeaseVerdict::Cancel => Stop::Cancelled,
            LeaseVerdict::Stale => Stop::Stale,
        };
        if core.attempts.stop(item.attempt_id, why) {
            tracing::info!(attempt_id = %item.attempt_id, ?why, "attempt is stopped");
        }
    }
    Ok(())
}
