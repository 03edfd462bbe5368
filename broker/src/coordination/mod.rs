//! The coordination seam: small facts that a whole fleet must agree on.
//!
//! Drivers: memory, redis, postgres; [`open_coordinator`] picks one by URL. Each method is one atomic
//! step on the server. All keys are ours (`tradewind:*`, `tradewind_*` tables). A fleet whose broker is
//! RabbitMQ and whose results are rpc has none of them: such facts then hold per worker only.

#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;
mod open;
mod postgres;
mod redis;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::Error;

pub use memory::MemoryCoordinator;
pub use open::{CoordinatorOptions, open_coordinator, open_coordinator_with};
pub use postgres::PostgresCoordinator;
pub use redis::RedisCoordinator;

/// Revoked ids that are kept, as in Celery; the oldest go first.
pub const REVOKED_MAX: usize = 50_000;
/// Starts of one task that are kept; the oldest go first.
pub const STARTS_MAX: usize = 64;

/// A revoked task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Task id.
    pub id: String,
    /// Whether a running one is to be killed too.
    pub terminate: bool,
}

/// Fleet-wide facts. Cheap to share behind an `Arc`.
#[async_trait]
pub trait Coordinator: fmt::Debug + Send + Sync + 'static {
    /// `memory`, `redis` or `postgres`.
    fn kind(&self) -> &'static str;

    /// Whether every process of the fleet sees the same facts (false for memory).
    fn shared(&self) -> bool;

    /// Marks tasks as revoked for `ttl`.
    async fn revoke(&self, tasks: &[Revoked], ttl: Duration) -> Result<(), Error>;

    /// Which of these are revoked, in order.
    async fn are_revoked(&self, ids: &[String]) -> Result<Vec<bool>, Error>;

    /// All that were revoked, newest first, at most `max`.
    async fn revoked(&self, max: usize) -> Result<Vec<Revoked>, Error>;

    /// Takes one of a rate limit's tokens (token bucket of `burst`, refilled with `per_second`). None: taken;
    /// otherwise the wait until one will be there.
    async fn take_token(
        &self,
        key: &str,
        per_second: f64,
        burst: u32,
    ) -> Result<Option<Duration>, Error>;

    /// Enters a place of which `limit` exist, for a `lease`. True if entered; entering again renews.
    async fn enter(
        &self,
        key: &str,
        limit: u32,
        holder: &str,
        lease: Duration,
    ) -> Result<bool, Error>;

    /// Leaves it.
    async fn leave(&self, key: &str, holder: &str) -> Result<(), Error>;

    /// Claims a unique key for a task. None: claimed (or already its own); otherwise the id that holds it.
    async fn claim_unique(
        &self,
        key: &str,
        id: &str,
        ttl: Duration,
    ) -> Result<Option<String>, Error>;

    /// Gives a unique key back, if this task still holds it.
    async fn release_unique(&self, key: &str, id: &str) -> Result<(), Error>;

    /// Counts a start of a task that has not been settled since; returns how many there are. A worker that
    /// dies leaves its count behind: the evidence against a poisonous message.
    async fn count_start(&self, id: &str, worker: &str, ttl: Duration) -> Result<u32, Error>;

    /// Forgets the starts of tasks that ended in an orderly way.
    async fn clear_starts(&self, ids: &[String]) -> Result<(), Error>;

    /// Who started it, oldest first.
    async fn starts(&self, id: &str) -> Result<Vec<String>, Error>;

    /// When a periodic entry was sent last (microseconds since 1970), if ever.
    async fn last_sent(&self, entry: &str) -> Result<Option<i64>, Error>;

    /// Moves an entry from `last` to `now`; false if somebody else has moved it (several beats at once).
    async fn advance(&self, entry: &str, last: Option<i64>, now: i64) -> Result<bool, Error>;

    /// Closes connections.
    async fn close(&self);
}
