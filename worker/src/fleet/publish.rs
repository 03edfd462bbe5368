//! Sends what follows a task, and does not give up while the broker is away.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tradewind_broker::{Error, Outgoing};
use tradewind_proto::celery::canvas::{Plan, Planned};

use super::core::Fleet;

/// How long an outage may last before a message goes back and everything is done again.
const OUTAGE_MAX: Duration = Duration::from_secs(600);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Repeats a call until it succeeds, is refused, takes too long, or the worker stops cold.
pub(crate) async fn patiently<T, F, R>(fleet: &Fleet, what: &str, call: F) -> Result<T, Error>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, Error>>,
{
    match call().await {
        // Boxed: hardly any call is repeated, and each task's end makes one.
        Err(error) if error.is_retryable() => Box::pin(repeatedly(fleet, what, error, call)).await,
        result => result,
    }
}

async fn repeatedly<T, F, R>(
    fleet: &Fleet,
    what: &str,
    mut error: Error,
    call: F,
) -> Result<T, Error>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, Error>>,
{
    let mut delay = RETRY_MIN;
    let deadline = Instant::now() + OUTAGE_MAX;
    while error.is_retryable() && Instant::now() < deadline {
        tracing::debug!(%error, what, "trying again");
        tokio::select! {
            biased;
            () = fleet.cold.cancelled() => break,
            () = sleep(delay) => {}
        }
        delay = (delay * 2).min(RETRY_MAX);
        error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
    }
    Err(error)
}

/// Begins the joins and sends the requests of a plan. `home` is the queue of what has no other: where the
/// task came from that sends it.
pub(crate) async fn apply(fleet: &Fleet, plan: Plan, home: &str) -> Result<(), Error> {
    let ttl = fleet.settings.result_ttl;
    for (group, size) in &plan.joins {
        patiently(fleet, "beginning a join", || fleet.results.begin_join(group, *size, ttl))
            .await?;
    }
    let (mut direct, mut routed) = (Vec::new(), Vec::new());
    for mut planned in plan.sends {
        route(fleet, &mut planned);
        match place(fleet, &planned, home) {
            Some(queue) => direct.push(Outgoing { queue, message: planned.request.to_message() }),
            None => routed.push(planned),
        }
    }
    send(fleet, direct).await?;
    for Planned { request, exchange, routing_key, .. } in routed {
        let (exchange, key) = (exchange.unwrap_or_default(), routing_key.unwrap_or_default());
        let message = request.to_message();
        patiently(fleet, "publishing", || {
            fleet.broker.publish_routed(&exchange, &key, message.clone())
        })
        .await?;
    }
    Ok(())
}

/// Publishes all, those again that were not confirmed.
pub(crate) async fn send(fleet: &Fleet, batch: Vec<Outgoing>) -> Result<(), Error> {
    let left = std::sync::Mutex::new(batch);
    patiently(fleet, "publishing", || async {
        let lock = || left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let batch = lock().clone();
        if batch.is_empty() {
            return Ok(());
        }
        let sent = fleet.broker.publish_many(batch.clone()).await;
        let mut failed = Vec::new();
        let mut last = Ok(());
        for (one, result) in batch.into_iter().zip(sent) {
            match result {
                Ok(()) => {}
                // Nobody has consumed it yet; that it is to exist is for its sender to say.
                Err(Error::Unroutable { queue }) => {
                    last = fleet.broker.declare(&[queue]).await.and(Err(again()));
                    failed.push(one);
                }
                Err(error) => {
                    last = Err(error);
                    failed.push(one);
                }
            }
        }
        *lock() = failed;
        last
    })
    .await
}

fn again() -> Error {
    Error::Unavailable { service: "broker", reason: "the queue was declared just now".to_owned() }
}

/// What the client's routes say of a request whose signature names no place.
fn route(fleet: &Fleet, planned: &mut Planned) {
    if planned.queue.is_some() || planned.exchange.is_some() || planned.routing_key.is_some() {
        return;
    }
    let client = fleet.services.client.as_ref();
    let Some(route) = client.and_then(|client| client.routes().find(&planned.request.task)) else {
        return;
    };
    planned.queue.clone_from(&route.queue);
    planned.exchange.clone_from(&route.exchange);
    planned.routing_key.clone_from(&route.routing_key);
    if let (None, Some(priority)) = (planned.priority, route.priority) {
        planned.request.priority = priority;
    }
}

/// The queue of a request; none: it goes through an exchange.
fn place(fleet: &Fleet, planned: &Planned, home: &str) -> Option<String> {
    if let Some(queue) = &planned.queue {
        return Some(queue.clone());
    }
    match (&planned.exchange, &planned.routing_key) {
        (Some(exchange), _) if !exchange.is_empty() => return None,
        (_, Some(key)) => return Some(key.clone()),
        _ => {}
    }
    let registered = fleet.tasks.get(&planned.request.task);
    let own = registered.and_then(|task| task.options().queue.clone());
    Some(own.unwrap_or_else(|| home.to_owned()))
}
