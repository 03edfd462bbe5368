//! One fetched batch of fleet tasks: sorts out what is not to run now, runs the rest, and reports together
//! what has ended together. A handler that waits leaves its batch and is reported alone.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::SignedDuration;
use tradewind_broker::{Arrived, Delivery, Payload};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{Request, state};
use tradewind_proto::limits::{MESSAGE_BODY_BYTES_MAX, NAME_CHARS_MAX};

use super::begin::Beginning;
use super::builtin::not_registered;
use super::core::{Fleet, Tally, Ticket};
use super::decide::{Again, Ending, Verdict, again, before, evidence, lost_worker};
use super::places::{self, Admission, Places};
use super::registry::Tasks;
use super::report::stored;
use super::revoked::stamp_keys;
use super::run::{Item, Ran, run};
use super::settle::{report, settle, settle_all};
use super::state::Seen;

/// How long the starts of a task are remembered.
const STARTS_TTL: Duration = Duration::from_secs(86_400);

/// Why a message is dead.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// Label of the metric.
    pub(crate) kind: &'static str,
    /// The dead-letter reason.
    pub(crate) reason: String,
    /// Of a task that could be read and is not known: who sent it may wait for its result.
    pub(crate) request: Option<Box<Request>>,
}

impl Refusal {
    pub(crate) fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), request: None }
    }
}

/// Reads a message; says why it can never run.
pub(crate) fn admit(payload: Payload, tasks: &Tasks) -> Result<Request, Refusal> {
    let message = match payload {
        Payload::Message(message) => message,
        Payload::Malformed { reason, .. } => {
            return Err(Refusal::new("malformed", format!("malformed message: {reason}")));
        }
        Payload::Refused { kind, reason } => return Err(Refusal::new(kind, reason)),
    };
    if message.body.len() > MESSAGE_BODY_BYTES_MAX {
        let found = message.body.len();
        let reason = format!("oversized body: {found} bytes, limit {MESSAGE_BODY_BYTES_MAX}");
        return Err(Refusal::new("oversized", reason));
    }
    let request = Request::read(message).map_err(|bad| match &bad.task {
        Some(task) if task.len() <= NAME_CHARS_MAX => {
            Refusal::new(bad.kind, format!("{bad}; task {task:?}"))
        }
        _ => Refusal::new(bad.kind, bad.to_string()),
    })?;
    if !tasks.contains(&request.task) {
        let reason = format!("unknown task {:?}: no handler in this worker", request.task);
        let request = Some(Box::new(request));
        return Err(Refusal { request, ..Refusal::new("unknown_task", reason) });
    }
    Ok(request)
}

/// Messages that came together.
pub(crate) struct Arrivals<'a> {
    fleet: &'a Arc<Fleet>,
    now: Timestamp,
    items: Vec<Item>,
    refused: Vec<(Delivery, Refusal)>,
}

impl<'a> Arrivals<'a> {
    pub(crate) fn new(fleet: &'a Arc<Fleet>, size: usize) -> Self {
        let (items, refused) = (Vec::with_capacity(size), Vec::new());
        Self { fleet, now: fleet.clock.now(), items, refused }
    }

    /// Reads one.
    pub(crate) fn add(&mut self, mut delivery: Delivery, ticket: Ticket) {
        let Arrived { payload, redelivered } = delivery.take();
        match admit(payload, &self.fleet.tasks) {
            Ok(request) => {
                let queue = Arc::clone(&delivery.queue);
                let seen = Seen { request, queue, redelivered, received: self.now };
                self.items.extend(item(self.fleet, delivery, seen, ticket));
            }
            Err(refusal) => self.refused.push((delivery, refusal)),
        }
    }

    /// Works it off; returns when everything in it is started or settled.
    pub(crate) async fn work_off(self) {
        let Self { fleet, now, items, refused } = self;
        let refused = refused.into_iter().map(|(delivery, refusal)| bury(fleet, delivery, refusal));
        tokio::join!(join_all(refused), start(fleet, now, items));
    }
}

/// Reads a batch and works it off.
pub(crate) async fn work_off(fleet: Arc<Fleet>, batch: Vec<(Delivery, Ticket)>) {
    let mut arrivals = Arrivals::new(&fleet, batch.len());
    batch.into_iter().for_each(|(delivery, ticket)| arrivals.add(delivery, ticket));
    arrivals.work_off().await;
}

async fn start(fleet: &Arc<Fleet>, now: Timestamp, items: Vec<Item>) {
    fleet.gauge();
    let revoked = revoked(fleet, &items).await;
    let turn = fleet.turns.start().await;
    let mut beginning = Beginning::new(fleet, items.len());
    let mut unrun_ones = Vec::new();
    let mut postponed = Vec::new();
    for (item, revoked) in items.into_iter().zip(revoked) {
        match before(&item.seen.request, revoked, now) {
            Verdict::Go => beginning.start(item),
            Verdict::Revoked => unrun_ones.push(unrun(item, revoked_as("revoked"))),
            Verdict::Expired => unrun_ones.push(unrun(item, revoked_as("expired"))),
            Verdict::Postponed(at) => postponed.push(postpone(fleet, item, at)),
        }
    }
    let mut ended = beginning.end();
    drop(turn);
    ended.append(&mut unrun_ones);
    tokio::join!(join_all(postponed), settle_all(fleet, ended));
}

fn revoked_as(why: &'static str) -> Ending {
    Ending::Revoked { why, signum: None }
}

fn item(fleet: &Fleet, delivery: Delivery, seen: Seen, ticket: Ticket) -> Option<Item> {
    let task = fleet.tasks.get(&seen.request.task)?.clone();
    let seen = Arc::new(seen);
    let serial = fleet.state.received(&seen);
    let delivery = Some(delivery);
    let places = Places::default();
    Some(Item { delivery, seen, serial, task, ticket, places, counted: false, suspect: None })
}

/// One that needs a look at more than itself.
pub(super) async fn one(fleet: &Arc<Fleet>, mut item: Item) {
    if item.seen.redelivered {
        match redelivered(fleet, &mut item).await {
            Ok(Again::Run | Again::Bury(_)) => {}
            Ok(Again::Repeat(ending)) => {
                let repeated = Ran { repeated: true, ..unrun(item, ending) };
                return settle(fleet, repeated).await;
            }
            Ok(Again::Drop) => {
                fleet.state.gave_back(item.serial, None);
                if let Some(delivery) = &mut item.delivery
                    && let Err(error) = delivery.ack().await
                {
                    tracing::warn!(%error, id = %item.seen.request.id, "ack failed");
                }
                return;
            }
            Err(refusal) => return quarantine(fleet, item, refusal).await,
        }
    }
    match places::enter(fleet, &item.seen.request, item.task.options()).await {
        Admission::Entered(places) => item.places = places,
        Admission::Later(wait) => {
            let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
            let now = fleet.clock.now();
            return postpone(fleet, item, now.saturating_add(wait).unwrap_or(now)).await;
        }
        Admission::Duplicate(first) => {
            tracing::info!(id = %item.seen.request.id, first, "a duplicate of a unique task is dropped");
            return settle(fleet, unrun(item, revoked_as("duplicate"))).await;
        }
    }
    if !item.task.options().acks_late
        && let Some(mut delivery) = item.delivery.take()
        && let Err(error) = delivery.ack().await
    {
        // Somebody else may have it.
        tracing::warn!(%error, id = %item.seen.request.id, "early ack failed; it is not run here");
        fleet.state.gave_back(item.serial, None);
        return places::leave(fleet, &item.seen.request, item.places).await;
    }
    let ran = run(Arc::clone(fleet), item).await;
    settle(fleet, ran).await;
}

/// Sets a poisonous message aside. Whoever waits for it learns what Celery would say of a lost worker.
async fn quarantine(fleet: &Fleet, mut item: Item, refusal: Refusal) {
    let (seen, ending) = (&item.seen, Ending::Failure(lost_worker(&refusal.reason)));
    let told = report(fleet, &seen.queue, &seen.request, &item.task, &ending, Vec::new(), false);
    if let Err(error) = told.await {
        tracing::warn!(%error, id = %seen.request.id, "nobody could be told of a poisonous message");
    }
    fleet.state.gave_back(item.serial, None);
    if let Some(delivery) = item.delivery.take() {
        bury(fleet, delivery, refusal).await;
    }
}

/// What a redelivered message still needs; an error is the evidence against a poisonous one.
async fn redelivered(fleet: &Fleet, item: &mut Item) -> Result<Again, Refusal> {
    let request = &item.seen.request;
    if !request.ignore_result && !item.task.options().ignore_result {
        match fleet.results.get(&request.id).await {
            Ok(stored) => match again(request, stored.as_ref()) {
                Again::Run => {}
                Again::Bury(reason) => return Err(Refusal::new("poison", reason)),
                other => return Ok(other),
            },
            Err(error) => tracing::warn!(%error, id = %request.id, "cannot see whether it has run"),
        }
    }
    let Some(shared) = &fleet.coordinator else { return Ok(Again::Run) };
    match shared.starts(&request.id).await {
        Ok(starts) if starts.is_empty() => {}
        // Its worker has died before while it ran: of this message, or of a neighbour.
        _ => item.suspect = Some(fleet.turns.alone().await),
    }
    match shared.count_start(&request.id, &fleet.name, STARTS_TTL).await {
        Ok(starts) if starts > fleet.settings.quarantine_after => {
            let who = shared.starts(&request.id).await.unwrap_or_default();
            if let Err(error) = shared.clear_starts(std::slice::from_ref(&request.id)).await {
                tracing::debug!(%error, id = %request.id, "the count of starts stays");
            }
            Err(Refusal::new("poison", evidence(starts - 1, &who)))
        }
        Ok(_) => {
            item.counted = true;
            Ok(Again::Run)
        }
        Err(error) => {
            tracing::warn!(%error, id = %request.id, "its starts cannot be counted");
            Ok(Again::Run)
        }
    }
}

fn unrun(item: Item, ending: Ending) -> Ran {
    Ran { item, ending, runtime: 0.0, children: Vec::new(), repeated: false }
}

/// Which are revoked: by this worker's memory, or by the fleet's.
async fn revoked(fleet: &Fleet, items: &[Item]) -> Vec<bool> {
    let stamps: Vec<Vec<String>> =
        items.iter().map(|item| stamp_keys(&item.seen.request)).collect();
    let here = items.iter().zip(&stamps).map(|(item, stamps)| {
        let mut keys = std::iter::once(&item.seen.request.id).chain(stamps);
        keys.any(|key| fleet.state.is_revoked(key))
    });
    let mut revoked: Vec<bool> = here.collect();
    let Some(shared) = fleet.coordinator.as_ref().filter(|_| !items.is_empty()) else {
        return revoked;
    };
    // Hardly any request has stamps; they are looked up behind the ids.
    let mut keys: Vec<String> = items.iter().map(|item| item.seen.request.id.clone()).collect();
    let mut of: Vec<usize> = (0..items.len()).collect();
    for (place, stamps) in stamps.into_iter().enumerate() {
        of.extend(std::iter::repeat_n(place, stamps.len()));
        keys.extend(stamps);
    }
    match shared.are_revoked(&keys).await {
        Ok(known) => of.iter().zip(known).for_each(|(place, told)| revoked[*place] |= told),
        Err(error) => tracing::warn!(%error, "revoked tasks of the fleet are not known now"),
    }
    revoked
}

/// Back to its queue until a time. Held by the broker, not here.
async fn postpone(fleet: &Fleet, mut item: Item, at: Timestamp) {
    if item.counted
        && let Some(shared) = &fleet.coordinator
        && let Err(error) = shared.clear_starts(std::slice::from_ref(&item.seen.request.id)).await
    {
        tracing::debug!(%error, "the count of starts stays");
    }
    fleet.state.gave_back(item.serial, Some(at));
    if let Some(delivery) = &mut item.delivery
        && let Err(error) = delivery.requeue_at(at).await
    {
        tracing::warn!(%error, id = %item.seen.request.id, "postponing failed; the message comes again");
    }
}

/// To the dead-letter queue.
pub(crate) async fn bury(fleet: &Fleet, mut delivery: Delivery, refusal: Refusal) {
    let kind = refusal.kind;
    if let Some(request) = &refusal.request {
        tell_sender(fleet, request).await;
    }
    fleet.metrics.dead_letters.with_label_values(&[&*delivery.queue, kind]).inc();
    tracing::warn!(queue = %delivery.queue, reason = %refusal.reason, "message dead-lettered");
    if let Err(error) = delivery.dead_letter(&refusal.reason).await {
        tracing::warn!(%error, queue = %delivery.queue, "dead-lettering failed; the message comes again");
    }
}

/// A client that waits for a task which nobody knows is told so, as by a Celery worker. Best effort: the
/// message itself is safe.
async fn tell_sender(fleet: &Fleet, request: &Request) {
    if request.ignore_result {
        return;
    }
    let failure = not_registered(&request.task);
    let (result, traceback) = (failure.to_result().to_string(), Some(failure.traceback.as_str()));
    let now = Some(fleet.clock.now());
    let stored = stored(request, state::FAILURE, &result, traceback, &[], now);
    if let Err(error) = fleet.results.put(stored, fleet.settings.result_ttl).await {
        tracing::warn!(%error, id = %request.id, "the sender of an unknown task could not be told");
    }
}

/// Back to the queue for another worker, at once.
pub(crate) async fn release(fleet: &Fleet, mut delivery: Delivery) {
    Tally::add(&fleet.tally.released);
    if let Err(error) = delivery.release().await {
        tracing::warn!(%error, queue = %delivery.queue, "giving a message back failed; it comes again");
    }
}
