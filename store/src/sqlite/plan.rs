//! Planning: snapshots, commits, the outbox.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tradewind_engine::model::RunSnapshot;
use tradewind_proto::AttemptId;
use tradewind_proto::clock::to_micros;
use uuid::Uuid;

use super::dags::spec_of;
use super::failure::Res;
use super::{SqliteStore, finish, past, queueing};
use crate::model::{CommitReport, Dispatch, Queueing, RunCommit};
use crate::rows;
use crate::specs::SpecCache;
use crate::{Error, PlanStore, micros};

/// The factor between publications stops growing after so many.
const DOUBLINGS_MAX: u32 = 5;

#[async_trait]
impl PlanStore for SqliteStore {
    async fn running_runs(&self) -> Result<Vec<Uuid>, Error> {
        let sql = "SELECT id FROM dag_run WHERE state = 'running' \
                   AND state IN ('queued', 'running') ORDER BY run_after, queued_at, id";
        self.db
            .read("running_runs", move |c| {
                let mut statement = c.prepare_cached(sql)?;
                let ids = statement.query_map([], |row| row.get(0))?;
                Ok(ids.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn load_run(&self, run: Uuid) -> Result<Option<RunSnapshot>, Error> {
        let specs = Arc::clone(&self.specs);
        self.db.read("load_run", move |c| load_run(c, &specs, run)).await
    }

    async fn commit(
        &self,
        commits: Vec<RunCommit>,
        queueing: &Queueing,
        now: Timestamp,
    ) -> Result<CommitReport, Error> {
        let (specs, queueing) = (Arc::clone(&self.specs), queueing.clone());
        self.db
            .write("commit", move |c| {
                let results = commits
                    .iter()
                    .map(|commit| finish::apply(c, commit, now))
                    .collect::<Res<_>>()?;
                let (dispatch, more) = queueing::queue(c, &specs, &queueing, now)?;
                Ok(CommitReport { results, dispatch, more })
            })
            .await
    }

    async fn mark_sent(&self, attempts: &[AttemptId], now: Timestamp) -> Result<(), Error> {
        let attempts = attempts.to_vec();
        self.db
            .write("mark_sent", move |c| {
                let mut statement = c.prepare_cached(
                    "UPDATE outbox SET sent_at = ?2, sends = sends + 1 WHERE attempt = ?1",
                )?;
                for attempt in attempts {
                    statement.execute(params![attempt.0, to_micros(now)])?;
                }
                Ok(())
            })
            .await
    }

    async fn unsent(&self, before: Timestamp, limit: u32) -> Result<Vec<Dispatch>, Error> {
        let sql = format!(
            "SELECT {} FROM {} WHERE o.sent_at IS NULL AND o.queued_at < ?1 \
             ORDER BY o.queued_at LIMIT ?2",
            rows::DISPATCH,
            rows::DISPATCH_FROM
        );
        self.db
            .read("unsent", move |c| dispatches(c, &sql, params![to_micros(before), limit]))
            .await
    }

    async fn republishable(
        &self,
        base: Duration,
        all: bool,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Dispatch>, Error> {
        self.db.write("republishable", move |c| republishable(c, base, all, limit, now)).await
    }
}

fn dispatches(c: &Connection, sql: &str, args: impl rusqlite::Params) -> Res<Vec<Dispatch>> {
    let mut statement = c.prepare_cached(sql)?;
    let mut found = statement.query(args)?;
    let mut dispatches = Vec::new();
    while let Some(row) = found.next()? {
        dispatches.push(rows::dispatch(row)?);
    }
    Ok(dispatches)
}

fn republishable(
    c: &Connection,
    base: Duration,
    all: bool,
    limit: u32,
    now: Timestamp,
) -> Res<Vec<Dispatch>> {
    let base = micros(base).min(i64::MAX >> (DOUBLINGS_MAX + 1));
    // Strictly before now: who asks again at the same instant gets the next ones.
    let sql = format!(
        "SELECT {} FROM {} WHERE o.sent_at IS NOT NULL AND o.sent_at < ?1 AND (?2 OR \
         (o.sent_at < ?1 - ?3 AND o.sent_at < ?1 - ?3 * (1 << min(o.sends - 1, {DOUBLINGS_MAX})))) \
         ORDER BY o.sent_at LIMIT ?4",
        rows::DISPATCH,
        rows::DISPATCH_FROM
    );
    let due = dispatches(c, &sql, params![to_micros(now), all, base, limit])?;
    let mut count =
        c.prepare_cached("UPDATE outbox SET sent_at = ?2, sends = sends + 1 WHERE attempt = ?1")?;
    for dispatch in &due {
        count.execute(params![dispatch.attempt_id.0, to_micros(now)])?;
    }
    Ok(due)
}

fn load_run(c: &Connection, specs: &SpecCache, id: Uuid) -> Res<Option<RunSnapshot>> {
    // One snapshot for run, tasks and past.
    let reading = if c.is_autocommit() { Some(c.unchecked_transaction()?) } else { None };
    let mut statement =
        c.prepare_cached(&format!("SELECT {} FROM dag_run r WHERE r.id = ?1", rows::RUN_INFO))?;
    let mut found = statement.query([id])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let run = rows::run_info(row)?;
    let mut statement = c.prepare_cached(&format!(
        "SELECT {} FROM task_instance t WHERE t.run = ?1 ORDER BY t.ord",
        rows::TASK
    ))?;
    let mut found = statement.query([id])?;
    let mut tasks = Vec::new();
    while let Some(row) = found.next()? {
        tasks.push(rows::task(row)?);
    }
    let spec = spec_of(c, specs, &run.version_hash)?;
    let past = past::load(c, &spec, &run)?;
    if let Some(reading) = reading {
        reading.commit()?;
    }
    Ok(Some(RunSnapshot { run, tasks, past }))
}
