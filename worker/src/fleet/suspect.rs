//! Messages whose worker died while they ran start one at a time, and nothing else starts beside them. Otherwise
//! all that were in one worker's hands with a poisonous message would come back with it, die with it again, and
//! be quarantined as it is; and one that is taken for the first time would kill whoever was alone until then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long one suspect keeps others waiting: poison kills soon, and a long task must not hold them up.
const ALONE_MAX: Duration = Duration::from_secs(1);
/// How long one waits for its turn; then it runs beside others, as any message does.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Who starts when.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The next suspect.
    suspects: Arc<Semaphore>,
    /// Held by that suspect while it runs, and by a batch while its tasks start. First come, first served, so a
    /// batch waits for one suspect at most, and not for all of them.
    starts: Arc<Mutex<()>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { suspects: Arc::new(Semaphore::new(1)), starts: Arc::default() }
    }
}

/// Held while a suspect runs.
#[derive(Debug)]
pub(crate) struct Alone {
    _ends: DropGuard,
}

impl Turns {
    /// A suspect waits for its turn.
    pub(crate) async fn alone(&self) -> Alone {
        let ended = CancellationToken::new();
        let turn = async {
            let turn = Arc::clone(&self.suspects).acquire_owned().await;
            (turn, Arc::clone(&self.starts).lock_owned().await)
        };
        // Else it took too long.
        if let Ok(turn) = tokio::time::timeout(WAIT_MAX, turn).await {
            let ended = ended.clone();
            tokio::spawn(async move {
                let _turn = turn;
                let _ended = tokio::time::timeout(ALONE_MAX, ended.cancelled()).await;
            });
        }
        Alone { _ends: ended.drop_guard() }
    }

    /// A batch waits until it may start.
    pub(crate) async fn start(&self) -> MutexGuard<'_, ()> {
        self.starts.lock().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::{ALONE_MAX, Turns};

    #[tokio::test(start_paused = true)]
    async fn one_suspect_at_a_time_but_not_for_long() {
        let turns = Turns::default();
        let first = turns.alone().await;
        assert!(timeout(ALONE_MAX / 2, turns.alone()).await.is_err(), "the first one runs");
        drop(first);
        let begun = Instant::now();
        let long = turns.alone().await;
        let _second = turns.alone().await;
        assert!(begun.elapsed() >= ALONE_MAX, "it waits for one that runs on");
        assert!(begun.elapsed() < ALONE_MAX * 2, "but not for long");
        drop(long);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_starts_beside_a_suspect_and_a_batch_waits_for_one_alone() {
        let turns = Turns::default();
        let first = turns.alone().await;
        assert!(timeout(ALONE_MAX / 2, turns.start()).await.is_err(), "the first one runs");
        let (second, batch) = (turns.alone(), turns.start());
        tokio::pin!(second, batch);
        // Both wait, the batch for `first` alone.
        assert!(timeout(ALONE_MAX / 8, &mut batch).await.is_err());
        assert!(timeout(ALONE_MAX / 8, &mut second).await.is_err());
        drop(first);
        let started = batch.await;
        assert!(timeout(ALONE_MAX / 8, &mut second).await.is_err(), "the batch starts");
        drop(started);
        let _second = second.await;
    }
}
