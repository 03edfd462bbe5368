//! Planning: snapshots, commits, the outbox.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tradewind_engine::model::{PastTask, RunInfo, RunSnapshot};
use tradewind_proto::AttemptId;
use tradewind_proto::clock::to_micros;
use tradewind_proto::dag::DagSpec;
use uuid::Uuid;

use super::PostgresStore;
use super::conn::Tx;
use super::failure::{Res, all, at, first};
use crate::model::{CommitReport, Dispatch, Queueing, RunCommit};
use crate::past::{self, Previous};
use crate::rows::{self, Cells};
use crate::{Error, PlanStore, micros};

/// The factor between publications stops growing after so many.
const DOUBLINGS_MAX: u32 = 5;
/// A commit that the server broke off because of a deadlock is tried so often.
const TRIES_MAX: u32 = 4;

#[async_trait]
impl PlanStore for PostgresStore {
    async fn running_runs(&self) -> Result<Vec<Uuid>, Error> {
        let sql =
            "SELECT id FROM dag_run WHERE state = 'running' ORDER BY run_after, queued_at, id";
        let read = async { all(&self.conn().await?.query(sql, &[]).await?, |row| row.id(0)) };
        read.await.map_err(at("running_runs"))
    }

    async fn load_run(&self, run: Uuid) -> Result<Option<RunSnapshot>, Error> {
        self.snapshot(run).await.map_err(at("load_run"))
    }

    async fn commit(
        &self,
        commits: Vec<RunCommit>,
        queueing: &Queueing,
        now: Timestamp,
    ) -> Result<CommitReport, Error> {
        let mut tries = 1;
        loop {
            match self.commit_once(&commits, queueing, now).await {
                Err(failure) if failure.is_deadlock() && tries < TRIES_MAX => tries += 1,
                result => return result.map_err(at("commit")),
            }
        }
    }

    async fn mark_sent(&self, attempts: &[AttemptId], now: Timestamp) -> Result<(), Error> {
        let ids: Vec<Uuid> = attempts.iter().map(|a| a.0).collect();
        let sql = "UPDATE outbox SET sent_at = $2, sends = sends + 1 WHERE attempt = ANY($1)";
        let write = async { self.conn().await?.execute(sql, &[&ids, &to_micros(now)]).await };
        write.await.map(drop).map_err(at("mark_sent"))
    }

    async fn unsent(&self, before: Timestamp, limit: u32) -> Result<Vec<Dispatch>, Error> {
        let sql = format!(
            "SELECT {} FROM {} WHERE o.sent_at IS NULL AND o.queued_at < $1 \
             ORDER BY o.queued_at LIMIT $2",
            rows::DISPATCH,
            rows::DISPATCH_FROM
        );
        let read = async {
            let args: &[&(dyn ToSql + Sync)] = &[&to_micros(before), &i64::from(limit)];
            all(&self.conn().await?.query(&sql, args).await?, rows::dispatch)
        };
        read.await.map_err(at("unsent"))
    }

    async fn republishable(
        &self,
        base: Duration,
        all_of_them: bool,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Dispatch>, Error> {
        // Strictly before now: who asks again at the same instant gets the next ones.
        let sql = format!(
            "WITH due AS (SELECT attempt FROM outbox WHERE sent_at IS NOT NULL AND sent_at < $1 \
             AND ($2 OR (sent_at < $1 - $3 \
             AND sent_at < $1 - $3 * (1::bigint << least(sends - 1, {DOUBLINGS_MAX})::int))) \
             ORDER BY sent_at LIMIT $4 FOR UPDATE SKIP LOCKED), \
             counted AS (UPDATE outbox u SET sent_at = $1, sends = u.sends + 1 FROM due \
             WHERE u.attempt = due.attempt RETURNING u.attempt) \
             SELECT {} FROM {} JOIN counted c ON c.attempt = o.attempt",
            rows::DISPATCH,
            rows::DISPATCH_FROM
        );
        let base = micros(base).min(i64::MAX >> (DOUBLINGS_MAX + 1));
        let write = async {
            let args: &[&(dyn ToSql + Sync)] =
                &[&to_micros(now), &all_of_them, &base, &i64::from(limit)];
            all(&self.conn().await?.query(&sql, args).await?, rows::dispatch)
        };
        write.await.map_err(at("republishable"))
    }
}

impl PostgresStore {
    async fn commit_once(
        &self,
        commits: &[RunCommit],
        queueing: &Queueing,
        now: Timestamp,
    ) -> Res<CommitReport> {
        let tx = self.begin().await?;
        let results = self.apply(&tx, commits, now).await?;
        let (dispatch, more) = self.queue(tx, queueing, now).await?;
        Ok(CommitReport { results, dispatch, more })
    }

    async fn snapshot(&self, id: Uuid) -> Res<Option<RunSnapshot>> {
        let tx = self.begin().await?;
        // One snapshot for run, tasks and past.
        tx.simple("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let run_sql = format!("SELECT {} FROM dag_run r WHERE r.id = $1", rows::RUN_INFO);
        let tasks_sql =
            format!("SELECT {} FROM task_instance t WHERE t.run = $1 ORDER BY t.ord", rows::TASK);
        let (run_sql, tasks_sql) = (tx.prepare(&run_sql).await?, tx.prepare(&tasks_sql).await?);
        let args: &[&(dyn ToSql + Sync)] = &[&id];
        let (run, tasks) =
            tokio::try_join!(biased; tx.run(&run_sql, args), tx.run(&tasks_sql, args))?;
        let Some(run) = first(&run, rows::run_info)? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let tasks = all(&tasks, rows::task)?;
        let specs = self.load_specs_in(&tx, [run.version_hash.clone()]).await?;
        let past = match specs.get(&run.version_hash) {
            Some(spec) => load_past(&tx, spec, &run).await?,
            None => Vec::new(),
        };
        tx.commit().await?;
        Ok(Some(RunSnapshot { run, tasks, past }))
    }
}

async fn load_past(tx: &Tx, spec: &DagSpec, run: &RunInfo) -> Res<Vec<PastTask>> {
    if !spec.tasks.iter().any(past::looks_back) {
        return Ok(Vec::new());
    }
    let date_key = to_micros(run.logical_date.unwrap_or(run.run_after));
    let found = tx
        .query(
            "SELECT id, state FROM dag_run WHERE dag_id = $1 AND date_key < $2 \
             AND (NOT $3 OR run_type = 'scheduled') ORDER BY date_key DESC LIMIT 1",
            &[&run.dag_id, &date_key, &spec.catchup],
        )
        .await?;
    let Some(row) = found.first() else { return Ok(past::past(spec, None)) };
    let tasks =
        tx.query("SELECT task_id, state FROM task_instance WHERE run = $1", &[&row.id(0)?]).await?;
    let tasks = all(&tasks, |row| Ok((row.text(0)?, row.name(1)?)))?;
    Ok(past::past(spec, Some(&Previous { state: row.name(1)?, tasks })))
}
