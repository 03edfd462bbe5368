//! The service: one timer per entry, a claim per tick, and a message for each claimed one.

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

use super::due::{Due, next_due};
use super::{BeatEntry, BeatError, BeatOptions};

/// Longest sleep: the wall clock may be set.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Pauses between attempts while the coordinator or the broker is away.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
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
    /// Ids of tasks.
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

    /// Ticks that this beat had claimed and could not send before the next one, or before its end.
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
        if !self.deps.coordinator.shared() {
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
    since: Timestamp,
    deps: BeatDeps,
    counts: Arc<Counts>,
}

impl Timer {
    /// Runs until `shutdown`. A tick that was claimed by then is sent.
    async fn run(self, shutdown: CancellationToken) {
        let Some(mut last) = shutdown.run_until_cancelled(self.last()).await else { return };
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
                Due::Now(tick) if self.claim(last, tick).await => {
                    self.send(tick, &shutdown).await;
                    last = Some(tick);
                }
                // Another beat was first.
                Due::Now(_) => match shutdown.run_until_cancelled(self.last()).await {
                    Some(known) => last = known,
                    None => return,
                },
            }
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

    /// Whether this beat is to send a tick. An answer that was lost counts as no: the tick may then be lost
    /// with it, but is never sent twice.
    async fn claim(&self, last: Option<Timestamp>, tick: Timestamp) -> bool {
        let claim = self.deps.coordinator.advance(&self.key, last.map(to_micros), to_micros(tick));
        match timeout(ANSWER_MAX, claim).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(error)) => {
                tracing::warn!(%error, entry = self.name, "a tick could not be claimed");
                sleep(PAUSE_MIN).await;
                false
            }
            Err(_) => false,
        }
    }

    /// Publishes until it succeeds or the next tick has come, which would make a burst of two.
    async fn send(&self, tick: Timestamp, shutdown: &CancellationToken) {
        let id = self.deps.ids.next().to_string();
        let message = self.entry.request(id.clone(), tick).to_message();
        let mut pause = PAUSE_MIN;
        loop {
            let publish = self.deps.broker.publish(&self.queue, message.clone());
            let reason = match timeout(ANSWER_MAX, publish).await {
                Ok(Ok(())) => {
                    tracing::info!(entry = self.name, id, task = self.entry.task, %tick, "a periodic task was sent");
                    self.counts.sent.fetch_add(1, Ordering::Relaxed);
                    return;
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
                return;
            }
            tracing::warn!(entry = self.name, reason, "a periodic task cannot be sent now");
            shutdown.run_until_cancelled(sleep(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
