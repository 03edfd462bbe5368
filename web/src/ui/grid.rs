//! Runs × tasks: one column per run, one row per task, newest run right.

use std::collections::BTreeMap;

use maud::{Markup, html};
use tradewind_proto::dag::DagSpec;
use tradewind_proto::state::TaskState;
use tradewind_store::model::{RunRow, TaskInstanceRow};

use super::Ui;
use super::graph::topological;
use super::text::{Look, duration, run_look, task_look};

/// Height of the longest run's bar.
const BAR_MAX: f64 = 56.0;
/// Rows drawn; the rest is one click away on the run's page.
const ROWS_MAX: usize = 500;

/// A run and its task instances.
pub(crate) struct Column {
    pub(crate) run: RunRow,
    pub(crate) tasks: Vec<TaskInstanceRow>,
}

/// The edges of a DAG, as indexes into its tasks.
pub(crate) fn edges(spec: &DagSpec) -> Vec<(usize, usize)> {
    let index: BTreeMap<&str, usize> =
        spec.tasks.iter().enumerate().map(|(at, task)| (task.task_id.as_str(), at)).collect();
    let of = |(to, task): (usize, &tradewind_proto::dag::TaskSpec)| {
        task.upstream
            .iter()
            .filter_map(|name| Some((*index.get(name.as_str())?, to)))
            .collect::<Vec<_>>()
    };
    spec.tasks.iter().enumerate().flat_map(of).collect()
}

/// `columns` oldest first.
pub(crate) fn draw(ui: &Ui, spec: &DagSpec, columns: &[Column], picked: Option<&str>) -> Markup {
    if columns.is_empty() {
        return html! { p.empty { "No runs yet." } };
    }
    let order = topological(spec.tasks.len(), &edges(spec));
    let now = ui.clock.now();
    let seconds = |run: &RunRow| {
        run.start_date.map_or(0.0, |start| {
            run.end_date.unwrap_or(now).duration_since(start).as_secs_f64().max(0.0)
        })
    };
    let longest = columns.iter().map(|c| seconds(&c.run)).fold(0.001, f64::max);
    html! {
        div.grid #grid data-scroll tabindex="0" role="group" aria-label="Runs and tasks" {
            table {
                thead { tr {
                    th scope="col" { span.unseen { "Task" } }
                    @for column in columns {
                        (head(ui, &column.run, seconds(&column.run) / longest, picked))
                    }
                } }
                tbody {
                    @for at in order.iter().take(ROWS_MAX) { (row(ui, &spec.tasks[*at].task_id, columns)) }
                }
            }
            @if order.len() > ROWS_MAX { p.dim { (order.len() - ROWS_MAX) " more tasks" } }
        }
    }
}

fn head(ui: &Ui, run: &RunRow, share: f64, picked: Option<&str>) -> Markup {
    let look = run_look(run.state);
    let height = (share * BAR_MAX).max(3.0).round();
    let took = match (run.start_date, run.end_date) {
        (Some(start), Some(end)) => format!(", {}", duration(start, end)),
        _ => String::new(),
    };
    let text = format!("{}: {}{took}", run.run_id, look.name);
    html! {
        th.picked[picked == Some(run.run_id.as_str())] scope="col" {
            a href=(ui.links.dag_at(&run.dag_id, &run.run_id)) title=(text) aria-label=(text) {
                svg class={ "bar " (look.class) } width="16" height=(BAR_MAX) viewBox={ "0 0 16 " (BAR_MAX) } {
                    rect x="2" y=(BAR_MAX - height) width="12" height=(height) rx="2" {}
                }
            }
        }
    }
}

fn row(ui: &Ui, task_id: &str, columns: &[Column]) -> Markup {
    html! {
        tr {
            th scope="row" title=(task_id) { (task_id) }
            @for column in columns {
                td {
                    @if let Some(look) = worst(task_id, &column.tasks) {
                        @let text = format!("{task_id}, {}: {}", column.run.run_id, look.name);
                        a class={ "cell " (look.class) } title=(text) aria-label=(text)
                            href=(ui.links.task(&column.run.dag_id, &column.run.run_id, task_id)) {
                            (look.sign)
                        }
                    }
                }
            }
        }
    }
}

/// The look of a task in a run: of its instances, the one that wants most attention.
pub(crate) fn worst(task_id: &str, tasks: &[TaskInstanceRow]) -> Option<Look> {
    let rank = |state: TaskState| match state {
        TaskState::Failed => 0,
        TaskState::UpstreamFailed => 1,
        TaskState::UpForRetry => 2,
        TaskState::Running => 3,
        TaskState::Queued | TaskState::Scheduled => 4,
        TaskState::Deferred | TaskState::UpForReschedule => 5,
        TaskState::None => 6,
        TaskState::Success => 7,
        TaskState::Skipped | TaskState::Removed => 8,
    };
    let states = tasks.iter().filter(|task| task.task_id == task_id).map(|task| task.state);
    states.min_by_key(|state| rank(*state)).map(task_look)
}
