//! Joins of chords in PostgreSQL: one step at a time per group, under an advisory lock.

use std::time::Duration;

use tradewind_proto::celery::wide;
use uuid::Uuid;

use super::super::{JOIN_CLAIM, JOIN_DONE, Join, JoinPart};
use super::config::SERVICE;
use super::link::Link;
use crate::Error;

/// $1 group, $2 size, $3 ttl in microseconds.
const BEGIN: &str = "
INSERT INTO tradewind_join (group_id, size, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, claim = NULL, claim_until = NULL,
    done = false, expires_at = excluded.expires_at";
/// $1 group, $2 task id, $3 ttl in microseconds.
const EXTEND: &str = "
INSERT INTO tradewind_join_added (group_id, task_id, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
ON CONFLICT (group_id, task_id) DO NOTHING";
/// $1 group, $2 task id, $3 position, $4 state, $5 result, $6 ttl in microseconds.
const PART: &str = "
INSERT INTO tradewind_join_part (group_id, task_id, place, state, result, expires_at)
SELECT $1, $2, $3, $4, $5, clock_timestamp() + $6::bigint * interval '1 microsecond'
WHERE NOT EXISTS (SELECT 1 FROM tradewind_join WHERE group_id = $1 AND done)
ON CONFLICT (group_id, task_id, place) DO NOTHING";
/// $1 group, $2 claim, $3 its ttl in microseconds. One row: claimed, complete or done before.
const CLAIM: &str = "
WITH whole AS (
    SELECT group_id FROM tradewind_join WHERE group_id = $1 AND NOT done
       AND size + (SELECT count(*) FROM tradewind_join_added WHERE group_id = $1)
           = (SELECT count(*) FROM tradewind_join_part WHERE group_id = $1)),
claimed AS (
    UPDATE tradewind_join j SET claim = $2,
        claim_until = clock_timestamp() + $3::bigint * interval '1 microsecond'
    FROM whole w WHERE j.group_id = w.group_id
      AND (j.claim IS NULL OR j.claim_until <= clock_timestamp())
    RETURNING 1)
SELECT EXISTS (SELECT 1 FROM claimed), EXISTS (SELECT 1 FROM whole)
    OR EXISTS (SELECT 1 FROM tradewind_join WHERE group_id = $1 AND done)";
const PARTS: &str = "SELECT task_id, place, state, result FROM tradewind_join_part \
    WHERE group_id = $1 ORDER BY place, task_id";
/// $1 group, $2 claim, $3 ttl of the mark in microseconds.
const FINISH: &str = "
WITH ended AS (
    UPDATE tradewind_join SET done = true,
        expires_at = clock_timestamp() + $3::bigint * interval '1 microsecond'
    WHERE group_id = $1 AND claim = $2 RETURNING group_id),
added AS (DELETE FROM tradewind_join_added a USING ended e WHERE a.group_id = e.group_id)
DELETE FROM tradewind_join_part p USING ended e WHERE p.group_id = e.group_id";

/// Drops what is over.
pub(super) const SWEEPS: [&str; 3] = [
    "DELETE FROM tradewind_join_added WHERE expires_at <= clock_timestamp()",
    "DELETE FROM tradewind_join WHERE expires_at <= clock_timestamp()",
    "DELETE FROM tradewind_join_part WHERE expires_at <= clock_timestamp()",
];

fn us(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

pub(super) async fn begin(link: &Link, group: &str, size: u64, ttl: Duration) -> Result<(), Error> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    link.run("the size of a chord", BEGIN, &[&group, &size, &us(ttl)]).await.map(drop)
}

pub(super) async fn extend(
    link: &Link,
    group: &str,
    task_id: &str,
    ttl: Duration,
) -> Result<(), Error> {
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&group, &task_id, &us(ttl)];
    // One step at a time, as parts: none is counted while another one is added.
    link.run_locked("one more part of a chord", group, &[(EXTEND, &values)]).await.map(drop)
}

pub(super) async fn join(link: &Link, part: JoinPart, ttl: Duration) -> Result<Join, Error> {
    let JoinPart { group, task_id, index, state, result } = part;
    let (claim, result) = (Uuid::new_v4().simple().to_string(), wide::to_json(&result));
    let rows = link
        .run_locked(
            "a part of a chord",
            &group,
            &[
                (PART, &[&group, &task_id, &index, &state, &result, &us(ttl)]),
                (CLAIM, &[&group, &claim, &us(JOIN_CLAIM)]),
            ],
        )
        .await?;
    let (claimed, taken) = rows.first().map_or((false, false), |row| (row.get(0), row.get(1)));
    if !claimed {
        return Ok(if taken { Join::Taken } else { Join::Waiting });
    }
    let rows = link.run("the parts of a chord", PARTS, &[&group]).await?;
    let parts = rows.iter().map(|row| read_part(&group, row)).collect::<Result<_, _>>()?;
    Ok(Join::Complete { claim, parts })
}

fn read_part(group: &str, row: &tokio_postgres::Row) -> Result<JoinPart, Error> {
    let result: &str = row.get(3);
    let result = wide::from_slice(result.as_bytes()).map_err(|error| Error::Refused {
        service: SERVICE,
        what: format!("a part of chord {group}"),
        reason: error.to_string(),
    })?;
    let (task_id, index, state) = (row.get(0), row.get(1), row.get(2));
    Ok(JoinPart { group: group.to_owned(), task_id, index, state, result })
}

pub(super) async fn finish(link: &Link, group: &str, claim: &str) -> Result<(), Error> {
    link.run("the end of a chord", FINISH, &[&group, &claim, &us(JOIN_DONE)]).await.map(drop)
}
