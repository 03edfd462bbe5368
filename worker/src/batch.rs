//! One fetched batch: sorts out what is bad, claims the attempts among it in one call, and starts
//! what was granted.

use std::sync::Arc;

use futures::future::join_all;
use tradewind_broker::{Delivery, Payload};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;
use tradewind_proto::workload::Workload;

use crate::admit::{Kind, admit};
use crate::claim::{Claim, claim_all};
use crate::core::{Core, Ticket};
use crate::execute;
use crate::fleet::batch::{Arrivals, Refusal, bury, release};
use crate::keys::KeyFault;

/// A delay long enough for a short outage to pass, short enough not to be felt.
const REQUEUE_DELAY: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// A delivery whose workload was verified.
pub(crate) struct Verified {
    pub(crate) delivery: Delivery,
    pub(crate) workload: Workload,
    pub(crate) ticket: Ticket,
}

/// Works a batch off; returns when everything in it is started or settled.
pub(crate) async fn work_off(core: Arc<Core>, batch: Vec<(Delivery, Ticket)>) {
    let (mut workloads, mut refused, mut unplaced) = (Vec::new(), Vec::new(), Vec::new());
    let mut tasks = Arrivals::new(&core.fleet, batch.len());
    for (delivery, mut ticket) in batch {
        match admit(delivery.payload()) {
            // An attempt takes its time: one for which there is no slot is for others.
            Ok(Kind::Workload) if !ticket.slot.claim() => {
                unplaced.push(release(&core.fleet, delivery))
            }
            Ok(Kind::Workload) => workloads.push(open(&core, delivery, ticket)),
            Ok(Kind::Fleet) => tasks.add(delivery, ticket),
            Err(refusal) => refused.push(bury(&core.fleet, delivery, refusal)),
        }
    }
    let granted = async {
        let verified: Vec<Verified> = join_all(workloads).await.into_iter().flatten().collect();
        if !verified.is_empty() {
            claim_and_start(&core, verified).await;
        }
    };
    let back = join_all(unplaced.into_iter().rev());
    tokio::join!(join_all(refused), back, granted, tasks.work_off());
}

async fn open(core: &Core, delivery: Delivery, ticket: Ticket) -> Option<Verified> {
    let result = match delivery.payload() {
        Payload::Message(message) => core.keys.open(core.api.as_ref(), &message.body).await,
        Payload::Malformed { .. } | Payload::Refused { .. } => return None,
    };
    match result {
        Ok(workload) => Some(Verified { delivery, workload, ticket }),
        Err(KeyFault::Bad(error)) => {
            bury(&core.fleet, delivery, Refusal::new("workload", error.to_string())).await;
            None
        }
        Err(KeyFault::Unknown(error)) => {
            tracing::warn!(%error, "cannot look up a scheduler's key; message goes back");
            requeue(core, delivery).await;
            None
        }
    }
}

async fn claim_and_start(core: &Arc<Core>, verified: Vec<Verified>) {
    let claims = claim_all(core, &verified).await;
    let mut settled = Vec::new();
    for (item, claim) in verified.into_iter().zip(claims) {
        let Verified { mut delivery, workload, ticket } = item;
        core.metrics.claims.with_label_values(&[claim.label()]).inc();
        match claim {
            Claim::Granted(grant) => {
                let trace = header_trace(delivery.payload());
                execute::start(core, workload, grant, trace, ticket);
            }
            Claim::Drop(why) => {
                tracing::info!(attempt_id = %workload.attempt_id(), task = %workload.key(), why, "message dropped");
            }
            Claim::Later => {
                drop(ticket);
                requeue(core, delivery).await;
                continue;
            }
            Claim::Release => {
                release(&core.fleet, delivery).await;
                continue;
            }
        }
        settled.push(async move {
            if let Err(error) = delivery.ack().await {
                tracing::warn!(%error, "ack failed; the message comes again and will be a duplicate");
            }
        });
    }
    join_all(settled).await;
}

fn header_trace(payload: &Payload) -> Option<String> {
    let Payload::Message(message) = payload else { return None };
    TaskMessage::header_str(message, names::HEADER_TRACEPARENT).map(str::to_owned)
}

/// Back to the queue for a little later.
pub(crate) async fn requeue(core: &Core, mut delivery: Delivery) {
    let at = core.clock.now().saturating_add(REQUEUE_DELAY).unwrap_or(core.clock.now());
    if let Err(error) = delivery.requeue_at(at).await {
        tracing::warn!(%error, queue = %delivery.queue, "giving a message back failed; it comes again");
    }
}
