//! One run: its facts, its tasks, and why those that wait do so.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use tradewind_proto::Timestamp;
use tradewind_proto::state::TaskState;
use tradewind_store::model::{RunRow, TaskInstanceRow};

use super::dag::graph_of;
use super::grid::Column;
use super::page::{Page, Trouble, show};
use super::text::{badge, run_look, task_look, time, time_or_dash, took};
use super::why::Scene;
use super::{Shared, Ui};
use crate::ops::WORKER_ONLINE;

/// Task instances listed.
const ROWS_MAX: usize = 2_000;
/// Characters of an error text in the table; the task's page has all of it.
const MESSAGE_CHARS_MAX: usize = 160;

/// `GET /dags/{dag_id}/runs/{run_id}`.
pub(crate) async fn page(
    State(ui): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let page = compose(&ui, &dag_id, &run_id).await;
    show(&ui, &headers, page).await
}

async fn compose(ui: &Ui, dag_id: &str, run_id: &str) -> Result<Page, Trouble> {
    let run = ui.store.run(dag_id, run_id).await?;
    let run = run.ok_or_else(|| Trouble::missing("run", &format!("{dag_id} {run_id}")))?;
    let now = ui.clock.now();
    let (tasks, spec, dag, workers) = tokio::try_join!(
        ui.store.task_instances(run.id),
        ui.store.spec(&run.version_hash),
        ui.store.dag(dag_id),
        ui.store.workers(now - WORKER_ONLINE),
    )?;
    let spec = spec.ok_or_else(|| Trouble::missing("DAG version", &run.version_hash))?;
    let dag_paused = dag.is_some_and(|dag| dag.is_paused);
    let column = Column { run, tasks };
    let scene = Scene {
        spec: &spec,
        run: &column.run,
        tasks: &column.tasks,
        workers: &workers,
        dag_paused,
    };
    let main = html! {
        div.head { h1 { (run_id) } (badge(run_look(column.run.state))) }
        @if let Some(why) = scene.run_waits() { p.banner.info { (why) } }
        (facts(&column.run, now))
        (tally(&column.tasks))
        h2 { "Tasks" }
        (table(ui, &scene, now))
        h2 { "Graph" }
        (graph_of(ui, &spec, Some(&column)))
    };
    let trail =
        vec![("DAGs".to_owned(), ui.links.dags()), (dag_id.to_owned(), ui.links.dag(dag_id))];
    Ok(Page { title: format!("{dag_id} · {run_id}"), trail, main })
}

fn facts(run: &RunRow, now: Timestamp) -> Markup {
    let conf = serde_json::to_string_pretty(&run.conf).unwrap_or_default();
    html! {
        dl.facts {
            div { dt { "Type" } dd { (run.run_type) } }
            div { dt { "Logical date" } dd { (time_or_dash(run.logical_date)) } }
            @if let Some((start, end)) = run.interval {
                div { dt { "Data interval" } dd { (time(start)) " – " (time(end)) } }
            }
            div { dt { "Queued" } dd { (time(run.queued_at)) } }
            div { dt { "Started" } dd { (time_or_dash(run.start_date)) } }
            div { dt { "Ended" } dd { (time_or_dash(run.end_date)) } }
            div { dt { "Took" } dd { (took(run.start_date, run.end_date, now)) } }
        }
        @if !run.conf.is_empty() {
            details #conf open { summary { "Configuration" } pre { (conf) } }
        }
    }
}

fn tally(tasks: &[TaskInstanceRow]) -> Markup {
    html! {
        p.legend {
            @for state in TaskState::ALL {
                @let count = tasks.iter().filter(|task| task.state == *state).count();
                @if count > 0 { span.tally { (count) " " (badge(task_look(*state))) } }
            }
        }
    }
}

fn table(ui: &Ui, scene: &Scene<'_>, now: Timestamp) -> Markup {
    let from = scene.tasks.iter().filter_map(|t| t.queued_at.or(t.start_date)).min();
    let to = scene.run.end_date.unwrap_or(now);
    html! {
        table.cards.tasks {
            thead { tr {
                th scope="col" { "Task" }
                th scope="col" { "State" }
                th scope="col" { "Try" }
                th scope="col" { "Started" }
                th scope="col" { "Took" }
                th scope="col" { "When in the run" }
                th scope="col" { "Worker" }
                th scope="col" { "Queue" }
            } }
            tbody {
                @for task in scene.tasks.iter().take(ROWS_MAX) {
                    (row(ui, scene, task, now))
                    @if let Some(text) = remark(scene, task) {
                        tr.remark { td {} td colspan="7" { (text) } }
                    }
                }
            }
        }
        @if from.is_none() || to < scene.run.queued_at { p.dim { "Nothing has been queued yet." } }
        @if scene.tasks.len() > ROWS_MAX {
            p.dim { (scene.tasks.len() - ROWS_MAX) " more task instances" }
        }
    }
}

fn row(ui: &Ui, scene: &Scene<'_>, task: &TaskInstanceRow, now: Timestamp) -> Markup {
    let address = ui.links.task(&task.dag_id, &task.run_id, &task.task_id);
    html! {
        tr.broken[task.state == TaskState::Failed] {
            td.name {
                a href=(address) { (task.task_id) @if task.map_index >= 0 { "[" (task.map_index) "]" } }
                " " span.dim { (task.operator) }
            }
            td data-label="State" { (badge(task_look(task.state))) }
            td.keep data-label="Try" {
                @if task.try_number > 0 { (task.try_number) span.dim { " of " (task.max_tries + 1) } }
                @else { span.dim { "–" } }
            }
            td data-label="Started" { (time_or_dash(task.start_date)) }
            td.keep data-label="Took" { (took(task.start_date, task.end_date, now)) }
            td.when { (when(scene.run, task, now)) }
            td data-label="Worker" {
                @if task.worker.is_empty() { span.dim { "–" } } @else { (task.worker) }
            }
            td data-label="Queue" { (task.queue) }
        }
    }
}

/// Waiting and running, as a bar within the run's time.
fn when(run: &RunRow, task: &TaskInstanceRow, now: Timestamp) -> Markup {
    let Some(run_start) = run.start_date else { return html! {} };
    let run_end = run.end_date.unwrap_or(now);
    let whole = run_end.duration_since(run_start).as_secs_f64().max(0.001);
    let x = |at: Timestamp| {
        (at.duration_since(run_start).as_secs_f64() / whole * 200.0).clamp(0.0, 200.0).round()
    };
    let Some(start) = task.start_date else { return html! {} };
    let end = task.end_date.unwrap_or(now);
    let queued = task.queued_at.filter(|queued| *queued < start);
    let look = task_look(task.state);
    html! {
        svg class={ "gantt " (look.class) } viewBox="0 0 200 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.track x="0" y="4" width="200" height="2" {}
            @if let Some(queued) = queued {
                rect.wait x=(x(queued)) y="3" width=(x(start) - x(queued)) height="4" {}
            }
            rect.work x=(x(start).min(198.0)) y="0" width=((x(end) - x(start)).max(2.0)) height="10" rx="1" {}
        }
    }
}

/// Why it waits, and the error of its last try.
fn remark(scene: &Scene<'_>, task: &TaskInstanceRow) -> Option<String> {
    // The last line of a traceback says what went wrong.
    let line = task.message.trim().lines().last().unwrap_or_default();
    let mut error: String = line.chars().take(MESSAGE_CHARS_MAX).collect();
    if line.chars().count() > MESSAGE_CHARS_MAX {
        error.push('…');
    }
    match (scene.task_waits(task), error.is_empty()) {
        (Some(why), true) => Some(why),
        (Some(why), false) => Some(format!("{why}; last try: {error}")),
        (None, false) => Some(error),
        (None, true) => None,
    }
}
