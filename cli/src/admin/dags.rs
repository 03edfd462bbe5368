//! `dags list | show | trigger | list-runs | list-import-errors | pause | unpause`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tradewind_engine::trigger::ManualRequest;
use tradewind_proto::clock::{Ids as _, SystemIds};
use tradewind_proto::state::RunState;
use tradewind_store::Store;
use tradewind_store::model::{DagRow, NewRun, RunFilter, RunRow};

use super::{parse_date, time};
use crate::args::TriggerArgs;
use crate::failure::Failure;
use crate::output::{Format, print, row};

async fn known(store: &dyn Store, dag_id: &str) -> Result<DagRow, Failure> {
    store.dag(dag_id).await?.ok_or_else(|| {
        Failure::not_found(format!(
            "DAG {dag_id:?} does not exist; `tradewind dags list` lists them, \
             `tradewind dags list-import-errors` shows files that could not be loaded"
        ))
    })
}

pub(crate) async fn list(store: &dyn Store, format: Format) -> Result<(), Failure> {
    let rows: Vec<_> = store
        .dags(false)
        .await?
        .iter()
        .map(|dag| {
            row([
                ("dag_id", json!(dag.dag_id)),
                ("fileloc", json!(dag.spec.fileloc)),
                ("owners", json!(dag.spec.owners)),
                ("is_paused", json!(dag.is_paused)),
                ("schedule", json!(dag.spec.schedule_text)),
                ("next_run", time(dag.next_run.map(|next| next.run_after))),
                ("airflow_generation", json!(dag.spec.generation)),
            ])
        })
        .collect();
    let columns =
        ["dag_id", "fileloc", "owners", "is_paused", "schedule", "next_run", "airflow_generation"];
    Ok(print(format, &columns, &rows)?)
}

pub(crate) async fn show(store: &dyn Store, dag_id: &str, format: Format) -> Result<(), Failure> {
    let dag = known(store, dag_id).await?;
    let rows: Vec<_> = dag
        .spec
        .tasks
        .iter()
        .map(|task| {
            row([
                ("task_id", json!(task.task_id)),
                ("operator", json!(task.operator)),
                ("upstream", json!(task.upstream)),
                ("trigger_rule", json!(task.trigger_rule)),
                ("queue", json!(task.queue)),
                ("retries", json!(task.retries)),
            ])
        })
        .collect();
    let columns = ["task_id", "operator", "upstream", "trigger_rule", "queue", "retries"];
    Ok(print(format, &columns, &rows)?)
}

const RUN_COLUMNS: [&str; 8] = [
    "dag_id",
    "run_id",
    "state",
    "run_type",
    "logical_date",
    "execution_date",
    "start_date",
    "end_date",
];

fn run_row(run: &RunRow) -> crate::output::Row {
    row([
        ("dag_id", json!(run.dag_id)),
        ("run_id", json!(run.run_id)),
        ("state", json!(run.state)),
        ("run_type", json!(run.run_type)),
        ("run_after", time(Some(run.run_after))),
        ("logical_date", time(run.logical_date)),
        ("execution_date", time(run.logical_date)),
        ("start_date", time(run.start_date)),
        ("end_date", time(run.end_date)),
        ("conf", json!(run.conf)),
    ])
}

pub(crate) async fn list_runs(
    store: &dyn Store,
    dag_id: Option<String>,
    state: Option<&str>,
    limit: u32,
    format: Format,
) -> Result<(), Failure> {
    if let Some(dag_id) = &dag_id {
        known(store, dag_id).await?;
    }
    let state = state.map(str::parse::<RunState>).transpose().map_err(|error| {
        Failure::usage(format!("{error}; one of queued, running, success, failed"))
    })?;
    let runs = store.runs(RunFilter { dag_id, state, limit }).await?;
    let rows: Vec<_> = runs.iter().map(run_row).collect();
    Ok(print(format, &RUN_COLUMNS, &rows)?)
}

pub(crate) async fn list_import_errors(store: &dyn Store, format: Format) -> Result<(), Failure> {
    let rows: Vec<_> = store
        .import_errors()
        .await?
        .iter()
        .map(|found| {
            let place = match found.error.line {
                Some(line) => format!("{}:{line}", found.fileloc),
                None => found.fileloc.clone(),
            };
            row([
                ("filepath", json!(found.fileloc)),
                ("line", json!(found.error.line)),
                ("error", json!(format!("{place}: {}", found.error.message))),
                ("timestamp", time(Some(found.at))),
            ])
        })
        .collect();
    Ok(print(format, &["filepath", "error", "timestamp"], &rows)?)
}

pub(crate) async fn set_paused(
    store: &dyn Store,
    dag_id: &str,
    paused: bool,
) -> Result<(), Failure> {
    known(store, dag_id).await?;
    store.set_paused(dag_id, paused).await?;
    println!("Dag: {dag_id}, paused: {paused}");
    Ok(())
}

/// `--conf` as a JSON object.
pub(crate) fn parse_conf(text: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let Some(text) = text else { return Ok(Map::new()) };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(conf)) => Ok(conf),
        Ok(_) => Err(Failure::usage("--conf must be a JSON object, as in '{\"key\": 1}'")),
        Err(error) => Err(Failure::usage(format!("--conf is not valid JSON: {error}"))),
    }
}

/// A manual run of a DAG.
pub(crate) fn manual_run(
    dag: &DagRow,
    run_id: Option<String>,
    logical_date: Option<&str>,
    conf: Map<String, Value>,
    now: Timestamp,
) -> Result<NewRun, Failure> {
    let logical_date = logical_date.map(parse_date).transpose()?;
    Ok(tradewind_store::manual::manual_run(
        &dag.spec,
        SystemIds.next(),
        ManualRequest { run_id, logical_date, ..ManualRequest::default() },
        conf,
        now,
    ))
}

pub(crate) async fn trigger(store: &dyn Store, args: TriggerArgs) -> Result<(), Failure> {
    let conf = parse_conf(args.conf.as_deref())?;
    let dag = known(store, &args.dag_id).await?;
    let now = Timestamp::now();
    let run = manual_run(&dag, args.run_id, args.logical_date.as_deref(), conf, now)?;
    let run = store.trigger(run, now).await?;
    if dag.is_paused {
        eprintln!(
            "DAG {:?} is paused: the run starts after `tradewind dags unpause {}`",
            dag.dag_id, dag.dag_id
        );
    }
    let columns = ["dag_id", "run_id", "state", "run_type", "logical_date", "conf"];
    Ok(print(args.output.format(), &columns, &[run_row(&run)])?)
}
