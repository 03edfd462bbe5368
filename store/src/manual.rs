//! Building a run that somebody asks for by hand: the same for the command line and the pages.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tradewind_engine::timetable;
use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::RunType;
use uuid::Uuid;

use crate::model::NewRun;

/// A manual run of `spec`: its logical date is the given one or `now`, its data interval the one that
/// the timetable infers for that moment, its name `manual__<logical date>` unless given.
pub fn manual_run(
    spec: &DagSpec,
    id: Uuid,
    run_id: Option<String>,
    logical_date: Option<Timestamp>,
    conf: Map<String, Value>,
    now: Timestamp,
) -> NewRun {
    let logical = logical_date.unwrap_or(now);
    NewRun {
        id,
        dag_id: spec.dag_id.clone(),
        run_id: run_id.unwrap_or_else(|| timetable::run_id(RunType::Manual, logical)),
        run_type: RunType::Manual,
        logical_date: Some(logical),
        interval: Some(timetable::manual_interval(spec, logical)),
        run_after: logical.max(now),
        conf,
        trace_parent: String::new(),
    }
}
