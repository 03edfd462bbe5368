//! One fetched batch: sorts out what is bad, claims the attempts among it in one call, and starts
//! what was granted.

use std::sync::Arc;

use futures::future::join_all;
use tradewind_broker::{Delivery, Payload};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::names;
use tradewind_proto::workload::Workload;

use crate::admit::{Kind, Refusal, admit};
use crate::claim::{Claim, claim_all};
use crate::core::{Core, Tally, Ticket};
use crate::keys::KeyFault;
use crate::{execute, task};

/// A delay long enough for a short outage to pass, short enough not to be felt.
const REQUEUE_DELAY: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// A delivery whose workload was verified.
pub(crate) struct Verified {
    pub(crate) delivery: Delivery,
    pub(crate) workload: Workload,
    pub(crate) ticket: Ticket,
}

/// Works a batch off; returns when everything in it is started or settled.
pub(crate) async fn work_off(core: Arc<Core>, deliveries: Vec<Delivery>, tickets: Vec<Ticket>) {
    let mut workloads = Vec::new();
    let mut refused = Vec::new();
    let mut tickets = tickets.into_iter();
    for delivery in deliveries {
        let Some(ticket) = tickets.next() else {
            release(&core, delivery).await;
            continue;
        };
        match admit(&delivery.payload, &core.handlers) {
            Ok(Kind::Workload) => workloads.push((delivery, ticket)),
            Ok(Kind::Native) => {
                let core_ = Arc::clone(&core);
                core.work.spawn(task::run(core_, delivery, ticket));
            }
            Err(refusal) => refused.push((delivery, refusal)),
        }
    }
    drop(tickets);
    let dead = join_all(refused.into_iter().map(|(d, r)| bury(&core, d, r)));
    let opened = join_all(workloads.into_iter().map(|(d, t)| open(&core, d, t)));
    let (_, opened) = tokio::join!(dead, opened);
    let verified: Vec<Verified> = opened.into_iter().flatten().collect();
    if !verified.is_empty() {
        claim_and_start(&core, verified).await;
    }
}

async fn open(core: &Core, delivery: Delivery, ticket: Ticket) -> Option<Verified> {
    let result = match &delivery.payload {
        Payload::Message(message) => core.keys.open(core.api.as_ref(), &message.body).await,
        Payload::Malformed { .. } => return None,
    };
    match result {
        Ok(workload) => Some(Verified { delivery, workload, ticket }),
        Err(KeyFault::Bad(error)) => {
            bury(core, delivery, Refusal::new("workload", error.to_string())).await;
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
                let trace = header_trace(&delivery.payload);
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
                release(core, delivery).await;
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

/// To the dead-letter queue.
pub(crate) async fn bury(core: &Core, mut delivery: Delivery, refusal: Refusal) {
    core.metrics.dead_letters.with_label_values(&[&delivery.queue, refusal.kind]).inc();
    tracing::warn!(queue = %delivery.queue, reason = %refusal.reason, "message dead-lettered");
    if let Err(error) = delivery.dead_letter(&refusal.reason).await {
        tracing::warn!(%error, queue = %delivery.queue, "dead-lettering failed; the message comes again");
    }
}

/// Back to the queue for a little later.
pub(crate) async fn requeue(core: &Core, mut delivery: Delivery) {
    let at = core.clock.now().saturating_add(REQUEUE_DELAY).unwrap_or(core.clock.now());
    if let Err(error) = delivery.requeue_at(at).await {
        tracing::warn!(%error, queue = %delivery.queue, "giving a message back failed; it comes again");
    }
}

/// Back to the queue for another worker, at once.
pub(crate) async fn release(core: &Core, mut delivery: Delivery) {
    Tally::add(&core.tally.released);
    if let Err(error) = delivery.release().await {
        tracing::warn!(%error, queue = %delivery.queue, "giving a message back failed; it comes again");
    }
}
