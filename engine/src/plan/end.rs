//! How a run ends: success, failure, timeout, deadlock, fail-fast.

use tradewind_proto::state::{RunState, TaskState};

use super::pass::Pass;

impl Pass<'_> {
    /// Ends a run whose `dagrun_timeout` has passed: what is unfinished is skipped.
    pub(super) fn expire(&mut self) {
        if self.plan.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        self.skip_unfinished(|_| true);
        self.forget_open();
        self.set_run(RunState::Failed, "timed_out");
    }

    /// After the first failure of a `fail_fast` DAG only teardowns go on.
    pub(super) fn stop_the_rest(&mut self) {
        let dag = std::sync::Arc::clone(&self.plan.dag);
        self.skip_unfinished(|task| !dag.task(task).is_teardown);
    }

    /// The end check. Deadlock: something is unfinished, and nothing is in flight, due later or
    /// waiting for the previous run, so that no event can ever come.
    pub(super) fn conclude(&mut self) {
        if self.plan.is_done() {
            return;
        }
        let tally = &self.plan.tally;
        if tally.unfinished == 0 {
            let stopped = self.plan.dag.spec.fail_fast && tally.failed > 0;
            if tally.failed_leaves > 0 || stopped {
                self.set_run(RunState::Failed, "task_failure");
            } else {
                self.set_run(RunState::Success, "success");
            }
        } else if tally.in_flight == 0
            && self.plan.timers.is_empty()
            && self.plan.blocked_by_past.is_empty()
        {
            self.set_run(RunState::Failed, "all_tasks_deadlocked");
        }
    }

    fn skip_unfinished(&mut self, wanted: impl Fn(usize) -> bool) {
        for task in 0..self.plan.tasks.len() {
            if !self.plan.tasks[task].state.is_terminal() && wanted(task) {
                self.settle(task, TaskState::Skipped);
            }
        }
    }
}
