//! What can go wrong while a scheduler is made or runs.

/// Error of the scheduler.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option cannot be used; the text names it and says what is allowed.
    #[error("{0}")]
    Options(String),
    /// The metadata store refused or was away.
    #[error(transparent)]
    Store(#[from] tradewind_store::Error),
    /// The broker or result backend refused or was away.
    #[error(transparent)]
    Broker(#[from] tradewind_broker::Error),
    /// A metric could not be registered (the same registry given to two schedulers).
    #[error("cannot register the scheduler's metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A duty ended although nobody asked it to: a defect. The process should be restarted; nothing
    /// is lost by that.
    #[error("scheduler duty {duty:?} ended unexpectedly: {reason}")]
    DutyEnded {
        /// Name of the duty.
        duty: &'static str,
        /// `returned`, or the panic.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(e) => e.is_retryable(),
            Self::Broker(e) => e.is_retryable(),
            Self::Options(_) | Self::Metrics(_) | Self::DutyEnded { .. } => false,
        }
    }
}
