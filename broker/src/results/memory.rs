//! Results and inboxes in memory: for tests, simulation and one-process deployments.
//!
//! Clones share their state. Time is tokio's clock, so that paused tests are deterministic. Nothing
//! survives the process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::fence::replaces;
use super::memory_joins::Joins;
use super::waiting::wait_terminal;
use super::watchers::{Watch, Watchers};
use super::{Inbox, InboxItem, Join, JoinPart, Put, ResultBackend, StoredResult, check_result};
use crate::Error;

/// Results kept at most; the one that expires first makes room.
const RESULTS_MAX: usize = 1_000_000;
/// Unacked items of one inbox; a send beyond fails and may be repeated.
const INBOX_ITEMS_MAX: usize = 1_000_000;

/// The memory driver.
#[derive(Debug, Clone)]
pub struct MemoryResults {
    state: Arc<Mutex<State>>,
    watchers: Watchers,
}

#[derive(Debug, Default)]
struct State {
    results: BTreeMap<String, (StoredResult, Instant)>,
    by_expiry: BTreeSet<(Instant, String)>,
    inboxes: BTreeMap<String, Items>,
    joins: Joins,
    last_tag: u64,
    last_reader: u64,
}

#[derive(Debug, Default)]
struct Items {
    ready: VecDeque<(u64, Vec<u8>)>,
    held: BTreeMap<u64, BTreeMap<u64, Vec<u8>>>,
}

impl State {
    fn remove(&mut self, task_id: &str) {
        if let Some((_, expires_at)) = self.results.remove(task_id) {
            self.by_expiry.remove(&(expires_at, task_id.to_owned()));
        }
    }

    fn drop_expired(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        while let Some((at, task_id)) = self.by_expiry.first() {
            if *at > now && self.results.len() <= RESULTS_MAX {
                break;
            }
            let task_id = task_id.clone();
            self.remove(&task_id);
            dropped += 1;
        }
        dropped
    }
}

impl Items {
    fn give_back(&mut self, reader: u64) {
        for item in self.held.remove(&reader).into_iter().flatten().rev() {
            self.ready.push_front(item);
        }
    }
}

impl Default for MemoryResults {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryResults {
    /// An empty backend.
    pub fn new() -> Self {
        let watchers = Watchers::default();
        watchers.set_live(true);
        Self { state: Arc::default(), watchers }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn result_key(task_id: &str) -> String {
    format!("result:{task_id}")
}

fn inbox_key(inbox: &str) -> String {
    format!("inbox:{inbox}")
}

#[async_trait]
impl ResultBackend for MemoryResults {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn put(&self, mut result: StoredResult, ttl: Duration) -> Result<Put, Error> {
        check_result(&result)?;
        result.reply_to = None;
        let now = Instant::now();
        let task_id = result.task_id.clone();
        {
            let mut state = self.state();
            state.drop_expired(now);
            if let Some((stored, _)) = state.results.get(&task_id)
                && !replaces(result.token, stored.token, &stored.state)
            {
                return Ok(Put::Superseded);
            }
            state.remove(&task_id);
            let expires_at = now + ttl;
            state.by_expiry.insert((expires_at, task_id.clone()));
            state.results.insert(task_id.clone(), (result, expires_at));
        }
        self.watchers.wake(&result_key(&task_id));
        Ok(Put::Stored)
    }

    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error> {
        let mut state = self.state();
        state.drop_expired(Instant::now());
        Ok(state.results.get(task_id).map(|(result, _)| result.clone()))
    }

    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error> {
        let watch = self.watchers.watch(&result_key(task_id));
        wait_terminal(watch, limit, || self.get(task_id)).await
    }

    async fn forget(&self, task_id: &str) -> Result<(), Error> {
        self.state().remove(task_id);
        Ok(())
    }

    async fn begin_join(&self, group: &str, size: u64, ttl: Duration) -> Result<(), Error> {
        self.state().joins.begin(group, size, ttl);
        Ok(())
    }

    async fn extend_join(&self, group: &str, task_id: &str, ttl: Duration) -> Result<(), Error> {
        self.state().joins.extend(group, task_id, ttl);
        Ok(())
    }

    async fn join(&self, part: JoinPart, ttl: Duration) -> Result<Join, Error> {
        Ok(self.state().joins.join(part, ttl))
    }

    async fn finish_join(&self, group: &str, claim: &str) -> Result<(), Error> {
        self.state().joins.finish(group, claim);
        Ok(())
    }

    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error> {
        {
            let mut state = self.state();
            let first_tag = state.last_tag + 1;
            let items = state.inboxes.entry(inbox.to_owned()).or_default();
            let held: usize = items.held.values().map(BTreeMap::len).sum();
            if items.ready.len() + held + bodies.len() > INBOX_ITEMS_MAX {
                return Err(Error::Unavailable {
                    service: "memory",
                    reason: format!(
                        "inbox {inbox:?} holds {INBOX_ITEMS_MAX} items; is it being read?"
                    ),
                });
            }
            let count = bodies.len() as u64;
            items.ready.extend((first_tag..).zip(bodies));
            state.last_tag += count;
        }
        self.watchers.wake(&inbox_key(inbox));
        Ok(())
    }

    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error> {
        let reader = {
            let mut state = self.state();
            state.last_reader += 1;
            state.last_reader
        };
        Ok(Box::new(MemoryInbox {
            backend: self.clone(),
            inbox: inbox.to_owned(),
            reader,
            watch: self.watchers.watch(&inbox_key(inbox)),
        }))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        Ok(self.state().drop_expired(Instant::now()))
    }

    async fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct MemoryInbox {
    backend: MemoryResults,
    inbox: String,
    reader: u64,
    watch: Watch,
}

impl MemoryInbox {
    fn take(&self, max: usize) -> Vec<InboxItem> {
        let mut state = self.backend.state();
        let items = state.inboxes.entry(self.inbox.clone()).or_default();
        let count = items.ready.len().min(max.max(1));
        let taken: BTreeMap<_, _> = items.ready.drain(..count).collect();
        let batch = taken
            .iter()
            .map(|(tag, body)| InboxItem { tag: tag.to_string(), body: body.clone() })
            .collect();
        items.held.entry(self.reader).or_default().extend(taken);
        batch
    }
}

#[async_trait]
impl Inbox for MemoryInbox {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<InboxItem>, Error> {
        loop {
            self.watch.mark();
            let batch = self.take(max);
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.watch.woken().await;
        }
    }

    async fn ack(&mut self, tags: &[String]) -> Result<(), Error> {
        let mut state = self.backend.state();
        if let Some(held) =
            state.inboxes.get_mut(&self.inbox).and_then(|items| items.held.get_mut(&self.reader))
        {
            for tag in tags.iter().filter_map(|tag| tag.parse().ok()) {
                held.remove(&tag);
            }
        }
        Ok(())
    }
}

impl Drop for MemoryInbox {
    fn drop(&mut self) {
        if let Some(items) = self.backend.state().inboxes.get_mut(&self.inbox) {
            items.give_back(self.reader);
        }
        self.backend.watchers.wake(&inbox_key(&self.inbox));
    }
}
