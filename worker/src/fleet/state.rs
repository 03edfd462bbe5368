//! What a worker's fleet half is doing, and what it was told to do: the one thing that remote control,
//! events and pages read and steer. Thread-safe; everything in it is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::Request;
use tradewind_proto::clock::SharedClock;

use super::limits::{Bucket, Rate};
use super::pool::Pool;
use super::revoked::RevokedIds;
use super::stop::{Stop, StopReason};

/// Most postponed requests that are remembered; all of them are safe in their queues.
const SCHEDULED_MAX: usize = 10_000;
/// Most ended requests that are remembered.
const RECENT_MAX: usize = 1_000;
/// Unique keys of this worker alone before those that have ended are looked for.
const CLAIMS_MAX: usize = 10_000;
/// Lifecycle events that a slow listener may be behind; older ones are lost to it, and it is told so.
const EVENTS_MAX: usize = 8_192;

/// A request that this worker has taken.
#[derive(Debug)]
pub struct Seen {
    /// The request.
    pub request: Request,
    /// Queue that it came from.
    pub queue: Arc<str>,
    /// Whether the broker had delivered it before.
    pub redelivered: bool,
    /// When it was taken.
    pub received: Timestamp,
}

/// A request and what is known about it now.
#[derive(Debug, Clone)]
pub struct View {
    /// The request.
    pub seen: Arc<Seen>,
    /// When its handler began.
    pub started: Option<Timestamp>,
    /// Whether its message is acked already.
    pub acknowledged: bool,
    /// When a postponed one comes back.
    pub due: Option<Timestamp>,
    /// The terminal state of an ended one.
    pub state: Option<&'static str>,
}

/// Something that happened to a request.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// When.
    pub at: Timestamp,
    /// To which one.
    pub seen: Arc<Seen>,
    /// What.
    pub what: What,
}

/// What happened; the fields are those of Celery's task events.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Taken.
    Received,
    /// Its handler begins.
    Started,
    /// Ended well.
    Succeeded {
        /// Python `repr` of the result.
        result: String,
        /// Seconds.
        runtime: f64,
    },
    /// Ended with an exception.
    Failed {
        /// Python `repr` of the exception.
        exception: String,
        /// Its class.
        kind: String,
        /// Text for people.
        traceback: String,
    },
    /// Will run again.
    Retried {
        /// Python `repr` of the exception.
        exception: String,
        /// Text for people.
        traceback: String,
    },
    /// Revoked or expired.
    Revoked {
        /// Killed while it ran.
        terminated: bool,
        /// By this signal.
        signum: Option<i32>,
        /// Too late to run.
        expired: bool,
    },
    /// Rejected by its handler.
    Rejected {
        /// Back to its queue.
        requeue: bool,
    },
}

/// What is consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consuming {
    /// Queues, in order.
    pub queues: Vec<String>,
    /// Most messages taken and not settled.
    pub prefetch: u16,
}

/// Limits of one task that remote control has set; none: what was registered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TaskLimits {
    /// Starts per second; `Some(None)` lifts the registered limit.
    pub rate: Option<Option<Rate>>,
    /// Soft time limit.
    pub soft: Option<Option<Duration>>,
    /// Hard time limit.
    pub hard: Option<Option<Duration>>,
}

/// The shared state. See the module.
#[derive(Debug)]
pub struct FleetState {
    clock: SharedClock,
    inner: Mutex<Inner>,
    events: broadcast::Sender<Lifecycle>,
    pool: Arc<Pool>,
    consuming: watch::Sender<Consuming>,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    reserved: HashMap<u64, Arc<Seen>>,
    active: HashMap<u64, Active>,
    scheduled: BTreeMap<String, (Timestamp, Arc<Seen>)>,
    recent: VecDeque<(Arc<Seen>, &'static str)>,
    totals: BTreeMap<String, u64>,
    revoked: RevokedIds,
    limits: BTreeMap<String, TaskLimits>,
    buckets: BTreeMap<String, Bucket>,
    /// Tokens in use per local place.
    places: HashMap<String, HashMap<String, u32>>,
    /// Unique keys: holder and end.
    claims: HashMap<String, (String, Timestamp)>,
}

#[derive(Debug)]
struct Active {
    seen: Arc<Seen>,
    started: Timestamp,
    acknowledged: bool,
    stop: Stop,
}

/// Names one delivery inside a state.
pub(crate) type Serial = u64;

impl FleetState {
    /// A state of a worker that has taken nothing yet.
    pub fn new(clock: SharedClock, queues: Vec<String>, concurrency: u16) -> Self {
        Self {
            clock,
            inner: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            pool: Arc::new(Pool::new(usize::from(concurrency))),
            consuming: watch::Sender::new(Consuming { queues, prefetch: concurrency }),
            shutdown: CancellationToken::new(),
        }
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Lifecycle> {
        self.events.subscribe()
    }

    /// Taken and waiting for its turn.
    pub fn reserved(&self) -> Vec<View> {
        self.lock().reserved.values().map(view).collect()
    }

    /// Running.
    pub fn active(&self) -> Vec<View> {
        self.lock().active.values().map(Active::view).collect()
    }

    /// Postponed by this worker, as far as remembered; nothing of it is held here, so it may have been
    /// taken by another worker since.
    pub fn scheduled(&self) -> Vec<View> {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.scheduled.retain(|_, (due, _)| *due > now);
        let due = |(due, seen): &(Timestamp, Arc<Seen>)| View { due: Some(*due), ..view(seen) };
        inner.scheduled.values().map(due).collect()
    }

    /// Ended lately, newest first.
    pub fn recent(&self) -> Vec<View> {
        let ended = |(seen, state): &(Arc<Seen>, _)| View { state: Some(*state), ..view(seen) };
        self.lock().recent.iter().rev().map(ended).collect()
    }

    /// Requests taken, by task name.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        self.lock().totals.clone()
    }

    /// Ids that are to be skipped, oldest first.
    pub fn revoked(&self) -> Vec<String> {
        self.lock().revoked.all()
    }

    /// Skips these ids from now on and, with a signal, kills those that run. Returns the ids that were
    /// running and are being killed.
    pub fn revoke(&self, ids: &[String], terminate: Option<i32>) -> Vec<String> {
        let now = self.clock.now();
        let mut inner = self.lock();
        for id in ids {
            inner.revoked.insert(id, now);
        }
        let Some(signal) = terminate else { return Vec::new() };
        let wanted: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
        let hit = |active: &&Active| wanted.contains(active.seen.request.id.as_str());
        let stop = |active: &Active| {
            active.stop.ask(StopReason::Terminated(signal));
            active.seen.request.id.clone()
        };
        inner.active.values().filter(hit).map(stop).collect()
    }

    /// What remote control has set for a task.
    pub fn limits(&self, task: &str) -> TaskLimits {
        self.lock().limits.get(task).copied().unwrap_or_default()
    }

    /// Changes the rate limit of a task in this worker; none: no limit.
    pub fn set_rate(&self, task: &str, rate: Option<Rate>) {
        let mut inner = self.lock();
        inner.limits.entry(task.to_owned()).or_default().rate = Some(rate);
        inner.buckets.remove(task);
    }

    /// Changes the time limits of a task; none: no limit.
    pub fn set_time_limits(&self, task: &str, soft: Option<Duration>, hard: Option<Duration>) {
        let mut inner = self.lock();
        let limits = inner.limits.entry(task.to_owned()).or_default();
        (limits.soft, limits.hard) = (Some(soft), Some(hard));
    }

    /// The slots.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Changes the number of slots and of messages taken ahead.
    pub fn resize_pool(&self, slots: u16) {
        let slots = slots.max(1);
        self.pool.resize(usize::from(slots));
        self.consuming.send_if_modified(|now| {
            // A larger prefetch than slots only reserves nothing more: the worker takes by slots.
            let grown = now.prefetch < slots;
            now.prefetch = now.prefetch.max(slots);
            grown
        });
    }

    /// What is consumed now.
    pub fn consuming(&self) -> Consuming {
        self.consuming.borrow().clone()
    }

    /// Wakes when the set of queues changes.
    pub fn watch_consuming(&self) -> watch::Receiver<Consuming> {
        self.consuming.subscribe()
    }

    /// Consumes a queue too. False if it is consumed already.
    pub fn add_consumer(&self, queue: &str) -> bool {
        self.consuming.send_if_modified(|now| {
            let new = !now.queues.iter().any(|known| known == queue);
            if new {
                now.queues.push(queue.to_owned());
            }
            new
        })
    }

    /// Stops consuming a queue. False if it is not consumed.
    pub fn cancel_consumer(&self, queue: &str) -> bool {
        self.consuming.send_if_modified(|now| {
            let before = now.queues.len();
            now.queues.retain(|known| known != queue);
            now.queues.len() != before
        })
    }

    /// Asks the worker to drain and end, as a signal does.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Ends when [`FleetState::shut_down`] was called.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    pub(crate) fn received(&self, seen: &Arc<Seen>) -> Serial {
        let mut inner = self.lock();
        inner.next += 1;
        let serial = inner.next;
        inner.reserved.insert(serial, Arc::clone(seen));
        if !inner.scheduled.is_empty() && inner.scheduled.remove(&seen.request.id).is_some() {
            // Known since it was postponed.
            return serial;
        }
        if let Some(total) = inner.totals.get_mut(&seen.request.task) {
            *total += 1;
        } else {
            inner.totals.insert(seen.request.task.clone(), 1);
        }
        drop(inner);
        self.emit(seen, || What::Received);
        serial
    }

    pub(crate) fn started(&self, serial: Serial, stop: &Stop, acknowledged: bool) {
        let started = self.clock.now();
        let mut inner = self.lock();
        let Some(seen) = inner.reserved.remove(&serial) else { return };
        let active = Active { seen: Arc::clone(&seen), started, acknowledged, stop: stop.clone() };
        inner.active.insert(serial, active);
        drop(inner);
        self.emit(&seen, || What::Started);
    }

    /// It ended, in this state.
    pub(crate) fn ended(&self, serial: Serial, state: &'static str) {
        let mut inner = self.lock();
        if let Some(seen) = inner.leave(serial) {
            if inner.recent.len() >= RECENT_MAX {
                inner.recent.pop_front();
            }
            inner.recent.push_back((seen, state));
        }
    }

    /// It went back to its queue, for later if `due` is known.
    pub(crate) fn gave_back(&self, serial: Serial, due: Option<Timestamp>) {
        let mut inner = self.lock();
        let (Some(seen), Some(due)) = (inner.leave(serial), due) else { return };
        if inner.scheduled.len() < SCHEDULED_MAX {
            inner.scheduled.insert(seen.request.id.clone(), (due, seen));
        }
    }

    pub(crate) fn is_revoked(&self, id: &str) -> bool {
        let inner = self.lock();
        !inner.revoked.is_empty() && inner.revoked.contains(id)
    }

    /// Whether remote control has set a rate limit.
    pub(crate) fn is_rated(&self, task: &str) -> bool {
        let inner = self.lock();
        !inner.limits.is_empty()
            && inner.limits.get(task).is_some_and(|limits| limits.rate.is_some())
    }

    /// Takes a token of a task's rate limit, or says how long to wait.
    pub(crate) fn take_token(&self, task: &str, registered: Option<Rate>) -> Option<Duration> {
        let mut inner = self.lock();
        let set = inner.limits.get(task).and_then(|limits| limits.rate);
        let rate = set.unwrap_or(registered)?;
        let now = self.clock.now();
        let bucket = inner.buckets.entry(task.to_owned());
        bucket.or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }

    /// Enters a place of this worker of which `most` exist.
    pub(crate) fn enter(&self, place: &str, most: u32, holder: &str) -> bool {
        let mut inner = self.lock();
        let holders = inner.places.entry(place.to_owned()).or_default();
        if !holders.contains_key(holder) && holders.len() >= most as usize {
            return false;
        }
        *holders.entry(holder.to_owned()).or_default() += 1;
        true
    }

    pub(crate) fn leave_place(&self, place: &str, holder: &str) {
        let mut inner = self.lock();
        let Some(holders) = inner.places.get_mut(place) else { return };
        if let Some(times) = holders.get_mut(holder) {
            *times -= 1;
            if *times == 0 {
                holders.remove(holder);
            }
        }
        if holders.is_empty() {
            inner.places.remove(place);
        }
    }

    /// Claims a key of this worker for a task; the id that holds it, if that is another.
    pub(crate) fn claim(&self, key: &str, id: &str, ttl: Duration) -> Option<String> {
        let now = self.clock.now();
        let ends = SignedDuration::try_from(ttl).ok().and_then(|ttl| now.checked_add(ttl).ok());
        let mut inner = self.lock();
        if inner.claims.len() >= CLAIMS_MAX {
            inner.claims.retain(|_, (_, ends)| *ends > now);
        }
        match inner.claims.get(key) {
            Some((holder, ends)) if holder != id && *ends > now => Some(holder.clone()),
            _ => {
                let claim = (id.to_owned(), ends.unwrap_or(Timestamp::MAX));
                inner.claims.insert(key.to_owned(), claim);
                None
            }
        }
    }

    pub(crate) fn unclaim(&self, key: &str, id: &str) {
        let mut inner = self.lock();
        if inner.claims.get(key).is_some_and(|(holder, _)| holder == id) {
            inner.claims.remove(key);
        }
    }

    /// Asks everything that runs to stop.
    pub(crate) fn stop_all(&self, why: StopReason) {
        for active in self.lock().active.values() {
            active.stop.ask(why);
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.lock().active.len()
    }

    /// Tells listeners, if there are any.
    pub(crate) fn emit(&self, seen: &Arc<Seen>, what: impl FnOnce() -> What) {
        self.emit_some(seen, || Some(what()));
    }

    /// Tells listeners, if there are any and there is something to tell.
    pub(crate) fn emit_some(&self, seen: &Arc<Seen>, what: impl FnOnce() -> Option<What>) {
        if self.events.receiver_count() > 0
            && let Some(what) = what()
        {
            let event = Lifecycle { at: self.clock.now(), seen: Arc::clone(seen), what };
            // An error means that the last listener has just left.
            let _nobody = self.events.send(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn leave(&mut self, serial: Serial) -> Option<Arc<Seen>> {
        let active = self.active.remove(&serial).map(|active| active.seen);
        active.or_else(|| self.reserved.remove(&serial))
    }
}

impl Active {
    fn view(&self) -> View {
        View { started: Some(self.started), acknowledged: self.acknowledged, ..view(&self.seen) }
    }
}

fn view(seen: &Arc<Seen>) -> View {
    View { seen: Arc::clone(seen), started: None, acknowledged: false, due: None, state: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tradewind_proto::celery::{Request, state};
    use tradewind_proto::clock::{Clock as _, SystemClock};

    use super::{FleetState, SCHEDULED_MAX, Seen, What};
    use crate::fleet::stop::{Stop, StopReason};

    fn state_of() -> FleetState {
        FleetState::new(Arc::new(SystemClock), vec!["celery".to_owned()], 4)
    }

    fn seen(id: &str) -> Arc<Seen> {
        let request = Request { id: id.to_owned(), task: "add".to_owned(), ..Request::default() };
        let received = SystemClock.now();
        Arc::new(Seen { request, queue: "celery".into(), redelivered: false, received })
    }

    #[test]
    fn a_request_moves_from_reserved_to_active_to_recent() {
        let state = state_of();
        let mut events = state.events();
        let one = seen("one");
        let serial = state.received(&one);
        assert_eq!(state.reserved().len(), 1);
        state.started(serial, &Stop::default(), false);
        assert_eq!((state.reserved().len(), state.active().len()), (0, 1));
        state.ended(serial, state::SUCCESS);
        assert_eq!((state.active().len(), state.recent()[0].state), (0, Some("SUCCESS")));
        assert_eq!(state.totals()["add"], 1);
        assert_eq!(events.try_recv().expect("event").what, What::Received);
        assert_eq!(events.try_recv().expect("event").what, What::Started);
    }

    #[test]
    fn terminate_stops_what_runs_and_skips_what_comes() {
        let state = state_of();
        let (one, stop) = (seen("one"), Stop::default());
        let serial = state.received(&one);
        state.started(serial, &stop, false);
        let ids = ["one".to_owned(), "two".to_owned()];
        assert!(state.revoke(&ids, None).is_empty());
        assert_eq!(stop.reason(), None);
        assert_eq!(state.revoke(&ids, Some(15)), ["one"]);
        assert_eq!(stop.reason(), Some(StopReason::Terminated(15)));
        assert!(state.is_revoked("two") && !state.is_revoked("three"));
        assert_eq!(state.revoked(), ["one", "two"]);
    }

    #[test]
    fn postponed_requests_are_bounded_and_leave_when_due() {
        let state = state_of();
        let later = SystemClock.now() + jiff::SignedDuration::from_hours(1);
        for n in 0..=SCHEDULED_MAX {
            let serial = state.received(&seen(&n.to_string()));
            state.gave_back(serial, Some(later));
        }
        assert_eq!(state.scheduled().len(), SCHEDULED_MAX);
        let serial = state.received(&seen("0"));
        assert_eq!(state.scheduled().len(), SCHEDULED_MAX - 1);
        state.gave_back(serial, Some(SystemClock.now()));
        assert_eq!(state.scheduled().len(), SCHEDULED_MAX - 1, "due already");
    }

    #[test]
    fn remote_control_changes_queues_slots_and_limits() {
        let state = state_of();
        assert!(state.add_consumer("mail") && !state.add_consumer("mail"));
        assert!(state.cancel_consumer("celery") && !state.cancel_consumer("celery"));
        state.resize_pool(9);
        let consuming = state.consuming();
        assert_eq!((consuming.queues, consuming.prefetch), (vec!["mail".to_owned()], 9));
        assert_eq!(state.pool().size(), 9);
        let rate = "1/h".parse().ok();
        assert_eq!(state.take_token("add", None), None);
        assert_eq!(state.take_token("add", rate), None);
        assert!(state.take_token("add", rate).is_some());
        state.set_rate("add", None);
        assert_eq!(state.take_token("add", rate), None);
    }

    #[test]
    fn a_local_place_is_held_by_so_many() {
        let state = state_of();
        assert!(state.enter("p", 1, "a") && state.enter("p", 1, "a") && !state.enter("p", 1, "b"));
        state.leave_place("p", "a");
        assert!(!state.enter("p", 1, "b"));
        state.leave_place("p", "a");
        assert!(state.enter("p", 1, "b"));
    }
}
