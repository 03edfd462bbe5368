//! One call of the planner: collects what changes, each task once, and closes with the end check.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tradewind_proto::AttemptId;
use tradewind_proto::clock::Ids;
use tradewind_proto::state::{RunState, TaskState};

use super::RunPlan;
use super::tally::holds_attempt;
use crate::model::{Changes, TaskChange};

/// A planner call in progress.
pub(super) struct Pass<'a> {
    pub(super) plan: &'a mut RunPlan,
    pub(super) now: Timestamp,
    ids: &'a dyn Ids,
    /// Tasks to look at again, with their places: upstreams first, so that a task sees all that one event
    /// decides above it.
    open: BTreeSet<(usize, usize)>,
    changed: Vec<usize>,
    seen: BTreeSet<usize>,
    out: Changes,
}

impl<'a> Pass<'a> {
    pub(super) fn new(plan: &'a mut RunPlan, now: Timestamp, ids: &'a dyn Ids) -> Self {
        Self {
            plan,
            now,
            ids,
            open: BTreeSet::new(),
            changed: Vec::new(),
            seen: BTreeSet::new(),
            out: Changes::default(),
        }
    }

    /// Makes the event's own change, then everything that follows from it.
    pub(super) fn run(mut self, event: impl FnOnce(&mut Self)) -> Changes {
        event(&mut self);
        if !self.plan.is_done() && self.plan.run.state == RunState::Running {
            self.expire();
            self.follow();
            self.conclude();
        }
        self.finish()
    }

    /// Takes a queued run into execution.
    pub(super) fn admit(&mut self) {
        if self.plan.run.state == RunState::Queued {
            self.plan.run.start_date = Some(self.now);
            self.set_run(RunState::Running, "started");
        }
    }

    pub(super) fn set_run(&mut self, state: RunState, why: &'static str) {
        self.plan.run.state = state;
        self.out.run_state = Some((state, why));
    }

    /// Moves a task to a state. Counters of its dependents follow when it ends, and they are looked at.
    pub(super) fn enter(&mut self, task: usize, state: TaskState) {
        let old = self.plan.tasks[task].state;
        let leaf = self.plan.dag.graph.is_effective_leaf(task);
        self.plan.tasks[task].state = state;
        self.plan.tally.remove(old, leaf);
        self.plan.tally.add(state, leaf);
        self.plan.set_timer(task);
        self.plan.blocked_by_past.remove(&task);
        self.touch(task);
        if state.is_terminal() && !old.is_terminal() {
            self.plan.count_end(task, state);
            let graph = &self.plan.dag.graph;
            let below = graph.downstream(task).iter().chain(graph.setup().gated(task));
            let below = below.chain(graph.setup().in_scope_of(task));
            self.open.extend(below.map(|&task| (graph.place(task), task)));
        }
    }

    /// Ends a task by decision, not by an attempt's outcome. An open attempt is cancelled.
    pub(super) fn settle(&mut self, task: usize, state: TaskState) {
        self.plan.clear_timer(task);
        let row = &mut self.plan.tasks[task];
        if holds_attempt(row.state) {
            self.out.cancel.extend(row.attempt_id);
        }
        row.start_date = row.start_date.or(Some(self.now));
        row.end_date = Some(self.now);
        row.not_before = None;
        self.enter(task, state);
    }

    /// Gives a task a new attempt, as a new try or as a repetition of the same one.
    pub(super) fn issue(&mut self, task: usize, new_try: bool) {
        self.plan.clear_timer(task);
        let row = &mut self.plan.tasks[task];
        row.try_number = row.try_number.saturating_add(u32::from(new_try));
        row.token += 1;
        row.attempt_id = Some(AttemptId(self.ids.next()));
        row.start_date = None;
        row.end_date = None;
        row.not_before = None;
        self.enter(task, TaskState::Scheduled);
    }

    /// Has a task looked at.
    pub(super) fn look_at(&mut self, task: usize) {
        self.open.insert((self.plan.dag.graph.place(task), task));
    }

    /// The next task to look at.
    pub(super) fn next_open(&mut self) -> Option<usize> {
        self.open.pop_first().map(|(_, task)| task)
    }

    /// Has no task looked at any more.
    pub(super) fn forget_open(&mut self) {
        self.open.clear();
    }

    /// Notes that a task's row changed.
    pub(super) fn touch(&mut self, task: usize) {
        if self.seen.insert(task) {
            self.changed.push(task);
        }
    }

    /// Instances of tasks that the DAG does not have are taken out of the run.
    pub(super) fn remove_strays(&mut self) {
        for row in self.plan.strays.iter_mut().filter(|row| !row.state.is_terminal()) {
            if holds_attempt(row.state) {
                self.out.cancel.extend(row.attempt_id);
            }
            row.state = TaskState::Removed;
            row.end_date = Some(self.now);
            self.out.tasks.push(TaskChange { task: row.clone(), priority: 0 });
        }
    }

    fn finish(mut self) -> Changes {
        for task in self.changed {
            self.out.tasks.push(TaskChange {
                task: self.plan.tasks[task].clone(),
                priority: self.plan.dag.graph.priority(task),
            });
        }
        self.out
    }
}
