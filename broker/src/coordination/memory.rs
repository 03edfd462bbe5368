//! Coordination inside one process: for tests, standalone use, and fleets without a shared server.
//!
//! Clones share their facts. Time is tokio's clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::open::check_rate;
use super::{Coordinator, REVOKED_MAX, Revoked, STARTS_MAX};
use crate::Error;

/// Entries over all kinds before the expired ones are looked for.
const SWEEP_EVERY: u32 = 4096;

/// The memory driver.
#[derive(Debug, Clone, Default)]
pub struct MemoryCoordinator {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By id: kill too, when marked (rises), until when.
    revoked: BTreeMap<String, (bool, u64, Instant)>,
    marks: u64,
    /// Tokens left and when they were counted.
    buckets: BTreeMap<String, (f64, Instant)>,
    places: BTreeMap<String, BTreeMap<String, Instant>>,
    unique: BTreeMap<String, (String, Instant)>,
    starts: BTreeMap<String, (VecDeque<String>, Instant)>,
    sent: BTreeMap<String, i64>,
    calls: u32,
}

impl State {
    /// Forgets what is over, once in a while.
    fn sweep(&mut self, now: Instant) {
        self.calls = self.calls.wrapping_add(1);
        if !self.calls.is_multiple_of(SWEEP_EVERY) {
            return;
        }
        self.revoked.retain(|_, (_, _, until)| *until > now);
        self.unique.retain(|_, (_, until)| *until > now);
        self.starts.retain(|_, (_, until)| *until > now);
        for holders in self.places.values_mut() {
            holders.retain(|_, until| *until > now);
        }
        self.places.retain(|_, holders| !holders.is_empty());
    }

    fn is_revoked(&self, id: &str, now: Instant) -> bool {
        self.revoked.get(id).is_some_and(|(_, _, until)| *until > now)
    }
}

impl MemoryCoordinator {
    /// One without facts.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> (MutexGuard<'_, State>, Instant) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now);
        (state, now)
    }
}

#[async_trait]
impl Coordinator for MemoryCoordinator {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn shared(&self) -> bool {
        false
    }

    async fn revoke(&self, tasks: &[Revoked], ttl: Duration) -> Result<(), Error> {
        let (mut state, now) = self.state();
        for task in tasks {
            state.marks += 1;
            let mark = state.marks;
            let old = state.revoked.get(&task.id).filter(|(_, _, until)| *until > now).copied();
            let kill = task.terminate || old.is_some_and(|(kill, _, _)| kill);
            let until = old.map_or(now + ttl, |(_, _, until)| until.max(now + ttl));
            state.revoked.insert(task.id.clone(), (kill, mark, until));
        }
        while state.revoked.len() > REVOKED_MAX {
            let oldest = state.revoked.iter().min_by_key(|(_, (_, mark, _))| *mark);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { break };
            state.revoked.remove(&id);
        }
        Ok(())
    }

    async fn are_revoked(&self, ids: &[String]) -> Result<Vec<bool>, Error> {
        let (state, now) = self.state();
        Ok(ids.iter().map(|id| state.is_revoked(id, now)).collect())
    }

    async fn revoked(&self, max: usize) -> Result<Vec<Revoked>, Error> {
        let (state, now) = self.state();
        let mut all: Vec<_> =
            state.revoked.iter().filter(|(_, (_, _, until))| *until > now).collect();
        all.sort_by_key(|(_, (_, mark, _))| std::cmp::Reverse(*mark));
        let revoked = |(id, (kill, ..)): (&String, &(bool, u64, Instant))| Revoked {
            id: id.clone(),
            terminate: *kill,
        };
        Ok(all.into_iter().take(max).map(revoked).collect())
    }

    async fn take_token(
        &self,
        key: &str,
        per_second: f64,
        burst: u32,
    ) -> Result<Option<Duration>, Error> {
        check_rate(key, per_second)?;
        let (mut state, now) = self.state();
        let size = f64::from(burst.max(1));
        let (left, at) = state.buckets.get(key).copied().unwrap_or((size, now));
        let left = (left + now.duration_since(at).as_secs_f64() * per_second).min(size);
        let taken = left >= 1.0;
        let rest = if taken { left - 1.0 } else { left };
        state.buckets.insert(key.to_owned(), (rest, now));
        Ok((!taken).then(|| Duration::from_secs_f64((1.0 - left) / per_second)))
    }

    async fn enter(
        &self,
        key: &str,
        limit: u32,
        holder: &str,
        lease: Duration,
    ) -> Result<bool, Error> {
        let (mut state, now) = self.state();
        let holders = state.places.entry(key.to_owned()).or_default();
        holders.retain(|_, until| *until > now);
        let may = holders.contains_key(holder) || holders.len() < limit as usize;
        if may {
            holders.insert(holder.to_owned(), now + lease);
        }
        Ok(may)
    }

    async fn leave(&self, key: &str, holder: &str) -> Result<(), Error> {
        let (mut state, _) = self.state();
        if let Some(holders) = state.places.get_mut(key) {
            holders.remove(holder);
        }
        Ok(())
    }

    async fn claim_unique(
        &self,
        key: &str,
        id: &str,
        ttl: Duration,
    ) -> Result<Option<String>, Error> {
        let (mut state, now) = self.state();
        if let Some((holder, until)) = state.unique.get(key)
            && *until > now
            && holder != id
        {
            return Ok(Some(holder.clone()));
        }
        state.unique.insert(key.to_owned(), (id.to_owned(), now + ttl));
        Ok(None)
    }

    async fn release_unique(&self, key: &str, id: &str) -> Result<(), Error> {
        let (mut state, _) = self.state();
        if state.unique.get(key).is_some_and(|(holder, _)| holder == id) {
            state.unique.remove(key);
        }
        Ok(())
    }

    async fn count_start(&self, id: &str, worker: &str, ttl: Duration) -> Result<u32, Error> {
        let (mut state, now) = self.state();
        let (workers, until) =
            state.starts.entry(id.to_owned()).or_insert_with(|| (VecDeque::new(), now));
        if *until < now {
            workers.clear();
        }
        workers.push_back(worker.to_owned());
        while workers.len() > STARTS_MAX {
            workers.pop_front();
        }
        *until = now + ttl;
        Ok(u32::try_from(workers.len()).unwrap_or(u32::MAX))
    }

    async fn clear_starts(&self, ids: &[String]) -> Result<(), Error> {
        let (mut state, _) = self.state();
        for id in ids {
            state.starts.remove(id);
        }
        Ok(())
    }

    async fn starts(&self, id: &str) -> Result<Vec<String>, Error> {
        let (state, now) = self.state();
        let found = state.starts.get(id).filter(|(_, until)| *until > now);
        Ok(found.map(|(workers, _)| workers.iter().cloned().collect()).unwrap_or_default())
    }

    async fn last_sent(&self, entry: &str) -> Result<Option<i64>, Error> {
        Ok(self.state().0.sent.get(entry).copied())
    }

    async fn advance(&self, entry: &str, last: Option<i64>, now: i64) -> Result<bool, Error> {
        let (mut state, _) = self.state();
        let moved = state.sent.get(entry).copied() == last;
        if moved {
            state.sent.insert(entry.to_owned(), now);
        }
        Ok(moved)
    }

    async fn close(&self) {}
}
