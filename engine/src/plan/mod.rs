//! The plan of one run, in memory: which task may start, which never will, and how the run ends.
//!
//! Holds dependency counters, so that an event costs what depends on it and not the size of the run.
//! Decides only; what it returns must be committed, and a plan whose changes could not be committed
//! must be dropped and loaded again.

mod cascade;
mod end;
mod outcome;
mod pass;
mod retry;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tradewind_proto::clock::Ids;
use tradewind_proto::state::{RunState, TaskState};
use tradewind_proto::workload::Outcome;

use crate::graph::CompiledDag;
use crate::model::{Changes, PastTask, RunInfo, RunSnapshot, TaskInstance};
use crate::trigger_rule::Upstreams;
use pass::Pass;
use tally::Tally;

pub use retry::retry_at;

/// Knobs of the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Attempts of one task instance that may be lost to dead workers before a loss counts as a
    /// failed try.
    pub lost_max: u32,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { lost_max: 5 }
    }
}

/// What an outcome was to the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It ended the current attempt; the changes must be committed.
    Applied,
    /// The attempt had ended already. Nothing changes.
    Duplicate,
    /// It is of an attempt that was superseded, or of an unknown task. Nothing changes.
    Stale,
}

/// One run being planned.
#[derive(Debug, Clone)]
pub struct RunPlan {
    dag: Arc<CompiledDag>,
    options: PlanOptions,
    run: RunInfo,
    /// By index of the graph.
    tasks: Vec<TaskInstance>,
    /// Instances whose task is not in the DAG version.
    strays: Vec<TaskInstance>,
    upstreams: Vec<Upstreams>,
    gates: BTreeMap<usize, Upstreams>,
    /// Unfinished tasks that a teardown still waits for beyond its direct upstreams.
    scope_open: BTreeMap<usize, usize>,
    past: BTreeMap<usize, PastTask>,
    timers: BTreeSet<(Timestamp, usize)>,
    blocked_by_past: BTreeSet<usize>,
    tally: Tally,
    started: bool,
}

impl RunPlan {
    /// Lays out a run. Decides nothing yet: call [`RunPlan::start`] next.
    pub fn new(dag: Arc<CompiledDag>, snapshot: RunSnapshot, options: PlanOptions) -> Self {
        let (tasks, strays) = by_index(&dag, snapshot.tasks);
        let past = by_task(&dag, snapshot.past);
        let mut plan = Self {
            upstreams: count_upstreams(&dag),
            gates: count_gates(&dag),
            scope_open: count_scopes(&dag),
            run: snapshot.run,
            timers: BTreeSet::new(),
            blocked_by_past: BTreeSet::new(),
            tally: Tally::default(),
            started: false,
            dag,
            options,
            tasks,
            strays,
            past,
        };
        plan.load();
        plan
    }

    /// Decides everything that can be decided now: after a load, a takeover, or as a re-evaluation.
    /// A run that is still queued becomes running; the caller has checked `max_active_runs`.
    pub fn start(&mut self, now: Timestamp, ids: &dyn Ids) -> Changes {
        self.started = false;
        Pass::new(self, now, ids).run(Pass::admit)
    }

    /// Replaces what is known of the previous run; call [`RunPlan::start`] next.
    pub fn set_past(&mut self, past: Vec<PastTask>) {
        self.past = by_task(&self.dag, past);
    }

    /// Applies how an attempt ended.
    pub fn outcome(
        &mut self,
        outcome: &Outcome,
        now: Timestamp,
        ids: &dyn Ids,
    ) -> (Verdict, Changes) {
        match outcome::judge(self, outcome) {
            Ok(task) => {
                let changes = Pass::new(self, now, ids).run(|pass| pass.apply(task, outcome));
                (Verdict::Applied, changes)
            }
            Err(verdict) => (verdict, Changes::default()),
        }
    }

    /// Decides what time alone has changed: due retries, `dagrun_timeout`.
    pub fn wake(&mut self, now: Timestamp, ids: &dyn Ids) -> Changes {
        Pass::new(self, now, ids).run(|_| ())
    }

    /// When [`RunPlan::wake`] has something to do next.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.is_done() {
            return None;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.deadline()).min()
    }

    /// Notes that the last changes were committed.
    pub fn committed(&mut self, new_version: i64) {
        self.run.version = new_version;
    }

    /// Version that the next commit must find in the store.
    pub fn version(&self) -> i64 {
        self.run.version
    }

    /// Whether the run has ended.
    pub fn is_done(&self) -> bool {
        self.run.state.is_terminal()
    }

    /// The run's row.
    pub fn run(&self) -> &RunInfo {
        &self.run
    }

    /// A task instance's row.
    pub fn task(&self, task_id: &str) -> Option<&TaskInstance> {
        self.dag.graph.index(task_id).map(|i| &self.tasks[i])
    }

    /// All task instances, in definition order.
    pub fn tasks(&self) -> &[TaskInstance] {
        &self.tasks
    }

    /// The DAG version that the run follows.
    pub fn dag(&self) -> &Arc<CompiledDag> {
        &self.dag
    }

    /// Tasks whose own dependencies hold, but not those on the previous run. A
    /// reload re-evaluates them.
    pub fn waits_on_past(&self) -> bool {
        !self.blocked_by_past.is_empty()
    }

    fn load(&mut self) {
        for task in 0..self.tasks.len() {
            let state = self.tasks[task].state;
            self.tally.add(state, self.dag.graph.is_effective_leaf(task));
            if state.is_terminal() {
                self.count_end(task, state);
            }
            self.set_timer(task);
        }
    }

    /// Tells the counters of all dependents that a task ended.
    fn count_end(&mut self, task: usize, state: TaskState) {
        let dag = Arc::clone(&self.dag);
        let is_setup = dag.task(task).is_setup;
        for &down in dag.graph.downstream(task) {
            self.upstreams[down].count(state, is_setup);
        }
        for gated in dag.graph.setup().gated(task) {
            if let Some(gate) = self.gates.get_mut(gated) {
                gate.count(state, true);
            }
        }
        for teardown in dag.graph.setup().in_scope_of(task) {
            if let Some(open) = self.scope_open.get_mut(teardown) {
                *open = open.saturating_sub(1);
            }
        }
    }

    fn timer(&self, task: usize) -> Option<(Timestamp, usize)> {
        let row = &self.tasks[task];
        let waits = matches!(row.state, TaskState::UpForRetry | TaskState::UpForReschedule);
        waits.then(|| (row.not_before.unwrap_or(Timestamp::MIN), task))
    }

    fn set_timer(&mut self, task: usize) {
        if let Some(timer) = self.timer(task) {
            self.timers.insert(timer);
        }
    }

    fn clear_timer(&mut self, task: usize) {
        if let Some(timer) = self.timer(task) {
            self.timers.remove(&timer);
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.dag.spec.dagrun_timeout?;
        let started = self.run.start_date?;
        (self.run.state == RunState::Running).then(|| retry::later(started, seconds))
    }
}

fn by_task(dag: &CompiledDag, past: Vec<PastTask>) -> BTreeMap<usize, PastTask> {
    past.into_iter().filter_map(|p| Some((dag.graph.index(&p.task_id)?, p))).collect()
}

/// Sorts the rows by index; rows of tasks that the DAG does not have are strays, and a task without a
/// row gets a fresh one.
fn by_index(dag: &CompiledDag, rows: Vec<TaskInstance>) -> (Vec<TaskInstance>, Vec<TaskInstance>) {
    let mut found: Vec<Option<TaskInstance>> = vec![None; dag.graph.len()];
    let mut strays = Vec::new();
    for row in rows {
        match dag.graph.index(&row.task_id) {
            Some(i) if row.map_index < 0 && found[i].is_none() => found[i] = Some(row),
            _ => strays.push(row),
        }
    }
    let fill = |(i, row): (usize, Option<TaskInstance>)| row.unwrap_or_else(|| fresh(dag, i));
    (found.into_iter().enumerate().map(fill).collect(), strays)
}

fn fresh(dag: &CompiledDag, task: usize) -> TaskInstance {
    let spec = dag.task(task);
    TaskInstance {
        task_id: spec.task_id.clone(),
        map_index: -1,
        state: TaskState::None,
        try_number: 0,
        max_tries: spec.retries,
        token: 0,
        attempt_id: None,
        start_date: None,
        end_date: None,
        not_before: None,
        lost_count: 0,
        skip_requested: false,
    }
}

fn count_upstreams(dag: &CompiledDag) -> Vec<Upstreams> {
    (0..dag.graph.len()).map(|task| totals(dag, dag.graph.upstream(task))).collect()
}

fn count_gates(dag: &CompiledDag) -> BTreeMap<usize, Upstreams> {
    let gates = (0..dag.graph.len()).map(|task| (task, dag.graph.setup().gates(task)));
    gates.filter(|(_, by)| !by.is_empty()).map(|(task, by)| (task, totals(dag, by))).collect()
}

fn count_scopes(dag: &CompiledDag) -> BTreeMap<usize, usize> {
    let scopes = (0..dag.graph.len()).map(|task| (task, dag.graph.setup().scope(task).len()));
    scopes.filter(|(_, size)| *size > 0).collect()
}

fn totals(dag: &CompiledDag, tasks: &[usize]) -> Upstreams {
    let setups = tasks.iter().filter(|&&task| dag.task(task).is_setup).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Upstreams { total: count(tasks.len()), setups: count(setups), ..Upstreams::default() }
}

#[cfg(test)]
mod tests;
