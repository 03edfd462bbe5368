//! What can go wrong at a queue or result seam.

/// Error of a broker or result backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL or an option cannot be used; the text names it and the valid forms.
    #[error("{0}")]
    Config(String),
    /// The server cannot be reached, or the link broke; try again.
    #[error("{service} is not reachable: {reason}")]
    Unavailable {
        /// `RabbitMQ`, `Redis`, `PostgreSQL`.
        service: &'static str,
        /// What the client said, without credentials.
        reason: String,
    },
    /// The server answered with a refusal that a repetition will not change.
    #[error("{service} refused {what}: {reason}")]
    Refused {
        /// The server's kind.
        service: &'static str,
        /// The operation and its object.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// A message was published to a queue that does not exist (`mandatory` came back).
    #[error("queue {queue:?} does not exist; start a worker with -Q {queue} or declare it")]
    Unroutable {
        /// The queue.
        queue: String,
    },
    /// The driver has no such ability.
    #[error("{driver} cannot {what}")]
    Unsupported {
        /// The driver.
        driver: &'static str,
        /// What it was asked to do.
        what: &'static str,
    },
    /// A delivery was settled twice.
    #[error("delivery was already settled")]
    AlreadySettled,
    /// A delivery from before a reconnect: the broker has taken it back.
    #[error("delivery is stale: the connection it came by is gone")]
    Stale,
    /// The message or result is larger than a limit.
    #[error("message or result of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The component was closed.
    #[error("closed")]
    Closed,
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
