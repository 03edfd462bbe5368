//! Why a worker could not start or go on.

/// Error of a worker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option cannot be used; the text names it and the valid values.
    #[error("worker option {option}: {reason}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The queues cannot be declared or consumed.
    #[error("worker cannot consume its queues: {0}")]
    Queues(#[from] tradewind_broker::Error),
    /// The operating system refused something.
    #[error("worker cannot {what}: {source}")]
    System {
        /// The operation.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether starting again may succeed without a change by a person.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Option { .. } => false,
            Self::Queues(error) => error.is_retryable(),
            Self::System { .. } => true,
        }
    }
}
