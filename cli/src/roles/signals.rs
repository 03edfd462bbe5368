//! SIGTERM and SIGINT: the first asks every component to stop well, the second hurries, the last ends
//! the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::failure::Failure;

/// Exit code after the last signal.
const COLD_STOP: i32 = 130;

/// A token that the first signal cancels; the second one ends the process.
pub(crate) fn shutdown() -> Result<CancellationToken, Failure> {
    let mut signals = Signals::new()?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        signals.next().await;
        info!("stopping; a second signal stops at once");
        cancel.cancel();
        signals.next().await;
        cold_stop();
    });
    Ok(token)
}

/// What a worker is told: the first signal cancels `stop`, the second `hurry`; the third ends the
/// process.
#[derive(Debug, Clone)]
pub(crate) struct Stages {
    pub(crate) stop: CancellationToken,
    pub(crate) hurry: CancellationToken,
}

/// Listens for the signals of a worker.
pub(crate) fn stages() -> Result<Stages, Failure> {
    let mut signals = Signals::new()?;
    let stages = Stages { stop: CancellationToken::new(), hurry: CancellationToken::new() };
    let told = stages.clone();
    tokio::spawn(async move {
        signals.next().await;
        info!(
            "stopping: what runs may end within its grace; a second signal hands it back at once"
        );
        told.stop.cancel();
        signals.next().await;
        warn!("handing back what still runs; a third signal ends the process");
        told.hurry.cancel();
        signals.next().await;
        cold_stop();
    });
    Ok(stages)
}

fn cold_stop() -> ! {
    warn!("stopped at once; what was running is lost and will run again");
    std::process::exit(COLD_STOP);
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
