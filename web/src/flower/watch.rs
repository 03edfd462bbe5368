//! The monitor's duties: take events in, look at workers and queues, write the history.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Error, EventStream};
use tradewind_proto::celery::Event;
use tradewind_proto::names::DEAD_LETTER_SUFFIX;

use super::history::History;
use super::inspect::{self, Answers, QUEUES_MAX};
use super::link::Way;
use super::metrics::{Facts, PoolFacts, QueueFacts};
use super::service::Shared;
use super::state::{Seen, Task, Worker};

/// Pauses after the event stream failed.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two looks, however many workers appear.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a worker that has appeared and does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is asked again before the usual pause.
const SOON_MAX: u32 = 5;
/// Queues looked at at once.
const QUEUE_CALLS_MAX: usize = 8;
/// Longest wait for the broker's answers of one look.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes events in until the stop.
pub(super) async fn events(shared: &Shared, stop: &CancellationToken) {
    let work = async {
        let mut pause = PAUSE_MIN;
        loop {
            let error = match shared.deps.bus.subscribe_events().await {
                Ok(mut stream) => {
                    shared.link.works(Way::Events, shared.now());
                    greet(shared).await;
                    follow(shared, stream.as_mut(), &mut pause).await
                }
                Err(error) => error,
            };
            // A stream mends itself but does not say when; a new one that opens does.
            shared.link.failed(Way::Events, &error, shared.now());
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Asks every worker to show itself, and to tell of its tasks.
async fn greet(shared: &Shared) {
    let methods = if shared.options.enable_events {
        &["heartbeat", "enable_events"][..]
    } else {
        &["heartbeat"]
    };
    for method in methods {
        let request = inspect::request(method, json!({}), None);
        if let Err(error) = shared.deps.bus.broadcast(request).await {
            tracing::debug!(%error, method, "workers could not be asked");
        }
    }
}

/// Takes events in until the stream fails. Only one that has brought something is soon made anew.
async fn follow(shared: &Shared, stream: &mut dyn EventStream, pause: &mut Duration) -> Error {
    loop {
        match stream.next().await {
            Ok(events) => {
                *pause = PAUSE_MIN;
                if take(shared, &events) {
                    shared.appeared.notify_one();
                }
            }
            Err(error) => return error,
        }
    }
}

/// Takes events in; says whether a worker appeared.
fn take(shared: &Shared, events: &[Event]) -> bool {
    let now = shared.now();
    let mut inner = shared.lock();
    let inner = &mut *inner;
    let mut appeared = false;
    for event in events {
        let host = event.text("hostname").unwrap_or_default();
        let sign = matches!(event.kind(), "worker-online" | "worker-heartbeat");
        let known = inner.monitor.worker(host).is_some_and(|worker| worker.alive(now));
        appeared |= sign && (event.kind() == "worker-online" || !known);
        let seen = inner.monitor.apply(event, now);
        inner.metrics.observe(event, &seen, now);
        if matches!(seen, Seen::Ignored) {
            tracing::trace!(kind = event.kind(), "event ignored");
        }
    }
    appeared
}

/// Looks at workers and queues, regularly and when a worker appears.
pub(super) async fn looks(shared: &Shared, stop: &CancellationToken) {
    let work = async {
        let mut soon = 0;
        loop {
            look(shared).await;
            sleep(LOOK_PAUSE).await;
            let missing = soon > 0 && has_silent(shared);
            let pause = if missing {
                AGAIN.min(shared.options.refresh())
            } else {
                shared.options.refresh()
            };
            tokio::select! {
                biased;
                () = shared.appeared.notified() => soon = SOON_MAX,
                () = sleep(pause) => soon = if missing { soon - 1 } else { 0 },
            }
            if shared.options.enable_events {
                // A worker that has just said hello may not listen yet, hence every time. One broadcast;
                // workers that were told before do not mind, and the log has it when the link is down.
                let request = inspect::request("enable_events", json!({}), None);
                let _unasked = shared.deps.bus.broadcast(request).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Whether some worker is alive that has never answered.
fn has_silent(shared: &Shared) -> bool {
    let now = shared.now();
    let inner = shared.lock();
    let mut alive = inner.monitor.workers().filter(|worker| worker.alive(now));
    alive.any(|worker| inner.answers.worker(&worker.hostname).is_none())
}

async fn look(shared: &Shared) {
    let now = shared.now();
    let alive = {
        let inner = shared.lock();
        inner.monitor.workers().filter(|worker| worker.alive(now)).count()
    };
    if alive > 0 {
        let wait = shared.options.inspect_timeout();
        match inspect::ask(&shared.deps.bus, None, wait, Some(alive)).await {
            Ok(answers) => {
                shared.link.works(Way::Commands, shared.now());
                let max = shared.options.max_workers;
                shared.lock().answers.take(answers, shared.now(), max);
            }
            Err(error) => shared.link.failed(Way::Commands, &error, shared.now()),
        }
    }
    let mut names: BTreeSet<String> = shared.options.queues.iter().cloned().collect();
    names.extend(shared.lock().answers.seen_queues().iter().cloned());
    let queues = timeout(QUEUES_TIMEOUT, queues(shared, names)).await;
    let queues = match queues {
        Ok(Some(queues)) => Some(queues),
        _ => None,
    };
    if alive == 0 && queues.is_some() {
        // Nobody to ask, and the broker answers.
        shared.link.works(Way::Commands, shared.now());
    }
    publish(shared, queues);
}

/// Sizes and ages of queues; none when the broker does not answer.
async fn queues(shared: &Shared, names: BTreeSet<String>) -> Option<Vec<QueueFacts>> {
    if names.is_empty() {
        return shared.deps.broker.health().await.ok().map(|()| Vec::new());
    }
    let since = shared.lock().monitor.waiting_since();
    let now = shared.now();
    let since = &since;
    let looked = stream::iter(names.into_iter().take(QUEUES_MAX)).map(|name| async move {
        let known = since.get(name.as_str()).copied();
        queue(shared, name, known, now).await
    });
    let found: Vec<_> =
        looked.buffered(QUEUE_CALLS_MAX).filter_map(std::future::ready).collect().await;
    (!found.is_empty()).then_some(found)
}

async fn queue(shared: &Shared, name: String, since: Option<f64>, now: f64) -> Option<QueueFacts> {
    let broker = &shared.deps.broker;
    let stats = broker.stats(&name).await.ok()?;
    let dead = broker.stats(&format!("{name}{DEAD_LETTER_SUFFIX}")).await.map_or(0, |s| s.ready);
    let oldest = if stats.ready == 0 {
        None
    } else {
        let sent = broker.oldest(&name).await.ok().flatten();
        sent.map(|at| seconds(at.as_microsecond())).or(since)
    };
    Some(QueueFacts {
        ready: lossy(stats.ready),
        unacked: lossy(stats.unacked),
        consumers: lossy(stats.consumers),
        oldest: oldest.map_or(0.0, |at| (now - at).max(0.0)),
        dead: lossy(dead),
        name,
        ..QueueFacts::default()
    })
}

/// Shows what was found, and forgets workers that are gone for long.
fn publish(shared: &Shared, queues: Option<Vec<QueueFacts>>) {
    let now = shared.now();
    let mut inner = shared.lock();
    let inner = &mut *inner;
    #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
    let after = shared.options.purge_offline_workers as f64;
    let gone = inner.monitor.purge(now, after);
    inner.answers.forget(&gone);
    inner.metrics.purge(&gone, &inner.monitor, now, after);
    let mut facts = Facts {
        broker_up: queues.is_some(),
        queues: queues.unwrap_or_default(),
        kept: lossy(inner.monitor.len() as u64),
        kept_bytes: lossy(inner.monitor.bytes() as u64),
        evicted: inner.monitor.take_evicted(),
        single_queues: inner.answers.single_queues(),
        ..Facts::default()
    };
    for worker in inner.monitor.workers() {
        if !worker.alive(now) {
            facts.offline += 1.0;
            continue;
        }
        facts.online += 1.0;
        let Some(info) = inner.answers.worker(&worker.hostname) else {
            continue;
        };
        let slots = Answers::slots_of(info);
        let active = lossy(u64::try_from(worker.active.unwrap_or(0)).unwrap_or(0));
        facts.pools.push(PoolFacts { worker: worker.hostname.clone(), active, slots });
        let consumed = Answers::queues_of(info);
        for queue in facts.queues.iter_mut().filter(|queue| consumed.contains(&queue.name)) {
            queue.workers += 1.0;
            queue.slots += slots;
        }
    }
    for queue in &mut facts.queues {
        // Redis cannot tell its consumers: those workers that said so are it.
        queue.consumers = queue.consumers.max(queue.workers);
    }
    inner.metrics.show(facts, &inner.monitor, now);
}

/// Writes the history regularly, and once more after the stop.
pub(super) async fn history(
    shared: &Arc<Shared>,
    history: Option<History>,
    stop: &CancellationToken,
) {
    let Some(mut history) = history else {
        return;
    };
    let mut failed = false;
    loop {
        let last = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = sleep(shared.options.history_interval()) => false,
        };
        let (back, written) = write(shared, history).await;
        match written {
            Ok(()) => failed = false,
            Err(error) => {
                shared.lock().metrics.history_failed();
                if !failed {
                    tracing::warn!(error, "the history could not be written");
                }
                failed = true;
            }
        }
        let Some(back) = back.filter(|_| !last) else {
            return;
        };
        history = back;
    }
}

async fn write(
    shared: &Arc<Shared>,
    mut history: History,
) -> (Option<History>, Result<(), String>) {
    let shared = Arc::clone(shared);
    let write = move || {
        let (tasks, workers_changed) = shared.lock().monitor.take_changed();
        let workers = if workers_changed { workers(&shared) } else { Vec::new() };
        let mut written = Ok(());
        let changed = !tasks.is_empty() || !workers.is_empty();
        if changed && !history.is_full() {
            written = history.append(&workers, &tasks);
        }
        if history.is_full() {
            let newest = newest(&shared);
            written = history.rewrite(&self::workers(&shared), newest.iter());
        }
        (history, written.map_err(|error| error.to_string()))
    };
    match tokio::task::spawn_blocking(write).await {
        Ok((history, written)) => (Some(history), written),
        Err(error) => (None, Err(error.to_string())),
    }
}

fn workers(shared: &Shared) -> Vec<Worker> {
    shared.lock().monitor.workers().cloned().collect()
}

/// The tasks with the newest news, as many as a rewritten history can hold.
fn newest(shared: &Shared) -> Vec<Task> {
    let mut budget = usize::try_from(shared.options.history_max_bytes).unwrap_or(usize::MAX);
    let inner = shared.lock();
    let fits = inner.monitor.tasks().take_while(|task| {
        budget = budget.saturating_sub(task.bytes());
        budget > 0
    });
    fits.cloned().collect()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit in 53 bits")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn lossy(count: u64) -> f64 {
    count as f64
}
