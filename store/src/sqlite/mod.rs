//! The SQLite driver: one process, one file.

mod admin;
mod attempts;
mod dags;
mod data;
mod db;
mod failure;
mod finish;
mod past;
mod plan;
mod queueing;
mod runs;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::broadcast;

use self::db::Db;
use crate::Error;
use crate::specs::SpecCache;

/// Wake-ups that a slow receiver may fall behind by; they carry nothing, so losing some is harmless.
const WAKEUPS_MAX: usize = 16;

/// The metadata store in a SQLite file. For one process: others must not write to it while it is open.
#[derive(Debug)]
pub struct SqliteStore {
    db: Db,
    specs: Arc<SpecCache>,
    wake: broadcast::Sender<()>,
}

impl SqliteStore {
    /// Opens or creates the file. Migrate before the first use.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be opened; the text names it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self::new(Db::threads(Some(path.as_ref().to_owned()))?))
    }

    /// A database in memory on a thread of its own, gone with the store.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn in_memory() -> Result<Self, Error> {
        Ok(Self::new(Db::threads(None)?))
    }

    /// A database in memory that runs in its callers, without threads: under tokio's paused clock no
    /// time passes in a call.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn in_memory_inline() -> Result<Self, Error> {
        Ok(Self::new(Db::inline()?))
    }

    fn new(db: Db) -> Self {
        Self { db, specs: Arc::default(), wake: broadcast::channel(WAKEUPS_MAX).0 }
    }

    fn wake(&self) {
        // Nobody listening is fine.
        let _ = self.wake.send(());
    }
}
