//! How a command ends badly: one text for people, one exit code for programs.

use crate::config::{Config, redact_url};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) code: u8,
    /// A server of queues or results did not do what it was asked: where it is said is worth knowing.
    pub(crate) server: bool,
}

impl Failure {
    /// Something went wrong: exit 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1, server: false }
    }

    /// The command line or configuration is wrong: exit 2.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2, server: false }
    }

    /// Nobody is there to answer: exit 69, as Celery's commands do.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 69, server: false }
    }

    /// Says which servers the configuration names, and where.
    pub(crate) fn at(mut self, config: &Config) -> Self {
        if self.server {
            let (broker, results) = (config.setting("broker", "url"), config.results_url());
            let url = redact_url(&broker.text);
            self.text.push_str(&format!("\n[broker] url = {url:?}, from {}", broker.source));
            if results != broker.text {
                self.text.push_str(&format!("; results in {:?}", redact_url(&results)));
            }
        }
        self
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
        use tradewind_broker::Error;
        match error {
            Error::Config(text) => Self::usage(text),
            other @ Error::Unavailable { .. } => {
                Self { server: true, ..Self::unavailable(other.to_string()) }
            }
            other @ Error::Refused { .. } => Self { server: true, ..Self::new(other.to_string()) },
            other => Self::new(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
