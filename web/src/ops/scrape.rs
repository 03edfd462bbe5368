//! Gauges that are looked up when Prometheus asks, beside those that the process keeps itself.
//! Only the web role serves them, so that a fleet's schedulers do not report them twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use futures::{StreamExt as _, stream};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Opts, Registry};
use tradewind_broker::{Broker, QueueStats};
use tradewind_proto::Timestamp;
use tradewind_proto::clock::SharedClock;
use tradewind_proto::names::metric;
use tradewind_store::Store;
use tradewind_store::model::Counts;

/// A worker counts as online for so long after a heartbeat.
pub(crate) const WORKER_ONLINE: Duration = Duration::from_secs(30);
/// Queues looked at in one scrape.
const QUEUES_MAX: usize = 200;
/// Queues asked for at once.
const QUEUE_CALLS_MAX: usize = 8;
/// Longest wait for the store, and for the broker: Prometheus gives up after ten seconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Gauge {state}: task instances that are not finished.
const TASKS: &str = "tradewind_task_instances";
/// Gauge {state}: runs that are not finished.
const RUNS: &str = "tradewind_dag_runs";
/// Gauge: outbox rows not yet published.
const OUTBOX_ROWS: &str = "tradewind_outbox_rows";
/// Gauge: workers seen lately.
const WORKERS: &str = "tradewind_workers_online";
/// Gauge {queue}: messages delivered and not settled.
const UNACKED: &str = "tradewind_queue_unacked";
/// Gauge: seconds since the newest scheduler's heartbeat.
const SCHEDULER_AGE: &str = "tradewind_scheduler_heartbeat_age_seconds";
/// Gauge: 1 while the metadata store answers.
const STORE_UP: &str = "tradewind_store_up";
/// Gauge: 1 while the broker answers.
const BROKER_UP: &str = "tradewind_broker_up";

/// Answers scrapes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scraper {
    /// Metrics that the process keeps itself.
    pub registries: Vec<Registry>,
    /// The metadata store.
    pub store: Arc<dyn Store>,
    /// The broker, if this process has one.
    pub broker: Option<Arc<dyn Broker>>,
    /// The clock.
    pub clock: SharedClock,
    /// Queues to look at, besides those that workers consume.
    pub queues: Vec<String>,
}

struct Facts {
    counts: Counts,
    workers: usize,
    queues: BTreeSet<String>,
    scheduler_seen: Option<Timestamp>,
}

impl Scraper {
    pub(crate) async fn answer(&self) -> Response {
        let mut families = super::gather(&self.registries);
        match self.look().await {
            // A gauge that the process keeps itself wins: a name may appear only once.
            Ok(looked) => families = super::merge(families.into_iter().chain(looked)),
            Err(error) => tracing::error!(%error, "cannot compose metrics"),
        }
        super::exposition(&families)
    }

    async fn look(&self) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let now = self.clock.now();
        let board = Registry::new();
        let facts = tokio::time::timeout(LOOK_TIMEOUT, self.facts(now)).await;
        let facts = facts.ok().and_then(Result::ok);
        gauge(&board, STORE_UP, "1 while the metadata store answers", up(facts.is_some()))?;
        let mut queues: BTreeSet<String> = self.queues.iter().cloned().collect();
        if let Some(facts) = facts {
            queues.extend(facts.queues.iter().cloned());
            show_facts(&board, &facts, now)?;
        }
        if let Some(broker) = &self.broker {
            let stats = tokio::time::timeout(LOOK_TIMEOUT, queue_stats(broker, queues)).await;
            show_queues(&board, stats.ok().flatten())?;
        }
        Ok(board.gather())
    }

    async fn facts(&self, now: Timestamp) -> Result<Facts, tradewind_store::Error> {
        let (counts, workers, jobs) = tokio::try_join!(
            self.store.counts(),
            self.store.workers(now - WORKER_ONLINE),
            self.store.jobs(Some("SchedulerJob"), 1),
        )?;
        Ok(Facts {
            counts,
            workers: workers.len(),
            queues: workers.into_iter().flat_map(|worker| worker.queues).collect(),
            scheduler_seen: jobs.first().map(|job| job.heartbeat_at),
        })
    }
}

/// Sizes of `queues`; none when the broker does not answer.
pub(crate) async fn queue_stats(
    broker: &Arc<dyn Broker>,
    queues: BTreeSet<String>,
) -> Option<Vec<(String, QueueStats)>> {
    let calls = stream::iter(queues.into_iter().take(QUEUES_MAX)).map(|queue| async move {
        let stats = broker.stats(&queue).await;
        (queue, stats)
    });
    let answers: Vec<_> = calls.buffered(QUEUE_CALLS_MAX).collect().await;
    let all = answers.len();
    let found: Vec<_> =
        answers.into_iter().filter_map(|(queue, stats)| Some((queue, stats.ok()?))).collect();
    (all == 0 || !found.is_empty()).then_some(found)
}

fn show_facts(board: &Registry, facts: &Facts, now: Timestamp) -> Result<(), prometheus::Error> {
    let counts = &facts.counts;
    let tasks = vector(board, TASKS, "Task instances that are not finished", "state")?;
    for (state, count) in &counts.tasks {
        tasks.with_label_values(&[state.as_str()]).set(lossy(*count));
    }
    let runs = vector(board, RUNS, "Runs that are not finished", "state")?;
    for (state, count) in &counts.runs {
        runs.with_label_values(&[state.as_str()]).set(lossy(*count));
    }
    let age = |at: Timestamp| now.duration_since(at).as_secs_f64().max(0.0);
    let oldest = counts.oldest_unsent.map_or(0.0, age);
    gauge(board, metric::OUTBOX_AGE, "Age of the oldest unpublished outbox row", oldest)?;
    gauge(board, OUTBOX_ROWS, "Outbox rows not yet published", lossy(counts.unsent))?;
    let errors = lossy(counts.import_errors);
    gauge(board, metric::IMPORT_ERRORS, "DAG files with an import error", errors)?;
    gauge(board, WORKERS, "Workers seen in the last 30 seconds", lossy(facts.workers as u64))?;
    if let Some(seen) = facts.scheduler_seen {
        gauge(board, SCHEDULER_AGE, "Time since the newest scheduler's heartbeat", age(seen))?;
    }
    Ok(())
}

fn show_queues(
    board: &Registry,
    stats: Option<Vec<(String, QueueStats)>>,
) -> Result<(), prometheus::Error> {
    gauge(board, BROKER_UP, "1 while the broker answers", up(stats.is_some()))?;
    let depth = vector(board, metric::QUEUE_DEPTH, "Messages ready in a queue", "queue")?;
    let unacked =
        vector(board, UNACKED, "Messages delivered and not settled, or delayed", "queue")?;
    for (queue, stats) in stats.unwrap_or_default() {
        depth.with_label_values(&[&queue]).set(lossy(stats.ready));
        unacked.with_label_values(&[&queue]).set(lossy(stats.unacked));
    }
    Ok(())
}

fn gauge(board: &Registry, name: &str, help: &str, value: f64) -> Result<(), prometheus::Error> {
    let gauge = Gauge::with_opts(Opts::new(name, help))?;
    gauge.set(value);
    board.register(Box::new(gauge))
}

fn vector(
    board: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<GaugeVec, prometheus::Error> {
    let vector = GaugeVec::new(Opts::new(name, help), &[label])?;
    board.register(Box::new(vector.clone()))?;
    Ok(vector)
}

fn up(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; counts stay far below 2^53")]
fn lossy(count: u64) -> f64 {
    count as f64
}
