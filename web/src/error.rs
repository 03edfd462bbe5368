//! What can go wrong while a server is set up or runs.

/// Error of a server of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; set another host or port, or stop the other process"
    )]
    Bind {
        /// `host:port`.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// `base_url` cannot be used.
    #[error("[web] base_url {url:?} cannot be used; set it like https://flows.example/prefix")]
    BaseUrl {
        /// The text found.
        url: String,
    },
    /// The system has no randomness to give.
    #[error("the system gave no randomness for the token check")]
    Randomness,
    /// The server stopped by itself.
    #[error("server ended: {0}")]
    Serve(std::io::Error),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind { .. } | Self::Serve(_))
    }
}
