//! Results and inboxes in PostgreSQL tables of our own.
//!
//! Needs session connections (no transaction-pooling proxy): readers prove that they live by session
//! advisory locks. Never touches Celery's `celery_taskmeta`, whose results are pickled up to
//! Celery 5.6 (`docs/results.md`).

pub(crate) mod config;
mod hub;
mod inbox;
mod joins;
pub(crate) mod link;
mod schema;
mod session;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tradewind_postgres::Target;

use super::reader::Reader;
use super::waiting::wait_terminal;
use super::watchers::Watchers;
use super::{Inbox, Join, JoinPart, Put, ResultBackend, ResultOptions, StoredResult, check_result};
use crate::Error;
use config::{SERVICE, sort_error, target};
use hub::Hub;
use inbox::PostgresSource;
use link::{Link, Params, STATEMENT_LIMIT, slow};

/// One sweep statement deletes at most this many results, and one sweep runs at most so many.
const SWEEP_ROWS: i64 = 5_000;
const SWEEP_STATEMENTS_MAX: usize = 200;

const PUT: &str = "
WITH done AS (
    INSERT INTO tradewind_result AS r (task_id, token, state, meta, expires_at)
    VALUES ($1, $2, $3, $4, now() + $5::bigint * interval '1 microsecond')
    ON CONFLICT (task_id) DO UPDATE SET token = excluded.token, state = excluded.state,
        meta = excluded.meta, expires_at = excluded.expires_at
    WHERE r.token < excluded.token OR r.expires_at <= now()
       OR (r.token = excluded.token AND r.state NOT IN ('SUCCESS', 'FAILURE', 'REVOKED'))
    RETURNING r.task_id, r.state)
SELECT CASE WHEN state IN ('SUCCESS', 'FAILURE', 'REVOKED')
    THEN pg_notify('tradewind_result', task_id) END FROM done";
const GET: &str = "SELECT token, state, meta FROM tradewind_result \
    WHERE task_id = $1 AND expires_at > now()";
const FORGET: &str = "DELETE FROM tradewind_result WHERE task_id = $1";
const SEND: &str = "
WITH sent AS (
    INSERT INTO tradewind_inbox (inbox, body)
    SELECT $1, item.body FROM unnest($2::bytea[]) WITH ORDINALITY AS item (body, position)
    ORDER BY item.position)
SELECT pg_notify('tradewind_inbox', $1)";
const SWEEP: &str = "DELETE FROM tradewind_result WHERE task_id IN (
    SELECT task_id FROM tradewind_result WHERE expires_at <= now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// The postgres driver.
#[derive(Debug)]
pub(super) struct PostgresResults {
    link: Link,
    target: Arc<Target>,
    watchers: Watchers,
    hub: Hub,
    _alive: DropGuard,
}

impl PostgresResults {
    /// Connects and makes the tables exist. `url` is a libpq URL.
    pub(super) async fn open(url: &str, options: &ResultOptions) -> Result<Self, Error> {
        let target = target(url, options.ca_file.as_deref())?;
        let link = Link::new(&target, options.pool_size)?;
        let target = Arc::new(target);
        let watchers = Watchers::default();
        let cancel = CancellationToken::new();
        let backend = Self {
            hub: Hub::new(Arc::clone(&target), watchers.clone(), cancel.clone()),
            link,
            target,
            watchers,
            _alive: cancel.drop_guard(),
        };
        let mut client = backend.link.client().await?;
        schema::ensure_schema(&mut client)
            .await
            .map_err(|e| sort_error("the tables of results and inboxes", &e))?;
        Ok(backend)
    }

    async fn run(
        &self,
        what: &str,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        self.link.run(what, sql, params).await
    }
}

fn result_key(task_id: &str) -> String {
    format!("tradewind_result:{task_id}")
}

fn inbox_key(inbox: &str) -> String {
    format!("tradewind_inbox:{inbox}")
}

#[async_trait]
impl ResultBackend for PostgresResults {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn put(&self, result: StoredResult, ttl: Duration) -> Result<Put, Error> {
        check_result(&result)?;
        let ttl_us = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        let StoredResult { task_id, token, state, meta, .. } = result;
        let stored = self.run("a result", PUT, &[&task_id, &token, &state, &meta, &ttl_us]).await?;
        Ok(if stored.is_empty() { Put::Superseded } else { Put::Stored })
    }

    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error> {
        let rows = self.run("reading a result", GET, &[&task_id]).await?;
        Ok(rows.first().map(|row| StoredResult {
            task_id: task_id.to_owned(),
            token: row.get(0),
            state: row.get(1),
            meta: row.get(2),
            reply_to: None,
        }))
    }

    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error> {
        self.hub.start();
        let watch = self.watchers.watch(&result_key(task_id));
        wait_terminal(watch, limit, || self.get(task_id)).await
    }

    async fn forget(&self, task_id: &str) -> Result<(), Error> {
        self.run("forgetting a result", FORGET, &[&task_id]).await?;
        Ok(())
    }

    async fn begin_join(&self, group: &str, size: u64, ttl: Duration) -> Result<(), Error> {
        joins::begin(&self.link, group, size, ttl).await
    }

    async fn extend_join(&self, group: &str, task_id: &str, ttl: Duration) -> Result<(), Error> {
        joins::extend(&self.link, group, task_id, ttl).await
    }

    async fn join(&self, part: JoinPart, ttl: Duration) -> Result<Join, Error> {
        joins::join(&self.link, part, ttl).await
    }

    async fn finish_join(&self, group: &str, claim: &str) -> Result<(), Error> {
        joins::finish(&self.link, group, claim).await
    }

    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error> {
        if !bodies.is_empty() {
            self.run("inbox items", SEND, &[&inbox, &bodies]).await?;
        }
        Ok(())
    }

    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error> {
        self.hub.start();
        let watch = self.watchers.watch(&inbox_key(inbox));
        let source = PostgresSource::new(Arc::clone(&self.target), inbox.to_owned());
        Ok(Box::new(Reader::start(Arc::new(source), watch)))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        for sweep in joins::SWEEPS {
            self.run("a sweep", sweep, &[]).await?;
        }
        let mut swept = 0;
        for _ in 0..SWEEP_STATEMENTS_MAX {
            let client = self.link.client().await?;
            let rows = timeout(STATEMENT_LIMIT, client.execute(SWEEP, &[&SWEEP_ROWS]))
                .await
                .map_err(|_| slow("a sweep"))?
                .map_err(|e| sort_error("a sweep", &e))?;
            swept += rows;
            if rows < SWEEP_ROWS as u64 {
                break;
            }
        }
        Ok(swept)
    }

    async fn health(&self) -> Result<(), Error> {
        self.run("a ping", "SELECT 1", &[]).await?;
        Ok(())
    }

    async fn close(&self) {
        self.hub.stop();
        self.link.close();
    }
}
