//! The result seam: results by id, and durable inboxes for those who want to be told.
//!
//! Drivers: memory, redis, postgres, rpc (AMQP reply queues); [`open_results`] picks one by URL.
//! Nothing here knows what a result means beyond its fencing token and its state.

#[cfg(feature = "conformance")]
pub mod conformance;
mod fence;
mod memory;
mod memory_joins;
mod meta;
mod open;
pub(crate) mod postgres;
mod reader;
pub(crate) mod redis;
mod rpc;
mod waiting;
mod watchers;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tradewind_proto::limits::RESULT_BYTES_MAX;

use crate::Error;

pub use memory::MemoryResults;
pub(crate) use open::is_postgres;
pub use open::{ResultOptions, open_results};

/// How long one claims the sending of a chord's body; whoever hands a part in again takes it over after that.
pub const JOIN_CLAIM: Duration = Duration::from_secs(5);
/// How long it is remembered that the body was sent.
pub const JOIN_DONE: Duration = Duration::from_secs(300);

/// Refuses what no reader should have to load.
fn check_result(result: &StoredResult) -> Result<(), Error> {
    let bytes = result.meta.len();
    if bytes > RESULT_BYTES_MAX {
        return Err(Error::TooLarge { bytes, limit: RESULT_BYTES_MAX });
    }
    Ok(())
}

/// The result of one task, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// Task id.
    pub task_id: String,
    /// Fencing number: a result with a lower one never replaces a stored one. Exact up to 2^53 on
    /// Redis.
    pub token: i64,
    /// Celery state name (`SUCCESS`, `FAILURE`, `REVOKED`, …).
    pub state: String,
    /// Celery's meta object as JSON bytes (`status`, `result`, `traceback`, `children`,
    /// `date_done`, `task_id`).
    pub meta: Vec<u8>,
    /// The reply queue that the task message named (`reply_to`). Only the rpc driver looks at it,
    /// on put; a result that was read has none.
    pub reply_to: Option<String>,
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is the result now.
    Stored,
    /// A result with a higher token, or an equal token and a terminal state, was there already.
    Superseded,
}

/// One task of a group that a chord waits for, as it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinPart {
    /// Group id.
    pub group: String,
    /// Task id.
    pub task_id: String,
    /// Position in the group (`group_index`); orders the body's arguments.
    pub index: i64,
    /// Its terminal state.
    pub state: String,
    /// Its result, or Celery's exception object, as JSON.
    pub result: serde_json::Value,
}

/// What became of a part that was handed in.
#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// Others are missing.
    Waiting,
    /// All parts are there and the caller alone may send the chord's body now; it then calls
    /// [`ResultBackend::finish_join`]. Parts by position. The claim runs out by itself, so that a part
    /// that is handed in again after a crash takes it over.
    Complete {
        /// Names the claim.
        claim: String,
        /// All parts.
        parts: Vec<JoinPart>,
    },
    /// The body was sent, or somebody else is sending it.
    Taken,
}

/// Results and inboxes. Cheap to share behind an `Arc`.
#[async_trait]
pub trait ResultBackend: fmt::Debug + Send + Sync + 'static {
    /// `memory`, `redis`, `postgres` or `rpc`.
    fn kind(&self) -> &'static str;

    /// What a client writes into `reply_to` of its task messages so that results come back to this
    /// process; `None` where results are shared by id.
    fn reply_to(&self) -> Option<&str> {
        None
    }

    /// Stores a result for `ttl`. One over [`RESULT_BYTES_MAX`] is refused ([`Error::TooLarge`]).
    async fn put(&self, result: StoredResult, ttl: Duration) -> Result<Put, Error>;

    /// Reads a result.
    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error>;

    /// Waits for a terminal result (SUCCESS, FAILURE, REVOKED), at most `limit`.
    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error>;

    /// Drops a result.
    async fn forget(&self, task_id: &str) -> Result<(), Error>;

    /// Says how many parts the join of a group has (Celery's `set_chord_size`).
    async fn begin_join(&self, group: &str, size: u64, ttl: Duration) -> Result<(), Error> {
        let _ = (group, size, ttl);
        Err(self.no_joins())
    }

    /// Adds a part to the join of a group: the task of that id counts as one more (Celery's `add_to_chord`).
    /// The same id twice counts once. To be said while a part is missing: a join that is complete stays so.
    async fn extend_join(&self, group: &str, task_id: &str, ttl: Duration) -> Result<(), Error> {
        let _ = (group, task_id, ttl);
        Err(self.no_joins())
    }

    /// Hands in a part; the same one twice counts once. Redis: Celery 5.7's keys.
    async fn join(&self, part: JoinPart, ttl: Duration) -> Result<Join, Error> {
        let _ = (part, ttl);
        Err(self.no_joins())
    }

    /// The body of the group's chord was sent (or its errbacks were): forgets the parts.
    async fn finish_join(&self, group: &str, claim: &str) -> Result<(), Error> {
        let _ = (group, claim);
        Err(self.no_joins())
    }

    /// The refusal of a backend that cannot join (rpc, as in Celery).
    fn no_joins(&self) -> Error {
        Error::Config(format!(
            "result backend {:?} cannot join chords; use redis://, postgresql:// or memory://",
            self.kind()
        ))
    }

    /// Puts bodies into a durable inbox, in order; returns once they are safe there. After an error
    /// all of them may be sent again: readers must be idempotent.
    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error>;

    /// Opens an inbox for reading. Several readers share its items.
    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error>;

    /// Drops expired results where the server does not do so itself; returns how many.
    async fn sweep(&self) -> Result<u64, Error>;

    /// Whether the server answers now.
    async fn health(&self) -> Result<(), Error>;

    /// Closes connections.
    async fn close(&self);
}

/// One item read from an inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxItem {
    /// Names the item to [`Inbox::ack`].
    pub tag: String,
    /// The body, as sent.
    pub body: Vec<u8>,
}

/// A reader of an inbox: at least once until acked. Items of a dead reader are redelivered to the
/// others: at once where the server sees the connection end, else within 10 seconds.
#[async_trait]
pub trait Inbox: fmt::Debug + Send {
    /// Waits for at least one item, then adds those at hand, up to `max`. Cancel-safe. Reconnects by
    /// itself: an error is for the log, the next call backs off and tries again.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<InboxItem>, Error>;

    /// Removes items for good, in one round trip. A tag from before a reconnect may be skipped: its
    /// item comes again.
    async fn ack(&mut self, tags: &[String]) -> Result<(), Error>;
}
