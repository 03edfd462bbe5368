//! Attempts: claim, lease, loss. Batches cost a fixed number of round trips.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tradewind_proto::clock::to_micros;
use tradewind_proto::execution::{ClaimRequest, HeartbeatRequest, LeaseVerdict};
use uuid::Uuid;

use super::PostgresStore;
use super::conn::Tx;
use super::failure::{Res, all, at};
use crate::claims::{self, ClaimRow, Judged};
use crate::model::{Claim, ClaimedAttempt, ExpiredLease, WorkerRow};
use crate::rows::{self, Cells};
use crate::{AttemptStore, Error, micros};

/// A claim that the server broke off because of a deadlock is tried so often.
const TRIES_MAX: u32 = 4;

const TAKE: &str = "WITH n AS (SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS n (id, nonce)), \
    a AS (UPDATE attempt a SET claimed_at = $3, lease_until = $4, worker = $5, instance = $7, \
    claim_nonce = n.nonce FROM n WHERE a.id = n.id RETURNING a.id, a.run, a.task_id, a.map_index), \
    t AS (UPDATE task_instance t SET state = 'running', start_date = $3, end_date = NULL, \
    worker = $5, hostname = $6, pid = 0, message = '' FROM a WHERE t.run = a.run \
    AND t.task_id = a.task_id AND t.map_index = a.map_index) \
    DELETE FROM outbox WHERE attempt = ANY($1)";

const RENEW: &str = "UPDATE attempt SET lease_until = greatest(lease_until, $2) WHERE id = ANY($1)";

/// When the upstreams of a task ended, by the attempt that asks.
const UPSTREAM: &str = "SELECT n.attempt, max(t.end_date) \
    FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (attempt, run, task_id) \
    JOIN task_instance t ON t.run = n.run AND t.task_id = n.task_id GROUP BY n.attempt";

/// The newest earlier successful run, by run.
const BEFORE: &str = "SELECT n.run, p.interval_start, p.interval_end \
    FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS n (run, dag_id, date_key) \
    CROSS JOIN LATERAL (SELECT r.interval_start, r.interval_end FROM dag_run r \
    WHERE r.dag_id = n.dag_id AND r.state = 'success' AND r.interval_start IS NOT NULL \
    AND r.date_key < n.date_key ORDER BY r.date_key DESC LIMIT 1) p";

#[async_trait]
impl AttemptStore for PostgresStore {
    async fn claim(
        &self,
        request: &ClaimRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claim>, Error> {
        if request.items.is_empty() {
            return Ok(Vec::new());
        }
        let mut tries = 1;
        loop {
            match self.claim_once(request, lease, now).await {
                Err(failure) if failure.is_deadlock() && tries < TRIES_MAX => tries += 1,
                result => return result.map_err(at("claim")),
            }
        }
    }

    async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeaseVerdict>, Error> {
        self.renew(request, lease, now).await.map_err(at("heartbeat"))
    }

    async fn expired_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredLease>, Error> {
        let sql = format!(
            "WITH due AS (SELECT id FROM attempt WHERE ended_at IS NULL \
             AND lease_until IS NOT NULL AND lease_until < $1 ORDER BY lease_until LIMIT $2 \
             FOR NO KEY UPDATE SKIP LOCKED) \
             UPDATE attempt a SET lost_at = coalesce(a.lost_at, $1) FROM due \
             WHERE a.id = due.id RETURNING {}",
            rows::EXPIRED
        );
        let write = async {
            let args: &[&(dyn ToSql + Sync)] = &[&to_micros(now), &i64::from(limit)];
            all(&self.conn().await?.query(&sql, args).await?, rows::expired)
        };
        write.await.map_err(at("expired_leases"))
    }

    async fn extend_leases(&self, until: Timestamp) -> Result<u64, Error> {
        let sql = "UPDATE attempt SET lease_until = $1 WHERE ended_at IS NULL \
                   AND lease_until IS NOT NULL AND lease_until < $1 AND lost_at IS NULL";
        let write = async { self.conn().await?.execute(sql, &[&to_micros(until)]).await };
        write.await.map_err(at("extend_leases"))
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerRow>, Error> {
        let sql =
            format!("SELECT {} FROM worker WHERE heartbeat_at >= $1 ORDER BY worker", rows::WORKER);
        let read = async {
            all(&self.conn().await?.query(&sql, &[&to_micros(since)]).await?, rows::worker)
        };
        read.await.map_err(at("workers"))
    }
}

impl PostgresStore {
    async fn claim_once(
        &self,
        request: &ClaimRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Res<Vec<Claim>> {
        let tx = self.begin().await?;
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE a.id = ANY($1) ORDER BY a.id FOR NO KEY UPDATE OF a",
            rows::RUN,
            claims::CLAIM,
            claims::CLAIM_FROM
        );
        let ids: Vec<Uuid> = request.items.iter().map(|i| i.attempt_id.0).collect();
        let found = all(&tx.query(&sql, &[&ids]).await?, claims::claim_row)?;
        let mut found: BTreeMap<Uuid, ClaimRow> = found.into_iter().map(|r| (r.id, r)).collect();
        let mut plan = Plan::default();
        let mut claims = Vec::with_capacity(request.items.len());
        for item in &request.items {
            let id = item.attempt_id.0;
            let judged = match found.get(&id) {
                // Named twice in one call: the first is answered.
                None if plan.granted.contains_key(&id) => Judged::Duplicate,
                None => Judged::Stale,
                Some(row) => claims::judge(row, item, request.instance),
            };
            match judged {
                Judged::First => plan.take.push((id, item.nonce)),
                Judged::Again => plan.renew.push(id),
                _ => {}
            }
            claims.push(match judged {
                Judged::Stale => Claim::Stale,
                Judged::Duplicate => Claim::Duplicate,
                Judged::First | Judged::Again => {
                    plan.granted.extend(found.remove(&id).map(|row| (id, row)));
                    // Replaced below, when the rest is known.
                    Claim::Stale
                }
            });
        }
        if plan.granted.is_empty() {
            tx.rollback().await?;
            return Ok(claims);
        }
        let mut granted = self.grant(tx, request, plan, lease, now).await?;
        for (claim, id) in claims.iter_mut().zip(&ids) {
            if matches!(claim, Claim::Stale)
                && let Some(attempt) = granted.remove(id)
            {
                *claim = Claim::Granted(Box::new(attempt));
            }
        }
        Ok(claims)
    }

    /// Writes, reads what goes with the grants, and commits: one round trip.
    async fn grant(
        &self,
        tx: Tx,
        request: &ClaimRequest,
        plan: Plan,
        lease: Duration,
        now: Timestamp,
    ) -> Res<BTreeMap<Uuid, ClaimedAttempt>> {
        let hashes = plan.granted.values().map(|row| row.run.version_hash.clone());
        let specs = self.load_specs_in(&tx, hashes).await?;
        let mut asks: (Vec<Uuid>, Vec<Uuid>, Vec<&str>) = Default::default();
        let mut before: (Vec<Uuid>, Vec<&str>, Vec<i64>) = Default::default();
        for (id, row) in &plan.granted {
            before.0.push(row.run.id);
            before.1.push(&row.run.dag_id);
            before.2.push(row.date_key);
            let task = specs.get(&row.run.version_hash).and_then(|s| s.task(&row.task_id));
            for upstream in task.into_iter().flat_map(|t| &t.upstream) {
                asks.0.push(*id);
                asks.1.push(row.run.id);
                asks.2.push(upstream);
            }
        }
        let (taken, nonces): (Vec<Uuid>, Vec<Uuid>) = plan.take.iter().copied().unzip();
        let (at, until) = (to_micros(now), to_micros(now) + micros(lease));
        let upstream = tx.prepare(UPSTREAM).await?;
        let previous = tx.prepare(BEFORE).await?;
        let take = tx.prepare(TAKE).await?;
        let renew = tx.prepare(RENEW).await?;
        let (host, instance) = (&request.hostname, &request.instance);
        let rows = tx
            .finish(&[
                (&upstream, &[&asks.0, &asks.1, &asks.2]),
                (&previous, &[&before.0, &before.1, &before.2]),
                (&take, &[&taken, &nonces, &at, &until, &request.worker, host, instance]),
                (&renew, &[&plan.renew, &until]),
            ])
            .await?;
        let [upstream, previous, ..] = rows.as_slice() else { return Ok(BTreeMap::new()) };
        complete(plan.granted, upstream, previous)
    }

    async fn renew(
        &self,
        request: &HeartbeatRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Res<Vec<LeaseVerdict>> {
        let tx = self.begin().await?;
        let ids: Vec<Uuid> = request.attempts.iter().map(|a| a.attempt_id.0).collect();
        let sql =
            format!("SELECT {} WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", claims::LEASE);
        let found = all(&tx.query(&sql, &[&ids]).await?, claims::lease_row)?;
        let found: BTreeMap<Uuid, _> = found.into_iter().map(|row| (row.id, row)).collect();
        let judge = |item| claims::lease_verdict(found.get(&id_of(item)), item, request.instance);
        let verdicts: Vec<LeaseVerdict> = request.attempts.iter().map(judge).collect();
        let held = ids.iter().zip(&verdicts).filter(|(_, v)| **v != LeaseVerdict::Stale);
        let held: Vec<Uuid> = held.map(|(id, _)| *id).collect();
        let renew = tx.prepare(RENEW).await?;
        let worker = tx
            .prepare(
                "INSERT INTO worker (worker, instance, hostname, queues, slots, running, \
                 heartbeat_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (worker) \
                 DO UPDATE SET instance = excluded.instance, hostname = excluded.hostname, \
                 queues = excluded.queues, slots = excluded.slots, running = excluded.running, \
                 heartbeat_at = excluded.heartbeat_at",
            )
            .await?;
        let (at, until) = (to_micros(now), to_micros(now) + micros(lease));
        let queues = serde_json::to_string(&request.queues).unwrap_or_default();
        let (slots, running) = (i64::from(request.slots), request.attempts.len() as i64);
        let row: [&(dyn ToSql + Sync); 7] =
            [&request.worker, &request.instance, &request.hostname, &queues, &slots, &running, &at];
        tx.finish(&[(&renew, &[&held, &until]), (&worker, &row)]).await?;
        Ok(verdicts)
    }
}

fn id_of(item: &tradewind_proto::execution::LeaseItem) -> Uuid {
    item.attempt_id.0
}

/// What a batch of claims does.
#[derive(Default)]
struct Plan {
    take: Vec<(Uuid, Uuid)>,
    renew: Vec<Uuid>,
    granted: BTreeMap<Uuid, ClaimRow>,
}

fn complete(
    granted: BTreeMap<Uuid, ClaimRow>,
    upstream: &[Row],
    previous: &[Row],
) -> Res<BTreeMap<Uuid, ClaimedAttempt>> {
    let mut ended = BTreeMap::new();
    for row in upstream {
        ended.insert(row.id(0)?, row.time_opt(1)?);
    }
    let mut intervals = BTreeMap::new();
    for row in previous {
        intervals.insert(row.id(0)?, row.span_opt(1)?);
    }
    let complete = |(id, row): (Uuid, ClaimRow)| {
        let mut attempt = row.granted();
        attempt.upstream_ended_at = ended.get(&id).copied().flatten();
        attempt.prev_success_interval = intervals.get(&attempt.run.id).copied().flatten();
        (id, attempt)
    };
    Ok(granted.into_iter().map(complete).collect())
}
