//! The loop behind `wait`: look, wait for a hint, look again.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::StoredResult;
use super::fence::is_terminal;
use super::watchers::Watch;
use crate::Error;

/// Looks with `look` until it finds a terminal result or `limit` is over. A link that breaks
/// meanwhile is ridden out; if it is still broken at the end, that is the answer.
pub(super) async fn wait_terminal<F, L>(
    mut watch: Watch,
    limit: Duration,
    look: F,
) -> Result<Option<StoredResult>, Error>
where
    F: Fn() -> L + Send,
    L: Future<Output = Result<Option<StoredResult>, Error>> + Send,
{
    let deadline = Instant::now() + limit;
    loop {
        watch.mark();
        let not_yet = match look().await {
            Ok(Some(found)) if is_terminal(&found.state) => return Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => return Err(error),
        };
        if timeout_at(deadline, watch.woken()).await.is_err() {
            return not_yet;
        }
    }
}
