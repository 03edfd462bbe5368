//! One LISTEN connection per backend: turns NOTIFY into wake-ups.
//!
//! Started by the first wait or inbox, ended with the backend; reconnects until then.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;
use tradewind_postgres::Target;

use super::super::watchers::Watchers;
use super::STATEMENT_LIMIT;

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) struct Hub {
    /// Taken by the start.
    idle: Mutex<Option<(Arc<Target>, Watchers)>>,
    cancel: CancellationToken,
}

/// The address may hold a password.
impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    pub(super) fn new(target: Arc<Target>, watchers: Watchers, cancel: CancellationToken) -> Self {
        Self { idle: Mutex::new(Some((target, watchers))), cancel }
    }

    /// Starts listening, once.
    pub(super) fn start(&self) {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((target, watchers)) = idle {
            let cancel = self.cancel.clone();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    () = supervise(&target, &watchers) => {}
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

async fn supervise(target: &Target, watchers: &Watchers) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let (live, error) = listen(target, watchers).await;
        watchers.set_live(false);
        if live {
            backoff = BACKOFF_MIN;
            tracing::warn!(%error, "PostgreSQL notifications are gone; polling meanwhile");
        } else {
            tracing::debug!(%error, "PostgreSQL notifications not restored");
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Serves one connection until it breaks; says whether it had come to listen, and why it ended.
async fn listen(target: &Target, watchers: &Watchers) -> (bool, String) {
    let (client, mut connection) = match target.config.connect(target.tls.clone()).await {
        Ok(link) => link,
        Err(error) => return (false, error.to_string()),
    };
    let mut messages = futures::stream::poll_fn(|cx| connection.poll_message(cx));
    let mut live = false;
    let statements = "LISTEN tradewind_result; LISTEN tradewind_inbox";
    let ask = timeout(STATEMENT_LIMIT, client.batch_execute(statements));
    tokio::pin!(ask);
    loop {
        tokio::select! {
            biased;
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(news))) => {
                    watchers.wake(&format!("{}:{}", news.channel(), news.payload()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return (live, error.to_string()),
                None => return (live, "connection closed".to_owned()),
            },
            answer = &mut ask, if !live => match answer {
                Ok(Ok(())) => {
                    live = true;
                    watchers.set_live(true);
                    watchers.wake_all();
                }
                Ok(Err(error)) => return (false, error.to_string()),
                Err(_) => return (false, "no answer".to_owned()),
            }
        }
    }
}
