//! The planner, case by case. `oracle` compares it with a naive one over random runs.

mod events;
mod oracle;

use std::sync::Arc;

use tradewind_proto::AttemptId;
use tradewind_proto::dag::{DagSpec, Runtime, TriggerRule};
use tradewind_proto::state::{OutcomeState, RunState, TaskState};
use tradewind_proto::workload::{Outcome, OutcomeHead};
use uuid::Uuid;

use super::*;
use crate::testing::{CountingIds, at, compile, dag, run_info, task};

/// A plan under test with its id source.
pub(super) struct Bench {
    pub(super) plan: RunPlan,
    pub(super) ids: CountingIds,
}

impl Bench {
    fn new(spec: DagSpec) -> Self {
        Self::with_past(spec, Vec::new())
    }

    fn with_past(spec: DagSpec, past: Vec<PastTask>) -> Self {
        let dag = compile(spec);
        let tasks = (0..dag.graph.len()).map(|i| fresh(&dag, i)).collect();
        let snapshot = RunSnapshot { run: run_info("d"), tasks, past };
        let plan = RunPlan::new(dag, snapshot, PlanOptions::default());
        Self { plan, ids: CountingIds::default() }
    }

    /// Loads the run again, as after a takeover.
    fn reload(&mut self) {
        let snapshot = RunSnapshot {
            run: self.plan.run.clone(),
            tasks: self.plan.tasks.clone(),
            past: self.plan.past.values().cloned().collect(),
        };
        self.plan = RunPlan::new(Arc::clone(&self.plan.dag), snapshot, self.plan.options);
    }

    fn start(&mut self) -> Changes {
        self.plan.start(at(0), &self.ids)
    }

    /// Ends a task's current attempt at a second.
    fn end(&mut self, task_id: &str, state: OutcomeState, second: i64) -> (Verdict, Changes) {
        self.end_skipping(task_id, state, second, &[])
    }

    fn end_skipping(
        &mut self,
        task_id: &str,
        state: OutcomeState,
        second: i64,
        skip: &[&str],
    ) -> (Verdict, Changes) {
        let mut outcome = self.outcome(task_id, state, second);
        outcome.skip = skip.iter().map(|&s| s.to_owned()).collect();
        self.plan.outcome(&outcome, at(second), &self.ids)
    }

    fn outcome(&self, task_id: &str, state: OutcomeState, second: i64) -> Outcome {
        let row = self.plan.task(task_id).expect("a task");
        let head = OutcomeHead {
            attempt_id: row.attempt_id.unwrap_or(AttemptId(Uuid::nil())),
            token: row.token,
            run: self.plan.run().id,
            task_id: task_id.to_owned(),
            map_index: row.map_index,
            worker: "w".to_owned(),
        };
        Outcome::new(head, state, at(second - 1), at(second))
    }

    fn state(&self, task_id: &str) -> TaskState {
        self.plan.task(task_id).expect("a task").state
    }
}

fn named(changes: &Changes) -> Vec<(&str, TaskState)> {
    changes.tasks.iter().map(|c| (c.task.task_id.as_str(), c.task.state)).collect()
}

fn with_rule(mut spec: TaskSpec, rule: TriggerRule) -> TaskSpec {
    spec.trigger_rule = rule;
    spec
}

use crate::model::{PastTask, RunSnapshot};
use tradewind_proto::dag::TaskSpec;
