//! Builders that the unit tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::json;
use tradewind_proto::clock::Ids;
use tradewind_proto::dag::{DagSpec, TaskSpec};
use tradewind_proto::state::{RunState, RunType};
use uuid::Uuid;

use crate::graph::CompiledDag;
use crate::model::RunInfo;

/// A Python task.
pub(crate) fn task(task_id: &str, upstream: &[&str]) -> TaskSpec {
    serde_json::from_value(json!({
        "task_id": task_id, "operator": "PythonOperator", "runtime": "python", "upstream": upstream,
    }))
    .expect("a minimal task")
}

/// A DAG named `d`.
pub(crate) fn dag(tasks: Vec<TaskSpec>) -> DagSpec {
    let mut spec: DagSpec = serde_json::from_value(json!({
        "dag_id": "d", "fileloc": "d.py", "generation": "3", "tasks": [],
    }))
    .expect("a minimal DAG");
    spec.tasks = tasks;
    spec
}

pub(crate) fn compile(spec: DagSpec) -> Arc<CompiledDag> {
    Arc::new(CompiledDag::new(Arc::new(spec)).expect("a valid graph"))
}

/// Seconds since the epoch.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a small number")
}

pub(crate) fn run_info(dag_id: &str) -> RunInfo {
    RunInfo {
        id: Uuid::from_u128(7),
        dag_id: dag_id.to_owned(),
        run_id: "manual__1".to_owned(),
        run_type: RunType::Manual,
        state: RunState::Running,
        logical_date: Some(at(0)),
        run_after: at(0),
        start_date: Some(at(0)),
        version_hash: String::new(),
        version: 1,
    }
}

/// Ids 1, 2, 3, …
#[derive(Debug, Default)]
pub(crate) struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}
