//! What a handler knows about the call that it works on.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tradewind_broker::ResultBackend;
use tradewind_broker::client::Client;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::canvas::{Plan, plan};
use tradewind_proto::celery::{Request, ResultTuple, Signature, state, wide};

use super::core::Fleet;
use super::error::TaskError;
use super::registry::Tasks;
use super::state::Seen;
use super::stop::{Stop, StopReason};
use super::{follow, publish, report};

/// What all calls of a worker share.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) hostname: Arc<str>,
    pub(crate) results: Option<Arc<dyn ResultBackend>>,
    pub(crate) result_ttl: std::time::Duration,
    pub(crate) tasks: Tasks,
    pub(crate) client: Option<Client>,
    /// For what a handler sends.
    pub(crate) fleet: Weak<Fleet>,
}

impl Services {
    /// Without a worker: nothing is stored or sent.
    pub(crate) fn alone(hostname: &str, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            hostname: hostname.into(),
            results: None,
            result_ttl: std::time::Duration::ZERO,
            tasks,
            client: None,
            fleet: Weak::new(),
        })
    }
}

/// One call of a task. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    seen: Arc<Seen>,
    stop: Stop,
    deadline: Option<Timestamp>,
    services: Arc<Services>,
    /// Whether the handler looks at its cancellation itself.
    cooperative: AtomicBool,
    /// Result tuples of what it has sent.
    children: Mutex<Vec<Value>>,
    /// How many parts it has added to its chord.
    added: AtomicU32,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id()).field("task", &self.task()).finish()
    }
}

impl Context {
    pub(crate) fn new(
        seen: Arc<Seen>,
        stop: Stop,
        deadline: Option<Timestamp>,
        services: Arc<Services>,
    ) -> Self {
        Self(Arc::new(Inner {
            seen,
            stop,
            deadline,
            services,
            cooperative: AtomicBool::new(false),
            children: Mutex::default(),
            added: AtomicU32::new(0),
        }))
    }

    /// Task id.
    pub fn id(&self) -> &str {
        &self.request().id
    }

    /// Task name.
    pub fn task(&self) -> &str {
        &self.request().task
    }

    /// How often it was retried before: 0 for the first run.
    pub fn retries(&self) -> u32 {
        self.request().retries
    }

    /// The whole request: arguments, root, parent, group, headers.
    pub fn request(&self) -> &Request {
        &self.0.seen.request
    }

    pub(crate) fn seen(&self) -> &Arc<Seen> {
        &self.0.seen
    }

    /// Queue that it came from.
    pub fn queue(&self) -> &str {
        &self.0.seen.queue
    }

    /// Whether the broker had delivered it before; it may then have run in part already.
    pub fn is_redelivered(&self) -> bool {
        self.0.seen.redelivered
    }

    /// Node name of the worker.
    pub fn worker(&self) -> &str {
        &self.0.services.hostname
    }

    /// When its hard time limit ends it.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.deadline
    }

    /// Waits until the call is asked to stop, and says why. A handler that then returns is on time; one
    /// that does not is dropped by the hard limit, `terminate` or the end of a drain.
    pub async fn cancelled(&self) -> StopReason {
        self.cooperate();
        self.0.stop.asked().cancelled().await;
        self.0.stop.reason().unwrap_or(StopReason::Drained)
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cooperate();
        self.0.stop.asked().is_cancelled()
    }

    /// The token behind [`Context::cancelled`], for libraries that take one.
    pub fn cancellation(&self) -> &CancellationToken {
        self.cooperate();
        self.0.stop.asked()
    }

    /// Sends a task, or a canvas: it becomes a child of this one. Returns once the broker has it.
    ///
    /// # Errors
    /// When the canvas makes no sense, or the broker or the result backend refuse it.
    pub async fn send(&self, signature: Signature) -> Result<ResultTuple, TaskError> {
        let fleet = self.fleet()?;
        let applied = follow::applied(self.request(), Vec::new(), fleet.clock.now());
        let mut ids = || fleet.ids.next().to_string();
        let planned = plan(signature, &applied, &mut ids).map_err(TaskError::failed)?;
        let result = planned.result.clone();
        publish::apply(&fleet, planned, self.queue()).await?;
        self.children().push(result.to_value());
        Ok(result)
    }

    /// Sends a task, or a canvas that ends in one, as one more part of the chord that this task is a part of:
    /// the body waits for it, and gets its result beside that of this task (Celery's `Task.add_to_chord`).
    /// Returns once the broker has it. After a death of the worker the next run adds the same parts.
    ///
    /// # Errors
    /// When this task is no part of a chord, and as [`Context::send`].
    pub async fn add_to_chord(&self, signature: Signature) -> Result<ResultTuple, TaskError> {
        let fleet = self.fleet()?;
        let number = self.0.added.fetch_add(1, Ordering::Relaxed);
        let planned = one_more_part(self.request(), signature, number, fleet.clock.now())
            .map_err(|text| TaskError::fail("ValueError", text))?;
        let result = planned.result.clone();
        let group = self.request().group.clone().unwrap_or_default();
        let ttl = fleet.settings.result_ttl;
        publish::patiently(&fleet, "adding to a join", || {
            fleet.results.extend_join(&group, &result.id, ttl)
        })
        .await?;
        publish::apply(&fleet, planned, self.queue()).await?;
        self.children().push(result.to_value());
        Ok(result)
    }

    fn fleet(&self) -> Result<Arc<Fleet>, TaskError> {
        let fleet = self.0.services.fleet.upgrade();
        fleet.ok_or_else(|| TaskError::failed("a task that runs without a worker sends nothing"))
    }

    /// The client that the worker was given, for what is no child of this task: other queues and options,
    /// handles, revocation.
    pub fn client(&self) -> Option<&Client> {
        self.0.services.client.as_ref()
    }

    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.0.services
    }

    /// A call of another task in its place.
    pub(crate) fn stand_in(&self, seen: Seen) -> Self {
        let services = Arc::clone(&self.0.services);
        Self::new(Arc::new(seen), self.0.stop.clone(), self.0.deadline, services)
    }

    pub(crate) fn is_cooperative(&self) -> bool {
        self.0.cooperative.load(Ordering::Relaxed)
    }

    pub(crate) fn take_children(&self) -> Vec<Value> {
        std::mem::take(&mut *self.children())
    }

    fn children(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cooperate(&self) {
        self.0.cooperative.store(true, Ordering::Relaxed);
    }

    /// Publishes how far it is: state `PROGRESS` with any value, which the end replaces. Best effort: a
    /// result backend that is away loses it.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub async fn progress(&self, value: impl Serialize) -> Result<(), TaskError> {
        let value = wide::to_value(&value)?;
        let Some(results) = &self.0.services.results else { return Ok(()) };
        if self.request().ignore_result {
            return Ok(());
        }
        let stored = report::running(self.request(), state::PROGRESS, &value);
        if let Err(error) = results.put(stored, self.0.services.result_ttl).await {
            tracing::debug!(%error, id = self.id(), "progress was not stored");
        }
        Ok(())
    }
}

/// What one more part of the chord of `request` comes to; `number` tells the parts apart that it adds.
fn one_more_part(
    request: &Request,
    mut signature: Signature,
    number: u32,
    now: Timestamp,
) -> Result<Plan, String> {
    let (Some(body), Some(group)) = (&request.embed.chord, &request.group) else {
        return Err("Current task is not member of any chord".to_owned());
    };
    for (name, value) in [
        ("group_id", Value::from(group.as_str())),
        ("group_index", Value::from(request.group_index.unwrap_or(0))),
        ("chord", body.to_value()),
    ] {
        signature.options.insert(name.to_owned(), value);
    }
    let applied = follow::applied(request, Vec::new(), now);
    let planned = plan(signature, &applied, &mut follow::ids(request, &format!("part{number}")))?;
    if planned.result.results.is_some() {
        return Err("a group is no one part of a chord; add its tasks one by one".to_owned());
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tradewind_proto::celery::{Embed, Request, Signature};
    use tradewind_proto::clock::from_micros;

    use super::one_more_part;

    fn part() -> Request {
        let chord = Some(Signature::new("body").option("task_id", "b"));
        let embed = Embed { chord, ..Embed::default() };
        let (group, group_index) = (Some("g".to_owned()), Some(3));
        Request { embed, group, group_index, ..Request::new("a", "id") }
    }

    #[test]
    fn what_is_added_ends_as_a_part_of_the_chord() {
        let add = |signature, number| one_more_part(&part(), signature, number, from_micros(0));
        let task = add(Signature::new("x").arg(1), 0).expect("a task");
        let sent = &task.sends[0].request;
        assert_eq!((sent.group.as_deref(), sent.group_index), (Some("g"), Some(3)));
        assert_eq!(sent.embed.chord.as_ref().expect("a chord").task, "body");
        assert_eq!((sent.parent_id.as_deref(), task.joins.len()), (Some("id"), 0));

        let chord =
            Signature::chord([Signature::new("y"), Signature::new("z")], Signature::new("s"));
        let chord = add(chord, 1).expect("a chord");
        let inner = chord.sends[0].request.embed.chord.clone().expect("its own body");
        assert_eq!((inner.task.as_str(), inner.option_text("group_id")), ("s", Some("g")));
        assert_eq!(inner.option_signatures("chord")[0].task, "body");
        assert_eq!(inner.option_text("task_id"), Some(chord.result.id.as_str()));

        let again = add(Signature::new("x").arg(1), 0).expect("a task");
        assert_eq!(again.result, task.result, "the next run adds the same");
        assert_ne!(add(Signature::new("x"), 2).expect("a task").result, task.result);
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        let add = |request: &Request, signature| {
            one_more_part(request, signature, 0, from_micros(0)).expect_err("refused")
        };
        let alone = Request { embed: Embed::default(), ..part() };
        assert!(add(&alone, Signature::new("x")).contains("not member of any chord"));
        let group = Signature::group([Signature::new("x"), Signature::new("y").arg(json!(1))]);
        assert!(add(&part(), group).contains("one by one"));
    }
}
