//! One DAG: what it is, its latest runs as a grid, its graph.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use maud::{Markup, html};
use serde::Deserialize;
use tradewind_proto::dag::DagSpec;
use tradewind_store::Error;
use tradewind_store::model::{DagRow, RunFilter, RunRow};

use super::dags::pause_switch;
use super::graph::{self, GraphBox};
use super::grid::{self, Column};
use super::page::{Page, Trouble, show};
use super::text::{badge, run_look, task_look, time, time_or_dash, took};
use super::{Shared, Ui};

/// Runs in the grid.
const RUNS: u32 = 25;
/// Runs loaded at once.
const LOOKS_MAX: usize = 8;

/// Which run the graph shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    run: Option<String>,
}

/// `GET /dags/{dag_id}`.
pub(crate) async fn page(
    State(ui): State<Shared>,
    Path(dag_id): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let page = compose(&ui, &dag_id, wanted.run.as_deref()).await;
    show(&ui, &headers, page).await
}

async fn compose(ui: &Ui, dag_id: &str, wanted: Option<&str>) -> Result<Page, Trouble> {
    let dag = ui.store.dag(dag_id).await?.ok_or_else(|| Trouble::missing("DAG", dag_id))?;
    let columns = columns(ui, dag_id).await?;
    let picked = match wanted {
        Some(run_id) => columns.iter().find(|c| c.run.run_id == run_id),
        None => columns.last(),
    };
    let main = html! {
        (head(ui, &dag))
        (facts(&dag))
        (trigger_form(ui, &dag))
        h2 { "Latest runs" }
        (grid::draw(ui, &dag.spec, &columns, picked.map(|c| c.run.run_id.as_str())))
        (legend())
        h2 { "Graph" }
        @if let Some(column) = picked { (picked_run(ui, &column.run)) }
        (graph_of(ui, &dag.spec, picked))
        @if let Some(text) = &dag.spec.doc_md {
            details #doc { summary { "Documentation" } pre.doc { (text) } }
        }
    };
    let trail = vec![("DAGs".to_owned(), ui.links.dags())];
    Ok(Page { title: dag_id.to_owned(), trail, main })
}

async fn columns(ui: &Ui, dag_id: &str) -> Result<Vec<Column>, Error> {
    let filter = RunFilter { dag_id: Some(dag_id.to_owned()), limit: RUNS, ..RunFilter::default() };
    let mut runs = ui.store.runs(filter).await?;
    runs.reverse();
    let load = |run: RunRow| async move {
        let tasks = ui.store.task_instances(run.id).await?;
        Ok::<_, Error>(Column { run, tasks })
    };
    stream::iter(runs).map(load).buffered(LOOKS_MAX).try_collect().await
}

fn head(ui: &Ui, dag: &DagRow) -> Markup {
    html! {
        div.head {
            h1 { (dag.dag_id) }
            (pause_switch(ui, dag))
            @if dag.is_paused { span.dim { "paused: runs wait" } }
            form method="post" action=(ui.links.trigger(&dag.dag_id)) { button.main { "Trigger" } }
        }
        @if !dag.is_active {
            p.banner.warn {
                "This DAG is no longer in the DAGs folder (" code { (dag.spec.fileloc) } "): it gets no new runs."
            }
        }
        @if let Some(text) = &dag.spec.description { p.lead { (text) } }
    }
}

fn facts(dag: &DagRow) -> Markup {
    let spec = &dag.spec;
    html! {
        dl.facts {
            div { dt { "Schedule" } dd {
                @if spec.schedule_text.is_empty() { "by hand" } @else { code { (spec.schedule_text) } }
                @if spec.timezone != "UTC" { " " span.dim { (spec.timezone) } }
            } }
            div { dt { "Next run" } dd { (time_or_dash(dag.next_run.map(|n| n.run_after))) } }
            div { dt { "File" } dd { code { (spec.fileloc) } } }
            div { dt { "Written for" } dd { "Airflow " (spec.generation) } }
            div { dt { "Version" } dd {
                (dag.version_number) " " span.dim title=(dag.version_hash) { (short(&dag.version_hash)) }
            } }
            div { dt { "Read" } dd { (time(dag.last_parsed_at)) } }
            div { dt { "Limits" } dd {
                (spec.max_active_runs) " runs, " (spec.max_active_tasks) " tasks at once"
            } }
            @if !spec.owners.is_empty() { div { dt { "Owners" } dd { (spec.owners.join(", ")) } } }
        }
    }
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn trigger_form(ui: &Ui, dag: &DagRow) -> Markup {
    let params = serde_json::to_string_pretty(&dag.spec.params).unwrap_or_default();
    html! {
        details #trigger-with {
            summary { "Trigger with a configuration" }
            form.wide method="post" action=(ui.links.trigger(&dag.dag_id)) {
                label for="conf" { "Configuration (a JSON object; it overrides params)" }
                textarea #conf name="conf" rows="6" spellcheck="false" { (params) }
                button { "Trigger" }
            }
        }
    }
}

fn picked_run(ui: &Ui, run: &RunRow) -> Markup {
    html! {
        p.picked-run {
            (badge(run_look(run.state))) " "
            a href=(ui.links.run(&run.dag_id, &run.run_id)) { (run.run_id) } " "
            span.dim { (took(run.start_date, run.end_date, ui.clock.now())) }
        }
    }
}

/// The signs of states, explained.
pub(crate) fn legend() -> Markup {
    use tradewind_proto::state::TaskState as S;
    let shown = [
        S::Success,
        S::Running,
        S::Queued,
        S::Scheduled,
        S::Failed,
        S::UpForRetry,
        S::UpstreamFailed,
        S::Skipped,
        S::None,
    ];
    html! { p.legend { @for state in shown { (badge(task_look(state))) } } }
}

/// The graph of `spec`, coloured by the states of `column`.
pub(crate) fn graph_of(ui: &Ui, spec: &DagSpec, column: Option<&Column>) -> Markup {
    use tradewind_proto::state::TaskState;
    let boxes: Vec<GraphBox> = spec
        .tasks
        .iter()
        .map(|task| {
            let look = column.and_then(|c| grid::worst(&task.task_id, &c.tasks));
            let address = column.map(|c| ui.links.task(&spec.dag_id, &c.run.run_id, &task.task_id));
            GraphBox {
                name: task.task_id.clone(),
                note: task.operator.clone(),
                look: look.unwrap_or_else(|| task_look(TaskState::None)),
                address,
            }
        })
        .collect();
    graph::draw(&boxes, &grid::edges(spec))
}
