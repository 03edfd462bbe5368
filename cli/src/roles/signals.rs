//! SIGTERM and SIGINT: the first asks every component to stop well, the second ends the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::failure::Failure;

/// Exit code after a second signal.
const COLD_STOP: i32 = 130;

/// A token that the first signal cancels.
pub(crate) fn shutdown() -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping; a second signal stops at once");
        cancel.cancel();
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        warn!("stopped at once; what was running is lost and will run again");
        std::process::exit(COLD_STOP);
    });
    Ok(token)
}
