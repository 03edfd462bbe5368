//! The list of DAGs: what is there, how it has gone lately, what is broken.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use maud::{Markup, html};
use serde::Deserialize;
use tradewind_proto::state::RunState;
use tradewind_store::Error;
use tradewind_store::model::{DagRow, ImportErrorRow, RunFilter, RunRow};

use super::page::{Page, show};
use super::text::{run_look, time, time_or_dash, took};
use super::{Shared, Ui};

/// DAGs on one page: each costs one look at its runs.
const DAGS_PER_PAGE: usize = 50;
/// Lamps per DAG.
const LAMPS: u32 = 10;
/// Looks at once.
const LOOKS_MAX: usize = 8;
/// Failed runs named at the top.
const FAILURES_MAX: u32 = 5;
/// Import errors named at the top.
const IMPORT_ERRORS_MAX: usize = 10;

/// What is listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    q: String,
    show: String,
    page: usize,
}

/// `GET /dags`.
pub(crate) async fn page(
    State(ui): State<Shared>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let page = compose(&ui, &wanted).await;
    show(&ui, &headers, page.map_err(Into::into)).await
}

async fn compose(ui: &Ui, wanted: &Wanted) -> Result<Page, Error> {
    let failed =
        RunFilter { state: Some(RunState::Failed), limit: FAILURES_MAX, ..RunFilter::default() };
    let (dags, errors, failures) =
        tokio::try_join!(ui.store.dags(false), ui.store.import_errors(), ui.store.runs(failed))?;
    let paused = dags.iter().filter(|dag| dag.is_paused).count();
    let counts = [("all", dags.len()), ("active", dags.len() - paused), ("paused", paused)];
    let found: Vec<DagRow> = dags.into_iter().filter(|dag| is_wanted(dag, wanted)).collect();
    let pages = found.len().div_ceil(DAGS_PER_PAGE).max(1);
    let at = wanted.page.min(pages - 1);
    let shown: Vec<DagRow> =
        found.into_iter().skip(at * DAGS_PER_PAGE).take(DAGS_PER_PAGE).collect();
    let rows: Vec<(DagRow, Vec<RunRow>)> =
        stream::iter(shown).map(|dag| with_runs(ui, dag)).buffered(LOOKS_MAX).try_collect().await?;
    let main = html! {
        h1 { "DAGs" }
        (import_errors(&errors))
        (recent_failures(ui, &failures))
        (filters(ui, wanted, &counts))
        @if rows.is_empty() { (nothing(wanted, counts[0].1)) } @else { (table(ui, &rows)) }
        (pager(ui, wanted, at, pages))
    };
    Ok(Page { title: "DAGs".to_owned(), trail: Vec::new(), main })
}

async fn with_runs(ui: &Ui, dag: DagRow) -> Result<(DagRow, Vec<RunRow>), Error> {
    let filter =
        RunFilter { dag_id: Some(dag.dag_id.clone()), limit: LAMPS, ..RunFilter::default() };
    let runs = ui.store.runs(filter).await?;
    Ok((dag, runs))
}

fn is_wanted(dag: &DagRow, wanted: &Wanted) -> bool {
    let query = wanted.q.trim().to_lowercase();
    let shown = match wanted.show.as_str() {
        "active" => !dag.is_paused,
        "paused" => dag.is_paused,
        _ => true,
    };
    let named = dag.dag_id.to_lowercase().contains(&query)
        || dag.spec.tags.iter().chain(&dag.spec.owners).any(|t| t.to_lowercase() == query);
    shown && named
}

fn import_errors(errors: &[ImportErrorRow]) -> Markup {
    html! {
        @if !errors.is_empty() {
            section.banner.bad #import-errors role="alert" {
                h2 { (errors.len()) @if errors.len() == 1 { " file does" } @else { " files do" } " not load" }
                ul {
                    @for row in errors.iter().take(IMPORT_ERRORS_MAX) {
                        li {
                            code { (row.fileloc) @if let Some(line) = row.error.line { ":" (line) } }
                            " " (row.error.message)
                            @if !row.error.detail.is_empty() {
                                details id={ "detail-" (row.fileloc) } {
                                    summary { "Traceback" }
                                    pre { (row.error.detail) }
                                }
                            }
                        }
                    }
                }
                @if errors.len() > IMPORT_ERRORS_MAX {
                    p { "and " (errors.len() - IMPORT_ERRORS_MAX) " more" }
                }
            }
        }
    }
}

fn recent_failures(ui: &Ui, failures: &[RunRow]) -> Markup {
    let recent: Vec<&RunRow> = failures
        .iter()
        .filter(|run| {
            run.end_date.is_some_and(|end| ui.clock.now().duration_since(end).as_hours() < 24)
        })
        .collect();
    html! {
        @if !recent.is_empty() {
            section.banner.warn {
                h2 { "Failed in the last 24 hours" }
                ul {
                    @for run in recent {
                        li {
                            a href=(ui.links.run(&run.dag_id, &run.run_id)) {
                                (run.dag_id) " · " (run.run_id)
                            }
                            @if let Some(end) = run.end_date { " at " (time(end)) }
                        }
                    }
                }
            }
        }
    }
}

fn filters(ui: &Ui, wanted: &Wanted, counts: &[(&str, usize); 3]) -> Markup {
    let shown = if wanted.show.is_empty() { "all" } else { wanted.show.as_str() };
    html! {
        div.filters {
            nav.tabs aria-label="Which DAGs" {
                @for (name, count) in counts {
                    a href={ (ui.links.dags()) "?show=" (name) }
                        aria-current=[(shown == *name).then_some("page")] {
                        (name) " " span.count { (count) }
                    }
                }
            }
            form action=(ui.links.dags()) method="get" role="search" {
                input type="hidden" name="show" value=(shown);
                input type="search" name="q" value=(wanted.q) placeholder="Name, tag or owner"
                    aria-label="Search DAGs by name, tag or owner";
                button { "Search" }
            }
        }
    }
}

fn nothing(wanted: &Wanted, all: usize) -> Markup {
    html! {
        p.empty {
            @if all == 0 {
                "No DAGs yet. Put a Python file that defines one into the DAGs folder; it shows here within a second."
            } @else {
                "No DAG matches" @if !wanted.q.is_empty() { " “" (wanted.q) "”" } "."
            }
        }
    }
}

fn table(ui: &Ui, rows: &[(DagRow, Vec<RunRow>)]) -> Markup {
    html! {
        table.cards.dags {
            thead { tr {
                th scope="col" { "On" }
                th scope="col" { "DAG" }
                th scope="col" { "Latest runs" }
                th scope="col" { "Last run" }
                th scope="col" { "Schedule" }
                th scope="col" { "Next run" }
                th scope="col" { span.unseen { "Actions" } }
            } }
            tbody { @for (dag, runs) in rows { (row(ui, dag, runs)) } }
        }
    }
}

fn row(ui: &Ui, dag: &DagRow, runs: &[RunRow]) -> Markup {
    let last = runs.first();
    let broken = last.is_some_and(|run| run.state == RunState::Failed);
    html! {
        tr.broken[broken].paused[dag.is_paused] {
            td.switch-cell { (pause_switch(ui, dag)) }
            td.name {
                a href=(ui.links.dag(&dag.dag_id)) { (dag.dag_id) }
                @for tag in &dag.spec.tags { span.tag { (tag) } }
                @if let Some(text) = &dag.spec.description { p.dim { (text) } }
            }
            td data-label="Latest runs" { (lamps(ui, runs)) }
            td data-label="Last run" {
                @if let Some(run) = last {
                    (time(run.start_date.unwrap_or(run.queued_at))) " "
                    span.dim { (took(run.start_date, run.end_date, ui.clock.now())) }
                } @else { span.dim { "never" } }
            }
            td data-label="Schedule" {
                @if dag.spec.schedule_text.is_empty() { span.dim { "by hand" } }
                @else { code { (dag.spec.schedule_text) } }
            }
            td data-label="Next run" {
                @if dag.is_paused { span.dim { "paused" } }
                @else { (time_or_dash(dag.next_run.map(|next| next.run_after))) }
            }
            td.act {
                form method="post" action=(ui.links.trigger(&dag.dag_id)) {
                    button title="Start a run now" {
                        "Trigger" span.unseen { " " (dag.dag_id) }
                    }
                }
            }
        }
    }
}

/// Oldest left, newest right, as in the grid.
fn lamps(ui: &Ui, runs: &[RunRow]) -> Markup {
    html! {
        span.lamps {
            @for run in runs.iter().rev() {
                @let look = run_look(run.state);
                a class={ "lamp " (look.class) } href=(ui.links.run(&run.dag_id, &run.run_id))
                    title={ (run.run_id) ": " (look.name) } aria-label={ (run.run_id) ": " (look.name) } {
                    (look.sign)
                }
            }
        }
    }
}

/// A switch that works as a form.
pub(crate) fn pause_switch(ui: &Ui, dag: &DagRow) -> Markup {
    let (next, what) = if dag.is_paused { ("false", "Unpause") } else { ("true", "Pause") };
    html! {
        form method="post" action=(ui.links.pause(&dag.dag_id)) {
            input type="hidden" name="paused" value=(next);
            button.switch role="switch" aria-checked=(!dag.is_paused)
                title={ (what) " this DAG" } aria-label={ (dag.dag_id) " is active" }
                id={ "switch-" (dag.dag_id) } { span.knob {} }
        }
    }
}

fn pager(ui: &Ui, wanted: &Wanted, at: usize, pages: usize) -> Markup {
    let link = |page: usize| {
        let query = super::link::segment(&wanted.q);
        format!(
            "{}?show={}&q={query}&page={page}",
            ui.links.dags(),
            super::link::segment(&wanted.show)
        )
    };
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                @if at > 0 { a href=(link(at - 1)) rel="prev" { "← Previous" } }
                span { "Page " (at + 1) " of " (pages) }
                @if at + 1 < pages { a href=(link(at + 1)) rel="next" { "Next →" } }
            }
        }
    }
}
