//! Runs a handler: under its soft and hard time limits, with its leases renewed, its panics caught.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tradewind_broker::Delivery;
use tradewind_proto::celery::{Request, state};
use tradewind_proto::{Timestamp, names};

use super::context::Context;
use super::core::{Fleet, Ticket};
use super::decide::{Ending, RunEnd, after, heard};
use super::options::TaskOptions;
use super::places::{self, Places};
use super::registry::{Registration, panic_text};
use super::report;
use super::state::{Seen, Serial};
use super::stop::{Stop, StopReason};
use super::suspect::Alone;

/// A delivery that is worked on.
#[derive(Debug)]
pub(crate) struct Item {
    /// None: acked early.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) serial: Serial,
    pub(crate) task: Registration,
    pub(crate) ticket: Ticket,
    pub(crate) places: Places,
    /// Its start was counted.
    pub(crate) counted: bool,
    /// It may be poison: no other such message starts beside it.
    pub(crate) suspect: Option<Alone>,
}

/// A run that has ended and is not reported yet.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) item: Item,
    pub(crate) ending: Ending,
    /// Seconds.
    pub(crate) runtime: f64,
    /// Result tuples of what the handler sent.
    pub(crate) children: Vec<serde_json::Value>,
    /// Whether the ending is stored already and only what follows is to be repeated.
    pub(crate) repeated: bool,
}

/// Runs an item. The slot is given back when this ends, the rest of its ticket later.
pub(crate) async fn run(fleet: Arc<Fleet>, item: Item) -> Ran {
    let (soft, hard) = time_limits(&fleet, &item.seen.request, item.task.options());
    let stop = Stop::default();
    fleet.state.started(item.serial, &stop, item.delivery.is_none());
    if item.task.options().track_started && !item.seen.request.ignore_result {
        tell_started(&fleet, &item.seen.request).await;
    }
    let begun = Instant::now();
    let now = fleet.clock.now();
    let waited = waited(&item.seen.request, now);
    fleet.metrics.fleet.started(&item.seen.request.task, &item.seen.queue, waited);
    let deadline = hard.and_then(|hard| now.checked_add(hard).ok());
    let services = Arc::clone(&fleet.services);
    let context = Context::new(Arc::clone(&item.seen), stop.clone(), deadline, services);
    fleet.metrics.running.inc();
    let end = supervised(&fleet, &item, &context, &stop, begun, soft, hard).await;
    fleet.metrics.running.dec();
    let end = heard(end, stop.reason());
    let ending = after(end, &item.seen.request, item.task.options(), hard, fleet.clock.now());
    let children = context.take_children();
    Ran { item, ending, runtime: begun.elapsed().as_secs_f64(), children, repeated: false }
}

async fn supervised(
    fleet: &Fleet,
    item: &Item,
    context: &Context,
    stop: &Stop,
    begun: Instant,
    soft: Option<Duration>,
    hard: Option<Duration>,
) -> RunEnd {
    let call = async { item.task.call(context.clone()).await };
    let mut handler = std::pin::pin!(AssertUnwindSafe(call).catch_unwind());
    let at = |limit: Option<Duration>| limit.map(|limit| begun + limit);
    let (mut soft, hard) = (at(soft), at(hard));
    let mut renewal = begun + fleet.settings.renewal;
    loop {
        tokio::select! {
            biased;
            returned = &mut handler => return match returned {
                Ok(outcome) => RunEnd::Returned(outcome),
                Err(panic) => {
                    let text = format!("handler {} panicked: {}", context.task(), panic_text(&panic));
                    RunEnd::Panicked(text)
                }
            },
            () = stop.killed().cancelled() => {
                return RunEnd::Killed(stop.reason().unwrap_or(StopReason::Drained));
            }
            () = until(hard) => stop.ask(StopReason::TimeLimit),
            () = until(soft) => {
                soft = None;
                stop.ask(StopReason::SoftTimeLimit);
                if !context.is_cooperative() {
                    // As an exception at the await where it stands.
                    return RunEnd::Killed(StopReason::SoftTimeLimit);
                }
            }
            () = sleep_until(renewal) => {
                renewal = Instant::now() + fleet.settings.renewal;
                renew(fleet, item, stop.killed()).await;
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Keeps the delivery and the places of a running task.
async fn renew(fleet: &Fleet, item: &Item, killed: &CancellationToken) {
    let work = async {
        if let Some(delivery) = &item.delivery
            && let Err(error) = delivery.extend().await
        {
            tracing::debug!(%error, id = %item.seen.request.id, "extending a delivery failed");
        }
        if !item.places.is_empty() {
            places::renew(fleet, &item.seen.request, item.task.options(), &item.places).await;
        }
    };
    tokio::select! {
        biased;
        () = killed.cancelled() => {}
        () = work => {}
    }
}

/// The message's limits, else what remote control has set, else the registered ones.
fn time_limits(
    fleet: &Fleet,
    request: &Request,
    options: &TaskOptions,
) -> (Option<Duration>, Option<Duration>) {
    let set = fleet.state.limits(&request.task);
    let of_message = |seconds: Option<f64>| {
        seconds.filter(|seconds| *seconds > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok())
    };
    let soft = of_message(request.soft_time_limit);
    let hard = of_message(request.time_limit);
    (
        soft.or(set.soft.unwrap_or(options.soft_time_limit)),
        hard.or(set.hard.unwrap_or(options.time_limit)),
    )
}

/// Seconds since it was sent, or due.
fn waited(request: &Request, now: Timestamp) -> Option<f64> {
    let sent = request.headers.get(names::HEADER_SENT_AT).and_then(serde_json::Value::as_str);
    let sent = sent.and_then(|text| text.parse::<Timestamp>().ok());
    let since = request.eta.into_iter().chain(sent).max()?;
    Some(now.duration_since(since).as_secs_f64())
}

async fn tell_started(fleet: &Fleet, request: &Request) {
    let value = serde_json::json!({"pid": std::process::id(), "hostname": &*fleet.name});
    let stored = report::running(request, state::STARTED, &value);
    if let Err(error) = fleet.results.put(stored, fleet.settings.result_ttl).await {
        tracing::debug!(%error, id = %request.id, "STARTED was not stored");
    }
}
