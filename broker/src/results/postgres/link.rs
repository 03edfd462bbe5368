//! Pooled connections to one PostgreSQL server, with statements that cannot hang.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tradewind_postgres::Target;

use super::config::{SERVICE, sort_error};
use crate::Error;

/// Longest wait for one statement, and for a free pooled connection.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
const POOL_WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Parameters of a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A pool of connections.
#[derive(Debug)]
pub(crate) struct Link {
    pool: Pool,
}

impl Link {
    pub(crate) fn new(target: &Target, size: usize) -> Result<Self, Error> {
        let manager = Manager::from_config(
            target.config.clone(),
            target.tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_WAIT_LIMIT))
            .create_timeout(Some(POOL_WAIT_LIMIT))
            .build()
            .map_err(|e| Error::Config(format!("the PostgreSQL pool cannot be built: {e}")))?;
        Ok(Self { pool })
    }

    pub(crate) async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(e) => sort_error("a connection", &e),
            PoolError::Closed => Error::Closed,
            other => Error::Unavailable { service: SERVICE, reason: other.to_string() },
        })
    }

    /// Runs one prepared statement and returns its rows.
    pub(crate) async fn run(
        &self,
        what: &str,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let client = self.client().await?;
        let work = async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, params).await
        };
        let done = timeout(STATEMENT_LIMIT, work).await;
        match done {
            Ok(rows) => rows.map_err(|e| sort_error(what, &e)),
            Err(_) => {
                // An unanswered statement would hold up whoever gets this connection next.
                drop(Object::take(client));
                Err(slow(what))
            }
        }
    }

    /// Runs statements in one transaction that holds the advisory lock of a key: one at a time per
    /// key in the whole fleet. Returns the rows of the last one.
    pub(crate) async fn run_locked(
        &self,
        what: &str,
        key: &str,
        statements: &[(&str, Params<'_>)],
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let mut client = self.client().await?;
        let work = async {
            let transaction = client.transaction().await?;
            let lock = transaction.prepare_cached(LOCK).await?;
            transaction.execute(&lock, &[&key]).await?;
            let mut rows = Vec::new();
            for (sql, params) in statements {
                let statement = transaction.prepare_cached(sql).await?;
                rows = transaction.query(&statement, params).await?;
            }
            transaction.commit().await?;
            Ok(rows)
        };
        let done = timeout(STATEMENT_LIMIT, work).await;
        match done {
            Ok(rows) => rows.map_err(|e| sort_error(what, &e)),
            Err(_) => {
                drop(Object::take(client));
                Err(slow(what))
            }
        }
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7499))";

pub(crate) fn slow(what: &str) -> Error {
    Error::Unavailable {
        service: SERVICE,
        reason: format!("{what}: no answer within {} s", STATEMENT_LIMIT.as_secs()),
    }
}
