//! Commands that look at the store or change it, and end.

pub(crate) mod config;
pub(crate) mod dags;
pub(crate) mod db;
pub(crate) mod dlq;
pub(crate) mod jobs;
pub(crate) mod queues;
pub(crate) mod tasks;
pub(crate) mod variables;

use jiff::Timestamp;
use serde_json::Value;
use tradewind_store::Store;
use tradewind_store::model::{RunFilter, RunRow};

use crate::failure::Failure;

/// A time as listings show it: RFC 3339 with offset, microseconds kept; null when unset.
pub(crate) fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| {
        Value::String(at.display_with_offset(jiff::tz::Offset::UTC).to_string())
    })
}

/// A date or time as people type it: RFC 3339, `2024-01-31`, or `2024-01-31T10:00` (UTC).
pub(crate) fn parse_date(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let civil = text.parse::<jiff::civil::DateTime>();
    let civil = civil.and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC));
    civil.map(|at| at.timestamp()).map_err(|_| {
        Failure::usage(format!(
            "{text:?} is not a date; write it as 2024-01-31 or 2024-01-31T10:00:00+00:00"
        ))
    })
}

/// A run by its name or its logical date, as Airflow's commands accept both.
pub(crate) async fn find_run(
    store: &dyn Store,
    dag_id: &str,
    run: &str,
) -> Result<RunRow, Failure> {
    if let Some(row) = store.run(dag_id, run).await? {
        return Ok(row);
    }
    if store.dag(dag_id).await?.is_none() {
        return Err(Failure::not_found(format!("DAG {dag_id:?} does not exist")));
    }
    if let Ok(date) = parse_date(run) {
        let filter = RunFilter { dag_id: Some(dag_id.to_owned()), state: None, limit: 10_000 };
        let runs = store.runs(filter).await?;
        if let Some(row) = runs.into_iter().find(|row| row.logical_date == Some(date)) {
            return Ok(row);
        }
    }
    Err(Failure::not_found(format!(
        "DAG {dag_id:?} has no run {run:?}; `tradewind dags list-runs {dag_id}` lists them"
    )))
}
