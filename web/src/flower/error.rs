//! What can go wrong while the monitor is set up or runs.

use std::path::PathBuf;

/// Error of the monitor.
#[derive(Debug, thiserror::Error)]
pub enum FlowerError {
    /// An option has a value that cannot be used.
    #[error("[flower] {option} cannot be used; valid: {valid}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it may be.
        valid: &'static str,
    },
    /// A metric could not be made.
    #[error("a metric of the monitor cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The history folder cannot be used.
    #[error(
        "the history in {path} cannot be used: {source}; set [flower] history to a folder that can be written"
    )]
    History {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system gave no randomness for the password check")]
    Randomness,
    /// The address cannot be listened on.
    #[error(transparent)]
    Server(#[from] crate::Error),
}

impl FlowerError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Option { .. } | Self::Metrics(_) => false,
            Self::History { .. } | Self::Randomness => true,
            Self::Server(error) => error.is_retryable(),
        }
    }
}
