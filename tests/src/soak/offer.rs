//! Sends the tasks of a soak, never far ahead of the workers.

use std::path::Path;
use std::time::Duration;

use tradewind_broker::client::{Client, TaskCall};
use tradewind_proto::message::TaskMessage;

use super::trouble::Trouble;
use super::{Kind, Plan, Queues, Sent, is_in_ward, kind, path};

/// Tasks sent in one go.
const BATCH: usize = 500;
/// Most tasks that wait: the soak is of the fleet, not of the server's memory.
const BACKLOG_MAX: u64 = 20_000;
/// Between two looks at a full queue.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Sends everything.
///
/// # Panics
/// When the broker refuses one.
pub(super) async fn offer(
    client: &Client,
    queues: &Queues,
    plan: Plan,
    ticks: &Path,
    trouble: &Trouble,
) -> Vec<Sent> {
    let mut sent = Vec::with_capacity(plan.tasks);
    let both = [queues.main.clone(), queues.ward.clone()];
    client.broker().declare(&both).await.expect("queues");
    for start in (0..plan.tasks).step_by(BATCH) {
        let numbers = start..plan.tasks.min(start + BATCH);
        batch(client, queues, numbers, &path(ticks), &mut sent).await;
        loop {
            let waiting = waiting(client, queues).await;
            trouble.tell(|| format!("{} of {} sent, {waiting} wait", sent.len(), plan.tasks));
            if waiting < BACKLOG_MAX {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    sent
}

async fn batch(
    client: &Client,
    queues: &Queues,
    numbers: std::ops::Range<usize>,
    ticks: &str,
    sent: &mut Vec<Sent>,
) {
    let (mut calls, mut kinds) = (Vec::new(), Vec::new());
    for number in numbers {
        let kind = kind(number);
        let call = match kind {
            Kind::Plain => TaskCall::new("fleet.tick").args((ticks, number)),
            Kind::Failing => TaskCall::new("fleet.fail").arg("as planned"),
            Kind::Retrying => TaskCall::new("fleet.retry_once"),
            Kind::Poison => TaskCall::new("fleet.die"),
            Kind::Unreadable => {
                let id = uuid::Uuid::new_v4();
                let nothing = (serde_json::json!([]), serde_json::json!({}));
                let mut broken = TaskMessage::json("fleet.noop", id, &nothing.0, &nothing.1);
                broken.body = b"[[], {}, ".to_vec();
                client.broker().publish(&queues.main, broken).await.expect("published");
                sent.push(Sent { id: id.to_string(), kind });
                continue;
            }
        };
        calls.push(if is_in_ward(number) { call.queue(&queues.ward) } else { call });
        kinds.push(kind);
    }
    for (handle, kind) in client.send_many(calls).await.into_iter().zip(kinds) {
        sent.push(Sent { id: handle.expect("sent").id().to_owned(), kind });
    }
}

/// Messages that no worker has taken yet.
pub(super) async fn waiting(client: &Client, queues: &Queues) -> u64 {
    let mut waiting = 0;
    for queue in [&queues.main, &queues.ward] {
        waiting += client.broker().stats(queue).await.map_or(0, |stats| stats.ready);
    }
    waiting
}
