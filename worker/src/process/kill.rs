//! Ending one attempt's process tree.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};
use tradewind_proto::AttemptId;
use tradewind_proto::names::ENV_ATTEMPT_ID;

use super::proc::{Process, processes};

/// Scans until nothing is left; with the pause, about a second in all.
const ROUNDS_MAX: u32 = 20;
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// SIGTERM to the leader's group, `grace` for `gone` to happen, then SIGKILL to the group and to every
/// process that carries the attempt's id, is in the leader's session, or descends from such a one.
/// Returns how many had to be killed one by one.
pub(crate) async fn kill_tree(
    attempt: AttemptId,
    leader: i32,
    grace: Duration,
    gone: impl Future<Output = ()>,
) -> usize {
    kill_group(leader, Signal::SIGTERM);
    let _still_there = timeout(grace, gone).await;
    let mut total = 0;
    for _ in 0..ROUNDS_MAX {
        let scan = tokio::task::spawn_blocking(move || {
            let pids = tree(&processes(), attempt, leader);
            kill_group(leader, Signal::SIGKILL);
            pids.into_iter()
                .filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok())
                .count()
        });
        match scan.await {
            Ok(0) | Err(_) => break,
            Ok(killed) => total += killed,
        }
        sleep(ROUND_PAUSE).await;
    }
    total
}

/// Signals a process group; one that is gone is no error.
pub(crate) fn kill_group(leader: i32, signal: Signal) {
    if leader > 1 {
        let _gone = killpg(Pid::from_raw(leader), signal);
    }
}

fn tree(all: &[Process], attempt: AttemptId, leader: i32) -> BTreeSet<i32> {
    let id = attempt.to_string();
    let own = |p: &Process| {
        p.pid == leader || (leader > 1 && p.session == leader) || p.has(ENV_ATTEMPT_ID, &id)
    };
    closure(all, all.iter().filter(|p| own(p)).map(|p| p.pid).collect())
}

/// Adds all descendants.
pub(super) fn closure(all: &[Process], mut set: BTreeSet<i32>) -> BTreeSet<i32> {
    loop {
        let before = set.len();
        let children = all.iter().filter(|p| set.contains(&p.parent)).map(|p| p.pid);
        let children: Vec<i32> = children.collect();
        set.extend(children);
        if set.len() == before {
            return set;
        }
    }
}
