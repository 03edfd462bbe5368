//! How an attempt's end changes its task: success, retry, failure, loss, hand-back, and the tasks
//! that a branch decided to skip.

use tradewind_proto::state::{OutcomeState, TaskState};
use tradewind_proto::workload::Outcome;

use super::pass::Pass;
use super::tally::holds_attempt;
use super::{RunPlan, Verdict, retry};

/// Finds the task whose current attempt the outcome ends, or says why there is none.
pub(super) fn judge(plan: &RunPlan, outcome: &Outcome) -> Result<usize, Verdict> {
    let task = plan.dag.graph.index(&outcome.task_id).ok_or(Verdict::Stale)?;
    let row = &plan.tasks[task];
    let current = row.map_index == outcome.map_index
        && row.token == outcome.token
        && row.attempt_id == Some(outcome.attempt_id());
    match (current, holds_attempt(row.state)) {
        (true, true) => Ok(task),
        (true, false) => Err(Verdict::Duplicate),
        (false, _) => Err(Verdict::Stale),
    }
}

impl Pass<'_> {
    /// Applies the end of a task's current attempt.
    pub(super) fn apply(&mut self, task: usize, outcome: &Outcome) {
        match outcome.state() {
            OutcomeState::Success => self.succeed(task, outcome, TaskState::Success),
            OutcomeState::Skipped => self.succeed(task, outcome, TaskState::Skipped),
            OutcomeState::Failed | OutcomeState::TimedOut => self.fail(task, outcome),
            OutcomeState::FailedNoRetry | OutcomeState::Cancelled => {
                self.fail_for_good(task, outcome);
            }
            OutcomeState::Lost => self.lose(task, outcome),
            OutcomeState::HandedBack => self.repeat(task, outcome),
        }
    }

    fn succeed(&mut self, task: usize, outcome: &Outcome, state: TaskState) {
        self.note_times(task, outcome);
        self.enter(task, state);
        if self.plan.is_done() {
            return;
        }
        for name in &outcome.skip {
            if let Some(skipped) = self.plan.dag.graph.index(name) {
                self.skip_directly(skipped);
            }
        }
    }

    fn skip_directly(&mut self, task: usize) {
        let row = &mut self.plan.tasks[task];
        if row.state.is_terminal() {
            return;
        }
        row.skip_requested = true;
        self.settle(task, TaskState::Skipped);
    }

    fn fail(&mut self, task: usize, outcome: &Outcome) {
        let row = &self.plan.tasks[task];
        if self.plan.is_done() || row.try_number > row.max_tries {
            return self.fail_for_good(task, outcome);
        }
        self.note_times(task, outcome);
        let spec = self.plan.dag.task(task);
        // A worker whose clock runs ahead must not stretch the delay.
        let ended = outcome.ended().min(self.now);
        let due = retry::retry_at(spec, &self.plan.run, self.plan.tasks[task].try_number, ended);
        self.plan.tasks[task].not_before = Some(due);
        self.enter(task, TaskState::UpForRetry);
    }

    fn fail_for_good(&mut self, task: usize, outcome: &Outcome) {
        self.note_times(task, outcome);
        self.enter(task, TaskState::Failed);
        if self.plan.dag.spec.fail_fast && !self.plan.is_done() {
            self.stop_the_rest();
        }
    }

    fn lose(&mut self, task: usize, outcome: &Outcome) {
        let row = &mut self.plan.tasks[task];
        row.lost_count = row.lost_count.saturating_add(1);
        if row.lost_count > self.plan.options.lost_max {
            self.fail(task, outcome);
        } else {
            self.repeat(task, outcome);
        }
    }

    /// The same try again, under a new token. Not in a run that has ended.
    fn repeat(&mut self, task: usize, outcome: &Outcome) {
        if self.plan.is_done() {
            self.fail_for_good(task, outcome);
        } else {
            self.issue(task, false);
        }
    }

    fn note_times(&mut self, task: usize, outcome: &Outcome) {
        let row = &mut self.plan.tasks[task];
        row.start_date = Some(outcome.started());
        row.end_date = Some(outcome.ended());
    }
}
