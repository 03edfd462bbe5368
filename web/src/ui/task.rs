//! One task of a run: its attempts and the end of its log.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use tradewind_proto::AttemptId;
use tradewind_proto::dag::DagSpec;
use tradewind_store::model::{AttemptRow, RunRow, TaskInstanceRow};

use super::page::{Page, Trouble, show};
use super::text::{badge, outcome_look, task_look, time, time_or_dash, took};
use super::why::Scene;
use super::{Shared, Ui, log};
use crate::ops::WORKER_ONLINE;

/// Attempts listed, newest first.
const ATTEMPTS_MAX: usize = 50;

/// Which instance and attempt.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    map_index: Option<i32>,
    attempt: Option<AttemptId>,
}

/// `GET /dags/{dag_id}/runs/{run_id}/tasks/{task_id}`.
pub(crate) async fn page(
    State(ui): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let page = compose(&ui, (&dag_id, &run_id, &task_id), &wanted).await;
    show(&ui, &headers, page).await
}

async fn compose(
    ui: &Ui,
    (dag_id, run_id, task_id): (&str, &str, &str),
    wanted: &Wanted,
) -> Result<Page, Trouble> {
    let run = ui.store.run(dag_id, run_id).await?;
    let run = run.ok_or_else(|| Trouble::missing("run", &format!("{dag_id} {run_id}")))?;
    let now = ui.clock.now();
    let (tasks, attempts, spec, dag, workers) = tokio::try_join!(
        ui.store.task_instances(run.id),
        ui.store.attempts(run.id),
        ui.store.spec(&run.version_hash),
        ui.store.dag(dag_id),
        ui.store.workers(now - WORKER_ONLINE),
    )?;
    let spec = spec.ok_or_else(|| Trouble::missing("DAG version", &run.version_hash))?;
    let dag_paused = dag.is_some_and(|dag| dag.is_paused);
    let instance = |t: &&TaskInstanceRow| {
        t.task_id == task_id && wanted.map_index.is_none_or(|index| t.map_index == index)
    };
    let task =
        tasks.iter().find(instance).ok_or_else(|| Trouble::missing("task in this run", task_id))?;
    let mut tries: Vec<&AttemptRow> =
        attempts.iter().filter(|a| a.task_id == task_id && a.map_index == task.map_index).collect();
    tries.reverse();
    tries.truncate(ATTEMPTS_MAX);
    let picked = match wanted.attempt {
        Some(id) => tries.iter().find(|a| a.attempt_id == id),
        None => tries.first(),
    };
    let scene = Scene { spec: &spec, run: &run, tasks: &tasks, workers: &workers, dag_paused };
    let log = match picked {
        Some(attempt) => log::tail(ui, attempt.attempt_id).await?,
        None => log::Tail::default(),
    };
    let here = ui.links.task(dag_id, run_id, task_id);
    let main = html! {
        (head(task))
        @if let Some(why) = scene.task_waits(task) { p.banner.info { "Not running: " (why) "." } }
        @if !task.message.trim().is_empty() {
            section.banner.bad { h2 { "Message" } pre { (task.message.trim()) } }
        }
        (facts(ui, task))
        (attempts_table(&tries, picked.map(|a| a.attempt_id), &here, ui))
        @if let Some(attempt) = picked { (log::show(&log, attempt, &here)) }
        (definition(&spec, task_id))
    };
    Ok(Page { title: format!("{task_id} · {dag_id}"), trail: trail(ui, &run), main })
}

fn trail(ui: &Ui, run: &RunRow) -> Vec<(String, String)> {
    vec![
        ("DAGs".to_owned(), ui.links.dags()),
        (run.dag_id.clone(), ui.links.dag(&run.dag_id)),
        (run.run_id.clone(), ui.links.run(&run.dag_id, &run.run_id)),
    ]
}

fn head(task: &TaskInstanceRow) -> Markup {
    html! {
        div.head {
            h1 { (task.task_id) @if task.map_index >= 0 { "[" (task.map_index) "]" } }
            (badge(task_look(task.state)))
        }
    }
}

fn facts(ui: &Ui, task: &TaskInstanceRow) -> Markup {
    html! {
        dl.facts {
            div { dt { "Operator" } dd { (task.operator) } }
            div { dt { "Try" } dd { (task.try_number) " of " (task.max_tries + 1) } }
            div { dt { "Queued" } dd { (time_or_dash(task.queued_at)) } }
            div { dt { "Started" } dd { (time_or_dash(task.start_date)) } }
            div { dt { "Took" } dd { (took(task.start_date, task.end_date, ui.clock.now())) } }
            div { dt { "Queue" } dd { (task.queue) } }
            div { dt { "Pool" } dd { (task.pool) } }
            div { dt { "Priority" } dd { (task.priority) } }
            @if !task.worker.is_empty() {
                div { dt { "Worker" } dd {
                    (task.worker)
                    @if task.pid != 0 { span.dim { " pid " (task.pid) } }
                } }
            }
        }
    }
}

fn attempts_table(tries: &[&AttemptRow], picked: Option<AttemptId>, here: &str, ui: &Ui) -> Markup {
    html! {
        h2 { "Attempts" }
        @if tries.is_empty() { p.empty { "No attempt yet." } } @else {
            table.cards {
                thead { tr {
                    th scope="col" { "Try" } th scope="col" { "End" } th scope="col" { "Queued" }
                    th scope="col" { "Claimed" } th scope="col" { "Took" }
                    th scope="col" { "Worker" } th scope="col" { "Log" }
                } }
                tbody {
                    @for row in tries {
                        tr.picked[picked == Some(row.attempt_id)] {
                            td data-label="Try" { (row.try_number) span.dim title="fencing token" { " #" (row.token) } }
                            td data-label="End" {
                                @match row.outcome {
                                    Some(outcome) => (badge(outcome_look(outcome))),
                                    None => span.dim { "not yet" },
                                }
                            }
                            td data-label="Queued" { (time(row.queued_at)) }
                            td data-label="Claimed" { (time_or_dash(row.claimed_at)) }
                            td.keep data-label="Took" { (took(row.claimed_at, row.ended_at, ui.clock.now())) }
                            td data-label="Worker" { @if row.worker.is_empty() { span.dim { "–" } } @else { (row.worker) } }
                            td data-label="Log" { a href={ (here) "?attempt=" (row.attempt_id) } { "show" } }
                        }
                    }
                }
            }
        }
    }
}

fn definition(spec: &DagSpec, task_id: &str) -> Markup {
    let Some(task) = spec.task(task_id) else { return html! {} };
    let args = serde_json::to_string_pretty(&task.args).unwrap_or_default();
    html! {
        details #definition {
            summary { "Definition" }
            dl.facts {
                div { dt { "Upstream" } dd { @if task.upstream.is_empty() { "none" } @else { (task.upstream.join(", ")) } } }
                div { dt { "Trigger rule" } dd { code { (task.trigger_rule) } } }
                div { dt { "Retries" } dd { (task.retries) ", " (task.retry_delay) " s apart" } }
                @if let Some(limit) = task.execution_timeout { div { dt { "Time limit" } dd { (limit) " s" } } }
            }
            @if !task.args.is_empty() { pre { (args) } }
        }
    }
}
