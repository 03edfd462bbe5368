//! What everything in one simulation shares, and how a broken promise ends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tradewind_proto::AttemptId;
use tradewind_proto::clock::Clock as _;
use tradewind_proto::state::OutcomeState;
use tradewind_store::SqliteStore;
use uuid::Uuid;

use crate::check::Checker;
use crate::faults::Faults;
use crate::life::Life;
use crate::lock;
use crate::rng::Rng;
use crate::time::{SimClock, SimIds};
use crate::trace::Trace;
use crate::workload::Workload;

/// A defect put in on purpose: the checkers must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The store commits decisions that were made on an old version of the run.
    StaleCommits,
    /// The store grants an attempt that somebody else has claimed.
    SecondClaims,
    /// The store renews leases that were lost.
    StaleHeartbeats,
    /// Nobody looks into the outbox again.
    ForgottenOutbox,
    /// A limit is not looked at when tasks are queued.
    NoPoolLimit,
}

/// How to simulate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A defect to plant.
    pub bug: Option<Bug>,
    /// Keep every call at every seam among the events.
    pub calls: bool,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in the design (`S4`, `L2`).
    pub promise: &'static str,
    /// What was seen.
    pub text: String,
}

/// One execution of an attempt by a simulated task process.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) life: Arc<Life>,
    pub(crate) started: Instant,
    /// How it ended, if it did.
    pub(crate) ended: Option<OutcomeState>,
}

/// A lease and the longest single call.
const TROUBLE_LASTS: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Arc<Rng>,
    pub(crate) clock: SimClock,
    pub(crate) trace: Trace,
    pub(crate) faults: Faults,
    pub(crate) bug: Option<Bug>,
    pub(crate) workload: Workload,
    /// The database, without faults.
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) checker: Mutex<Checker>,
    pub(crate) executions: Mutex<BTreeMap<AttemptId, Execution>>,
    pub(crate) tallies: Mutex<BTreeMap<&'static str, u64>>,
    /// When a heartbeat last met a fault of its own, not an outage.
    beat_trouble: Mutex<Option<Instant>>,
    violation: Mutex<Option<Violation>>,
    pub(crate) over: Notify,
}

impl World {
    pub(crate) fn new(
        rng: Arc<Rng>,
        clock: SimClock,
        options: Options,
        store: Arc<SqliteStore>,
    ) -> Arc<Self> {
        let workload = Workload::draw(&rng);
        Arc::new(Self {
            faults: Faults::draw(&rng),
            checker: Mutex::new(Checker::new(&workload)),
            rng,
            clock,
            trace: Trace::new(options.calls),
            bug: options.bug,
            workload,
            store,
            executions: Mutex::default(),
            tallies: Mutex::default(),
            beat_trouble: Mutex::default(),
            violation: Mutex::default(),
            over: Notify::new(),
        })
    }

    pub(crate) fn ids(&self) -> SimIds {
        SimIds { rng: Arc::clone(&self.rng), clock: self.clock }
    }

    /// Records an event.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.trace.add(self.clock.elapsed_us(), text.into());
    }

    /// Records that a process's call got through to its effect.
    pub(crate) fn call(&self, life: &Life, what: &str) {
        self.trace.call(self.clock.elapsed_us(), &life.name, what);
    }

    /// Counts something for the summary.
    pub(crate) fn count(&self, what: &'static str, times: u64) {
        *lock(&self.tallies).entry(what).or_default() += times;
    }

    /// Records a broken promise; the first one counts.
    pub(crate) fn violate(&self, violation: Violation) {
        let mut first = lock(&self.violation);
        if first.is_none() {
            self.note(format!("VIOLATION {}: {}", violation.promise, violation.text));
            *first = Some(violation);
            self.over.notify_one();
        }
    }

    /// The first broken promise.
    pub(crate) fn violation(&self) -> Option<Violation> {
        lock(&self.violation).clone()
    }

    /// Something was committed on these runs: looks whether every promise still holds.
    pub(crate) fn committed(&self, runs: impl IntoIterator<Item = Uuid>) {
        let mut checker = lock(&self.checker);
        let now = self.clock.now();
        for run in runs {
            match checker.step(&self.store, run, now) {
                Ok(changes) => changes.into_iter().for_each(|text| self.note(text)),
                Err(violation) => self.violate(violation),
            }
        }
        if let Err(violation) = checker.caps() {
            self.violate(violation);
        }
        for attempt in checker.take_lost() {
            if let Some(text) = self.healthy(attempt) {
                self.violate(Violation { promise: "S13", text });
            }
        }
    }

    /// A call met a fault of its own. Several in a row on heartbeats can cost a healthy attempt its
    /// lease: that is not the outage that S13 is about.
    pub(crate) fn troubled(&self, what: &str) {
        if what.ends_with("heartbeat") {
            *lock(&self.beat_trouble) = Some(Instant::now());
        }
    }

    /// Whether the worker of an attempt that was declared lost was well all the time.
    fn healthy(&self, attempt: AttemptId) -> Option<String> {
        if lock(&self.beat_trouble).is_some_and(|at| at.elapsed() < TROUBLE_LASTS) {
            return None;
        }
        let executions = lock(&self.executions);
        let execution = executions.get(&attempt)?;
        if execution.ended.is_some() || execution.life.suffered_since(execution.started) {
            return None;
        }
        Some(format!(
            "attempt {attempt} was declared lost while {} ran it without interruption",
            execution.life.name
        ))
    }
}
