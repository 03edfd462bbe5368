//! Jobs, keys, schema, health.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_postgres::types::ToSql;
use tradewind_proto::clock::to_micros;

use super::PostgresStore;
use super::conn::Tx;
use super::failure::{Res, all, at};
use crate::model::{Counts, JobRow};
use crate::rows::{self, Cells};
use crate::{AdminStore, Error, admin};

#[async_trait]
impl AdminStore for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn shared(&self) -> bool {
        true
    }

    async fn migrate(&self) -> Result<Vec<String>, Error> {
        self.bring_up_to_date().await.map_err(at("migrate"))
    }

    async fn check_schema(&self) -> Result<(), Error> {
        let read = async {
            let tx = self.begin().await?;
            let applied = applied(&tx).await?;
            tx.commit().await?;
            Ok(admin::check(admin::POSTGRES, &applied)?)
        };
        read.await.map_err(at("check_schema"))
    }

    async fn job_heartbeat(&self, job: &JobRow) -> Result<(), Error> {
        let sql = "INSERT INTO job (id, job_type, hostname, ended, started_at, heartbeat_at) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET \
                   ended = excluded.ended, heartbeat_at = excluded.heartbeat_at";
        let write = async {
            let args: &[&(dyn ToSql + Sync)] = &[
                &job.id,
                &job.job_type,
                &job.hostname,
                &job.ended,
                &to_micros(job.started_at),
                &to_micros(job.heartbeat_at),
            ];
            self.conn().await?.execute(sql, args).await
        };
        write.await.map(drop).map_err(at("job_heartbeat"))
    }

    async fn jobs(&self, job_type: Option<&str>, limit: u32) -> Result<Vec<JobRow>, Error> {
        let sql = format!(
            "SELECT {} FROM job WHERE $1::text IS NULL OR job_type = $1 \
             ORDER BY heartbeat_at DESC, id LIMIT $2",
            rows::JOB
        );
        let read = async {
            let args: &[&(dyn ToSql + Sync)] = &[&job_type, &i64::from(limit)];
            all(&self.conn().await?.query(&sql, args).await?, rows::job)
        };
        read.await.map_err(at("jobs"))
    }

    async fn add_key(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        let sql = "INSERT INTO signing_key (key, added_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let write = async { self.conn().await?.execute(sql, &[&key, &to_micros(now)]).await };
        write.await.map(drop).map_err(at("add_key"))
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT key FROM signing_key ORDER BY added_at, key";
        let read = async { all(&self.conn().await?.query(sql, &[]).await?, |row| row.text(0)) };
        read.await.map_err(at("keys"))
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.count().await.map_err(at("counts"))
    }

    async fn health(&self) -> Result<(), Error> {
        let read = async { self.conn().await?.simple("SELECT 1").await };
        read.await.map_err(at("health"))
    }

    fn wakeups(&self) -> broadcast::Receiver<()> {
        self.wake.subscribe()
    }
}

impl PostgresStore {
    async fn bring_up_to_date(&self) -> Res<Vec<String>> {
        let tx = self.begin().await?;
        let lock = format!("SELECT pg_advisory_xact_lock({})", self.lock_key("migrate"));
        tx.simple(&lock).await?;
        if let Some(schema) = &self.schema {
            let known = tx
                .query("SELECT 1::bigint FROM pg_namespace WHERE nspname = $1", &[schema])
                .await?;
            if known.is_empty() {
                tx.simple(&format!("CREATE SCHEMA \"{schema}\"")).await?;
            }
        }
        tx.simple(
            "CREATE TABLE IF NOT EXISTS schema_migration \
             (name TEXT PRIMARY KEY, checksum TEXT NOT NULL)",
        )
        .await?;
        let mut names = Vec::new();
        for migration in admin::pending(admin::POSTGRES, &applied(&tx).await?)? {
            tx.simple(migration.sql).await?;
            tx.query(
                "INSERT INTO schema_migration (name, checksum) VALUES ($1, $2)",
                &[&migration.name, &migration.checksum()],
            )
            .await?;
            names.push(migration.name.to_owned());
        }
        tx.commit().await?;
        Ok(names)
    }

    async fn count(&self) -> Res<Counts> {
        let conn = self.conn().await?;
        let tasks = conn
            .query(
                "SELECT t.state, count(*) FROM dag_run r JOIN task_instance t ON t.run = r.id \
                 WHERE r.state = 'running' AND t.state NOT IN \
                 ('success', 'failed', 'skipped', 'upstream_failed', 'removed') GROUP BY t.state",
                &[],
            )
            .await?;
        let runs = conn
            .query(
                "SELECT state, count(*) FROM dag_run WHERE state IN ('queued', 'running') \
                 GROUP BY state",
                &[],
            )
            .await?;
        let rest = conn
            .query(
                "SELECT count(*), min(queued_at), (SELECT count(*) FROM import_error) \
                 FROM outbox WHERE sent_at IS NULL",
                &[],
            )
            .await?;
        let number = |row: &tokio_postgres::Row, at| Ok(u64::from(row.u32(at)?));
        let mut counts = Counts {
            tasks: all(&tasks, |row| Ok((row.name(0)?, number(row, 1)?)))?,
            runs: all(&runs, |row| Ok((row.name(0)?, number(row, 1)?)))?,
            ..Counts::default()
        };
        if let Some(row) = rest.first() {
            counts.unsent = number(row, 0)?;
            counts.oldest_unsent = row.time_opt(1)?;
            counts.import_errors = number(row, 2)?;
        }
        counts.tasks.sort_by_key(|t| t.0);
        counts.runs.sort_by_key(|r| r.0);
        Ok(counts)
    }
}

async fn applied(tx: &Tx) -> Res<BTreeMap<String, String>> {
    let known = tx
        .query(
            "SELECT 1::bigint FROM pg_tables WHERE tablename = 'schema_migration' \
             AND schemaname = current_schema()",
            &[],
        )
        .await?;
    if known.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = tx.query("SELECT name, checksum FROM schema_migration", &[]).await?;
    Ok(all(&rows, |row| Ok((row.text(0)?, row.text(1)?)))?.into_iter().collect())
}
