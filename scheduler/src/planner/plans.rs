//! The bounded cache of plans, and the timers of all known runs.
//!
//! A run stays known, with its timer, when its plan is evicted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tradewind_engine::{CompiledDag, RunPlan};
use uuid::Uuid;

/// DAG versions kept compiled beyond those that a plan uses.
const COMPILED_MAX: usize = 256;

/// One running run.
#[derive(Debug)]
struct Entry {
    plan: Option<RunPlan>,
    timer: Option<Timestamp>,
    used: u64,
    /// When the plan was last known to agree with the store.
    verified: Instant,
    /// We made the last commit, or loaded it and nobody else has touched it since.
    ours: bool,
    /// Another scheduler commits to it too: load before deciding.
    contended: bool,
}

/// All known running runs.
#[derive(Debug)]
pub(super) struct Plans {
    entries: BTreeMap<Uuid, Entry>,
    timers: BTreeSet<(Timestamp, Uuid)>,
    recency: BTreeSet<(u64, Uuid)>,
    /// Runs that wait on another run of their DAG.
    past_waiters: BTreeMap<String, BTreeSet<Uuid>>,
    compiled: BTreeMap<String, Arc<CompiledDag>>,
    clock: u64,
    max: usize,
}

impl Plans {
    /// An empty cache of at most `max` plans.
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            timers: BTreeSet::new(),
            recency: BTreeSet::new(),
            past_waiters: BTreeMap::new(),
            compiled: BTreeMap::new(),
            clock: 0,
            max,
        }
    }

    /// Takes a plan out to work on it; none when it is not cached or shared with another scheduler.
    pub(super) fn take(&mut self, run: Uuid) -> Option<RunPlan> {
        let entry = self.entries.get_mut(&run)?;
        if entry.contended {
            return None;
        }
        self.recency.remove(&(entry.used, run));
        entry.plan.take()
    }

    /// Puts a plan that agrees with the store into the cache, or forgets a run that has ended.
    pub(super) fn put(&mut self, run: Uuid, plan: RunPlan, ours: bool) {
        if plan.is_done() {
            return self.forget(run);
        }
        self.clock += 1;
        let used = self.clock;
        let timer = plan.next_wake();
        let dag_id = plan.run().dag_id.clone();
        if plan.waits_on_past() {
            self.past_waiters.entry(dag_id).or_default().insert(run);
        } else if let Some(waiters) = self.past_waiters.get_mut(&dag_id) {
            waiters.remove(&run);
            if waiters.is_empty() {
                self.past_waiters.remove(&dag_id);
            }
        }
        let verified = Instant::now();
        let old = self.entries.remove(&run);
        let contended = old.as_ref().is_some_and(|entry| entry.contended);
        self.drop_marks(run, old.as_ref());
        let entry = Entry { plan: Some(plan), timer, used, verified, ours, contended };
        self.entries.insert(run, entry);
        self.recency.insert((used, run));
        self.timers.extend(timer.map(|at| (at, run)));
        self.evict();
    }

    /// Notes that another scheduler commits to a run too.
    pub(super) fn contended(&mut self, run: Uuid) {
        if let Some(entry) = self.entries.get_mut(&run) {
            entry.contended = true;
            entry.ours = false;
        }
    }

    /// Forgets a run.
    pub(super) fn forget(&mut self, run: Uuid) {
        let old = self.entries.remove(&run);
        self.drop_marks(run, old.as_ref());
        for waiters in self.past_waiters.values_mut() {
            waiters.remove(&run);
        }
        self.past_waiters.retain(|_, waiters| !waiters.is_empty());
    }

    fn drop_marks(&mut self, run: Uuid, entry: Option<&Entry>) {
        let Some(entry) = entry else { return };
        self.recency.remove(&(entry.used, run));
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, run));
        }
    }

    fn evict(&mut self) {
        while self.recency.len() > self.max {
            let Some((_, run)) = self.recency.pop_first() else { return };
            if let Some(entry) = self.entries.get_mut(&run) {
                entry.plan = None;
            }
        }
    }

    /// The earliest timer.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes the timers that are due, and says of each run whether we moved it last.
    pub(super) fn due(&mut self, now: Timestamp, max: usize) -> Vec<(Uuid, bool)> {
        let mut due = Vec::new();
        while due.len() < max {
            let Some(&(at, run)) = self.timers.first().filter(|(at, _)| *at <= now) else { break };
            self.timers.remove(&(at, run));
            if let Some(entry) = self.entries.get_mut(&run) {
                entry.timer = None;
                due.push((run, entry.ours));
            }
        }
        due
    }

    /// Whether a run is known.
    pub(super) fn knows(&self, run: Uuid) -> bool {
        self.entries.contains_key(&run)
    }

    /// All known runs.
    pub(super) fn known(&self) -> Vec<Uuid> {
        self.entries.keys().copied().collect()
    }

    /// Known runs after `cursor` whose plans were last verified before `before`.
    pub(super) fn unverified(
        &self,
        cursor: Option<Uuid>,
        before: Instant,
        max: usize,
    ) -> Vec<Uuid> {
        let after = cursor.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let rest = self.entries.range((after, std::ops::Bound::Unbounded));
        rest.filter(|(_, entry)| entry.verified < before).map(|(run, _)| *run).take(max).collect()
    }

    /// Whether the cached plan is of this version and needs no second look. Notes the agreement.
    pub(super) fn agrees(&mut self, run: Uuid, version: i64) -> bool {
        let Some(entry) = self.entries.get_mut(&run) else { return false };
        let Some(plan) = &entry.plan else { return false };
        if plan.version() != version || plan.waits_on_past() {
            return false;
        }
        entry.verified = Instant::now();
        true
    }

    /// Other runs of a DAG that wait on its earlier runs.
    pub(super) fn waiters(&self, dag_id: &str, except: Uuid) -> Vec<Uuid> {
        let waiters = self.past_waiters.get(dag_id);
        waiters.into_iter().flatten().copied().filter(|run| *run != except).collect()
    }

    /// A compiled DAG version.
    pub(super) fn compiled(&self, hash: &str) -> Option<Arc<CompiledDag>> {
        self.compiled.get(hash).cloned()
    }

    /// Keeps a compiled DAG version.
    pub(super) fn keep_compiled(&mut self, hash: &str, dag: Arc<CompiledDag>) {
        if self.compiled.len() >= COMPILED_MAX {
            self.compiled.retain(|_, dag| Arc::strong_count(dag) > 1);
        }
        self.compiled.insert(hash.to_owned(), dag);
    }
}
