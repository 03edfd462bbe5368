//! Messages whose worker died while they ran start one at a time. Otherwise all that were in one worker's
//! hands with a poisonous message would come back with it, die with it again, and be quarantined as it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long one suspect keeps others waiting: poison kills soon, and a long task must not hold them up.
const ALONE_MAX: Duration = Duration::from_secs(1);
/// How long one waits for its turn; then it runs beside others, as any message does.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Held while a suspect runs.
#[derive(Debug)]
pub(crate) struct Alone {
    _ends: DropGuard,
}

/// Waits for its turn.
pub(crate) async fn alone(turns: &Arc<Semaphore>) -> Alone {
    let ended = CancellationToken::new();
    let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(turns).acquire_owned()).await;
    // Too long, or closed.
    if let Ok(Ok(turn)) = turn {
        let ended = ended.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let _ended = tokio::time::timeout(ALONE_MAX, ended.cancelled()).await;
        });
    }
    Alone { _ends: ended.drop_guard() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tokio::time::{Instant, timeout};

    use super::{ALONE_MAX, alone};

    #[tokio::test(start_paused = true)]
    async fn one_suspect_at_a_time_but_not_for_long() {
        let turns = Arc::new(Semaphore::new(1));
        let first = alone(&turns).await;
        assert!(timeout(ALONE_MAX / 2, alone(&turns)).await.is_err(), "the first one runs");
        drop(first);
        let begun = Instant::now();
        let long = alone(&turns).await;
        let _second = alone(&turns).await;
        assert!(begun.elapsed() >= ALONE_MAX, "it waits for one that runs on");
        assert!(begun.elapsed() < ALONE_MAX * 2, "but not for long");
        drop(long);
    }
}
