//! The duty that reads commands and answers them. A bus that is away costs nothing but remote control.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{sleep, timeout};
use tradewind_broker::coordination::Revoked;
use tradewind_broker::{ControlBus, Coordinator, Mailbox, Reply};
use tradewind_proto::celery::ControlRequest;

use super::control::Effect;
use super::dispatch::answer;
use super::panel::Panel;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An answer that cannot be sent in this time has no reader any more.
const REPLY_MAX: Duration = Duration::from_secs(5);
/// Attempts to tell the fleet of a revoked task.
const REVOKE_ATTEMPTS: usize = 8;
/// Ids that a worker learns at its start; as many as it remembers.
const REVOKED_MAX: usize = 50_000;

/// What the mailbox works with.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) panel: Arc<Panel>,
    pub(super) bus: Arc<dyn ControlBus>,
    pub(super) coordinator: Option<Arc<dyn Coordinator>>,
    pub(super) revoke_ttl: Duration,
}

/// Runs until it is dropped.
pub(super) async fn mailbox(desk: Desk) {
    let mut pauses = pauses();
    loop {
        match desk.bus.open_mailbox(&desk.panel.node).await {
            Ok(mut open) => {
                pauses = self::pauses();
                read(&desk, open.as_mut()).await;
            }
            Err(error) => tracing::warn!(%error, "no remote control for now"),
        }
        sleep(pauses.next().unwrap_or(PAUSE_MAX)).await;
    }
}

fn pauses() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Reads until the mailbox fails; it is then opened anew, and what was revoked meanwhile is learnt.
async fn read(desk: &Desk, mailbox: &mut dyn Mailbox) {
    learn_revoked(desk).await;
    loop {
        match mailbox.next().await {
            Ok(request) => obey(desk, request).await,
            Err(error) => {
                tracing::warn!(%error, "remote control was interrupted");
                return;
            }
        }
    }
}

async fn obey(desk: &Desk, request: ControlRequest) {
    tracing::debug!(method = request.method, "a command");
    // The command's clock came with it: what happens from now on is later.
    desk.panel.adjust(desk.bus.clock());
    desk.panel.tick();
    let (value, effect) = answer(&desk.panel, &request.method, &request.arguments);
    // First the effect that others wait for, then the answer: who reads the answer may rely on it here.
    match effect {
        Some(Effect::Revoke { ids, terminate }) => {
            if let Some(coordinator) = desk.coordinator.clone() {
                let ttl = desk.revoke_ttl;
                tokio::spawn(async move { tell_fleet(&*coordinator, ids, terminate, ttl).await });
            }
        }
        Some(Effect::Shutdown) => desk.panel.state.shut_down(),
        None => {}
    }
    let (Some(value), Some(_)) = (value, &request.reply_to) else { return };
    let reply = Reply { node: desk.panel.node.clone(), value };
    match timeout(REPLY_MAX, desk.bus.reply(&request, reply)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, method = request.method, "an answer was not sent"),
        Err(_) => tracing::warn!(method = request.method, "an answer could not be sent in time"),
    }
}

/// Every worker that heard the command writes the same; one that dies meanwhile is no loss.
async fn tell_fleet(
    coordinator: &dyn Coordinator,
    ids: Vec<String>,
    terminate: bool,
    ttl: Duration,
) {
    let tasks: Vec<Revoked> = ids.into_iter().map(|id| Revoked { id, terminate }).collect();
    let mut pauses = pauses();
    for attempt in 1..=REVOKE_ATTEMPTS {
        match coordinator.revoke(&tasks, ttl).await {
            Ok(()) => return,
            Err(error) if attempt == REVOKE_ATTEMPTS || !error.is_retryable() => {
                tracing::error!(%error, count = tasks.len(), "revoked tasks hold for this worker only");
                return;
            }
            Err(_) => sleep(pauses.next().unwrap_or(PAUSE_MAX)).await,
        }
    }
}

/// What was revoked while this worker was not there.
pub(super) async fn learn_revoked(desk: &Desk) {
    let Some(coordinator) = &desk.coordinator else { return };
    match timeout(PAUSE_MAX, coordinator.revoked(REVOKED_MAX)).await {
        Ok(Ok(mut tasks)) => {
            // Oldest first: the oldest are forgotten first.
            tasks.reverse();
            let (kill, skip): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| task.terminate);
            let ids =
                |tasks: Vec<Revoked>| tasks.into_iter().map(|task| task.id).collect::<Vec<_>>();
            desk.panel.state.revoke(&ids(skip), None);
            desk.panel.state.revoke(&ids(kill), Some(nix::sys::signal::Signal::SIGTERM as i32));
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "revoked tasks of the fleet are not known here yet")
        }
        Err(_) => {
            tracing::warn!("revoked tasks of the fleet are not known here yet: no answer in time")
        }
    }
}
