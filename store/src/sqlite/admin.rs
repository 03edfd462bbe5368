//! Jobs, keys, schema, health.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::sync::broadcast;
use tradewind_proto::clock::to_micros;

use super::SqliteStore;
use super::failure::Res;
use crate::model::{Counts, JobRow};
use crate::rows::{self, Cells};
use crate::{AdminStore, Error, admin};

#[async_trait]
impl AdminStore for SqliteStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn shared(&self) -> bool {
        false
    }

    async fn migrate(&self) -> Result<Vec<String>, Error> {
        // A write holds the file's only write lock from its first statement on.
        self.db.write("migrate", migrate).await
    }

    async fn check_schema(&self) -> Result<(), Error> {
        self.db.read("check_schema", |c| Ok(admin::check(admin::SQLITE, &applied(c)?)?)).await
    }

    async fn job_heartbeat(&self, job: &JobRow) -> Result<(), Error> {
        let job = job.clone();
        let sql = "INSERT INTO job (id, job_type, hostname, ended, started_at, heartbeat_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET \
                   ended = excluded.ended, heartbeat_at = excluded.heartbeat_at";
        self.db
            .write("job_heartbeat", move |c| {
                c.prepare_cached(sql)?.execute(params![
                    job.id,
                    job.job_type,
                    job.hostname,
                    job.ended,
                    to_micros(job.started_at),
                    to_micros(job.heartbeat_at)
                ])?;
                Ok(())
            })
            .await
    }

    async fn jobs(&self, job_type: Option<&str>, limit: u32) -> Result<Vec<JobRow>, Error> {
        let job_type = job_type.map(str::to_owned);
        let sql = format!(
            "SELECT {} FROM job WHERE ?1 IS NULL OR job_type = ?1 \
             ORDER BY heartbeat_at DESC, id LIMIT ?2",
            rows::JOB
        );
        self.db
            .read("jobs", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query(params![job_type, limit])?;
                let mut jobs = Vec::new();
                while let Some(row) = found.next()? {
                    jobs.push(rows::job(row)?);
                }
                Ok(jobs)
            })
            .await
    }

    async fn add_key(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        let key = key.to_owned();
        let sql = "INSERT INTO signing_key (key, added_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.db
            .write("add_key", move |c| {
                c.prepare_cached(sql)?.execute(params![key, to_micros(now)])?;
                Ok(())
            })
            .await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.db
            .read("keys", |c| {
                let mut statement =
                    c.prepare_cached("SELECT key FROM signing_key ORDER BY added_at, key")?;
                let keys = statement.query_map([], |row| row.get(0))?;
                Ok(keys.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.db.read("counts", counts).await
    }

    async fn health(&self) -> Result<(), Error> {
        self.db.read("health", |c| Ok(c.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    fn wakeups(&self) -> broadcast::Receiver<()> {
        self.wake.subscribe()
    }
}

fn applied(c: &Connection) -> Res<BTreeMap<String, String>> {
    // A query, because a connection that has not read since would not know of a new table.
    let known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migration'";
    if !c.prepare(known)?.exists([])? {
        return Ok(BTreeMap::new());
    }
    let mut statement = c.prepare("SELECT name, checksum FROM schema_migration")?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn migrate(c: &Connection) -> Res<Vec<String>> {
    c.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migration \
         (name TEXT PRIMARY KEY, checksum TEXT NOT NULL) STRICT",
    )?;
    let mut names = Vec::new();
    for migration in admin::pending(admin::SQLITE, &applied(c)?)? {
        c.execute_batch(migration.sql)?;
        c.execute(
            "INSERT INTO schema_migration (name, checksum) VALUES (?1, ?2)",
            params![migration.name, migration.checksum()],
        )?;
        names.push(migration.name.to_owned());
    }
    Ok(names)
}

fn counts(c: &Connection) -> Res<Counts> {
    let mut counts = Counts::default();
    let mut statement = c.prepare_cached(
        "SELECT t.state, count(*) FROM dag_run r JOIN task_instance t ON t.run = r.id \
         WHERE r.state = 'running' AND r.state IN ('queued', 'running') AND t.state NOT IN \
         ('success', 'failed', 'skipped', 'upstream_failed', 'removed') GROUP BY t.state",
    )?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        counts.tasks.push((row.name(0)?, u64::from(row.u32(1)?)));
    }
    let mut statement = c.prepare_cached(
        "SELECT state, count(*) FROM dag_run WHERE state IN ('queued', 'running') GROUP BY state",
    )?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        counts.runs.push((row.name(0)?, u64::from(row.u32(1)?)));
    }
    let mut statement = c.prepare_cached(
        "SELECT count(*), min(queued_at), (SELECT count(*) FROM import_error) FROM outbox \
         WHERE sent_at IS NULL",
    )?;
    let mut found = statement.query([])?;
    if let Some(row) = found.next()? {
        counts.unsent = u64::from(row.u32(0)?);
        counts.oldest_unsent = row.time_opt(1)?;
        counts.import_errors = u64::from(row.u32(2)?);
    }
    counts.tasks.sort_by_key(|t| t.0);
    counts.runs.sort_by_key(|r| r.0);
    Ok(counts)
}
