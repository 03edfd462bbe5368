//! Reads the previous run for tasks that depend on it.

use rusqlite::{Connection, params};
use tradewind_engine::model::{PastTask, RunInfo};
use tradewind_proto::clock::to_micros;
use tradewind_proto::dag::DagSpec;

use super::failure::Res;
use crate::past::{self, Previous};
use crate::rows::Cells;

pub(super) fn load(c: &Connection, spec: &DagSpec, run: &RunInfo) -> Res<Vec<PastTask>> {
    if !spec.tasks.iter().any(past::looks_back) {
        return Ok(Vec::new());
    }
    let mut statement = c.prepare_cached(
        "SELECT id, state FROM dag_run WHERE dag_id = ?1 AND date_key < ?2 \
         AND (NOT ?3 OR run_type = 'scheduled') ORDER BY date_key DESC LIMIT 1",
    )?;
    let date_key = to_micros(run.logical_date.unwrap_or(run.run_after));
    let mut found = statement.query(params![run.dag_id, date_key, spec.catchup])?;
    let Some(row) = found.next()? else { return Ok(past::past(spec, None)) };
    let mut previous = Previous { state: row.name(1)?, tasks: Vec::new() };
    let mut statement =
        c.prepare_cached("SELECT task_id, state FROM task_instance WHERE run = ?1")?;
    let mut tasks = statement.query([row.id(0)?])?;
    while let Some(task) = tasks.next()? {
        previous.tasks.push((task.text(0)?, task.name(1)?));
    }
    Ok(past::past(spec, Some(&previous)))
}
