//! The duty that kills what ended attempts leave behind: a daemon that left its group and session is
//! found by the environment it inherited. Starts and stops with the worker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;
use tradewind_proto::AttemptId;
use tradewind_proto::names::{ENV_ATTEMPT_ID, ENV_WORKER_ID};
use uuid::Uuid;

use super::ProcessTable;
use super::kill::closure;
use super::proc::{Process, processes};

/// Two sweeps are well within the five seconds that leftovers may live.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs until it is dropped.
pub(crate) async fn sweep(table: Arc<ProcessTable>, instance: Uuid) {
    let instance = instance.to_string();
    loop {
        sleep(INTERVAL).await;
        if table.is_quiet() {
            continue;
        }
        let (ended, gone) = table.sweep_view();
        let instance = instance.clone();
        let scan = move || kill_leftovers(&processes(), &instance, &ended, &gone);
        if let Ok(killed @ 1..) = tokio::task::spawn_blocking(scan).await {
            tracing::info!(killed, "killed processes that ended attempts left behind");
        }
    }
}

fn kill_leftovers(
    all: &[Process],
    instance: &str,
    ended: &BTreeSet<AttemptId>,
    gone: &BTreeSet<i32>,
) -> usize {
    let leftover = |p: &&Process| {
        if !p.has(ENV_WORKER_ID, instance) {
            return false;
        }
        match p.variable(ENV_ATTEMPT_ID).map(std::str::from_utf8) {
            Some(Ok(id)) => id.parse().is_ok_and(|id: AttemptId| ended.contains(&id)),
            _ => gone.contains(&p.session),
        }
    };
    let doomed = closure(all, all.iter().filter(leftover).map(|p| p.pid).collect());
    doomed.into_iter().filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok()).count()
}
