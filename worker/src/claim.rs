//! Claims a batch of attempts, and repeats the call with the same nonces until it is answered.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tradewind_proto::clock::to_micros;
use tradewind_proto::execution::{ClaimItem, ClaimReply, ClaimRequest, ClaimVerdict, Grant};

use crate::ApiError;
use crate::batch::Verified;
use crate::core::Core;

/// How long a claim is repeated before its messages go back.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(800);

/// What became of one message.
#[derive(Debug)]
pub(crate) enum Claim {
    Granted(Box<Grant>),
    /// Not ours to run; the text says why.
    Drop(&'static str),
    /// Nobody could be asked.
    Later,
    /// The worker drains and nothing was granted.
    Release,
}

impl Claim {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Drop(why) => why,
            Self::Later => "unavailable",
            Self::Release => "released",
        }
    }
}

/// One claim per item, in order.
pub(crate) async fn claim_all(core: &Core, items: &[Verified]) -> Vec<Claim> {
    let item = |verified: &Verified| ClaimItem {
        attempt_id: verified.workload.attempt_id(),
        token: verified.workload.token,
        nonce: core.ids.next(),
    };
    let request = ClaimRequest {
        worker: core.name.to_string(),
        instance: core.instance,
        hostname: core.hostname.to_string(),
        items: items.iter().map(item).collect(),
    };
    match patiently(core, &request).await {
        Ok(Some(reply)) => {
            let now = to_micros(core.clock.now());
            reply.verdicts.into_iter().zip(items).map(|(v, i)| decide(core, v, i, now)).collect()
        }
        Ok(None) => items.iter().map(|_| Claim::Release).collect(),
        Err(error) => {
            tracing::warn!(%error, messages = items.len(), "cannot claim; messages go back for a while");
            items.iter().map(|_| Claim::Later).collect()
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a wait in seconds for a histogram")]
fn decide(core: &Core, verdict: ClaimVerdict, item: &Verified, now: i64) -> Claim {
    match verdict {
        ClaimVerdict::Granted(grant) => {
            let waited = (now - item.workload.queued_at).max(0) as f64 / 1e6;
            core.metrics.queue_wait.with_label_values(&[&item.delivery.queue]).observe(waited);
            Claim::Granted(grant)
        }
        ClaimVerdict::Duplicate => Claim::Drop("duplicate"),
        ClaimVerdict::Stale => Claim::Drop("stale"),
    }
}

/// `None`: the worker drains and nothing was asked.
async fn patiently(core: &Core, request: &ClaimRequest) -> Result<Option<ClaimReply>, ApiError> {
    if core.draining.is_cancelled() {
        return Ok(None);
    }
    let deadline = Instant::now() + CLAIM_PATIENCE;
    let mut delay = RETRY_MIN;
    loop {
        let error = match core.api.claim(request).await {
            Ok(reply) if reply.verdicts.len() == request.items.len() => return Ok(Some(reply)),
            Ok(reply) => {
                return Err(ApiError::Refused(format!(
                    "{} verdicts for {} claims",
                    reply.verdicts.len(),
                    request.items.len()
                )));
            }
            Err(error) => error,
        };
        if !error.is_retryable() || Instant::now() + delay > deadline {
            return Err(error);
        }
        sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}
