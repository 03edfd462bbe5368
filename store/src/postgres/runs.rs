//! Runs: creation, start, listing.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tradewind_proto::clock::{from_micros, to_micros};
use uuid::Uuid;

use super::conn::Tx;
use super::failure::{Res, all, at, first};
use super::{PostgresStore, listen};
use crate::model::{
    Advance, AttemptRow, DueDag, NewRun, RunFilter, RunRow, StartRun, TaskInstanceRow,
};
use crate::rows::{self, Cells, NOT_COMPUTED};
use crate::{Error, RunStore};

/// Runs listed when the filter names no number.
const LISTED_RUNS: u32 = 100;

#[async_trait]
impl RunStore for PostgresStore {
    async fn due_dags(&self, now: Timestamp, limit: u32) -> Result<Vec<DueDag>, Error> {
        self.find_due(now, limit).await.map_err(at("due_dags"))
    }

    async fn advance(&self, advance: Advance, now: Timestamp) -> Result<bool, Error> {
        self.move_schedule(&advance, now).await.map_err(at("advance"))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT min(due_at) FROM dag WHERE is_active AND NOT is_paused \
                   AND due_at IS NOT NULL AND due_at > $1";
        let read = async {
            let rows = self.conn().await?.query(sql, &[&NOT_COMPUTED]).await?;
            Ok(first(&rows, |row| row.int_opt(0))?.flatten().map(from_micros))
        };
        read.await.map_err(at("next_due"))
    }

    async fn trigger(&self, run: NewRun, now: Timestamp) -> Result<RunRow, Error> {
        self.create(&run, now).await.map_err(at("trigger"))
    }

    async fn startable_runs(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRow>, Error> {
        // DAG by DAG, so that a DAG with many queued runs costs and hides nothing.
        let sql = format!(
            "WITH RECURSIVE g (dag_id) AS (SELECT min(dag_id) FROM dag_run \
             WHERE state IN ('queued', 'running') UNION ALL \
             SELECT (SELECT min(n.dag_id) FROM dag_run n WHERE n.state IN ('queued', 'running') \
             AND n.dag_id > g.dag_id) FROM g WHERE g.dag_id IS NOT NULL) \
             SELECT {} FROM g JOIN dag d ON d.dag_id = g.dag_id CROSS JOIN LATERAL \
             (SELECT q.* FROM dag_run q WHERE q.dag_id = d.dag_id AND q.state = 'queued' \
             AND q.run_after <= $1 ORDER BY q.run_after, q.queued_at, q.id \
             LIMIT greatest(0, least($2, d.max_active_runs - (SELECT count(*) FROM dag_run x \
             WHERE x.dag_id = d.dag_id AND x.state = 'running')))) r \
             WHERE d.is_active AND NOT d.is_paused ORDER BY r.run_after, r.queued_at, r.id LIMIT $2",
            rows::RUN
        );
        let read = async {
            let args: &[&(dyn ToSql + Sync)] = &[&to_micros(now), &i64::from(limit)];
            all(&self.conn().await?.query(&sql, args).await?, rows::run)
        };
        read.await.map_err(at("startable_runs"))
    }

    async fn start_runs(&self, starts: Vec<StartRun>, now: Timestamp) -> Result<Vec<bool>, Error> {
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        self.start_all(&starts, now).await.map_err(at("start_runs"))
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, Error> {
        let mut conditions = vec!["TRUE".to_owned()];
        let state = filter.state.map(|s| s.as_str());
        let mut args: Vec<&(dyn ToSql + Sync)> = Vec::new();
        if let Some(dag_id) = &filter.dag_id {
            args.push(dag_id);
            conditions.push(format!("r.dag_id = ${}", args.len()));
        }
        if let Some(state) = &state {
            args.push(state);
            conditions.push(format!("r.state = ${}", args.len()));
        }
        let limit = i64::from(if filter.limit == 0 { LISTED_RUNS } else { filter.limit });
        args.push(&limit);
        let sql = format!(
            "SELECT {} FROM dag_run r WHERE {} \
             ORDER BY r.run_after DESC, r.queued_at DESC, r.id DESC LIMIT ${}",
            rows::RUN,
            conditions.join(" AND "),
            args.len()
        );
        let read = async { all(&self.conn().await?.query(&sql, &args).await?, rows::run) };
        read.await.map_err(at("runs"))
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>, Error> {
        let sql =
            format!("SELECT {} FROM dag_run r WHERE r.dag_id = $1 AND r.run_id = $2", rows::RUN);
        let read =
            async { first(&self.conn().await?.query(&sql, &[&dag_id, &run_id]).await?, rows::run) };
        read.await.map_err(at("run"))
    }

    async fn task_instances(&self, run: Uuid) -> Result<Vec<TaskInstanceRow>, Error> {
        let sql = format!(
            "SELECT {} FROM task_instance t JOIN dag_run r ON r.id = t.run WHERE t.run = $1 \
             ORDER BY t.ord",
            rows::LISTED
        );
        let read = async { all(&self.conn().await?.query(&sql, &[&run]).await?, rows::listed) };
        read.await.map_err(at("task_instances"))
    }

    async fn attempts(&self, run: Uuid) -> Result<Vec<AttemptRow>, Error> {
        let sql = format!(
            "SELECT {} FROM attempt a WHERE a.run = $1 ORDER BY a.queued_at, a.token, a.id",
            rows::ATTEMPT
        );
        let read = async { all(&self.conn().await?.query(&sql, &[&run]).await?, rows::attempt) };
        read.await.map_err(at("attempts"))
    }
}

impl PostgresStore {
    async fn find_due(&self, now: Timestamp, limit: u32) -> Res<Vec<DueDag>> {
        let sql = format!(
            "SELECT {}, (SELECT count(*) FROM dag_run r WHERE r.dag_id = d.dag_id \
             AND r.state IN ('queued', 'running')) FROM dag d WHERE d.is_active \
             AND NOT d.is_paused AND d.due_at IS NOT NULL AND d.due_at <= $1 \
             ORDER BY d.due_at, d.dag_id LIMIT $2",
            rows::DAG
        );
        let conn = self.conn().await?;
        let found = conn.query(&sql, &[&to_micros(now), &i64::from(limit)]).await?;
        let heads = all(&found, |row| Ok((rows::dag(row)?, row.u32(rows::DAG_LEN)?)))?;
        let hashes = heads.iter().map(|(head, _)| head.version_hash.clone());
        let specs = self.load_specs(&conn, hashes).await?;
        let mut due = Vec::with_capacity(heads.len());
        for (head, active_runs) in heads {
            let Some(spec) = specs.get(&head.version_hash).cloned() else { continue };
            due.push(DueDag {
                spec,
                dag_id: head.dag_id,
                version_hash: head.version_hash,
                next: head.next,
                schedule_epoch: head.schedule_epoch,
                last: head.last,
                active_runs,
            });
        }
        Ok(due)
    }

    async fn move_schedule(&self, advance: &Advance, now: Timestamp) -> Res<bool> {
        let tx = self.begin().await?;
        let next = advance.next;
        let moved = tx
            .query(
                "UPDATE dag SET schedule_epoch = schedule_epoch + 1, due_at = $3, \
                 next_logical = $4, next_start = $5, next_end = $6 \
                 WHERE dag_id = $1 AND schedule_epoch = $2 RETURNING dag_id",
                &[
                    &advance.dag_id,
                    &advance.schedule_epoch,
                    &next.map(|n| to_micros(n.run_after)),
                    &next.map(|n| to_micros(n.logical_date)),
                    &next.map(|n| to_micros(n.interval_start)),
                    &next.map(|n| to_micros(n.interval_end)),
                ],
            )
            .await?;
        if moved.is_empty() {
            tx.rollback().await?;
            return Ok(false);
        }
        if let Some(run) = &advance.create {
            insert_run(&tx, run, now).await?;
            if let Some((logical, end)) = run.last() {
                tx.query(
                    "UPDATE dag SET last_logical = $2, last_end = $3 WHERE dag_id = $1 \
                     AND coalesce(last_logical, $2) <= $2",
                    &[&advance.dag_id, &to_micros(logical), &to_micros(end)],
                )
                .await?;
            }
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn create(&self, run: &NewRun, now: Timestamp) -> Res<RunRow> {
        let tx = self.begin().await?;
        let active = tx
            .query("SELECT dag_id FROM dag WHERE dag_id = $1 AND is_active", &[&run.dag_id])
            .await?;
        if active.is_empty() {
            tx.rollback().await?;
            return Err(Error::NotFound { kind: "DAG", name: run.dag_id.clone() }.into());
        }
        if !insert_run(&tx, run, now).await? {
            tx.rollback().await?;
            return Err(Error::Exists { kind: "run", name: run.run_id.clone() }.into());
        }
        let sql = format!("SELECT {} FROM dag_run r WHERE r.id = $1", rows::RUN);
        let found = tx.query(&sql, &[&run.id]).await?;
        tx.query("SELECT pg_notify($1, $2)", &[&listen::CHANNEL, &self.payload()]).await?;
        tx.commit().await?;
        let missing = || Error::NotFound { kind: "run", name: run.run_id.clone() };
        Ok(first(&found, rows::run)?.ok_or_else(missing)?)
    }

    async fn start_all(&self, starts: &[StartRun], now: Timestamp) -> Res<Vec<bool>> {
        let tx = self.begin().await?;
        let ids: Vec<Uuid> = starts.iter().map(|s| s.run).collect();
        // Who starts runs of a DAG holds its row, so that the count below stays true.
        let lock = "SELECT d.dag_id FROM dag d WHERE d.dag_id IN (SELECT r.dag_id FROM dag_run r \
                    WHERE r.id = ANY($1)) ORDER BY d.dag_id FOR NO KEY UPDATE";
        tx.query(lock, &[&ids]).await?;
        let found = tx
            .query(
                "SELECT r.id, r.dag_id, (SELECT count(*) FROM dag_run x \
                 WHERE x.dag_id = r.dag_id AND x.state = 'running') FROM dag_run r \
                 WHERE r.id = ANY($1) AND r.state = 'queued' FOR NO KEY UPDATE OF r",
                &[&ids],
            )
            .await?;
        let mut queued: BTreeMap<Uuid, String> = BTreeMap::new();
        let mut running: BTreeMap<String, u32> = BTreeMap::new();
        for row in &found {
            let dag_id = row.text(1)?;
            running.insert(dag_id.clone(), row.u32(2)?);
            queued.insert(row.id(0)?, dag_id);
        }
        let mut started = Vec::with_capacity(starts.len());
        let mut chosen = Vec::new();
        for start in starts {
            let dag_id = queued.remove(&start.run);
            let count = dag_id.as_ref().and_then(|dag_id| running.get_mut(dag_id));
            let fits = count.filter(|n| **n < start.max_active_runs).map(|n| *n += 1);
            started.push(fits.is_some());
            if let (Some(()), Some(dag_id)) = (fits, dag_id) {
                chosen.push((start, dag_id));
            }
        }
        write_started(&tx, &chosen, now).await?;
        tx.commit().await?;
        Ok(started)
    }
}

/// `false` when the run id or logical date is taken.
async fn insert_run(tx: &Tx, run: &NewRun, now: Timestamp) -> Res<bool> {
    let inserted = tx
        .query(
            "INSERT INTO dag_run (id, dag_id, run_id, run_type, state, logical_date, date_key, \
             interval_start, interval_end, run_after, queued_at, conf, version_hash, trace_parent) \
             SELECT $1, $2, $3, $4, 'queued', $5, $6, $7, $8, $9, $10, $11, version_hash, $12 \
             FROM dag WHERE dag_id = $2 ON CONFLICT DO NOTHING RETURNING id",
            &[
                &run.id,
                &run.dag_id,
                &run.run_id,
                &run.run_type.as_str(),
                &run.logical_date.map(to_micros),
                &to_micros(run.logical_date.unwrap_or(run.run_after)),
                &run.interval.map(|i| to_micros(i.0)),
                &run.interval.map(|i| to_micros(i.1)),
                &to_micros(run.run_after),
                &to_micros(now),
                &run.conf_json(),
                &run.trace_parent,
            ],
        )
        .await?;
    Ok(!inserted.is_empty())
}

async fn write_started(tx: &Tx, chosen: &[(&StartRun, String)], now: Timestamp) -> Res<()> {
    let runs: Vec<Uuid> = chosen.iter().map(|(s, _)| s.run).collect();
    let hashes: Vec<&str> = chosen.iter().map(|(s, _)| s.version_hash.as_str()).collect();
    let traces: Vec<&str> = chosen.iter().map(|(s, _)| s.trace_parent.as_str()).collect();
    tx.query(
        "UPDATE dag_run r SET state = 'running', start_date = $3, version_hash = n.hash, \
         version = r.version + 1, \
         trace_parent = CASE r.trace_parent WHEN '' THEN n.trace ELSE r.trace_parent END \
         FROM unnest($1::uuid[], $2::text[], $4::text[]) AS n (id, hash, trace) \
         WHERE r.id = n.id",
        &[&runs, &hashes, &to_micros(now), &traces],
    )
    .await?;
    let tasks = || {
        chosen.iter().flat_map(|(start, dag_id)| {
            start.tasks.iter().enumerate().map(move |(ord, task)| (start.run, dag_id, ord, task))
        })
    };
    let texts = |of: fn(&crate::model::NewTask) -> &str| -> Vec<&str> {
        tasks().map(|t| of(t.3)).collect()
    };
    let numbers =
        |of: fn(&crate::model::NewTask) -> i64| -> Vec<i64> { tasks().map(|t| of(t.3)).collect() };
    tx.query(
        "INSERT INTO task_instance (run, dag_id, ord, task_id, map_index, state, max_tries, \
         operator, queue, pool, pool_slots, priority) \
         SELECT n.run, n.dag_id, n.ord, n.task_id, n.map_index, 'none', n.max_tries, \
         n.operator, n.queue, n.pool, n.pool_slots, n.priority \
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], \
         $6::bigint[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[]) \
         AS n (run, dag_id, ord, task_id, map_index, max_tries, operator, queue, pool, \
         pool_slots, priority)",
        &[
            &tasks().map(|t| t.0).collect::<Vec<_>>(),
            &tasks().map(|t| t.1.as_str()).collect::<Vec<_>>(),
            &tasks().map(|t| t.2 as i64).collect::<Vec<_>>(),
            &texts(|t| &t.task_id),
            &numbers(|t| i64::from(t.map_index)),
            &numbers(|t| i64::from(t.max_tries)),
            &texts(|t| &t.operator),
            &texts(|t| &t.queue),
            &texts(|t| &t.pool),
            &numbers(|t| i64::from(t.pool_slots)),
            &numbers(|t| i64::from(t.priority)),
        ],
    )
    .await?;
    Ok(())
}
