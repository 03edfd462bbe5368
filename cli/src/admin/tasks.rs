//! `tasks list | state | states-for-dag-run | logs`.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tradewind_proto::AttemptId;
use tradewind_proto::state::TaskState;
use tradewind_store::Store;
use tradewind_store::model::{RunRow, TaskInstanceRow};

use super::{find_run, time};
use crate::failure::Failure;
use crate::output::{Format, Row, print, row};

/// How often a followed log is asked for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(300);

pub(crate) async fn list(store: &dyn Store, dag_id: &str, format: Format) -> Result<(), Failure> {
    let dag = store
        .dag(dag_id)
        .await?
        .ok_or_else(|| Failure::not_found(format!("DAG {dag_id:?} does not exist")))?;
    let rows: Vec<Row> =
        dag.spec.tasks.iter().map(|task| row([("task_id", json!(task.task_id))])).collect();
    Ok(print(format, &["task_id"], &rows)?)
}

fn state_value(state: TaskState) -> Value {
    if state == TaskState::None { Value::Null } else { json!(state) }
}

/// A task instance under Airflow's column names.
pub(crate) fn task_row(run: &RunRow, task: &TaskInstanceRow) -> Row {
    row([
        ("dag_id", json!(task.dag_id)),
        ("run_id", json!(task.run_id)),
        ("logical_date", time(run.logical_date)),
        ("task_id", json!(task.task_id)),
        ("state", state_value(task.state)),
        ("start_date", time(task.start_date)),
        ("end_date", time(task.end_date)),
        ("try_number", json!(task.try_number)),
        ("queue", json!(task.queue)),
        ("hostname", json!(task.hostname)),
        ("worker", json!(task.worker)),
        ("pid", json!(task.pid)),
        ("message", json!(task.message)),
    ])
}

/// Columns of a state table.
pub(crate) const TASK_COLUMNS: [&str; 9] = [
    "dag_id",
    "run_id",
    "task_id",
    "state",
    "start_date",
    "end_date",
    "try_number",
    "queue",
    "hostname",
];

pub(crate) async fn states_for_dag_run(
    store: &dyn Store,
    dag_id: &str,
    run: &str,
    format: Format,
) -> Result<(), Failure> {
    let run = find_run(store, dag_id, run).await?;
    let tasks = store.task_instances(run.id).await?;
    let rows: Vec<Row> = tasks.iter().map(|task| task_row(&run, task)).collect();
    Ok(print(format, &TASK_COLUMNS, &rows)?)
}

async fn find_task(
    store: &dyn Store,
    run: &RunRow,
    task_id: &str,
) -> Result<TaskInstanceRow, Failure> {
    let tasks = store.task_instances(run.id).await?;
    tasks.into_iter().find(|task| task.task_id == task_id).ok_or_else(|| {
        Failure::not_found(format!(
            "run {:?} of DAG {:?} has no task {task_id:?}",
            run.run_id, run.dag_id
        ))
    })
}

pub(crate) async fn state(
    store: &dyn Store,
    dag_id: &str,
    task_id: &str,
    run: &str,
) -> Result<(), Failure> {
    let run = find_run(store, dag_id, run).await?;
    println!("{}", find_task(store, &run, task_id).await?.state);
    Ok(())
}

/// What `tasks logs` was asked for.
pub(crate) struct LogsQuery<'a> {
    pub(crate) dag_id: &'a str,
    pub(crate) task_id: &'a str,
    pub(crate) run: &'a str,
    pub(crate) try_number: Option<u32>,
    pub(crate) follow: bool,
}

pub(crate) async fn logs(store: &dyn Store, query: LogsQuery<'_>) -> Result<(), Failure> {
    let run = find_run(store, query.dag_id, query.run).await?;
    let task = find_task(store, &run, query.task_id).await?;
    let attempts = store.attempts(run.id).await?;
    let attempt = attempts.iter().rev().find(|attempt| {
        attempt.task_id == task.task_id
            && query.try_number.is_none_or(|number| attempt.try_number == number)
    });
    let Some(attempt) = attempt else {
        return Err(Failure::not_found(format!(
            "task {:?} has no such attempt yet (state {})",
            task.task_id, task.state
        )));
    };
    print_log(store, attempt.attempt_id, query.follow).await
}

async fn print_log(store: &dyn Store, attempt: AttemptId, follow: bool) -> Result<(), Failure> {
    let mut seq = 0;
    loop {
        let read = store.read_log(attempt, seq).await?;
        std::io::stdout().lock().write_all(read.text.as_bytes())?;
        let more = read.next_seq > seq;
        seq = read.next_seq;
        if !more && (read.ended || !follow) {
            return Ok(());
        }
        if !more {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }
}
