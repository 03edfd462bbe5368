//! Trigger rules: what becomes of a task, given how its upstreams stand. Airflow 3.3 semantics,
//! early decisions included.

use tradewind_proto::dag::TriggerRule;
use tradewind_proto::state::TaskState;

/// How a task's direct upstreams stand, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// Direct upstreams in all.
    pub total: u32,
    /// In `success`.
    pub success: u32,
    /// In `skipped`.
    pub skipped: u32,
    /// In `failed`.
    pub failed: u32,
    /// In `upstream_failed`.
    pub upstream_failed: u32,
    /// In `removed`.
    pub removed: u32,
    /// In any terminal state.
    pub done: u32,
    /// Setups among the direct upstreams.
    pub setups: u32,
    /// Of those, in `success`.
    pub setup_success: u32,
    /// Of those, in `skipped`.
    pub setup_skipped: u32,
}

impl Upstreams {
    /// Counts one upstream that reached a terminal state. Other states change nothing.
    pub fn count(&mut self, state: TaskState, is_setup: bool) {
        match state {
            TaskState::Success => self.success += 1,
            TaskState::Skipped => self.skipped += 1,
            TaskState::Failed => self.failed += 1,
            TaskState::UpstreamFailed => self.upstream_failed += 1,
            TaskState::Removed => self.removed += 1,
            _ => return,
        }
        self.done += 1;
        if is_setup && state == TaskState::Success {
            self.setup_success += 1;
        }
        if is_setup && state == TaskState::Skipped {
            self.setup_skipped += 1;
        }
    }

    fn any_failed(&self) -> bool {
        self.failed + self.upstream_failed > 0
    }

    fn all_done(&self) -> bool {
        self.done >= self.total
    }
}

/// What becomes of a task now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Too early to tell.
    Wait,
    /// The rule holds.
    Run,
    /// Skip it.
    Skip,
    /// It can never run, because of failures above.
    UpstreamFailed,
    /// The mapped instance has no counterpart upstream any more.
    Removed,
}

/// Applies a rule. A task without upstreams always runs. `map_index` is −1 for an ordinary task.
pub fn decide(rule: TriggerRule, up: &Upstreams, map_index: i32) -> Decision {
    if up.total == 0 || rule == TriggerRule::Always {
        return Decision::Run;
    }
    match early(rule, up, map_index) {
        Some(decision) => decision,
        None if holds(rule, up) => Decision::Run,
        None => Decision::Wait,
    }
}

/// Setups further up gate a task before its own rule: a failure or skip among them spreads at once,
/// and all must have succeeded. None means that the gate is open.
pub fn gate(setups: &Upstreams) -> Option<Decision> {
    if setups.any_failed() {
        Some(Decision::UpstreamFailed)
    } else if setups.skipped > 0 {
        Some(Decision::Skip)
    } else if setups.success + setups.removed < setups.total {
        Some(Decision::Wait)
    } else {
        None
    }
}

fn early(rule: TriggerRule, up: &Upstreams, map_index: i32) -> Option<Decision> {
    use Decision::{Removed, Skip, UpstreamFailed};
    let beyond = u32::try_from(map_index).is_ok_and(|index| index >= up.success);
    let cases: [(bool, Decision); 3] = match rule {
        TriggerRule::AllSuccess => [
            (up.any_failed(), UpstreamFailed),
            (up.skipped > 0, Skip),
            (up.removed > 0 && up.success > 0 && beyond, Removed),
        ],
        TriggerRule::AllFailed => [(up.success + up.skipped > 0, Skip), NEVER, NEVER],
        TriggerRule::AllSkipped => [(up.success > 0 || up.any_failed(), Skip), NEVER, NEVER],
        TriggerRule::OneSuccess => [
            (up.all_done() && up.done == up.skipped, Skip),
            (up.all_done() && up.success == 0, UpstreamFailed),
            NEVER,
        ],
        TriggerRule::OneFailed => [(up.all_done() && !up.any_failed(), Skip), NEVER, NEVER],
        TriggerRule::OneDone => {
            [(up.all_done() && up.failed + up.success == 0, Skip), NEVER, NEVER]
        }
        TriggerRule::NoneFailed => [(up.any_failed(), UpstreamFailed), NEVER, NEVER],
        TriggerRule::NoneFailedMinOneSuccess => [
            (up.any_failed(), UpstreamFailed),
            (up.skipped == up.total, Skip),
            (up.all_done() && up.success == 0, UpstreamFailed),
        ],
        TriggerRule::NoneSkipped => [(up.skipped > 0, Skip), NEVER, NEVER],
        TriggerRule::AllDoneMinOneSuccess => {
            [(up.skipped > 0, Skip), (up.all_done() && up.success == 0, UpstreamFailed), NEVER]
        }
        TriggerRule::AllDoneSetupSuccess => {
            let decided = up.setups > 0 && up.all_done();
            [
                (decided && up.setup_skipped >= up.setups, Skip),
                (decided && up.setup_success == 0, UpstreamFailed),
                NEVER,
            ]
        }
        TriggerRule::AllDone | TriggerRule::Always => [NEVER, NEVER, NEVER],
    };
    cases.into_iter().find(|(applies, _)| *applies).map(|(_, decision)| decision)
}

const NEVER: (bool, Decision) = (false, Decision::Wait);

fn holds(rule: TriggerRule, up: &Upstreams) -> bool {
    match rule {
        TriggerRule::AllSuccess => up.success + up.removed >= up.total,
        TriggerRule::AllFailed => up.failed + up.upstream_failed + up.removed >= up.total,
        TriggerRule::AllSkipped => up.skipped >= up.total,
        TriggerRule::OneSuccess => up.success > 0,
        TriggerRule::OneFailed => up.any_failed(),
        TriggerRule::OneDone => up.success + up.failed > 0,
        TriggerRule::NoneFailed => up.success + up.skipped + up.removed >= up.total,
        TriggerRule::NoneFailedMinOneSuccess => {
            up.success + up.skipped + up.removed >= up.total && up.success > 0
        }
        TriggerRule::NoneSkipped => up.all_done() && up.skipped == 0,
        TriggerRule::AllDoneMinOneSuccess => up.all_done() && up.skipped == 0 && up.success > 0,
        TriggerRule::AllDoneSetupSuccess => {
            up.all_done() && (up.setups == 0 || up.setup_success > 0)
        }
        TriggerRule::AllDone => up.all_done(),
        TriggerRule::Always => true,
    }
}

#[cfg(test)]
mod tests;
