//! How a command ends badly: one text for people, one exit code for programs.

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl Failure {
    /// Something went wrong: exit 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// The command line or configuration is wrong: exit 2.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }

    /// Nobody is there to answer: exit 69, as Celery's commands do.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 69 }
    }

    /// The named thing does not exist: exit 1.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(text)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<tradewind_store::Error> for Failure {
    fn from(error: tradewind_store::Error) -> Self {
        match error {
            tradewind_store::Error::Config(text) => Self::usage(text),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<tradewind_broker::Error> for Failure {
    fn from(error: tradewind_broker::Error) -> Self {
        match error {
            tradewind_broker::Error::Config(text) => Self::usage(text),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
