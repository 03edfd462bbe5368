//! Connections and transactions. Statements are prepared once per connection; what is sent without
//! waiting for the one before travels together (pipelining).

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::failure::{Failure, Res};

pub(super) type Args<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection for statements that stand alone.
pub(super) struct Conn(Object);

impl Conn {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    pub(super) async fn query(&self, sql: &str, args: Args<'_>) -> Res<Vec<Row>> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.query(&statement, args).await?)
    }

    pub(super) async fn execute(&self, sql: &str, args: Args<'_>) -> Res<u64> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.execute(&statement, args).await?)
    }

    /// Without a prepared statement: for what runs once, or before the schema exists.
    pub(super) async fn simple(&self, sql: &str) -> Res<()> {
        Ok(self.0.batch_execute(sql).await?)
    }
}

/// A transaction. Dropped before [`Tx::commit`] or [`Tx::rollback`], it takes its connection with it,
/// so that no half-done work ever returns to the pool.
pub(super) struct Tx {
    object: Option<Object>,
    begun: AtomicBool,
}

impl Tx {
    pub(super) fn new(object: Object) -> Self {
        Self { object: Some(object), begun: AtomicBool::new(false) }
    }

    fn object(&self) -> Res<&Object> {
        let gone = || crate::Error::Unavailable("the transaction is over".to_owned());
        Ok(self.object.as_ref().ok_or_else(gone)?)
    }

    pub(super) async fn prepare(&self, sql: &str) -> Res<Statement> {
        Ok(self.object()?.prepare_cached(sql).await?)
    }

    /// Sent when first polled: futures joined in order run on the server in that order.
    pub(super) async fn run(&self, statement: &Statement, args: Args<'_>) -> Res<Vec<Row>> {
        let object = self.object()?;
        if self.begun.swap(true, Ordering::Relaxed) {
            return Ok(object.query(statement, args).await?);
        }
        let (_, rows) = tokio::try_join!(
            biased;
            object.batch_execute("BEGIN"),
            object.query(statement, args),
        )?;
        Ok(rows)
    }

    pub(super) async fn query(&self, sql: &str, args: Args<'_>) -> Res<Vec<Row>> {
        let statement = self.prepare(sql).await?;
        self.run(&statement, args).await
    }

    pub(super) async fn simple(&self, sql: &str) -> Res<()> {
        let object = self.object()?;
        if !self.begun.swap(true, Ordering::Relaxed) {
            object.batch_execute("BEGIN").await?;
        }
        Ok(object.batch_execute(sql).await?)
    }

    pub(super) async fn commit(mut self) -> Res<()> {
        self.object()?.batch_execute("COMMIT").await?;
        drop(self.object.take());
        Ok(())
    }

    /// The last statements and the commit in one round trip. A failing statement makes the commit a
    /// rollback, and its error is what comes back.
    pub(super) async fn finish<'a>(
        mut self,
        statements: &[(&'a Statement, Args<'a>)],
    ) -> Res<Vec<Vec<Row>>> {
        let last = async { Ok::<_, Failure>(self.object()?.batch_execute("COMMIT").await?) };
        let runs = statements.iter().map(|(statement, args)| self.run(statement, args));
        let (rows, ()) = tokio::try_join!(biased; in_order(runs), last)?;
        drop(self.object.take());
        Ok(rows)
    }

    pub(super) async fn rollback(mut self) -> Res<()> {
        if self.begun.load(Ordering::Relaxed) {
            self.object()?.batch_execute("ROLLBACK").await?;
        }
        drop(self.object.take());
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && self.begun.load(Ordering::Relaxed)
        {
            drop(Object::take(object));
        }
    }
}

/// Sends all at once, in order, and waits for all answers; the first error wins.
pub(super) async fn in_order<T>(
    futures: impl Iterator<Item = impl Future<Output = Res<T>>>,
) -> Res<Vec<T>> {
    let mut running: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, done) in &mut running {
            if done.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(Ok(value)) => *done = Some(value),
                    Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(running.into_iter().filter_map(|(_, done)| done).collect())
}
