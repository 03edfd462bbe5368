//! Who waits for which key: turns a driver's notifications into wake-ups of local waiters.
//!
//! A wake-up is a hint to look again, never the news itself; it is not lost between two looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// Wait between two looks while notifications arrive: only a guard against a lost one.
const POLL_LIVE: Duration = Duration::from_secs(1);
/// Wait between two looks while the notification link is down.
const POLL_BLIND: Duration = Duration::from_millis(50);

/// The waiters of one backend.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    keys: Mutex<Keys>,
    changed: Notify,
    live: AtomicBool,
}

#[derive(Debug, Default)]
struct Keys {
    waiting: BTreeMap<String, watch::Sender<()>>,
    /// Keys that got their first or lost their last waiter since [`Watchers::changes`].
    touched: BTreeSet<String>,
}

impl Watchers {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to watch a key.
    pub(super) fn watch(&self, key: &str) -> Watch {
        let mut keys = self.keys();
        let seen = if let Some(sender) = keys.waiting.get(key) {
            sender.subscribe()
        } else {
            let (sender, seen) = watch::channel(());
            keys.waiting.insert(key.to_owned(), sender);
            keys.touched.insert(key.to_owned());
            self.0.changed.notify_one();
            seen
        };
        Watch { key: key.to_owned(), seen, owner: self.clone() }
    }

    /// Wakes the waiters of a key.
    pub(super) fn wake(&self, key: &str) {
        if let Some(sender) = self.keys().waiting.get(key) {
            sender.send_replace(());
        }
    }

    /// Wakes everybody: after a gap in the notifications.
    pub(super) fn wake_all(&self) {
        for sender in self.keys().waiting.values() {
            sender.send_replace(());
        }
    }

    /// Says whether notifications arrive, which decides how often waiters look unasked.
    pub(super) fn set_live(&self, live: bool) {
        self.0.live.store(live, Ordering::Relaxed);
    }

    /// Waits until the set of watched keys changed. Cancel-safe.
    pub(super) async fn keys_changed(&self) {
        self.0.changed.notified().await;
    }

    /// The keys to add to and to drop from `subscribed`, a set that this brings up to date.
    pub(super) fn changes(
        &self,
        subscribed: &mut BTreeSet<String>,
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut keys = self.keys();
        let (mut added, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for key in std::mem::take(&mut keys.touched) {
            if keys.waiting.contains_key(&key) {
                if subscribed.insert(key.clone()) {
                    added.insert(key);
                }
            } else if subscribed.remove(&key) {
                dropped.insert(key);
            }
        }
        (added, dropped)
    }

    /// All watched keys, for a new notification link.
    pub(super) fn all(&self) -> BTreeSet<String> {
        let mut keys = self.keys();
        keys.touched.clear();
        keys.waiting.keys().cloned().collect()
    }
}

/// One waiter.
#[derive(Debug)]
pub(super) struct Watch {
    key: String,
    seen: watch::Receiver<()>,
    owner: Watchers,
}

impl Watch {
    /// Call before looking: later wake-ups end [`Watch::woken`].
    pub(super) fn mark(&mut self) {
        self.seen.mark_unchanged();
    }

    /// Waits for a wake-up since [`Watch::mark`], or until it is time to look anyway. Cancel-safe.
    pub(super) async fn woken(&mut self) {
        let poll = if self.owner.0.live.load(Ordering::Relaxed) { POLL_LIVE } else { POLL_BLIND };
        tokio::select! {
            biased;
            // The sender lives as long as this waiter: an error cannot occur.
            _ = self.seen.changed() => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut keys = self.owner.keys();
        let last = keys.waiting.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1);
        if last {
            keys.waiting.remove(&self.key);
            keys.touched.insert(std::mem::take(&mut self.key));
            self.owner.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::time::Instant;

    use super::{POLL_LIVE, Watchers};

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_between_mark_and_wait_is_kept() {
        let watchers = Watchers::default();
        watchers.set_live(true);
        let mut watch = watchers.watch("a");
        watch.mark();
        watchers.wake("a");
        watchers.wake("b");
        let start = Instant::now();
        watch.woken().await;
        assert_eq!(start.elapsed().as_millis(), 0);
        watch.mark();
        watch.woken().await;
        assert!(start.elapsed() >= POLL_LIVE);
    }

    #[tokio::test]
    async fn tells_which_keys_to_subscribe_and_to_drop() {
        let watchers = Watchers::default();
        let mut subscribed = BTreeSet::new();
        let first = watchers.watch("a");
        let second = watchers.watch("a");
        watchers.keys_changed().await;
        let one: BTreeSet<_> = ["a".to_owned()].into();
        assert_eq!(watchers.changes(&mut subscribed), (one.clone(), [].into()));
        drop(first);
        assert_eq!(watchers.changes(&mut subscribed), Default::default());
        drop(second);
        watchers.keys_changed().await;
        assert_eq!(watchers.changes(&mut subscribed), ([].into(), one));
    }
}
