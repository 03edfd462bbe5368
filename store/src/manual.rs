//! Turns a run that somebody asks for by hand into a row: the same for the command line and the pages.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tradewind_engine::trigger::{self, ManualRequest};
use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::RunType;
use uuid::Uuid;

use crate::model::NewRun;

/// A manual run of `spec`; see [`trigger::manual_run`] for what is filled in.
pub fn manual_run(
    spec: &DagSpec,
    id: Uuid,
    request: ManualRequest,
    conf: Map<String, Value>,
    now: Timestamp,
) -> NewRun {
    let run = trigger::manual_run(spec, request, now);
    NewRun {
        id,
        dag_id: spec.dag_id.clone(),
        run_id: run.run_id,
        run_type: RunType::Manual,
        logical_date: Some(run.logical_date),
        interval: Some(run.interval),
        run_after: run.run_after,
        conf,
        trace_parent: String::new(),
    }
}
