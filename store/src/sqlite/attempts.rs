//! Attempts: claim, lease, loss.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tradewind_proto::clock::{from_micros, to_micros};
use tradewind_proto::execution::{ClaimItem, ClaimRequest, HeartbeatRequest, LeaseVerdict};

use super::SqliteStore;
use super::dags::spec_of;
use super::failure::Res;
use crate::claims::{self, ClaimRow, Judged};
use crate::model::{Claim, ClaimedAttempt, ExpiredLease, WorkerRow};
use crate::rows::{self, Cells};
use crate::specs::SpecCache;
use crate::{AttemptStore, Error, micros};

#[async_trait]
impl AttemptStore for SqliteStore {
    async fn claim(
        &self,
        request: &ClaimRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claim>, Error> {
        let (specs, request) = (Arc::clone(&self.specs), request.clone());
        let times = Times { now: to_micros(now), until: to_micros(now) + micros(lease) };
        self.db
            .write("claim", move |c| {
                request.items.iter().map(|item| claim(c, &specs, &request, item, times)).collect()
            })
            .await
    }

    async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeaseVerdict>, Error> {
        let request = request.clone();
        let times = Times { now: to_micros(now), until: to_micros(now) + micros(lease) };
        self.db.write("heartbeat", move |c| heartbeat(c, &request, times)).await
    }

    async fn expired_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredLease>, Error> {
        self.db.write("expired_leases", move |c| expired(c, to_micros(now), limit)).await
    }

    async fn extend_leases(&self, until: Timestamp) -> Result<u64, Error> {
        let sql = "UPDATE attempt SET lease_until = ?1 WHERE ended_at IS NULL \
                   AND lease_until IS NOT NULL AND lease_until < ?1 AND lost_at IS NULL";
        self.db
            .write("extend_leases", move |c| {
                Ok(c.prepare_cached(sql)?.execute([to_micros(until)])? as u64)
            })
            .await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerRow>, Error> {
        let sql =
            format!("SELECT {} FROM worker WHERE heartbeat_at >= ?1 ORDER BY worker", rows::WORKER);
        self.db
            .read("workers", move |c| {
                let mut statement = c.prepare_cached(&sql)?;
                let mut found = statement.query([to_micros(since)])?;
                let mut workers = Vec::new();
                while let Some(row) = found.next()? {
                    workers.push(rows::worker(row)?);
                }
                Ok(workers)
            })
            .await
    }
}

/// Now, and when a lease given now ends.
#[derive(Debug, Clone, Copy)]
struct Times {
    now: i64,
    until: i64,
}

fn claim(
    c: &Connection,
    specs: &SpecCache,
    request: &ClaimRequest,
    item: &ClaimItem,
    times: Times,
) -> Res<Claim> {
    let id = item.attempt_id.0;
    let row = {
        let mut statement = c.prepare_cached(&format!(
            "SELECT {}, {} FROM {} WHERE a.id = ?1",
            rows::RUN,
            claims::CLAIM,
            claims::CLAIM_FROM
        ))?;
        let mut found = statement.query([id])?;
        found.next()?.map(claims::claim_row).transpose()?
    };
    let Some(row) = row else { return Ok(Claim::Stale) };
    match claims::judge(&row, item, request.instance) {
        Judged::Stale => return Ok(Claim::Stale),
        Judged::Duplicate => return Ok(Claim::Duplicate),
        Judged::Again => {
            c.prepare_cached(
                "UPDATE attempt SET lease_until = max(lease_until, ?2) WHERE id = ?1",
            )?
            .execute(params![id, times.until])?;
        }
        Judged::First => take(c, request, item, &row, times)?,
    }
    Ok(Claim::Granted(Box::new(granted(c, specs, row)?)))
}

fn take(
    c: &Connection,
    request: &ClaimRequest,
    item: &ClaimItem,
    row: &ClaimRow,
    times: Times,
) -> Res<()> {
    let id = item.attempt_id.0;
    c.prepare_cached(
        "UPDATE attempt SET claimed_at = ?2, lease_until = ?3, worker = ?4, instance = ?5, \
         claim_nonce = ?6 WHERE id = ?1",
    )?
    .execute(params![
        id,
        times.now,
        times.until,
        request.worker,
        request.instance,
        item.nonce
    ])?;
    c.prepare_cached(
        "UPDATE task_instance SET state = 'running', start_date = ?4, end_date = NULL, \
         worker = ?5, hostname = ?6, pid = 0, message = '' \
         WHERE run = ?1 AND task_id = ?2 AND map_index = ?3",
    )?
    .execute(params![
        row.run.id,
        row.task_id,
        row.map_index,
        times.now,
        request.worker,
        request.hostname
    ])?;
    c.prepare_cached("DELETE FROM outbox WHERE attempt = ?1")?.execute([id])?;
    Ok(())
}

fn granted(c: &Connection, specs: &SpecCache, row: ClaimRow) -> Res<ClaimedAttempt> {
    let spec = spec_of(c, specs, &row.run.version_hash)?;
    let mut ended: Option<i64> = None;
    let mut upstream = c.prepare_cached(
        "SELECT max(end_date) FROM task_instance WHERE run = ?1 AND task_id = ?2",
    )?;
    for task in spec.task(&row.task_id).into_iter().flat_map(|t| &t.upstream) {
        let at: Option<i64> = upstream.query_row(params![row.run.id, task], |r| r.get(0))?;
        ended = ended.max(at);
    }
    let before = c
        .prepare_cached(
            "SELECT interval_start, interval_end FROM dag_run WHERE dag_id = ?1 \
             AND state = 'success' AND interval_start IS NOT NULL AND date_key < ?2 \
             ORDER BY date_key DESC LIMIT 1",
        )?
        .query_row(params![row.run.dag_id, row.date_key], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let mut granted = row.granted();
    granted.upstream_ended_at = ended.map(from_micros);
    granted.prev_success_interval = before.map(|(a, b)| (from_micros(a), from_micros(b)));
    Ok(granted)
}

fn heartbeat(c: &Connection, request: &HeartbeatRequest, times: Times) -> Res<Vec<LeaseVerdict>> {
    c.prepare_cached(
        "INSERT INTO worker (worker, instance, hostname, queues, slots, running, heartbeat_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (worker) DO UPDATE SET \
         instance = excluded.instance, hostname = excluded.hostname, queues = excluded.queues, \
         slots = excluded.slots, running = excluded.running, heartbeat_at = excluded.heartbeat_at",
    )?
    .execute(params![
        request.worker,
        request.instance,
        request.hostname,
        serde_json::to_string(&request.queues).unwrap_or_default(),
        request.slots,
        request.attempts.len() as i64,
        times.now
    ])?;
    let mut read = c.prepare_cached(&format!("SELECT {} WHERE id = ?1", claims::LEASE))?;
    let mut renew =
        c.prepare_cached("UPDATE attempt SET lease_until = max(lease_until, ?2) WHERE id = ?1")?;
    let mut verdicts = Vec::with_capacity(request.attempts.len());
    for item in &request.attempts {
        let row = {
            let mut found = read.query([item.attempt_id.0])?;
            found.next()?.map(claims::lease_row).transpose()?
        };
        let verdict = claims::lease_verdict(row.as_ref(), item, request.instance);
        if verdict != LeaseVerdict::Stale {
            renew.execute(params![item.attempt_id.0, times.until])?;
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn expired(c: &Connection, now: i64, limit: u32) -> Res<Vec<ExpiredLease>> {
    let mut read = c.prepare_cached(&format!(
        "SELECT {}, a.lost_at FROM attempt a WHERE a.ended_at IS NULL \
         AND a.lease_until IS NOT NULL AND a.lease_until < ?1 ORDER BY a.lease_until LIMIT ?2",
        rows::EXPIRED
    ))?;
    let mut mark = c.prepare_cached("UPDATE attempt SET lost_at = ?2 WHERE id = ?1")?;
    let mut expired = Vec::new();
    let mut found = read.query(params![now, limit])?;
    let mut unmarked = Vec::new();
    while let Some(row) = found.next()? {
        let lease = rows::expired(row)?;
        if row.int_opt(7)?.is_none() {
            unmarked.push(lease.attempt_id.0);
        }
        expired.push(lease);
    }
    for id in unmarked {
        mark.execute(params![id, now])?;
    }
    Ok(expired)
}
