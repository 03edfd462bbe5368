//! S16: what holds slots, counted independently of the store's own arithmetic.

use std::collections::BTreeMap;
use std::sync::Arc;

use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::RunState;
use uuid::Uuid;

use super::{RunView, broken};
use crate::world::Violation;

/// Counts everything; names the first limit that is exceeded.
pub(super) fn check(
    runs: &BTreeMap<Uuid, RunView>,
    dags: &BTreeMap<String, Arc<DagSpec>>,
    pool_slots: i64,
    parallelism: u32,
) -> Result<(), Violation> {
    let mut counts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut add = |what: String, by: i64, limit: i64| {
        let entry = counts.entry(what).or_insert((0, limit));
        entry.0 += by;
    };
    for run in runs.values() {
        let dag_id = &run.info.dag_id;
        let spec = &dags[dag_id];
        if run.info.state == RunState::Running {
            let limit = i64::from(spec.max_active_runs);
            add(format!("running runs of {dag_id}"), 1, limit);
        }
        for task in run.tasks.values().filter(|task| task.state.holds_slot()) {
            let Some(of_task) = spec.task(&task.task_id) else { continue };
            add(format!("pool {}", of_task.pool), i64::from(of_task.pool_slots), pool_slots);
            if parallelism > 0 {
                add("parallelism".to_owned(), 1, i64::from(parallelism));
            }
            let scope = if spec.max_active_tasks_per_run { &run.info.run_id } else { "all runs" };
            add(format!("tasks of {dag_id} in {scope}"), 1, i64::from(spec.max_active_tasks));
            if let Some(limit) = of_task.max_active_tis_per_dag {
                add(format!("{dag_id}/{} in all runs", task.task_id), 1, i64::from(limit));
            }
            if let Some(limit) = of_task.max_active_tis_per_dagrun {
                let what = format!("{dag_id}/{} in {}", task.task_id, run.info.run_id);
                add(what, 1, i64::from(limit));
            }
        }
    }
    match counts.iter().find(|(_, (count, limit))| count > limit) {
        None => Ok(()),
        Some((what, (count, limit))) => broken("S16", format!("{what}: {count} of {limit}")),
    }
}
