//! How the previous run's instances stand, for tasks that depend on their past: pure, shared by the
//! drivers.

use std::collections::BTreeMap;

use tradewind_engine::model::PastTask;
use tradewind_proto::dag::{DagSpec, TaskSpec};
use tradewind_proto::state::{RunState, TaskState};

/// The previous run.
#[derive(Debug)]
pub(crate) struct Previous {
    pub(crate) state: RunState,
    /// (task, state) of all its instances.
    pub(crate) tasks: Vec<(String, TaskState)>,
}

pub(crate) fn looks_back(task: &TaskSpec) -> bool {
    task.depends_on_past || task.wait_for_downstream
}

pub(crate) fn past(spec: &DagSpec, previous: Option<&Previous>) -> Vec<PastTask> {
    let mut states: BTreeMap<&str, TaskState> = BTreeMap::new();
    for (task, state) in previous.iter().flat_map(|p| &p.tasks) {
        let entry = states.entry(task.as_str()).or_insert(*state);
        // Of several mapped instances, one that holds the next run back speaks for all.
        if !passes(*state) {
            *entry = *state;
        }
    }
    let unstarted = previous.is_some_and(|p| p.state == RunState::Queued);
    let done = |task: &TaskSpec| {
        let mut downstream = spec.tasks.iter().filter(|t| t.upstream.contains(&task.task_id));
        downstream.all(|t| states.get(t.task_id.as_str()).is_none_or(|s| passes(*s)))
    };
    let of = |task: &TaskSpec| PastTask {
        task_id: task.task_id.clone(),
        state: states.get(task.task_id.as_str()).copied().or(unstarted.then_some(TaskState::None)),
        downstream_done: !unstarted && done(task),
        has_previous_run: previous.is_some(),
    };
    spec.tasks.iter().filter(|t| looks_back(t)).map(of).collect()
}

fn passes(state: TaskState) -> bool {
    matches!(state, TaskState::Success | TaskState::Skipped)
}
