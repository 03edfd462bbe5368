//! What follows from a change: tasks whose rule now holds start, those that never can are settled,
//! until nothing more follows.

use tradewind_proto::dag::Runtime;
use tradewind_proto::state::TaskState;

use super::RunPlan;
use super::pass::Pass;
use crate::model::PastTask;
use crate::trigger_rule::{self, Decision};

impl Pass<'_> {
    /// Looks at all open tasks and at what opens by that. A plan that was just loaded is looked at
    /// as a whole.
    pub(super) fn follow(&mut self) {
        if !self.plan.started {
            self.plan.started = true;
            self.remove_strays();
            (0..self.plan.tasks.len()).for_each(|task| self.look_at(task));
        }
        self.open_due();
        while let Some(task) = self.next_open() {
            self.evaluate(task);
        }
    }

    fn open_due(&mut self) {
        let due = self.plan.timers.iter().take_while(|(at, _)| *at <= self.now);
        let due: Vec<usize> = due.map(|(_, task)| *task).collect();
        due.into_iter().for_each(|task| self.look_at(task));
    }

    fn evaluate(&mut self, task: usize) {
        let row = &self.plan.tasks[task];
        let waits = match row.state {
            TaskState::None => true,
            TaskState::UpForRetry | TaskState::UpForReschedule => {
                row.not_before.is_none_or(|at| at <= self.now)
            }
            _ => false,
        };
        if !waits {
            return;
        }
        self.plan.clear_timer(task);
        match self.plan.decision(task) {
            Decision::Wait => {}
            Decision::Skip => self.settle(task, TaskState::Skipped),
            Decision::UpstreamFailed => self.settle(task, TaskState::UpstreamFailed),
            Decision::Removed => self.settle(task, TaskState::Removed),
            Decision::Run if self.plan.past_allows(task) => self.release(task),
            Decision::Run => {
                self.plan.blocked_by_past.insert(task);
            }
        }
    }

    fn release(&mut self, task: usize) {
        let new_try = self.plan.tasks[task].state != TaskState::UpForReschedule;
        if self.plan.dag.task(task).runtime != Runtime::Empty {
            self.issue(task, new_try);
            return;
        }
        let row = &mut self.plan.tasks[task];
        row.try_number = row.try_number.saturating_add(u32::from(new_try));
        row.start_date = Some(self.now);
        row.end_date = Some(self.now);
        row.not_before = None;
        self.enter(task, TaskState::Success);
    }
}

impl RunPlan {
    fn decision(&self, task: usize) -> Decision {
        let row = &self.tasks[task];
        if row.skip_requested {
            return Decision::Skip;
        }
        let spec = self.dag.task(task);
        let own = trigger_rule::decide(spec.trigger_rule, &self.upstreams[task], row.map_index);
        if spec.trigger_rule == tradewind_proto::dag::TriggerRule::Always {
            return own;
        }
        if self.scope_open.get(&task).is_some_and(|open| *open > 0) {
            return Decision::Wait;
        }
        match self.gates.get(&task).and_then(trigger_rule::gate) {
            Some(Decision::Wait) if own != Decision::Run => own,
            Some(gated) => gated,
            None => own,
        }
    }

    /// `depends_on_past` and `wait_for_downstream`, which implies it.
    fn past_allows(&self, task: usize) -> bool {
        let spec = self.dag.task(task);
        if !(spec.depends_on_past || spec.wait_for_downstream) {
            return true;
        }
        self.past.get(&task).is_none_or(|past| allows(past, spec.wait_for_downstream))
    }
}

/// A first run passes, and so does a task that the previous run did not have.
fn allows(past: &PastTask, wait_for_downstream: bool) -> bool {
    let Some(state) = past.state.filter(|_| past.has_previous_run) else { return true };
    let done = matches!(state, TaskState::Success | TaskState::Skipped);
    done && (past.downstream_done || !wait_for_downstream)
}
