//! Composes what a worker gets with a claim from the store's row and the run's DAG version.

use std::sync::Arc;

use serde_json::{Map, Value};
use tradewind_proto::dag::{DagSpec, TaskSpec};
use tradewind_proto::execution::{Grant, RunContext};
use tradewind_store::model::ClaimedAttempt;

/// The grant for `claimed`, whose task is `task` of `dag`.
pub(crate) fn compose(
    claimed: ClaimedAttempt,
    dag: &DagSpec,
    task: &Arc<TaskSpec>,
    lease_ms: u64,
) -> Grant {
    let run = claimed.run;
    Grant {
        lease_ms,
        task: Arc::clone(task),
        fileloc: dag.fileloc.clone(),
        source_hash: dag.source_hash.clone(),
        context: RunContext {
            run: run.id,
            dag_id: run.dag_id,
            run_id: run.run_id,
            run_type: run.run_type,
            logical_date: run.logical_date,
            data_interval_start: run.interval.map(|(start, _)| start),
            data_interval_end: run.interval.map(|(_, end)| end),
            run_after: run.run_after,
            start_date: run.start_date,
            params: params(&dag.params, &task.params, &run.conf),
            conf: run.conf,
            try_number: claimed.try_number,
            max_tries: claimed.max_tries,
            map_index: claimed.map_index,
            timezone: dag.timezone.clone(),
            upstream: task.upstream.clone(),
            prev_success_interval: claimed.prev_success_interval,
        },
    }
}

/// The DAG's params, the task's laid over them, then the run's conf: Airflow with
/// `dag_run_conf_overrides_params` on, its default. As there, conf may name params that nobody
/// declared.
fn params(
    dag: &Map<String, Value>,
    task: &Map<String, Value>,
    conf: &Map<String, Value>,
) -> Map<String, Value> {
    let mut out = dag.clone();
    for (key, value) in task.iter().chain(conf) {
        out.insert(key.clone(), value.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn conf_wins_over_task_wins_over_dag() {
        let params = super::params(
            &map(json!({"a": "dag", "b": "dag", "c": "dag"})),
            &map(json!({"b": "task", "c": "task", "d": "task"})),
            &map(json!({"c": "conf", "e": "conf"})),
        );
        let expected = json!({"a": "dag", "b": "task", "c": "conf", "d": "task", "e": "conf"});
        assert_eq!(Value::Object(params), expected);
    }
}
