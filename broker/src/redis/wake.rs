//! Wakes idle consumers when one of our publishers appends to an empty queue.
//!
//! Best effort over Redis pub/sub: a lost wake costs one polling pause.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::link::Link;
use crate::Error;

const RETRY_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Wakes {
    waiting: Mutex<BTreeMap<String, Vec<Weak<Notify>>>>,
    /// Told when a channel was added.
    added: Notify,
}

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Weak<Notify>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings `bell` at each message of a channel, as long as the bell lives.
    pub(super) fn add(&self, channel: String, bell: &Arc<Notify>) {
        let mut waiting = self.lock();
        let bells = waiting.entry(channel).or_default();
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
        drop(waiting);
        self.added.notify_one();
    }

    fn ring(&self, channel: &str) {
        for bell in self.lock().get(channel).into_iter().flatten() {
            if let Some(bell) = bell.upgrade() {
                bell.notify_one();
            }
        }
    }

    fn channels(&self) -> Vec<String> {
        let mut waiting = self.lock();
        waiting.retain(|_, bells| bells.iter().any(|bell| bell.strong_count() > 0));
        waiting.keys().cloned().collect()
    }

    /// Listens until stopped; connects again after a loss.
    pub(super) async fn run(self: Arc<Self>, link: Arc<Link>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                result = self.listen(&link) => {
                    debug!(?result, "wake channel lost; consumers poll until it is back");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn listen(&self, link: &Link) -> Result<(), Error> {
        let (mut sink, mut messages) = link.pubsub().await?.split();
        loop {
            for channel in self.channels() {
                if sink.subscribe(&channel).await.is_err() {
                    return Ok(());
                }
                // What came before the subscription rang no bell.
                self.ring(&channel);
            }
            loop {
                tokio::select! {
                    biased;
                    () = self.added.notified() => break,
                    message = messages.next() => match message {
                        Some(message) => self.ring(message.get_channel_name()),
                        None => return Ok(()),
                    },
                }
            }
        }
    }
}
