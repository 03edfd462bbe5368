//! Why a beat cannot start.

/// Error of a beat; it names the entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// An entry cannot be used.
    #[error("[beat.{entry:?}] {reason}")]
    Entry {
        /// The entry's name.
        entry: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

impl BeatError {
    /// Whether starting again may succeed without a change by a person.
    pub fn is_retryable(&self) -> bool {
        false
    }
}
