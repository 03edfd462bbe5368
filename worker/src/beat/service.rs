//! The service: one timer per entry, a lease per tick, a message for each tick, and then the note that it
//! was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, Coordinator};
use tradewind_engine::timetable::Ticks;
use tradewind_proto::clock::{SharedClock, SharedIds, from_micros, to_micros};
use tradewind_proto::sign::sha256_hex;

use super::due::{Due, next_due};
use super::{BeatEntry, BeatError, BeatOptions};

/// Longest sleep: the wall clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Pauses between attempts while the coordinator or the broker is away.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Shortest lease of an entry.
const LEASE_MIN: Duration = Duration::from_millis(100);
/// Longest time for a question to the coordinator or a publication.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What a beat works with.
#[derive(Debug, Clone)]
pub struct BeatDeps {
    /// Where tasks are sent.
    pub broker: Arc<dyn Broker>,
    /// Where ticks are claimed. One that is not shared serves a single beat only, and forgets at its end.
    pub coordinator: Arc<dyn Coordinator>,
    /// Wall time.
    pub clock: SharedClock,
    /// Names of beats.
    pub ids: SharedIds,
}

/// Sends periodic tasks.
#[derive(Debug)]
pub struct Beat {
    options: BeatOptions,
    deps: BeatDeps,
    counts: Arc<Counts>,
    /// Entries that were never sent are due from now on.
    since: Timestamp,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
}

/// Watches a beat. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BeatHandle(Arc<Counts>);

impl BeatHandle {
    /// Tasks that this beat has sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Ticks that this beat could not send before the next one was due, or before its end.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Beat {
    /// A beat that has not started.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub fn new(options: BeatOptions, deps: BeatDeps) -> Result<Self, BeatError> {
        for (name, entry) in &options.entries {
            entry.ticks(name)?;
        }
        let since = deps.clock.now();
        Ok(Self { options, deps, counts: Arc::default(), since })
    }

    /// A handle.
    pub fn handle(&self) -> BeatHandle {
        BeatHandle(Arc::clone(&self.counts))
    }

    /// Sends until `shutdown`.
    ///
    /// # Errors
    /// When an entry cannot be used.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BeatError> {
        let since = self.since;
        // On a broker of this process alone nobody else could send.
        if !self.deps.coordinator.shared() && self.deps.broker.kind() != "memory" {
            tracing::warn!(
                "ticks are claimed in this process only: run a single beat, or name a coordinator (Redis or PostgreSQL)"
            );
        }
        let mut timers = JoinSet::new();
        for (name, entry) in self.options.entries {
            if entry.disabled {
                continue;
            }
            let ticks = entry.ticks(&name)?;
            let queue = entry.queue.clone().unwrap_or_else(|| self.options.default_queue.clone());
            let timer = Timer {
                key: format!("beat:{name}"),
                name,
                entry,
                ticks,
                queue,
                holder: self.deps.ids.next().to_string(),
                lease: Duration::from_millis(self.options.lease_ms).max(LEASE_MIN),
                since,
                deps: self.deps.clone(),
                counts: Arc::clone(&self.counts),
            };
            timers.spawn(timer.run(shutdown.clone()));
        }
        tracing::info!(entries = timers.len(), "beat is ready");
        shutdown.cancelled().await;
        while timers.join_next().await.is_some() {}
        Ok(())
    }
}

/// One entry.
struct Timer {
    name: String,
    /// Its name at the coordinator.
    key: String,
    entry: BeatEntry,
    ticks: Ticks,
    queue: String,
    /// Names this beat to others.
    holder: String,
    lease: Duration,
    since: Timestamp,
    deps: BeatDeps,
    counts: Arc<Counts>,
}

impl Timer {
    /// Runs until `shutdown`. A tick that was claimed by then is sent.
    async fn run(self, shutdown: CancellationToken) {
        let Some(mut last) = shutdown.run_until_cancelled(self.first()).await else { return };
        while !shutdown.is_cancelled() {
            let now = self.deps.clock.now();
            match next_due(&self.ticks, last, self.since, now) {
                Due::Never => {
                    tracing::info!(entry = self.name, "a periodic task has no tick any more");
                    return;
                }
                Due::At(next) => {
                    let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
                    shutdown.run_until_cancelled(sleep(wait.min(SLEEP_MAX))).await;
                }
                Due::Now(tick) => {
                    let turn = self.turn(last, tick, &shutdown);
                    match turn.await {
                        Some(known) => last = known,
                        None => return,
                    }
                }
            }
        }
    }

    /// Sends a tick, if it is this beat's turn; the last tick that is known then, none at the end. Whoever
    /// holds the entry's lease sends; the tick counts as sent only afterwards. A beat that dies in between
    /// leaves the tick to whoever gets the lease next, and at worst it is sent again under the same id.
    async fn turn(
        &self,
        last: Option<Timestamp>,
        tick: Timestamp,
        shutdown: &CancellationToken,
    ) -> Option<Option<Timestamp>> {
        if !self.lease().await {
            shutdown.run_until_cancelled(sleep(PAUSE_MIN)).await?;
            return shutdown.run_until_cancelled(self.last()).await;
        }
        let known = shutdown.run_until_cancelled(self.last()).await;
        let sent = known == Some(last) && self.send(tick, shutdown).await;
        if sent {
            self.confirm(last, tick, shutdown).await;
        }
        let release = self.deps.coordinator.release_unique(&self.key, &self.holder);
        if !matches!(timeout(ANSWER_MAX, release).await, Ok(Ok(()))) {
            tracing::debug!(entry = self.name, "the lease of a periodic task ends by itself");
        }
        if sent { Some(Some(tick)) } else { known }
    }

    /// The last tick that anybody has sent. An entry that nobody has ever seen is due from now on, for all
    /// beats and after restarts too.
    async fn first(&self) -> Option<Timestamp> {
        match self.last().await {
            None => {
                self.advance(None, self.since).await;
                self.last().await
            }
            known => known,
        }
    }

    /// The last tick that anybody has sent. Waits for a coordinator that is away: without it a tick might be
    /// sent twice.
    async fn last(&self) -> Option<Timestamp> {
        let mut pause = PAUSE_MIN;
        loop {
            match timeout(ANSWER_MAX, self.deps.coordinator.last_sent(&self.key)).await {
                Ok(Ok(last)) => return last.map(from_micros),
                Ok(Err(error)) => {
                    tracing::warn!(%error, entry = self.name, "ticks cannot be claimed now")
                }
                Err(_) => {
                    tracing::warn!(entry = self.name, "ticks cannot be claimed now: no answer")
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether it is this beat's turn; renews what it holds already.
    async fn lease(&self) -> bool {
        let coordinator = &self.deps.coordinator;
        let claim = coordinator.claim_unique(&self.key, &self.holder, self.lease);
        match timeout(ANSWER_MAX, claim).await {
            Ok(Ok(holder)) => holder.is_none(),
            Ok(Err(error)) => {
                tracing::warn!(%error, entry = self.name, "a tick could not be claimed");
                false
            }
            Err(_) => false,
        }
    }

    /// Moves the last sent tick; none: not known whether it was moved.
    async fn advance(&self, last: Option<Timestamp>, tick: Timestamp) -> Option<bool> {
        let advance =
            self.deps.coordinator.advance(&self.key, last.map(to_micros), to_micros(tick));
        match timeout(ANSWER_MAX, advance).await {
            Ok(Ok(moved)) => Some(moved),
            Ok(Err(error)) => {
                tracing::warn!(%error, entry = self.name, "a sent tick cannot be noted now");
                None
            }
            Err(_) => None,
        }
    }

    /// Notes that a tick was sent, at least tries once.
    async fn confirm(
        &self,
        last: Option<Timestamp>,
        tick: Timestamp,
        shutdown: &CancellationToken,
    ) {
        let mut pause = PAUSE_MIN;
        while self.advance(last, tick).await.is_none() {
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                tracing::warn!(entry = self.name, %tick, "a sent tick is not noted; another beat may send it again, under the same id");
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Publishes until it succeeds or the next tick has come, which would make a burst of two. Whether it
    /// succeeded.
    async fn send(&self, tick: Timestamp, shutdown: &CancellationToken) -> bool {
        let id = tick_id(&self.name, tick);
        let message = self.entry.request(id.clone(), tick).to_message();
        let mut pause = PAUSE_MIN;
        loop {
            let publish = self.deps.broker.publish(&self.queue, message.clone());
            let reason = match timeout(ANSWER_MAX, publish).await {
                Ok(Ok(())) => {
                    tracing::info!(entry = self.name, id, task = self.entry.task, %tick, "a periodic task was sent");
                    self.counts.sent.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Ok(Err(tradewind_broker::Error::Unroutable { .. })) => {
                    // Nobody has consumed the queue yet.
                    match self.deps.broker.declare(std::slice::from_ref(&self.queue)).await {
                        Ok(()) => continue,
                        Err(error) => error.to_string(),
                    }
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            let next = self.ticks.after(tick);
            if next.is_some_and(|next| next <= self.deps.clock.now()) || shutdown.is_cancelled() {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!(entry = self.name, reason, %tick, "a tick of a periodic task was not sent");
                return false;
            }
            tracing::warn!(entry = self.name, reason, "a periodic task cannot be sent now");
            shutdown.run_until_cancelled(sleep(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
            self.lease().await;
        }
    }
}

/// The id of the task of a tick: the same whoever sends it, so that a second one is seen as such.
fn tick_id(entry: &str, tick: Timestamp) -> String {
    let hash = sha256_hex(format!("beat {entry} {}", to_micros(tick)).as_bytes());
    uuid::Uuid::try_parse(&hash[..32]).unwrap_or_default().to_string()
}
