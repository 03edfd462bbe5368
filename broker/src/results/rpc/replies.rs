//! The results this process has received or produced: a bounded map, oldest out first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::fence::replaces;
use super::super::{Put, StoredResult};

/// All metas together; a burst of large results pushes the oldest out.
const BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Replies {
    entries: BTreeMap<String, Entry>,
    /// Arrival order; a stale pair names an entry that is gone or was replaced.
    order: VecDeque<(u64, String)>,
    arrivals: u64,
    bytes: usize,
    entries_max: usize,
}

#[derive(Debug)]
struct Entry {
    arrival: u64,
    result: StoredResult,
    expires_at: Instant,
}

impl Replies {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            arrivals: 0,
            bytes: 0,
            entries_max: entries_max.max(1),
        }
    }

    /// Whether a result with this token would stand.
    pub(super) fn admits(&self, task_id: &str, token: i64, now: Instant) -> bool {
        self.get(task_id, now).is_none_or(|stored| replaces(token, stored.token, &stored.state))
    }

    /// Keeps a result if the fence admits it.
    pub(super) fn put(&mut self, result: StoredResult, ttl: Duration, now: Instant) -> Put {
        if !self.admits(&result.task_id, result.token, now) {
            return Put::Superseded;
        }
        self.remove(&result.task_id);
        self.arrivals += 1;
        self.bytes += result.meta.len();
        self.order.push_back((self.arrivals, result.task_id.clone()));
        let entry = Entry { arrival: self.arrivals, expires_at: now + ttl, result };
        self.entries.insert(entry.result.task_id.clone(), entry);
        self.make_room();
        Put::Stored
    }

    pub(super) fn get(&self, task_id: &str, now: Instant) -> Option<&StoredResult> {
        self.entries.get(task_id).filter(|entry| entry.expires_at > now).map(|entry| &entry.result)
    }

    pub(super) fn remove(&mut self, task_id: &str) {
        if let Some(entry) = self.entries.remove(task_id) {
            self.bytes -= entry.result.meta.len();
        }
    }

    /// Drops what has expired.
    pub(super) fn sweep(&mut self, now: Instant) -> u64 {
        let expired: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.expires_at <= now)
            .map(|(task_id, _)| task_id.clone())
            .collect();
        for task_id in &expired {
            self.remove(task_id);
        }
        expired.len() as u64
    }

    fn make_room(&mut self) {
        while self.entries.len() > self.entries_max
            || (self.bytes > BYTES_MAX && self.entries.len() > 1)
            || self.order.len() > self.entries_max.saturating_mul(2)
        {
            let Some((arrival, task_id)) = self.order.pop_front() else {
                return;
            };
            if self.entries.get(&task_id).is_some_and(|entry| entry.arrival == arrival) {
                self.remove(&task_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Put, Replies, StoredResult};

    fn result(task_id: &str, bytes: usize) -> StoredResult {
        StoredResult {
            task_id: task_id.to_owned(),
            token: 1,
            state: "SUCCESS".to_owned(),
            meta: vec![b' '; bytes],
            reply_to: None,
        }
    }

    #[test]
    fn the_oldest_goes_first_by_count_and_by_bytes() {
        let (now, day) = (Instant::now(), Duration::from_secs(86_400));
        let mut replies = Replies::new(3);
        for id in ["a", "b", "c", "d"] {
            assert_eq!(replies.put(result(id, 1), day, now), Put::Stored);
        }
        assert!(replies.get("a", now).is_none());
        assert!(replies.get("b", now).is_some());
        replies.put(result("big", super::BYTES_MAX), day, now);
        assert!(replies.get("d", now).is_none());
        assert!(replies.get("big", now).is_some());
    }

    #[test]
    fn replacing_and_forgetting_do_not_leak() {
        let (now, day) = (Instant::now(), Duration::from_secs(86_400));
        let mut replies = Replies::new(3);
        for round in 0..100 {
            let mut again = result("a", 10);
            again.token = round;
            assert_eq!(replies.put(again, day, now), Put::Stored);
        }
        assert_eq!(replies.bytes, 10);
        assert!(replies.order.len() <= 6);
        assert_eq!(replies.get("a", now).map(|kept| kept.token), Some(99));
        replies.remove("a");
        assert_eq!((replies.bytes, replies.entries.len()), (0, 0));
        assert_eq!(replies.sweep(now + day), 0);
    }
}
