//! Where SQLite's work runs: one writer and some readers on threads of their own, or, for
//! deterministic simulation, everything at once in the caller.
//!
//! Writes that wait together share one transaction (group commit), each in a savepoint of its own:
//! a failing one takes nothing else with it, and all are answered after the commit.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::failure::{Failure, Res};
use crate::Error;

/// Writes that share one transaction at most.
const GROUP_MAX: usize = 64;
/// Jobs that may wait for a thread; further callers wait for room.
const QUEUE_MAX: usize = 1024;
/// Prepared statements kept per connection.
const STATEMENTS_MAX: usize = 256;
/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads that read.
const READERS: usize = 2;

/// Work for a thread; answers by itself.
pub(super) trait Job: Send {
    fn run(&mut self, conn: &Connection) -> Result<(), ()>;
    /// Called once, after the commit of what `run` did or its failure.
    fn answer(self: Box<Self>, commit: Result<(), Error>);
}

struct Task<T, F> {
    what: &'static str,
    work: Option<F>,
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Res<T> + Send,
{
    fn run(&mut self, conn: &Connection) -> Result<(), ()> {
        let work = self.work.take().ok_or(())?;
        // A panic must not take the writer, and with it every caller, down.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(conn)));
        let what = self.what;
        let result = match caught {
            Ok(result) => result.map_err(|failure| failure.at(what)),
            Err(_) => Err(Error::Internal { what, reason: "the statement's code panicked".into() }),
        };
        let ok = result.is_ok();
        self.result = Some(result);
        if ok { Ok(()) } else { Err(()) }
    }

    fn answer(self: Box<Self>, commit: Result<(), Error>) {
        let gone = || Error::Unavailable("the database's thread has stopped".into());
        let result = self.result.unwrap_or_else(|| Err(gone()));
        let _ = self.reply.send(result.and_then(|value| commit.map(|()| value)));
    }
}

type Queue = mpsc::Sender<Box<dyn Job>>;

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Db {
    Threads { writer: Queue, readers: Option<Queue> },
    Inline(Arc<Mutex<Connection>>),
}

impl Db {
    /// Threads on a file; without one, a single thread on a database in memory.
    pub(super) fn threads(path: Option<PathBuf>) -> Result<Self, Error> {
        let writer = connect(path.as_ref())?;
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        spawn("sqlite-writer", move || write_loop(&writer, jobs))?;
        let mut readers = None;
        if path.is_some() {
            let (queue, jobs) = mpsc::channel(QUEUE_MAX);
            let jobs = Arc::new(Mutex::new(jobs));
            for _ in 0..READERS {
                let reader = connect(path.as_ref())?;
                reader.pragma_update(None, "query_only", true).map_err(opening)?;
                let jobs = Arc::clone(&jobs);
                spawn("sqlite-reader", move || read_loop(&reader, &jobs))?;
            }
            readers = Some(queue);
        }
        Ok(Self::Threads { writer: queue, readers })
    }

    /// In memory, run by the callers.
    pub(super) fn inline() -> Result<Self, Error> {
        Ok(Self::Inline(Arc::new(Mutex::new(connect(None)?))))
    }

    /// Runs `work` in a transaction.
    pub(super) async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Res<T> + Send + 'static,
    {
        match self {
            Self::Threads { writer, .. } => submit(writer, what, work).await,
            Self::Inline(conn) => {
                let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
                alone(&conn, work).map_err(|failure| failure.at(what))
            }
        }
    }

    /// Runs `work`, which only reads, on one snapshot per statement.
    pub(super) async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Res<T> + Send + 'static,
    {
        match self {
            Self::Threads { writer, readers } => {
                submit(readers.as_ref().unwrap_or(writer), what, work).await
            }
            Self::Inline(conn) => {
                let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
                work(&conn).map_err(|failure| failure.at(what))
            }
        }
    }
}

fn opening(error: rusqlite::Error) -> Error {
    Failure::from(error).at("opening the database")
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(drop).map_err(|e| Error::Unavailable(format!("cannot start thread {name}: {e}")))
}

fn connect(path: Option<&PathBuf>) -> Result<Connection, Error> {
    let conn = match path {
        Some(path) => Connection::open(path).map_err(|e| {
            Error::Unavailable(format!("cannot open SQLite file {}: {e}", path.display()))
        })?,
        None => Connection::open_in_memory().map_err(opening)?,
    };
    let set = |conn: &Connection| -> rusqlite::Result<()> {
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // The pragma answers with the mode that it settled on.
        conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(())
    };
    set(&conn).map_err(opening)?;
    Ok(conn)
}

async fn submit<T, F>(queue: &Queue, what: &'static str, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Res<T> + Send + 'static,
{
    let gone = || Error::Unavailable("the database's thread has stopped".into());
    let (reply, answer) = oneshot::channel();
    let task = Task { what, work: Some(work), result: None, reply };
    queue.send(Box::new(task)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// Ends when every handle is gone.
fn read_loop(conn: &Connection, jobs: &Mutex<mpsc::Receiver<Box<dyn Job>>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(mut job) = job else { return };
        let _ = job.run(conn);
        job.answer(Ok(()));
    }
}

/// Ends when every handle is gone.
fn write_loop(conn: &Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = jobs.try_recv()
        {
            group.push(next);
        }
        let committed = commit_group(conn, &mut group).map_err(|e| Failure::from(e).at("commit"));
        if committed.is_err() && !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        for job in group {
            job.answer(committed.clone());
        }
    }
}

fn commit_group(conn: &Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    execute(conn, "BEGIN IMMEDIATE")?;
    let alone = group.len() == 1;
    for job in group.iter_mut() {
        if alone {
            if job.run(conn).is_err() {
                return execute(conn, "ROLLBACK");
            }
        } else {
            execute(conn, "SAVEPOINT job")?;
            if job.run(conn).is_err() {
                execute(conn, "ROLLBACK TO job")?;
            }
            execute(conn, "RELEASE job")?;
        }
    }
    execute(conn, "COMMIT")
}

fn alone<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Res<T>) -> Res<T> {
    execute(conn, "BEGIN IMMEDIATE")?;
    let result = work(conn).and_then(|value| {
        execute(conn, "COMMIT")?;
        Ok(value)
    });
    if result.is_err() && !conn.is_autocommit() {
        execute(conn, "ROLLBACK")?;
    }
    result
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}
