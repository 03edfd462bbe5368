//! The end of a task: what follows it first, then its result, then what waits for the result, then the ack.
//! Nothing is acked before everything before it is safe.

use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tradewind_broker::{Error, Outgoing, Put};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{Request, repr, state, wide};

use super::core::{Fleet, Tally};
use super::decide::{Ending, RESULT_BYTES_MAX};
use super::error::Failure;
use super::registry::Registration;
use super::run::{Item, Ran};
use super::state::What;
use super::{follow, places, publish, report};

/// Reports many: their calls go out together, so that drivers can put them into few round trips.
pub(crate) async fn settle_all(fleet: &Fleet, mut all: Vec<Ran>) {
    // All at once, so that whoever waits for slots takes the next messages in one go.
    all.iter_mut().for_each(|ran| ran.item.ticket.slot.free());
    let all: FuturesUnordered<_> = all.into_iter().map(|ran| settle_one(fleet, ran)).collect();
    all.for_each(|()| ready(())).await;
    fleet.gauge();
}

/// Reports one.
pub(crate) async fn settle(fleet: &Fleet, ran: Ran) {
    settle_one(fleet, ran).await;
    fleet.gauge();
}

async fn settle_one(fleet: &Fleet, ran: Ran) {
    let Ran { item, ending, runtime, children, repeated } = ran;
    let Item { mut delivery, seen, serial, task, mut ticket, places: mut held, counted, suspect } =
        item;
    let request = &seen.request;
    // The handler has ended; its outcome alone holds a place now.
    ticket.slot.free();
    // What few tasks need is boxed: the future of each task would else have room for it.
    let safe = match &ending {
        Ending::Success(value) if !repeated && follow::is_last(request) => {
            let (json, now) = (wide::to_json(value), fleet.clock.now());
            store(fleet, request, &task, state::SUCCESS, (&json, None), &children, now).await
        }
        _ => {
            Box::pin(report(fleet, &seen.queue, request, &task, &ending, children, repeated)).await
        }
    };
    if !held.is_empty() {
        if !matches!(ending, Ending::HandedBack) {
            held.keep_window(task.options());
        }
        Box::pin(places::leave(fleet, request, held)).await;
    }
    if counted {
        Box::pin(clear_start(fleet, &request.id)).await;
    }
    let state = ending.state();
    let settled = match (&safe, &ending) {
        (Err(error), _) => {
            tracing::error!(%error, id = %request.id, task = %request.task, "the end of a task is not safe; its message goes back");
            Settled::Release
        }
        (Ok(()), Ending::HandedBack | Ending::Rejected { requeue: true, .. }) => Settled::Release,
        (Ok(()), Ending::Rejected { requeue: false, reason }) => Settled::Bury(reason.clone()),
        (Ok(()), _) => Settled::Ack,
    };
    let handed_back = matches!(settled, Settled::Release);
    if let Some(delivery) = &mut delivery {
        let done = match settled {
            Settled::Ack => delivery.ack().await,
            Settled::Release => delivery.release().await,
            Settled::Bury(reason) => delivery.dead_letter(&reason).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, id = %request.id, "settling failed; the message comes again");
        }
    }
    if handed_back {
        Tally::add(&fleet.tally.handed_back);
        fleet.state.gave_back(serial, None);
    } else {
        Tally::add(&fleet.tally.finished);
        count(fleet, &request.task, &seen.queue, &ending, runtime);
        fleet.state.ended(serial, state);
    }
    if !repeated {
        fleet.state.emit_some(&seen, || happened(&ending, runtime));
    }
    // Until here a death of the worker would have been taken for its fault.
    drop(suspect);
    drop(ticket.unsent);
}

enum Settled {
    Ack,
    Release,
    Bury(String),
}

/// Sends what follows, stores the result, tells who waits.
pub(super) async fn report(
    fleet: &Fleet,
    home: &str,
    request: &Request,
    task: &Registration,
    ending: &Ending,
    mut children: Vec<Value>,
    repeated: bool,
) -> Result<(), Error> {
    let now = fleet.clock.now();
    match ending {
        Ending::HandedBack | Ending::Ignored | Ending::Rejected { requeue: true, .. } => Ok(()),
        Ending::Replaced(plan) => publish::apply(fleet, (**plan).clone(), home).await,
        // It will never run again, and somebody may wait for it.
        Ending::Rejected { requeue: false, reason } => {
            let failure = Failure::new("Reject", reason.as_str()).module("celery.exceptions");
            let ending = Ending::Failure(failure);
            Box::pin(report(fleet, home, request, task, &ending, children, repeated)).await
        }
        Ending::Success(value) => {
            for plan in follow::after_success(request, value, now) {
                children.push(plan.result.to_value());
                publish::apply(fleet, plan, home).await?;
            }
            if !repeated {
                let json = wide::to_json(value);
                store(fleet, request, task, state::SUCCESS, (&json, None), &children, now).await?;
            }
            follow::part(fleet, request, state::SUCCESS, value, home, 0).await
        }
        Ending::Failure(failure) => {
            if !repeated {
                let json = wide::to_json(&failure.to_result());
                let text = (json.as_str(), Some(failure.traceback.as_str()));
                store(fleet, request, task, state::FAILURE, text, &children, now).await?;
            }
            follow::failed(fleet, request, failure, state::FAILURE, home).await
        }
        Ending::Revoked { why, .. } => {
            let failure = Failure::new("TaskRevokedError", *why).module("celery.exceptions");
            if !repeated {
                let json = wide::to_json(&failure.to_result());
                store(fleet, request, task, state::REVOKED, (&json, None), &children, now).await?;
            }
            follow::failed(fleet, request, &failure, state::REVOKED, home).await
        }
        Ending::Retry { because, next, .. } => {
            let message = next.to_message();
            publish::send(fleet, vec![Outgoing { queue: home.to_owned(), message }]).await?;
            let json = wide::to_json(&because.to_result());
            let text = (json.as_str(), Some(because.traceback.as_str()));
            store(fleet, request, task, state::RETRY, text, &children, now).await
        }
    }
}

async fn store(
    fleet: &Fleet,
    request: &Request,
    task: &Registration,
    state: &'static str,
    (json, traceback): (&str, Option<&str>),
    children: &[Value],
    now: Timestamp,
) -> Result<(), Error> {
    let options = task.options();
    if request.ignore_result || options.ignore_result {
        return Ok(());
    }
    let done = (state != state::RETRY).then_some(now);
    let stored = report::stored(request, state, json, traceback, children, done);
    let ttl = options.result_ttl.unwrap_or(fleet.settings.result_ttl);
    let put =
        publish::patiently(fleet, "storing a result", || fleet.results.put(stored.clone(), ttl))
            .await;
    match put {
        Ok(Put::Stored | Put::Superseded) => Ok(()),
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => {
            // Running it again would end the same way.
            tracing::error!(%error, id = %request.id, limit = RESULT_BYTES_MAX, "a result was refused");
            Ok(())
        }
    }
}

async fn clear_start(fleet: &Fleet, id: &str) {
    let Some(shared) = &fleet.coordinator else { return };
    if let Err(error) = shared.clear_starts(&[id.to_owned()]).await {
        tracing::debug!(%error, id, "the count of starts stays");
    }
}

fn count(fleet: &Fleet, task: &str, queue: &str, ending: &Ending, runtime: f64) {
    let state = ending.state();
    let metrics = &fleet.metrics;
    metrics.fleet.ended(task, queue, state, runtime);
    match ending {
        Ending::Failure(failure) => metrics.fleet.failed(task, queue, &failure.exc_type),
        Ending::Retry { because, .. } => metrics.fleet.retried(task, queue, &because.exc_type),
        _ => {}
    }
}

fn happened(ending: &Ending, runtime: f64) -> Option<What> {
    Some(match ending {
        Ending::Success(value) => What::Succeeded { result: repr(value), runtime },
        Ending::Failure(failure) => What::Failed {
            exception: failure.repr(),
            kind: failure.exc_type.clone(),
            traceback: failure.traceback.clone(),
        },
        Ending::Retry { because, .. } => {
            What::Retried { exception: because.repr(), traceback: because.traceback.clone() }
        }
        Ending::Revoked { why, signum } => What::Revoked {
            terminated: signum.is_some(),
            signum: *signum,
            expired: *why == "expired",
        },
        Ending::Rejected { requeue, .. } => What::Rejected { requeue: *requeue },
        Ending::Replaced(_) | Ending::Ignored | Ending::HandedBack => return None,
    })
}
