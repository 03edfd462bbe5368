//! The subscriptions of one backend on one connection: turns published messages into wake-ups.
//!
//! Started by the first wait, ended with the backend; reconnects until then.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use ::redis::aio::PubSubSink;
use ::redis::{RedisResult, Value};
use futures::StreamExt;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::watchers::Watchers;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A quiet link is asked for a sign of life this often, and given this long.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) struct Hub {
    /// Taken by the start.
    idle: Mutex<Option<(::redis::Client, Watchers)>>,
    cancel: CancellationToken,
}

/// The address may hold a password.
impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    pub(super) fn new(
        client: ::redis::Client,
        watchers: Watchers,
        cancel: CancellationToken,
    ) -> Self {
        Self { idle: Mutex::new(Some((client, watchers))), cancel }
    }

    /// Starts listening, once.
    pub(super) fn start(&self) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((client, watchers)) = idle {
            let cancel = self.cancel.clone();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    () = supervise(&client, &watchers) => {}
                }
                watchers.set_live(false);
            });
        }
    }

    /// Ends listening for good.
    pub(super) fn stop(&self) {
        self.cancel.cancel();
    }
}

async fn supervise(client: &::redis::Client, watchers: &Watchers) {
    let mut backoff = BACKOFF_MIN;
    loop {
        match timeout(CONNECT_LIMIT, client.get_async_pubsub()).await {
            Ok(Ok(link)) => {
                backoff = BACKOFF_MIN;
                let (mut sink, mut messages) = link.split();
                if let Err(error) = listen(&mut sink, &mut messages, watchers).await {
                    tracing::warn!(%error, "Redis subscriptions are gone; polling meanwhile");
                }
                watchers.set_live(false);
            }
            Ok(Err(error)) => tracing::debug!(%error, "Redis subscriptions not restored"),
            Err(_) => tracing::debug!("Redis subscriptions not restored in time"),
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Serves one connection until it breaks.
async fn listen(
    sink: &mut PubSubSink,
    messages: &mut ::redis::aio::PubSubStream,
    watchers: &Watchers,
) -> RedisResult<()> {
    let mut subscribed = watchers.all();
    subscribe(sink, &subscribed).await?;
    watchers.set_live(true);
    watchers.wake_all();
    loop {
        tokio::select! {
            biased;
            message = messages.next() => match message {
                Some(message) => watchers.wake(message.get_channel_name()),
                None => return Ok(()),
            },
            () = watchers.keys_changed() => {
                let (added, dropped) = watchers.changes(&mut subscribed);
                subscribe(sink, &added).await?;
                // What was put between the waiter's first look and the subscription.
                for key in &added {
                    watchers.wake(key);
                }
                if !dropped.is_empty() {
                    sink.unsubscribe(Vec::from_iter(dropped)).await?;
                }
            }
            () = sleep(PING_EVERY) => match timeout(PING_LIMIT, sink.ping::<Value>()).await {
                Ok(answer) => drop(answer?),
                Err(_) => return Ok(()),
            }
        }
    }
}

async fn subscribe(sink: &mut PubSubSink, channels: &BTreeSet<String>) -> RedisResult<()> {
    if channels.is_empty() {
        return Ok(());
    }
    sink.subscribe(Vec::from_iter(channels)).await
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::{Hub, Watchers};

    #[test]
    fn the_password_stays_inside() {
        let client = ::redis::Client::open("redis://u:hunter2@redis/0").expect("a client");
        let hub = Hub::new(client, Watchers::default(), CancellationToken::new());
        let shown = format!("{hub:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
