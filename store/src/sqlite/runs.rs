//! Runs: creation, start, listing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tradewind_proto::clock::{from_micros, to_micros};
use uuid::Uuid;

use super::SqliteStore;
use super::dags::spec_of;
use super::failure::Res;
use crate::model::{
    Advance, AttemptRow, DueDag, NewRun, RunFilter, RunRow, StartRun, TaskInstanceRow,
};
use crate::rows::{self, Cells, NOT_COMPUTED};
use crate::specs::SpecCache;
use crate::{Error, RunStore};

/// Runs listed when the filter names no number.
const LISTED_RUNS: u32 = 100;

#[async_trait]
impl RunStore for SqliteStore {
    async fn due_dags(&self, now: Timestamp, limit: u32) -> Result<Vec<DueDag>, Error> {
        let specs = Arc::clone(&self.specs);
        self.db.read("due_dags", move |c| due_dags(c, &specs, now, limit)).await
    }

    async fn advance(&self, advance: Advance, now: Timestamp) -> Result<bool, Error> {
        self.db.write("advance", move |c| move_schedule(c, &advance, now)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT min(due_at) FROM dag WHERE is_active = 1 AND is_paused = 0 \
                   AND due_at IS NOT NULL AND due_at > ?1";
        self.db
            .read("next_due", move |c| {
                let at = c.prepare_cached(sql)?.query_row([NOT_COMPUTED], |r| r.get(0))?;
                Ok(at)
            })
            .await
            .map(|at: Option<i64>| at.map(from_micros))
    }

    async fn trigger(&self, run: NewRun, now: Timestamp) -> Result<RunRow, Error> {
        let row = self.db.write("trigger", move |c| trigger(c, &run, now)).await?;
        self.wake();
        Ok(row)
    }

    async fn startable_runs(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRow>, Error> {
        self.db.read("startable_runs", move |c| startable(c, now, limit)).await
    }

    async fn start_runs(&self, starts: Vec<StartRun>, now: Timestamp) -> Result<Vec<bool>, Error> {
        self.db
            .write("start_runs", move |c| starts.iter().map(|s| start(c, s, now)).collect())
            .await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, Error> {
        self.db.read("runs", move |c| list(c, &filter)).await
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>, Error> {
        let key = (dag_id.to_owned(), run_id.to_owned());
        let sql =
            format!("SELECT {} FROM dag_run r WHERE r.dag_id = ?1 AND r.run_id = ?2", rows::RUN);
        self.db
            .read("run", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query(key)?;
                Ok(found.next()?.map(rows::run).transpose()?)
            })
            .await
    }

    async fn task_instances(&self, run: Uuid) -> Result<Vec<TaskInstanceRow>, Error> {
        let sql = format!(
            "SELECT {} FROM task_instance t JOIN dag_run r ON r.id = t.run WHERE t.run = ?1 \
             ORDER BY t.ord",
            rows::LISTED
        );
        self.db
            .read("task_instances", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query([run])?;
                let mut tasks = Vec::new();
                while let Some(row) = found.next()? {
                    tasks.push(rows::listed(row)?);
                }
                Ok(tasks)
            })
            .await
    }

    async fn attempts(&self, run: Uuid) -> Result<Vec<AttemptRow>, Error> {
        let sql = format!(
            "SELECT {} FROM attempt a WHERE a.run = ?1 ORDER BY a.queued_at, a.token, a.id",
            rows::ATTEMPT
        );
        self.db
            .read("attempts", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query([run])?;
                let mut attempts = Vec::new();
                while let Some(row) = found.next()? {
                    attempts.push(rows::attempt(row)?);
                }
                Ok(attempts)
            })
            .await
    }
}

fn due_dags(c: &Connection, specs: &SpecCache, now: Timestamp, limit: u32) -> Res<Vec<DueDag>> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {}, (SELECT count(*) FROM dag_run r WHERE r.dag_id = d.dag_id \
         AND r.state IN ('queued', 'running')) FROM dag d WHERE d.is_active = 1 \
         AND d.is_paused = 0 AND d.due_at IS NOT NULL AND d.due_at <= ?1 \
         ORDER BY d.due_at, d.dag_id LIMIT ?2",
        rows::DAG
    ))?;
    let mut found = statement.query(params![to_micros(now), limit])?;
    let mut due = Vec::new();
    while let Some(row) = found.next()? {
        let head = rows::dag(row)?;
        due.push(DueDag {
            spec: spec_of(c, specs, &head.version_hash)?,
            dag_id: head.dag_id,
            version_hash: head.version_hash,
            next: head.next,
            schedule_epoch: head.schedule_epoch,
            last: head.last,
            active_runs: row.u32(rows::DAG_LEN)?,
        });
    }
    Ok(due)
}

fn move_schedule(c: &Connection, advance: &Advance, now: Timestamp) -> Res<bool> {
    let next = advance.next;
    let moved = c
        .prepare_cached(
            "UPDATE dag SET schedule_epoch = schedule_epoch + 1, due_at = ?3, next_logical = ?4, \
             next_start = ?5, next_end = ?6 WHERE dag_id = ?1 AND schedule_epoch = ?2",
        )?
        .execute(params![
            advance.dag_id,
            advance.schedule_epoch,
            next.map(|n| to_micros(n.run_after)),
            next.map(|n| to_micros(n.logical_date)),
            next.map(|n| to_micros(n.interval_start)),
            next.map(|n| to_micros(n.interval_end)),
        ])?;
    if moved == 0 {
        return Ok(false);
    }
    if let Some(run) = &advance.create {
        insert_run(c, run, now)?;
        if let Some((logical, end)) = run.last() {
            c.prepare_cached(
                "UPDATE dag SET last_logical = ?2, last_end = ?3 WHERE dag_id = ?1 \
                 AND coalesce(last_logical, ?2) <= ?2",
            )?
            .execute(params![advance.dag_id, to_micros(logical), to_micros(end)])?;
        }
    }
    Ok(true)
}

/// `false` when the run id or logical date is taken.
fn insert_run(c: &Connection, run: &NewRun, now: Timestamp) -> Res<bool> {
    let inserted = c
        .prepare_cached(
            "INSERT INTO dag_run (id, dag_id, run_id, run_type, state, logical_date, date_key, \
             interval_start, interval_end, run_after, queued_at, conf, version_hash, trace_parent) \
             SELECT ?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9, ?10, ?11, version_hash, ?12 \
             FROM dag WHERE dag_id = ?2 ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            run.id,
            run.dag_id,
            run.run_id,
            run.run_type.as_str(),
            run.logical_date.map(to_micros),
            to_micros(run.logical_date.unwrap_or(run.run_after)),
            run.interval.map(|i| to_micros(i.0)),
            run.interval.map(|i| to_micros(i.1)),
            to_micros(run.run_after),
            to_micros(now),
            run.conf_json(),
            run.trace_parent,
        ])?;
    Ok(inserted > 0)
}

fn trigger(c: &Connection, run: &NewRun, now: Timestamp) -> Res<RunRow> {
    let active: Option<bool> = c
        .prepare_cached("SELECT is_active FROM dag WHERE dag_id = ?1")?
        .query_row([&run.dag_id], |row| row.get(0))
        .optional()?;
    if active != Some(true) {
        return Err(Error::NotFound { kind: "DAG", name: run.dag_id.clone() }.into());
    }
    if !insert_run(c, run, now)? {
        return Err(Error::Exists { kind: "run", name: run.run_id.clone() }.into());
    }
    let sql = format!("SELECT {} FROM dag_run r WHERE r.id = ?1", rows::RUN);
    let mut statement = c.prepare_cached(&sql)?;
    let mut found = statement.query([run.id])?;
    let missing = || Error::NotFound { kind: "run", name: run.run_id.clone() };
    Ok(rows::run(found.next()?.ok_or_else(missing)?)?)
}

/// DAG by DAG, so that a DAG with many queued runs costs and hides nothing.
fn startable(c: &Connection, now: Timestamp, limit: u32) -> Res<Vec<RunRow>> {
    let mut dags = c.prepare_cached(
        "WITH RECURSIVE g (dag_id) AS (SELECT min(dag_id) FROM dag_run \
         WHERE state IN ('queued', 'running') UNION ALL \
         SELECT (SELECT min(n.dag_id) FROM dag_run n WHERE n.state IN ('queued', 'running') \
         AND n.dag_id > g.dag_id) FROM g WHERE g.dag_id IS NOT NULL) \
         SELECT d.dag_id, d.max_active_runs - (SELECT count(*) FROM dag_run x \
         WHERE x.dag_id = d.dag_id AND x.state = 'running' AND x.state IN ('queued', 'running')) \
         FROM g JOIN dag d ON d.dag_id = g.dag_id WHERE d.is_active = 1 AND d.is_paused = 0",
    )?;
    let mut queued = c.prepare_cached(&format!(
        "SELECT {} FROM dag_run r WHERE r.dag_id = ?1 AND r.state = 'queued' \
         AND r.state IN ('queued', 'running') AND r.run_after <= ?2 \
         ORDER BY r.run_after, r.queued_at, r.id LIMIT ?3",
        rows::RUN
    ))?;
    let mut runs = Vec::new();
    let mut found = dags.query([])?;
    while let Some(dag) = found.next()? {
        let room = dag.int(1)?.clamp(0, i64::from(limit));
        let mut of_dag = queued.query(params![dag.text(0)?, to_micros(now), room])?;
        while let Some(row) = of_dag.next()? {
            runs.push(rows::run(row)?);
        }
    }
    runs.sort_by_key(|r| (r.run_after, r.queued_at, r.id));
    runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(runs)
}

fn start(c: &Connection, start: &StartRun, now: Timestamp) -> Res<bool> {
    let started: Option<String> = c
        .prepare_cached(
            "UPDATE dag_run SET state = 'running', start_date = ?2, version_hash = ?3, \
             version = version + 1, \
             trace_parent = CASE trace_parent WHEN '' THEN ?5 ELSE trace_parent END \
             WHERE id = ?1 AND state = 'queued' AND (SELECT count(*) \
             FROM dag_run x WHERE x.dag_id = dag_run.dag_id AND x.state = 'running' \
             AND x.state IN ('queued', 'running')) < ?4 RETURNING dag_id",
        )?
        .query_row(
            params![
                start.run,
                to_micros(now),
                start.version_hash,
                start.max_active_runs,
                start.trace_parent
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(dag_id) = started else { return Ok(false) };
    let mut insert = c.prepare_cached(
        "INSERT INTO task_instance (run, task_id, map_index, ord, dag_id, state, max_tries, \
         operator, queue, pool, pool_slots, priority) \
         VALUES (?1, ?2, ?3, ?4, ?5, 'none', ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for (ord, task) in start.tasks.iter().enumerate() {
        insert.execute(params![
            start.run,
            task.task_id,
            task.map_index,
            ord as i64,
            dag_id,
            task.max_tries,
            task.operator,
            task.queue,
            task.pool,
            task.pool_slots,
            task.priority
        ])?;
    }
    Ok(true)
}

fn list(c: &Connection, filter: &RunFilter) -> Res<Vec<RunRow>> {
    let limit = if filter.limit == 0 { LISTED_RUNS } else { filter.limit };
    // One statement per combination, so that each uses its own index.
    let mut conditions = Vec::new();
    let mut args: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(dag_id) = &filter.dag_id {
        conditions.push("r.dag_id = :dag");
        args.insert(":dag", dag_id.clone());
    }
    if let Some(state) = filter.state {
        conditions.push("r.state = :state");
        args.insert(":state", state.as_str().to_owned());
    }
    let filtered = if conditions.is_empty() { "1" } else { &conditions.join(" AND ") };
    let mut statement = c.prepare_cached(&format!(
        "SELECT {} FROM dag_run r WHERE {filtered} \
         ORDER BY r.run_after DESC, r.queued_at DESC, r.id DESC LIMIT {limit}",
        rows::RUN
    ))?;
    let args: Vec<(&str, &dyn rusqlite::ToSql)> =
        args.iter().map(|(name, value)| (*name, value as &dyn rusqlite::ToSql)).collect();
    let mut found = statement.query(args.as_slice())?;
    let mut runs = Vec::new();
    while let Some(row) = found.next()? {
        runs.push(rows::run(row)?);
    }
    Ok(runs)
}
