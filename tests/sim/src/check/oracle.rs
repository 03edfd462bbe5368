//! Independent answers: which runs a schedule has, when a trigger rule holds, how a task must have
//! ended. Written from the rules, not from the engine; naive on purpose.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tradewind_proto::dag::{DagSpec, Schedule, TaskSpec, TriggerRule};
use tradewind_proto::state::TaskState;

use super::RunView;

/// The logical dates that a schedule of the workload has, from `start_date` to `end_date`.
pub(super) fn logical_dates(spec: &DagSpec) -> BTreeSet<i64> {
    let (Some(start), Some(end)) = (spec.start_date, spec.end_date) else {
        return BTreeSet::new();
    };
    let (start, end) = (start.as_second(), end.as_second());
    match &spec.schedule {
        Schedule::Cron { expr, .. } => {
            // `*/n * * * *`: minutes of the hour that n divides.
            let step = expr[2..3].parse::<i64>().unwrap_or(1);
            (start..=end).filter(|at| at % 60 == 0 && at / 60 % 60 % step == 0).collect()
        }
        Schedule::Delta { seconds, .. } => {
            let step = *seconds as i64;
            (0..).map(|n| start + n * step).take_while(|at| *at <= end).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Seconds since the epoch.
pub(super) fn second(at: Timestamp) -> i64 {
    at.as_second()
}

/// States of the direct upstreams, in their order.
pub(super) fn upstream_states(run: &RunView, task: &TaskSpec) -> Vec<TaskState> {
    let state = |id: &String| run.tasks.get(id).map_or(TaskState::None, |task| task.state);
    task.upstream.iter().map(state).collect()
}

/// Which of the direct upstreams are setups.
pub(super) fn setups(spec: &DagSpec, task: &TaskSpec) -> Vec<bool> {
    task.upstream.iter().map(|id| spec.task(id).is_some_and(|up| up.is_setup)).collect()
}

/// Whether a task may run when its upstreams stand like this.
pub(super) fn may_run(rule: TriggerRule, up: &[TaskState], setups: &[bool]) -> bool {
    use TaskState::{Failed, Skipped, Success, UpstreamFailed};
    let done = up.iter().all(|s| s.is_terminal());
    let any = |wanted: &[TaskState]| up.iter().any(|s| wanted.contains(s));
    let all = |wanted: &[TaskState]| up.iter().all(|s| wanted.contains(s));
    if up.is_empty() {
        return true;
    }
    match rule {
        TriggerRule::AllSuccess => all(&[Success]),
        TriggerRule::AllFailed => all(&[Failed, UpstreamFailed]),
        TriggerRule::AllDone => done,
        TriggerRule::AllSkipped => all(&[Skipped]),
        TriggerRule::OneSuccess => any(&[Success]),
        TriggerRule::OneFailed => any(&[Failed, UpstreamFailed]),
        TriggerRule::OneDone => any(&[Success, Failed]),
        TriggerRule::NoneFailed => all(&[Success, Skipped]),
        TriggerRule::NoneFailedMinOneSuccess => all(&[Success, Skipped]) && any(&[Success]),
        TriggerRule::NoneSkipped => done && !any(&[Skipped]),
        TriggerRule::AllDoneMinOneSuccess => done && !any(&[Skipped]) && any(&[Success]),
        TriggerRule::AllDoneSetupSuccess => {
            let mut of_setups = up.iter().zip(setups).filter(|(_, setup)| **setup).peekable();
            done && (of_setups.peek().is_none() || of_setups.any(|(s, _)| *s == Success))
        }
        TriggerRule::Always => true,
    }
}

/// How a task that did not run may have ended, given how its upstreams ended.
pub(super) fn unrun_states(rule: TriggerRule, up: &[TaskState]) -> Vec<TaskState> {
    use TaskState::{Failed, Skipped, Success, UpstreamFailed};
    let any = |wanted: &[TaskState]| up.iter().any(|s| wanted.contains(s));
    let failed = any(&[Failed, UpstreamFailed]);
    match rule {
        // Whichever upstream ended first decided.
        TriggerRule::AllSuccess if failed && any(&[Skipped]) => vec![UpstreamFailed, Skipped],
        TriggerRule::AllSuccess if failed => vec![UpstreamFailed],
        TriggerRule::NoneFailed if failed => vec![UpstreamFailed],
        TriggerRule::NoneFailedMinOneSuccess if failed => vec![UpstreamFailed],
        TriggerRule::OneSuccess | TriggerRule::AllDoneMinOneSuccess
            if failed
                && !any(&[Success])
                && !(any(&[Skipped]) && rule != TriggerRule::OneSuccess) =>
        {
            vec![UpstreamFailed]
        }
        _ => vec![Skipped],
    }
}
