//! The fleet: workers that report, and the queues they serve.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use tradewind_broker::QueueStats;
use tradewind_store::model::WorkerRow;

use super::page::{Page, Trouble, show};
use super::text::time;
use super::{Shared, Ui};
use crate::ops::{WORKER_ONLINE, queue_stats};

/// Workers that have been silent for longer are not listed.
const LISTED_HOURS: i64 = 1;

/// `GET /workers`.
pub(crate) async fn page(State(ui): State<Shared>, headers: HeaderMap) -> Response {
    let page = compose(&ui).await;
    show(&ui, &headers, page).await
}

async fn compose(ui: &Ui) -> Result<Page, Trouble> {
    let now = ui.clock.now();
    let workers = ui.store.workers(now - jiff::SignedDuration::from_hours(LISTED_HOURS)).await?;
    let online = |worker: &WorkerRow| {
        now.duration_since(worker.heartbeat_at).as_secs_f64() <= WORKER_ONLINE.as_secs_f64()
    };
    let mut queues: BTreeSet<String> = ui.queues.iter().cloned().collect();
    queues.extend(workers.iter().flat_map(|worker| worker.queues.iter().cloned()));
    let stats = match &ui.broker {
        Some(broker) => Some(queue_stats(broker, queues).await),
        None => None,
    };
    let alive = workers.iter().filter(|w| online(w)).count();
    let main = html! {
        h1 { "Workers" }
        @if alive == 0 {
            p.banner.warn role="alert" {
                strong { "No worker is online. " }
                "Queued tasks wait. Start one with " code { "tradewind worker -Q default" } "."
            }
        }
        @if !workers.is_empty() { (worker_table(&workers, online)) }
        h2 { "Queues" }
        @match stats {
            None => p.empty { "This process has no broker to ask." },
            Some(None) => p.banner.bad role="alert" { "The broker does not answer." },
            Some(Some(stats)) => (queue_table(&stats, &workers, online)),
        }
    };
    Ok(Page { title: "Workers".to_owned(), trail: Vec::new(), main })
}

fn worker_table(workers: &[WorkerRow], online: impl Fn(&WorkerRow) -> bool) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { "Worker" } th scope="col" { "Status" } th scope="col" { "Queues" }
                th scope="col" { "Slots" } th scope="col" { "Host" } th scope="col" { "Last heartbeat" }
            } }
            tbody {
                @for worker in workers {
                    tr.paused[!online(worker)] {
                        td.name { (worker.worker) }
                        td data-label="Status" {
                            @if online(worker) {
                                span.badge.s-success { span.sign aria-hidden="true" { "✓" } "online" }
                            } @else {
                                span.badge.s-failed { span.sign aria-hidden="true" { "✕" } "silent" }
                            }
                        }
                        td data-label="Queues" { (worker.queues.join(", ")) }
                        td data-label="Slots" { (slots(worker)) }
                        td data-label="Host" { (worker.hostname) }
                        td data-label="Last heartbeat" { (time(worker.heartbeat_at)) }
                    }
                }
            }
        }
    }
}

fn slots(worker: &WorkerRow) -> Markup {
    html! {
        meter min="0" max=(worker.slots.max(1)) value=(worker.running) aria-hidden="true" {}
        " " (worker.running) span.dim { " of " (worker.slots) }
    }
}

fn queue_table(
    stats: &[(String, QueueStats)],
    workers: &[WorkerRow],
    online: impl Fn(&WorkerRow) -> bool,
) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { "Queue" } th scope="col" { "Ready" } th scope="col" { "Unacked" }
                th scope="col" { "Workers" }
            } }
            tbody {
                @for (queue, stats) in stats {
                    @let served =
                        workers.iter().filter(|w| online(w) && w.queues.contains(queue)).count();
                    tr.broken[served == 0 && stats.ready > 0] {
                        td.name { (queue) }
                        td data-label="Ready" { (stats.ready) }
                        td data-label="Unacked" { (stats.unacked) }
                        td data-label="Workers" {
                            @if served == 0 { "none" @if stats.ready > 0 { " – its messages wait" } }
                            @else { (served) }
                        }
                    }
                }
            }
        }
    }
}
