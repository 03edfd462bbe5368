//! Coordination in PostgreSQL tables of our own (`tradewind_*`), on the server's clock.

mod statements;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::open::check_rate;
use super::{Coordinator, CoordinatorOptions, REVOKED_MAX, Revoked, STARTS_MAX};
use crate::Error;
use crate::results::postgres::config::{SERVICE, sort_error, target};
use crate::results::postgres::link::{Link, Params};
use statements as sql;

/// Connections of one process.
const POOL_SIZE: usize = 4;
/// Calls between two sweeps of what is over; the first call sweeps too.
const SWEEP_EVERY: u32 = 1024;
/// Looks at a unique key that keeps changing hands.
const CLAIM_TRIES: usize = 5;

/// The postgres driver.
#[derive(Debug)]
pub struct PostgresCoordinator {
    link: Link,
    calls: AtomicU32,
}

fn us(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX).max(1)
}

impl PostgresCoordinator {
    /// Connects and makes the tables exist. `url` is a libpq URL.
    ///
    /// # Errors
    /// When the URL cannot be used or the server does not answer.
    pub async fn open(url: &str, options: &CoordinatorOptions) -> Result<Self, Error> {
        let link = Link::new(&target(url, options.ca_file.as_deref())?, POOL_SIZE)?;
        let mut client = link.client().await?;
        let tables = async {
            if client.query_one(sql::PRESENT, &[]).await?.get(0) {
                return Ok(());
            }
            let transaction = client.transaction().await?;
            transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&sql::SCHEMA_LOCK]).await?;
            transaction.batch_execute(sql::CREATE).await?;
            transaction.commit().await
        };
        tables.await.map_err(|e| sort_error("the tables of coordination", &e))?;
        drop(client);
        Ok(Self { link, calls: AtomicU32::new(0) })
    }

    async fn run(
        &self,
        what: &str,
        statement: &str,
        params: Params<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            for sweep in sql::SWEEPS {
                self.link.run("a sweep", sweep, &[]).await?;
            }
        }
        self.link.run(what, statement, params).await
    }
}

#[async_trait]
impl Coordinator for PostgresCoordinator {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn shared(&self) -> bool {
        true
    }

    async fn revoke(&self, tasks: &[Revoked], ttl: Duration) -> Result<(), Error> {
        let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let kills: Vec<bool> = tasks.iter().map(|task| task.terminate).collect();
        self.run("a revocation", sql::REVOKE, &[&ids, &kills, &us(ttl)]).await?;
        let most = i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX);
        self.run("a revocation", sql::REVOKED_TRIM, &[&most]).await.map(drop)
    }

    async fn are_revoked(&self, ids: &[String]) -> Result<Vec<bool>, Error> {
        let rows = self.run("looking for revocations", sql::ARE_REVOKED, &[&ids]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn revoked(&self, max: usize) -> Result<Vec<Revoked>, Error> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = self.run("the revocations", sql::REVOKED, &[&max]).await?;
        Ok(rows.iter().map(|row| Revoked { id: row.get(0), terminate: row.get(1) }).collect())
    }

    async fn take_token(
        &self,
        key: &str,
        per_second: f64,
        burst: u32,
    ) -> Result<Option<Duration>, Error> {
        check_rate(key, per_second)?;
        let size = f64::from(burst.max(1));
        let taken = self.run("a rate limit", sql::TAKE_TOKEN, &[&key, &per_second, &size]).await?;
        if !taken.is_empty() {
            return Ok(None);
        }
        let rows = self.run("a rate limit", sql::TOKEN_WAIT, &[&key, &per_second]).await?;
        let seconds = rows.first().map_or(0.0, |row| row.get::<_, f64>(0));
        Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
    }

    async fn enter(
        &self,
        key: &str,
        limit: u32,
        holder: &str,
        lease: Duration,
    ) -> Result<bool, Error> {
        let limit = i64::from(limit);
        let entered = self
            .link
            .run_locked(
                "a concurrency limit",
                key,
                &[(sql::PLACE_EXPIRE, &[&key]), (sql::ENTER, &[&key, &limit, &holder, &us(lease)])],
            )
            .await?;
        Ok(!entered.is_empty())
    }

    async fn leave(&self, key: &str, holder: &str) -> Result<(), Error> {
        self.run("a concurrency limit", sql::LEAVE, &[&key, &holder]).await.map(drop)
    }

    async fn claim_unique(
        &self,
        key: &str,
        id: &str,
        ttl: Duration,
    ) -> Result<Option<String>, Error> {
        for _ in 0..CLAIM_TRIES {
            let claimed = self.run("a unique key", sql::CLAIM, &[&key, &id, &us(ttl)]).await?;
            if !claimed.is_empty() {
                return Ok(None);
            }
            let holder = self.run("a unique key", sql::CLAIM_HOLDER, &[&key]).await?;
            if let Some(row) = holder.first() {
                return Ok(Some(row.get(0)));
            }
        }
        Err(Error::Unavailable {
            service: SERVICE,
            reason: format!("unique key {key:?} changes hands too fast"),
        })
    }

    async fn release_unique(&self, key: &str, id: &str) -> Result<(), Error> {
        self.run("a unique key", sql::RELEASE, &[&key, &id]).await.map(drop)
    }

    async fn count_start(&self, id: &str, worker: &str, ttl: Duration) -> Result<u32, Error> {
        self.run("a count of starts", sql::START, &[&id, &worker, &us(ttl)]).await?;
        let rows = self.run("a count of starts", sql::START_COUNT, &[&id]).await?;
        let count = rows.first().map_or(0, |row| row.get::<_, i64>(0));
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn clear_starts(&self, ids: &[String]) -> Result<(), Error> {
        self.run("counts of starts", sql::STARTS_CLEAR, &[&ids]).await.map(drop)
    }

    async fn starts(&self, id: &str) -> Result<Vec<String>, Error> {
        let most = i64::try_from(STARTS_MAX).unwrap_or(i64::MAX);
        let rows = self.run("counts of starts", sql::STARTS, &[&id, &most]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn last_sent(&self, entry: &str) -> Result<Option<i64>, Error> {
        let rows = self.run("a periodic entry", sql::LAST_SENT, &[&entry]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    async fn advance(&self, entry: &str, last: Option<i64>, now: i64) -> Result<bool, Error> {
        let moved = match last {
            None => self.run("a periodic entry", sql::ADVANCE_FIRST, &[&entry, &now]).await?,
            Some(last) => {
                self.run("a periodic entry", sql::ADVANCE, &[&entry, &last, &now]).await?
            }
        };
        Ok(!moved.is_empty())
    }

    async fn close(&self) {
        self.link.close();
    }
}
